/* Is the half of pending.pml that keeps messages and brings them to receives: outbox.c, held.c and deliveries.c. */

/* ---- Messages. Callers have the spin lock, or a message that nobody else has ---- */

inline unlink_message(m)
{
    assert(message[m].is_listed);
    message[m].is_listed = false
}

inline release(m)
{
    assert(message[m].is_alive && message[m].references > 0); /* not freed before */
    message[m].references--;
    if
    :: message[m].references > 0
    :: else ->
        assert(!message[m].is_listed);                                     /* nobody finds it any more */
        assert(message[m].is_asked || message[m].is_given || !IS_OPEN(m)); /* it is not lost */
        message[m].is_alive = false;
        /* What nobody may look at any more has one value, which keeps the number of states down. */
        message[m].state = 0;
        message[m].left = 0;
        message[m].is_asked = false;
        message[m].is_given = false;
        message[m].is_overtaken = false;
        message[m].is_accepted = false
    fi
}

inline settle(m, how)
{
    assert(message[m].is_alive && message[m].is_asked);
    unlink_message(m);
    message[m].state = how;
    assert(pending[OPERATION(m)].is_alive && pending[OPERATION(m)].unsettled > 0);
    pending[OPERATION(m)].unsettled--;
    if
    :: pending[OPERATION(m)].unsettled == 0 IS_WOKEN -> pending[OPERATION(m)].is_set = true
    :: else
    fi
}

/* Finds the first QUEUED message of the session or, if one is wanted, that one if it was given in part only. */
inline find_message(place, wanted)
{
    found = NONE;
    if
    :: wanted == NONE && IS_QUEUED(place) -> found = place
    :: wanted == NONE && !IS_QUEUED(place) && IS_QUEUED(LAST_MESSAGE(place)) -> found = LAST_MESSAGE(place)
    :: wanted != NONE && IS_HELD(wanted) && !message[wanted].is_given && PLACE(wanted) == place -> found = wanted
    :: else
    fi
}

/* A receive that the caller owns gets the message, and a reference to it. */
inline take(m, i)
{
    assert(message[m].is_alive && irp[i].owner == DRIVERS);
    irp[i].n = m;
    irp[i].status = (irp[i].is_small -> PART : WHOLE);
    message[m].state = HELD;
    message[m].references++;
    message[m].is_given = !irp[i].is_small;
    if
    :: IS_DONE(m) ->
#ifndef FAULT_FREED_WHILE_LISTED
        unlink_message(m);
#endif
        release(m)
    :: else
    fi
}

/* Lets go all messages of a session: it closes, or its controller does. */
inline let_go(place)
{
    m = place;
    do
    :: m < MESSAGES && IS_LET_GO(m) && message[m].is_asked -> settle(m, LET_GO); m = m + SESSIONS
    :: m < MESSAGES && IS_LET_GO(m) && !message[m].is_asked ->
        unlink_message(m);
        release(m);
        m = m + SESSIONS
    :: m < MESSAGES && !IS_LET_GO(m) -> m = m + SESSIONS
    :: else -> break
    od;
    m = 0
}

/* ---- Receives ---- */

/* IoCompleteRequest(), before which the receive gives its reference back. */
inline complete(i)
{
    assert(irp[i].owner == DRIVERS);                  /* it is not completed yet */
    assert(!irp[i].has_routine && !irp[i].is_listed); /* nobody else will */
    assert(!irp[i].is_over && spin != _pid);
    irp[i].owner = DONE;
    if
    :: irp[i].status == WHOLE || irp[i].status == PART -> release(irp[i].n)
    :: else
    fi
}

/* Takes the receive out of its list. mine: it is the caller's, and not a cancel routine's that is on its way. With
 * the spin lock. */
inline remove_receive(i)
{
    irp[i].is_listed = false;
#ifdef FAULT_ROUTINE_IGNORED
    mine = true;
#else
    mine = irp[i].has_routine;
#endif
    irp[i].has_routine = false
}

/* Takes the first receive of the session that has one. mine: receive r is the caller's. With the spin lock. */
inline next_receive(place)
{
    mine = false;
    r = place;
    do
    :: r < IRPS && irp[r].is_listed ->
        remove_receive(r);
        if
        :: mine -> break
#ifndef FAULT_FIRST_RECEIVE_ALONE
        :: else -> r = r + SESSIONS
#else
        :: else -> break
#endif
        fi
    :: r < IRPS && !irp[r].is_listed -> r = r + SESSIONS
    :: else -> break
    od
}

/* Gives queued messages to receives that wait. A message then waits alone, or receives do; one whose cancel routine
 * is on its way does not count. With the spin lock. */
inline match(place)
{
    do
    :: IS_QUEUED(place) || IS_QUEUED(LAST_MESSAGE(place)) ->
        next_receive(place);
        if
        :: mine ->
            find_message(place, NONE);
            take(found, r);
            irp[r].is_over = true
        :: else -> break
        fi
    :: else -> break
    od;
    found = NONE;
    mine = false;
    r = 0;
    assert(!IS_QUEUED(place) && !IS_QUEUED(LAST_MESSAGE(place)) || !WAITS(place) && !WAITS(LAST_IRP(place)))
}

/* cbpd_deliveries_flush() */
inline flush()
{
    d_step {
        spin == NONE ->
        r = 0;
        do
        :: r < IRPS && irp[r].is_over -> irp[r].is_over = false; complete(r); r++
        :: r < IRPS && !irp[r].is_over -> r++
        :: else -> break
        od;
        r = 0
    }
}

/* IoCancelIrp(), and the routine that it calls. */
inline cancel(i)
{
    if
    :: atomic { irp[i].owner == DRIVERS && !irp[i].is_pinned -> irp[i].is_pinned = true; irp[i].is_cancelled = true };
        d_step { mine = irp[i].has_routine; irp[i].has_routine = false };
        if
        :: mine ->
            d_step {
                spin == NONE -> mine = false;
                irp[i].is_listed = false;
#ifdef FAULT_COMPLETED_WITH_LOCK
                spin = _pid
#endif
            }
            d_step { complete(i); irp[i].is_pinned = false }
        :: else ->
            d_step { assert(spin != NONE || !WAITS(i)); irp[i].is_pinned = false } /* it is not forgotten */
        fi
    :: else
    fi
}

/* cbpd_deliveries_receive(). A receive that finds a message has a reference to it before it is completed. */
inline receive(i, wanted)
{
    d_step {
        spin == NONE ->
        assert(controller[OWNER(i)].is_alive);
        irp[i].status = (wanted != NONE -> NOT_FOUND : CANCELLED);
        if
#ifndef FAULT_PENDED_AFTER_CLOSE
        :: !session[SESSION(i)].is_open -> irp[i].status = CANCELLED; mine = true
#endif
        :: else ->
            find_message(SESSION(i), wanted);
            if
            :: found != NONE -> take(found, i); mine = true
            :: found == NONE && wanted != NONE -> mine = true
            :: else -> spin = _pid; mine = false
            fi;
            found = NONE
        fi
    }
    if
    :: mine
    :: else ->
#ifdef FAULT_CANCEL_LOOKED_FOR_FIRST
        mine = irp[i].is_cancelled;
        d_step { irp[i].is_listed = true; irp[i].has_routine = true }
#else
        d_step { irp[i].is_listed = true; irp[i].has_routine = true }
        mine = irp[i].is_cancelled;
#endif
        d_step {
            if
            :: mine -> remove_receive(i) /* it was cancelled before it had a routine */
            :: else -> assert(!irp[i].is_cancelled || irp[i].is_pinned || !WAITS(i)) /* it is not forgotten */
            fi;
            RELEASE(spin)
        }
    fi;
    d_step {
        if
        :: mine -> mine = false; complete(i)
        :: else
        fi
    }
}

/* ---- Requests about held messages ---- */

/* cbpd_deliveries_answer() */
inline answer(place, n)
{
    d_step {
        spin == NONE ->
        mine = false;
        assert(controller[OWNER(place)].is_alive);
        if
        :: IS_ANSWERABLE(n) && message[n].is_asked && IS_OF(n, place) ->
            if
            :: HAS_PASSED(n) ->
#ifdef FAULT_COUNTED_TWICE
                timed_out++
#endif
            :: else ->
                settle(n, ANSWERED);
                assert(!message[n].is_accepted && PLACE(n) == place && message[n].left != 0);
                message[n].is_accepted = true;
                mine = true
            fi
        :: else
        fi
    }
#ifdef FAULT_WOKEN_WITHOUT_LOCK
    if
    :: mine -> assert(pending[OPERATION(n)].is_alive); pending[OPERATION(n)].is_set = true
    :: else
    fi;
#endif
    mine = false
}

/* cbpd_deliveries_deadline() that moves it: to none, or to a new one. */
inline move_deadline(place, n, deadline)
{
    d_step {
        spin == NONE ->
        assert(controller[OWNER(place)].is_alive);
        if
        :: IS_HELD(n) && message[n].is_asked && PLACE(n) == place && message[n].left != 0 ->
            message[n].left = deadline
        :: else
        fi
    }
}

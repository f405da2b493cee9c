/* Is the half of pending.pml that waits, and that ends sessions: pending.c and arming.c. */

/* ---- An operation ---- */

/* cbpd_pending_send(). The caller has the books. */
inline send(m, asks, deadline)
{
    d_step {
        spin == NONE ->
        assert(books == _pid && !message[m].is_alive);
        message[m].is_alive = true;
        message[m].references = 1;
        message[m].is_asked = asks;
        if
        :: !IS_OPEN(m) -> release(m)
        :: else ->
            message[m].left = deadline;
            message[m].state = QUEUED;
            message[m].is_listed = true;
            if
            :: asks -> pending[OPERATION(m)].unsettled++
            :: else
            fi;
            match(PLACE(m))
        fi
    }
}

/* Its deadline has passed, or nobody is there to answer. With the spin lock. */
inline expire(m)
{
    expired++;
    message[m].is_overtaken = message[m].state == QUEUED;
    settle(m, EXPIRED)
}

inline pass_time(m)
{
    if
    :: message[m].left == NEVER -> session[PLACE(m)].age = SILENCE
    :: message[m].left != NEVER && message[m].left > 0 -> message[m].left--
    :: else
    fi
}

/* cbpd_pending_wait() */
inline wait(o)
{
    assert(books != _pid);
    do
    :: d_step { /* a look */
        spin == NONE ->
        m = o * SESSIONS;
        do
        :: m < (o + 1) * SESSIONS && IS_AWAITED(m) && (IS_SILENT(m) || IS_OVERDUE(m)) -> expire(m); m++
        :: m < (o + 1) * SESSIONS && !(IS_AWAITED(m) && (IS_SILENT(m) || IS_OVERDUE(m))) -> m++
        :: else -> break
        od;
        m = 0;
        mine = IS_OVER(o)
       }
        if
        :: mine -> break
        :: else ->
            if
            :: d_step { pending[o].is_set -> pending[o].is_set = false }
#ifndef FAULT_WAIT_WITHOUT_BOUND
            :: d_step { /* a slice */
                spin == NONE && !pending[o].is_set ->
                assert(pending[o].unsettled > 0); /* who settles the last one wakes it up */
                slices++;
                assert(slices <= SLICES_MAX);
                m = o * SESSIONS;
                do
                :: m < (o + 1) * SESSIONS && IS_AWAITED(m) -> pass_time(m); m++
                :: m < (o + 1) * SESSIONS && !IS_AWAITED(m) -> m++
                :: else -> break
                od;
                m = 0
               }
#endif
            fi
        fi
    od;
    atomic { mine = false; slices = 0; assert(pending[o].unsettled == 0) }
}

/* The session is told of what its controller did not receive in time. With the spin lock. */
inline tell_late(m)
{
    message[m].is_asked = false;
    message[m].is_overtaken = false;
    message[m].left = NEVER;
    if
    :: IS_OPEN(m) -> message[m].state = QUEUED; message[m].is_listed = true; match(PLACE(m))
    :: else -> release(m)
    fi
}

/* cbpd_pending_destroy() */
inline destroy(o)
{
    d_step {
        spin == NONE ->
        m = o * SESSIONS;
        do
        :: m < (o + 1) * SESSIONS && message[m].is_alive && message[m].is_asked ->
            if
            :: message[m].is_listed -> settle(m, LET_GO)
            :: else
            fi;
            assert((message[m].state == ANSWERED) == message[m].is_accepted);
            timed_out = timed_out + (message[m].state == EXPIRED -> 1 : 0);
            if
            :: message[m].is_overtaken -> tell_late(m)
            :: else -> release(m)
            fi;
            m++
        :: m < (o + 1) * SESSIONS && !(message[m].is_alive && message[m].is_asked) -> m++
        :: else -> break
        od;
        m = 0;
        assert(pending[o].unsettled == 0);
        pending[o].is_set = false;
        pending[o].is_alive = false
    }
    flush()
}

/* ---- Sessions ---- */

/* close_at(): with the spin lock and the books. Nobody needs a look at what is in between. */
inline close_at(place)
{
    session[place].is_known = false;
    session[place].is_open = false;
    session[place].age = 0;
    let_go(place);
#ifndef FAULT_CLOSE_KEEPS_RECEIVES
    mine = true;
    do
    :: mine ->
        next_receive(place);
        if
        :: mine -> irp[r].status = CANCELLED; irp[r].is_over = true
        :: else
        fi
    :: else -> break
    od;
#endif
    r = 0;
    assert(!message[place].is_listed && !message[LAST_MESSAGE(place)].is_listed)
}

inline close_all(c)
{
    close_at(c);
    if
    :: CONTROLLERS < SESSIONS -> close_at(SESSIONS - 1)
    :: else
    fi
}

/* cbpd_session_set() and cbpd_session_arm() */
inline open(place)
{
    ACQUIRE(arming);
    d_step {
        books == NONE ->
        if
#ifndef FAULT_OPENED_AFTER_CLEANUP
        :: controller[OWNER(place)].is_closing
#endif
        :: else -> session[place].is_known = true; session[place].is_open = true
        fi;
        RELEASE(arming)
    }
    d_step {
        arming == NONE && books == NONE -> /* arming waits for nobody */
        if
        :: session[place].is_known -> is_armed = true
        :: else
        fi
    }
}

/* disarm_if_idle(): the callbacks go when no session is left. With the arming lock. */
inline disarm_if_idle()
{
    if
    :: atomic { is_armed && !session[0].is_known && !session[SESSIONS - 1].is_known ->
#ifndef FAULT_DISARM_FORGOTTEN
        is_armed = false };
        callbacks == 0 /* the system's promise */
#else
        skip }
#endif
    :: else
    fi
}

/* cbpd_sessions_close() */
inline close(c)
{
    d_step { arming == NONE && books == NONE && spin == NONE -> arming = _pid; close_all(c) }
    UNLOCK_BOOKS;
    disarm_if_idle();
    RELEASE(arming)
}

/* cbpd_controllers_process_ended(): in a callback, which must not wait for callbacks. */
inline forsake(c)
{
#ifdef FAULT_DISARMED_IN_CALLBACK
    close(c)
#elif !defined(FAULT_DEATH_UNNOTICED)
    d_step { books == NONE && spin == NONE -> controller[c].is_closing = true; close_all(c) }
    UNLOCK_BOOKS
#else
    skip
#endif
}

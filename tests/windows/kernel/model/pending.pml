/* Models how messages of cbprocess.sys wait for their answers: driver/windows/kernel/pending.c, deliveries.c and
 * what controllers.c, requests.c and device.c do at an end. Knows nothing of rules, of what is in a message, and of
 * what an answer says.
 *
 * run_model.py compares the states and the table below with the C: CBPD_ stands before a state there, and the
 * functions that move a message are these and no others. All of it happens under the spin lock of deliveries.
 *
 * transitions:
 *     -      QUEUED    cbpd_pending_send       into the session's list; an operation waits, or none does
 *     QUEUED HELD      take                    a receive gets it whole, or its fixed part if its buffer is small
 *     QUEUED -         take                    a receive gets it whole, and no operation waits: freed
 *     HELD   -         take                    a receive by its id, and no operation waits: freed
 *     HELD   ANSWERED  cbpd_deliveries_answer  in time, by its own controller, for its own session
 *     QUEUED EXPIRED   expire                  the wait sees its deadline passed, or its heartbeat too old
 *     HELD   EXPIRED   expire
 *     QUEUED LET_GO    let_go                  its session or its controller closes, or its controller has died
 *     HELD   LET_GO    let_go
 * end of transitions
 *
 * Owners: a message with an operation is freed by cbpd_pending_destroy() alone, and leaves the session's list when
 * it becomes ANSWERED, EXPIRED or LET_GO. One without an operation belongs to the list. The operation's event is
 * set under the lock, because the operation may be gone as soon as the lock is.
 *
 * Locks: sessions open and close, and callbacks are armed and disarmed, under one lock (arming) that no callback
 * takes. Then come the books, then the spin lock.
 *
 * Everything here is bounded, so each execution ends: in a state that is wrong, in a process that waits for ever, or
 * well. A name FAULT_... makes the model wrong on purpose; run_model.py shows that each is found. */

#ifndef SESSIONS
#define SESSIONS 1 /* each has a controller of its own */
#endif
#ifndef OPERATIONS
#define OPERATIONS 1 /* at the same time; each asks or tells all sessions */
#endif
#ifndef RECEIVERS
#define RECEIVERS 1 /* threads of a controller that receive and answer */
#endif
#ifndef RECEIVES
#define RECEIVES 2 /* that each of them makes */
#endif
#ifndef REQUESTS
#define REQUESTS 1 /* that a controller's other thread makes, before it ends its session in one way or another */
#endif

#define MESSAGES (SESSIONS * OPERATIONS)
#define PLACE(m) ((m) % SESSIONS)
#define OPERATION(m) ((m) / SESSIONS)
#define IRPS (SESSIONS * RECEIVERS)
#define CONTROLLER(i) ((i) % SESSIONS)
#define NONE 255
#define SLICES 1  /* of a new deadline; the next one sees that it has passed */
#define NEVER 7   /* it has no deadline: the heartbeat counts */
#define SILENCE 1 /* slices until a heartbeat is too old */
#define SLICES_MAX (2 + SLICES + SILENCE + (SLICES + SILENCE) * REQUESTS * SESSIONS)

mtype = { QUEUED, HELD, ANSWERED, EXPIRED, LET_GO };
mtype = { IDLE, DRIVERS, DONE };                /* who owns an IRP: nobody, the driver, its thread */
mtype = { WHOLE, PART, CANCELLED, NOT_FOUND };  /* how a receive ends */

typedef message_t {
    mtype state;
    bool is_alive; /* its memory */
    bool is_listed;
    bool is_asked;
    bool is_given; /* a receive has got all of it */
    bool is_accepted;
    byte left; /* slices until its deadline; 0: it has passed */
};

typedef pending_t {
    bool is_alive;
    bool is_set; /* its event */
    byte unsettled;
};

typedef irp_t {
    mtype owner = IDLE;
    mtype status;
    byte id;
    bool is_cancelled; /* the system's flag */
    bool has_routine;
    bool is_listed;
    bool is_small; /* its buffer */
    bool is_pinned; /* IoCancelIrp() is at work on it */
};

typedef session_t {
    bool is_known; /* to the policy; under the books */
    bool is_open;  /* for deliveries; under the spin lock */
    byte age;      /* slices since the last heartbeat */
};

typedef controller_t {
    bool is_alive = true; /* its memory */
    bool has_handle = true;
    bool is_killed;
    bool is_cleaned; /* its last handle is closed; under the arming lock */
    bool is_gone;
    byte requests; /* on their way, each with a reference to the file object */
};

message_t message[MESSAGES];
pending_t pending[OPERATIONS];
irp_t irp[IRPS];
session_t session[SESSIONS];
controller_t controller[SESSIONS];

byte spin = NONE, books = NONE, arming = NONE; /* the process that has the lock */
bool is_armed;
byte callbacks;          /* that run */
byte expired, timed_out; /* what has happened, and what was counted */

#define ACQUIRE(lock) atomic { lock == NONE -> lock = _pid }
#define RELEASE(lock) lock = NONE
#define LOCALS byte found = NONE, r, m; bool mine /* of each process that calls the driver */
#define IS_OPEN(m) session[PLACE(m)].is_open
#define IS_QUEUED(m) (message[m].is_listed && message[m].state == QUEUED)
#define IS_HELD(m) (message[m].is_listed && message[m].state == HELD)

#ifdef FAULT_CLOSE_KEEPS_HELD
#define IS_LET_GO(m) IS_QUEUED(m)
#else
#define IS_LET_GO(m) message[m].is_listed
#endif
#ifdef FAULT_ANSWERED_TWICE
#define IS_ANSWERABLE(m) (message[m].is_alive && message[m].state != QUEUED)
#else
#define IS_ANSWERABLE(m) IS_HELD(m)
#endif
#ifdef FAULT_FOREIGN_ANSWERED
#define IS_OF(m, c) true
#else
#define IS_OF(m, c) (PLACE(m) == c)
#endif
#ifdef FAULT_LATE_ACCEPTED
#define HAS_PASSED(m) false
#else
#define HAS_PASSED(m) (message[m].left == 0)
#endif
#ifdef FAULT_PART_IS_ALL
#define IS_DONE(m) !message[m].is_asked
#else
#define IS_DONE(m) (!message[m].is_asked && message[m].is_given)
#endif
#ifdef FAULT_SILENCE_IGNORED
#define IS_SILENT(m) false
#else
#define IS_SILENT(m) (message[m].left == NEVER && session[PLACE(m)].age >= SILENCE)
#endif
#ifdef FAULT_DEADLINE_IGNORED
#define IS_OVERDUE(m) false
#else
#define IS_OVERDUE(m) (message[m].left == 0)
#endif

/* ---- The driver: messages. Callers have the spin lock ---- */

inline unlink_message(m)
{
    assert(message[m].is_listed);
    message[m].is_listed = false
}

inline free_message(m)
{
    assert(message[m].is_alive); /* not freed before */
    assert(!message[m].is_listed);   /* nobody finds it any more */
    assert(message[m].is_asked || message[m].is_given || !IS_OPEN(m)); /* not lost */
    message[m].is_alive = false
}

inline settle(m, how)
{
    assert(message[m].is_alive && message[m].is_asked);
    message[m].state = how;
    unlink_message(m);
    assert(pending[OPERATION(m)].is_alive && pending[OPERATION(m)].unsettled > 0);
    pending[OPERATION(m)].unsettled--;
#if !defined(FAULT_NOBODY_WOKEN) && !defined(FAULT_WOKEN_WITHOUT_LOCK)
    pending[OPERATION(m)].is_set = pending[OPERATION(m)].unsettled == 0
#endif
}

/* Finds the first QUEUED message of the session or, if one is wanted, that one if it was given in part only. */
inline find_message(place, wanted)
{
    found = NONE;
    if
    :: wanted == NONE && IS_QUEUED(place) -> found = place
    :: wanted == NONE && !IS_QUEUED(place) && IS_QUEUED(MESSAGES - SESSIONS + place) ->
        found = MESSAGES - SESSIONS + place
    :: wanted != NONE && IS_HELD(wanted) && !message[wanted].is_given && PLACE(wanted) == place -> found = wanted
    :: else
    fi
}

/* A receive that the caller owns gets the message. */
inline take(m, i)
{
    assert(message[m].is_alive && irp[i].owner == DRIVERS);
    irp[i].id = m;
    message[m].state = HELD;
    if
    :: irp[i].is_small -> irp[i].status = PART
    :: else -> irp[i].status = WHOLE; message[m].is_given = true
    fi;
    if
    :: IS_DONE(m) ->
#ifndef FAULT_FREED_WHILE_LISTED
        unlink_message(m);
#endif
        free_message(m)
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
        free_message(m);
        m = m + SESSIONS
    :: m < MESSAGES && !IS_LET_GO(m) -> m = m + SESSIONS
    :: else -> break
    od;
    m = 0
}

/* ---- The driver: receives ---- */

/* IoCompleteRequest(). */
inline complete(i)
{
    atomic {
        assert(irp[i].owner == DRIVERS);                      /* not completed before */
        assert(!irp[i].has_routine && !irp[i].is_listed);     /* nobody else will */
        assert(spin != _pid);                                 /* without a lock */
        irp[i].owner = DONE
    }
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

/* A message does not wait while a receive does. One whose cancel routine is on its way does not count. */
inline check_pairs(place)
{
    assert(!((IS_QUEUED(place) || IS_QUEUED(MESSAGES - SESSIONS + place)) &&
             ((irp[place].is_listed && irp[place].has_routine) ||
              (irp[IRPS - SESSIONS + place].is_listed && irp[IRPS - SESSIONS + place].has_routine))))
}

/* IoCancelIrp(), and the routine that it calls. */
inline cancel(i)
{
    if
    :: atomic { irp[i].owner == DRIVERS && !irp[i].is_pinned -> irp[i].is_pinned = true; irp[i].is_cancelled = true };
        atomic { mine = irp[i].has_routine; irp[i].has_routine = false };
        if
        :: atomic { mine -> mine = false };
            ACQUIRE(spin);
            irp[i].is_listed = false;
#ifndef FAULT_COMPLETED_WITH_LOCK
            RELEASE(spin);
            irp[i].status = CANCELLED;
            complete(i)
#else
            complete(i);
            RELEASE(spin)
#endif
        :: else
        fi;
        irp[i].is_pinned = false
    :: else
    fi
}

/* cbpd_deliveries_receive(). */
inline receive(i, wanted)
{
    ACQUIRE(spin);
    assert(controller[CONTROLLER(i)].is_alive);
    d_step {
        find_message(CONTROLLER(i), wanted);
        irp[i].status = (wanted != NONE -> NOT_FOUND : CANCELLED)
    }
    if
#ifndef FAULT_PENDED_AFTER_CLOSE
    :: !session[CONTROLLER(i)].is_open -> irp[i].status = CANCELLED; RELEASE(spin); complete(i)
#else
    :: false
#endif
    :: else ->
        if
        :: found != NONE -> d_step { take(found, i); RELEASE(spin); found = NONE } complete(i)
        :: found == NONE && wanted != NONE -> RELEASE(spin); complete(i)
        :: else ->
#ifdef FAULT_CANCEL_LOOKED_FOR_FIRST
            mine = irp[i].is_cancelled;
            atomic { irp[i].is_listed = true; irp[i].has_routine = true }
#else
            atomic { irp[i].is_listed = true; irp[i].has_routine = true }
            mine = irp[i].is_cancelled;
#endif
            atomic {
                if
                :: mine -> remove_receive(i) /* was cancelled before it had a routine */
                :: else
                fi;
                check_pairs(CONTROLLER(i));
                RELEASE(spin)
            }
            if
            :: atomic { mine -> mine = false }; complete(i)
            :: else
            fi
        fi
    fi
}

/* ---- The driver: an operation ---- */

/* cbpd_pending_send(). The caller has the books. */
inline send(m, asks, deadline)
{
    d_step {
        spin == NONE -> /* held from here to the end of the step */
        assert(books == _pid && message[m].state == 0);
        mine = false;
        message[m].left = deadline;
        message[m].is_asked = asks;
        message[m].is_alive = true;
        if
#ifndef FAULT_SENT_TO_CLOSED
        :: !IS_OPEN(m) -> free_message(m)
#else
        :: false
#endif
        :: else ->
            message[m].state = QUEUED;
            message[m].is_listed = true;
            if
            :: asks -> pending[OPERATION(m)].unsettled++
            :: else
            fi;
            next_receive(PLACE(m));
            if
            :: mine -> find_message(PLACE(m), NONE); take(found, r); found = NONE
            :: else
            fi;
            check_pairs(PLACE(m))
        fi
    }
    if
    :: mine -> complete(r)
    :: else
    fi;
    atomic { mine = false; r = 0 }
}

/* A slice of the wait is over, and time has passed. With the spin lock. */
inline expire(m)
{
    if
    :: !(message[m].is_listed && message[m].is_asked)
    :: else ->
        if
        :: IS_SILENT(m) || IS_OVERDUE(m) -> settle(m, EXPIRED); expired++
        :: else ->
            if
            :: message[m].left == NEVER -> session[PLACE(m)].age = SILENCE
            :: message[m].left != NEVER && message[m].left > 0 -> message[m].left--
            :: else
            fi
        fi
    fi
}

/* cbpd_pending_wait() */
inline wait(o)
{
    slices = 0;
#ifndef FAULT_WAIT_WITH_BOOKS
    assert(books != _pid);
#endif
    do
    :: d_step { spin == NONE && pending[o].is_set } -> break
#ifndef FAULT_WAIT_WITHOUT_BOUND
    :: d_step {
        spin == NONE && !pending[o].is_set ->
        slices++;
        assert(slices <= SLICES_MAX);
        assert(pending[o].unsettled > 0); /* who settles the last one sets the event */
        m = o * SESSIONS;
        do
        :: m < (o + 1) * SESSIONS -> expire(m); m++
        :: else -> m = 0; break
        od
       }
#endif
    od;
    slices = 0
}

/* cbpd_pending_destroy() */
inline destroy(o)
{
    d_step {
        m = o * SESSIONS;
        do
        :: m < (o + 1) * SESSIONS ->
            if
            :: message[m].is_asked && message[m].is_alive ->
                assert((message[m].state == ANSWERED) == message[m].is_accepted);
                if
                :: message[m].state == EXPIRED -> timed_out++
                :: else
                fi;
                free_message(m)
            :: else
            fi;
            m++
        :: else -> m = 0; break
        od;
        pending[o].is_alive = false
    }
}

/* ---- The driver: requests ---- */

/* cbpd_deliveries_answer() */
inline answer(c, n)
{
    d_step {
        spin == NONE ->
        mine = false;
        assert(controller[c].is_alive);
        if
        :: IS_ANSWERABLE(n) && message[n].is_asked && IS_OF(n, c) ->
            if
            :: HAS_PASSED(n) ->
#ifdef FAULT_COUNTED_TWICE
                timed_out++
#endif
            :: else ->
                settle(n, ANSWERED);
                assert(!message[n].is_accepted && PLACE(n) == c && message[n].left != 0);
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
inline move_deadline(c, n, deadline)
{
    d_step {
        spin == NONE ->
        assert(controller[c].is_alive);
        if
        :: IS_HELD(n) && message[n].is_asked && PLACE(n) == c && message[n].left != 0 ->
            message[n].left = deadline
        :: else
        fi
    }
}

/* cbpd_deliveries_close(). The caller has the books. */
inline close_deliveries(c)
{
    d_step {
        spin == NONE ->
        assert(books == _pid);
        session[c].is_open = false;
        let_go(c)
    }
#ifndef FAULT_CLOSE_KEEPS_RECEIVES
    do
    :: d_step { spin == NONE -> next_receive(c) }
        if
        :: mine -> irp[r].status = CANCELLED; complete(r)
        :: else -> break
        fi
    od;
#endif
    atomic { mine = false; r = 0 }
    assert(!message[c].is_listed && !message[MESSAGES - SESSIONS + c].is_listed)
}

/* Opens the session: a request of the controller. */
inline open(c)
{
    ACQUIRE(arming);
    if
#ifndef FAULT_OPENED_AFTER_CLEANUP
    :: controller[c].is_cleaned
#else
    :: false
#endif
    :: else ->
        ACQUIRE(books);
        d_step { session[c].is_known = true; session[c].is_open = true; session[c].age = 0 }
        RELEASE(books);
        is_armed = true
    fi;
    RELEASE(arming)
}

/* The callbacks go when no session is left. With the arming lock. */
inline disarm()
{
    if
    :: is_armed && !session[0].is_known && !session[SESSIONS - 1].is_known ->
#ifndef FAULT_DISARM_FORGOTTEN
        is_armed = false;
        callbacks == 0 /* the system's promise */
#endif
    :: else
    fi
}

inline close(c)
{
    ACQUIRE(books);
    if
    :: session[c].is_known -> close_deliveries(c); session[c].is_known = false
    :: else
    fi;
    RELEASE(books)
}

#include "world.pml"

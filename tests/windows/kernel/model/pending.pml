/* Models how messages of cbprocess.sys wait for their answers: pending.c, outbox.c, held.c and deliveries.c of
 * driver/windows/kernel, and how controllers.c and arming.c open and end sessions. Knows nothing of rules, of
 * what is in a message, and of what an answer says. Declares what the other files do something with.
 *
 * run_model.py compares the states and the table below with the C: CBPD_ stands before a state there, and these
 * functions move a message and no others. All of it happens under the spin lock of outboxes.
 *
 * transitions:
 *     -       QUEUED    cbpd_outbox_put         sent; an operation waits, or none does
 *     EXPIRED QUEUED    cbpd_outbox_put         tell_late(): nobody had received it; no operation waits any more
 *     QUEUED  HELD      take                    a receive gets it, whole or (its buffer is small) in part
 *     HELD    ANSWERED  cbpd_deliveries_answer  in time, by its own controller, for its own session
 *     QUEUED  EXPIRED   expire                  the wait sees its deadline passed, or its heartbeat too old
 *     HELD    EXPIRED   expire
 *     QUEUED  LET_GO    let_go                  its session or its controller closes, or its controller has died
 *     HELD    LET_GO    let_go
 *     QUEUED  LET_GO    give_up                 its operation does not wait after all
 *     HELD    LET_GO    give_up
 * end of transitions
 *
 * A message that no operation waits for is out of its outbox as soon as a receive has got all of it. One with an
 * operation is out when it is ANSWERED, EXPIRED or LET_GO. The operation's event is set under the lock, because the
 * operation may be gone as soon as the lock is.
 *
 * Locks: sessions open and close, and callbacks are armed and disarmed, under one lock (arming) that no callback
 * takes. Then come the books, then the spin lock.
 *
 * Everything here is bounded, so each execution ends: in a state that is wrong, in a process that waits for ever, or
 * well. A name FAULT_... makes the model wrong on purpose; run_model.py shows that each is found. */

#ifndef SESSIONS
#define SESSIONS 1
#endif
#ifndef CONTROLLERS
#define CONTROLLERS 1
#endif
#ifndef OPERATIONS
#define OPERATIONS 1 /* at the same time; each asks or tells all sessions */
#endif
#ifndef RECEIVERS
#define RECEIVERS 1 /* threads that receive and answer for one session */
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
#define SESSION(i) ((i) % SESSIONS)     /* of a receive */
#define OWNER(place) ((place) % CONTROLLERS) /* of a session */
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
    byte references;
    bool is_listed; /* in its outbox */
    bool is_asked;  /* an operation waits for it */
    bool is_given;  /* a receive has got all of it */
    bool is_overtaken;
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
    byte n;            /* the message that it got */
    bool is_cancelled; /* the system's flag */
    bool has_routine;
    bool is_listed;
    bool is_over; /* in the list of those to complete */
    bool is_small;  /* its buffer */
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
    bool is_closing; /* under the books */
    bool is_gone;
    byte requests; /* on their way, each with a reference to the file object */
};

message_t message[MESSAGES];
pending_t pending[OPERATIONS];
irp_t irp[IRPS];
session_t session[SESSIONS];
controller_t controller[CONTROLLERS];

byte spin = NONE, books = NONE, arming = NONE; /* the process that has the lock */
bool is_armed;
byte callbacks;          /* that run */
byte expired, timed_out; /* what has happened, and what was counted */

#define ACQUIRE(lock) atomic { lock == NONE -> lock = _pid }
#define RELEASE(lock) lock = NONE
#ifdef FAULT_FLUSH_FORGOTTEN
#define UNLOCK_BOOKS skip
#else
#define UNLOCK_BOOKS flush() /* cbpd_books_unlock() does that */
#endif
#define LOCALS byte found = NONE, r, m; bool mine /* of each process that calls the driver */
#define LAST_MESSAGE(place) (MESSAGES - SESSIONS + (place))
#define LAST_IRP(place) (IRPS - SESSIONS + (place))
#define WAITS(i) (irp[i].is_listed && irp[i].has_routine)
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
#define IS_OF(m, place) true
#else
#define IS_OF(m, place) (PLACE(m) == place)
#endif
#ifdef FAULT_LATE_ACCEPTED
#define HAS_PASSED(m) false
#else
#define HAS_PASSED(m) (message[m].left == 0)
#endif
#ifdef FAULT_NOBODY_WOKEN
#define IS_WOKEN && false
#elif defined(FAULT_WOKEN_WITHOUT_LOCK)
#define IS_WOKEN && how != ANSWERED
#else
#define IS_WOKEN
#endif
#define IS_AWAITED(m) (message[m].is_listed && message[m].is_asked)
#ifdef FAULT_EVENT_BELIEVED
#define IS_OVER(o) (pending[o].unsettled == 0 || pending[o].is_set)
#else
#define IS_OVER(o) (pending[o].unsettled == 0)
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

#include "deliveries.pml"
#include "operations.pml"
#include "world.pml"

/* Declares the machine: what all sessions of this controller that use the bpf driver share. It has the policy
 * with every process, the guard, the ring, the operations that are held and the deadlines.
 *
 * One mutex guards all of it, and is never held while a handler runs. control comes before it and serialises
 * what speaks with the guard: opening and closing of sessions, settings and rules. Workers and the reserve
 * thread drain the ring before they read anything else, so the process of an operation is always known. */
#ifndef CBPI_MACHINE_H
#define CBPI_MACHINE_H

#include "cbp_atomic.h"
#include "event_messages.h"
#include "execution.h"
#include "guard_process.h"
#include "platform.h"
#include "ring.h"
#include "transport.h"
#include "turns.h"

enum { CBPI_MACHINE_TICKS_PER_S = 100 /* USER_HZ of every Linux */ };

/* ---- Processes ---- */

/* Handlers or rules have decided about an execution that has not been told by the ring yet. */
struct cbpi_approval {
    struct cbpi_approval *next;
    uint32_t thread_id;
    struct cbpd_image *image; /* with a reference */
    uint64_t device, inode;
    uint64_t sequences[CBP_SESSION_MAX]; /* of the creation event; 0: there was none */
};

struct cbpi_machine_process {
    struct cbpd_process base;
    uint32_t parent_pid;
    uint32_t creator_pid, creator_tid; /* 0: not known */
    uint32_t user_id;
    bool is_exempt;
    bool is_first_unreported; /* its first thread is told later: after a vfork, with its execution or end */
    bool is_doubtful;         /* the census saw it end: its end may have come before that */
    bool has_masks;
    struct cbp_machine_task task; /* what stands in the map, if has_masks; see masks.h */
    uint64_t execution_count;     /* of the image that it has here */
    uint64_t masks_ns;            /* a child that is older than this may have inherited earlier masks */
    struct cbpi_approval *approvals;
};

static inline struct cbpi_machine_process *cbpi_machine_process(struct cbpd_process *process)
{
    return (struct cbpi_machine_process *) process;
}

/* ---- Operations and what sessions are told of them ---- */

enum cbpi_machine_operation_kind {
    CBPI_HELD_BY_FILE, /* an execution waits in fanotify */
    CBPI_HELD_BY_GATE, /* a task waits in the gate, or is about to */
};

struct cbpi_machine_operation {
    struct cbpd_operation base;
    struct cbpi_machine_operation *next, *previous; /* all operations of the machine */
    enum cbpi_machine_operation_kind kind;
    uint32_t thread_id;
    uint32_t held;                /* BY_FILE: its place */
    uint32_t stop;                /* BY_GATE: CBP_MACHINE_STOP_ */
    struct cbpi_gate_place place; /* BY_GATE: once the task waits there */
    bool has_place;
    bool is_settled;                      /* all answers are in, and only the slot is missing */
    uint64_t give_up_ns;                  /* then the slot is not waited for any longer */
    struct cbpi_machine_process *process; /* BY_FILE: with a reference */
    struct cbpi_approval *approval;       /* BY_FILE: what it becomes if it is allowed */
};

/* A session is told a message, which waits in its queue, then in a slot with a worker. */
struct cbpi_told {
    struct cbpi_told *next;                        /* in the queue */
    struct cbpi_told *waits_next, *waits_previous; /* of those that wait for an answer */
    struct cbpi_machine_operation *operation;      /* NULL: nothing waits for the answer, or not any more */
    struct cbpi_machine_session *session;
    struct cbpd_answerable answerable;
    uint64_t deadline_ns; /* 0: none */
    bool was_held;
    bool is_late;      /* the deadline has passed */
    bool ends_process; /* a refusal comes too late for the execution, and ends its process instead */
    struct cbp_event_message message; /* its variable parts follow */
};

struct cbpi_machine_counts {
    uint64_t lost, timed_out, refused, decided, failed_after;
    uint64_t not_applied; /* answers about handle operations that nothing could enforce */
};

struct cbpi_machine_session {
    struct cbpi_transport base;
    struct cbpi_machine *machine;
    uint32_t place; /* in the policy */
    bool is_closed;
    int epoll;              /* what its workers wait at */
    int bell;               /* an eventfd: one of them is to look at the queue */
    uint32_t waiting_count; /* workers that wait there */
    uint32_t busy_count;    /* workers with a delivery */
    struct cbpi_told *queue_head, **queue_tail;
    uint32_t queue_count;
    uint32_t held_count; /* of them: messages about held operations */
    size_t queue_size;
    struct cbpi_turns turns;
    struct cbpi_told *slots[CBPI_TURNS_SLOT_MAX];
    uint16_t free_slots[CBPI_TURNS_SLOT_MAX];
    uint32_t free_count;
    struct cbpi_machine_counts counts;
    uint64_t lost_before, timed_out_before; /* what the machine had counted when the session was opened */
    uint64_t not_applied_told;
    uint64_t busy_ns;      /* when a worker took a delivery, or a record woke one */
    char hold_paths[4096]; /* HoldPaths */
    struct cbpi_failed_execution failed[CBPI_FAILED_MAX]; /* the last ones of failed_after */
};

/* ---- The machine ---- */

struct cbpi_partial_arguments; /* records.c: of executions whose EXEC record has not come yet */

struct cbpi_machine {
    struct cbpi_mutex control;
    struct cbpi_mutex mutex;  /* guards the rest */
    uint32_t reference_count; /* sessions that have not been released; the list's lock guards it */
    struct cbpd_policy policy;
    struct cbpi_guard guard;
    struct cbpi_ring ring;
    struct cbpi_executions *executions;
    struct cbpi_machine_session *sessions[CBP_SESSION_MAX]; /* by place */
    struct cbpi_machine_operation *operations;
    struct cbpi_told *waiting; /* messages about held operations */
    uint64_t next_expiry_ns;   /* no deadline lies before it; 0: there is none */
    struct cbpi_partial_arguments *partial;
    uint32_t controller_pid;
    uint32_t capabilities; /* CAP_ bits */
    bool is_dead;          /* the guard has gone */
    bool is_closing;       /* the reserve thread ends */
    bool is_draining;      /* records are being taken */
    bool only_descendants; /* for tests: whatever is no descendant of the controller is exempt */
    uint32_t programs;     /* CBP_GUARD_PROGRAM_ that are attached */
    uint64_t marks;        /* CBP_GUARD_MARKS_ that are in force, with these paths */
    char *marked_paths;
    uint32_t marked_paths_size;
    bool has_name_rules;
    uint64_t census_ns; /* when doubtful processes are looked at again; 0: there are none */
    int reserve_epoll, reserve_bell;
    struct cbpi_thread reserve;
    bool has_reserve;
    uint64_t guard_timed_out; /* the guard's count when it was read last */
    uint64_t lost;            /* the programs', likewise */
    uint64_t altitude;        /* that the guard knows */
    bool is_dozing;           /* a worker looks at the ring in short steps */
};

/* Gives a start time as /proc has it: in clock ticks. */
static inline uint64_t cbpi_machine_ticks(uint64_t start_ns)
{
    return start_ns / (CBP_NS_PER_S / CBPI_MACHINE_TICKS_PER_S);
}

/* ---- lifetime.c ---- */
/* Opens a session with the machine, which is started if it does not run. */
uint32_t cbpi_machine_open(const struct cbpi_session_settings *settings,
                           struct cbpi_machine_session **session);
uint32_t cbpi_machine_close(struct cbpi_machine_session *session);
void cbpi_machine_release(struct cbpi_machine_session *session);
void cbpi_machine_forget(void); /* in the child of a fork */
/* Gives the abilities of the guard that runs for this process; 0: none runs. */
uint32_t cbpi_machine_abilities(void);
/* Give what the programs and the guard have counted so far. The mutex is held. */
uint64_t cbpi_machine_lost(struct cbpi_machine *machine);
uint64_t cbpi_machine_timed_out(struct cbpi_machine *machine);

/* ---- machine_host.c: what the policy wants, and processes; the mutex is held ---- */
extern const struct cbpd_host cbpi_machine_host;
/* Gives a living process, or NULL. */
struct cbpi_machine_process *cbpi_machine_find(const struct cbpi_machine *machine, uint32_t process_id);
/* Gives the process; one that was not known is read from /proc, or has no name. NULL without memory. */
struct cbpi_machine_process *cbpi_machine_learn(struct cbpi_machine *machine, uint32_t process_id,
                                                uint64_t start_time, uint32_t parent_id);
/* Adds a process in place of one with that id. creator may be NULL. */
struct cbpi_machine_process *cbpi_machine_add(struct cbpi_machine *machine, uint32_t process_id,
                                              uint64_t start_time, struct cbpi_machine_process *creator);
void cbpi_machine_end(struct cbpi_machine *machine, struct cbpi_machine_process *process);
void cbpi_machine_end_all(struct cbpi_machine *machine);
/* Gives the image of a running process; NULL: it has none, or there is no memory. */
struct cbpd_image *cbpi_machine_image_of(struct cbpi_machine *machine, uint32_t process_id);

/* ---- approvals.c ---- */
void cbpi_machine_free_approval(struct cbpi_machine *machine, struct cbpi_approval *approval);
/* An execution that was allowed has not happened. */
void cbpi_machine_note_failed(struct cbpi_machine *machine, const struct cbpi_approval *approval,
                              uint32_t os_error);
/* Takes the approval of that thread out of the process's list, or gives NULL. */
struct cbpi_approval *cbpi_machine_take_approval(struct cbpi_machine_process *process, uint32_t thread_id);
/* What was approved for that thread, if anything, has not happened. */
void cbpi_machine_end_approval(struct cbpi_machine *machine, struct cbpi_machine_process *process,
                               uint32_t thread_id);

/* ---- late_refusals.c ---- */
/* Says whether refusals of executions that nothing has held end their processes. With HoldPaths they do not:
 * what is elsewhere is only seen. */
bool cbpi_machine_refuses_late(const struct cbpi_machine *machine);
/* Ends a process whose program has been refused and runs already. */
void cbpi_machine_end_refused(uint32_t process_id, uint64_t start_time);

/* ---- census.c ---- */
/* Enters all running processes. The programs are attached already. */
uint32_t cbpi_machine_census(struct cbpi_machine *machine);
/* Ends the doubtful ones that have gone. */
void cbpi_machine_check_census(struct cbpi_machine *machine, uint64_t now_ns);

/* ---- records.c ---- */
/* Takes all records that are in the ring. The mutex is held. */
void cbpi_machine_drain(struct cbpi_machine *machine);
/* Tells of an operation on another process. One whose task waits in the gate is not in the ring. */
void cbpi_machine_tell_handle(struct cbpi_machine *machine, const struct cbp_machine_handle *handle);
void cbpi_machine_free_partial(struct cbpi_machine *machine);

/* ---- asking.c: telling and asking sessions; the mutex is held ---- */
struct cbpi_matter {
    struct cbpd_report report;
    struct cbpi_machine_process *process, *originator; /* NULL: it has no originator that is known */
    bool is_exempt;                                    /* nothing fires, whoever they are */
    bool ends_process;                   /* an execution that has happened: a refusal ends its process */
    uint64_t happened_ns;                /* of the monotonic clock; 0: now */
    uint64_t sequences[CBP_SESSION_MAX]; /* results: the first of each session, or 0 */
    struct cbpd_refusal refusal;
    struct cbpi_machine_operation *operation; /* a session is asked; NULL: none is */
};
/* Begins a matter about a thread of the process (0: about the process), which has happened already. originator
 * may be NULL. */
void cbpi_matter_begin(struct cbpi_machine *machine, struct cbpi_machine_process *process,
                       struct cbpi_machine_process *originator, uint32_t originator_tid, uint32_t thread_id,
                       struct cbpi_matter *matter);
/* Begins a matter about an execution by that thread. The creator is who forked the process, and for a later
 * execution the process itself. */
void cbpi_matter_begin_creation(struct cbpi_machine *machine, struct cbpi_machine_process *process,
                                uint32_t thread_id, struct cbpi_matter *matter);
/* Tells of the first thread now if that has been put off. */
void cbpi_matter_add_first_thread(struct cbpi_matter *matter);
/* Tells the sessions, and asks them if the operation has not happened yet. */
void cbpi_matter_post(struct cbpi_machine *machine, struct cbpi_matter *matter);

/* ---- intake.c: the mutex is held ---- */
/* Reads some events of a group of fanotify, and decides or asks about each. False: there are no more. */
bool cbpi_machine_read_files(struct cbpi_machine *machine, uint32_t group);
/* Reads one request of the gate. False: there is none. */
bool cbpi_machine_read_gate(struct cbpi_machine *machine);

/* ---- operations.c: the mutex is held ---- */
#define CBPI_GUARD_GRACE_NS CBP_NS_PER_S /* the core takes a deadline so much before the guard does */

/* An execution waits in fanotify for answers. The approval (may be NULL) is the operation's. */
void cbpi_machine_hold_file(struct cbpi_machine *machine, struct cbpi_machine_process *process,
                            const struct cbpi_file_event *event, struct cbpi_approval *approval,
                            struct cbpi_machine_operation *operation);
/* The process may execute what it has waited for. */
void cbpi_machine_allow(struct cbpi_machine *machine, struct cbpi_machine_process *process,
                        struct cbpi_approval *approval);
/* A task has come to the gate: it goes on at once if nobody is asked about it. */
void cbpi_machine_place_in_gate(struct cbpi_machine *machine, const struct cbpi_gate_place *place,
                                uint32_t stop, uint32_t thread_id);
/* A record with FLAG_HELD has been posted: its operation waits for its slot, or is refused there. */
void cbpi_machine_hold_in_gate(struct cbpi_machine *machine, struct cbpi_matter *matter, uint32_t stop,
                               uint32_t thread_id);
/* The task did not wait after all. */
void cbpi_machine_release_from_gate(struct cbpi_machine *machine, uint32_t stop, uint32_t thread_id);
/* All answers are in: lets the task go on, and forgets the operation. CBP_ERROR_TIMEOUT: the guard has let it
 * go. */
uint32_t cbpi_machine_settle(struct cbpi_machine *machine, struct cbpi_machine_operation *operation);
/* Takes back the questions whose deadline has passed. */
void cbpi_machine_expire(struct cbpi_machine *machine, uint64_t now_ns);
void cbpi_told_expire(struct cbpi_told *told);
/* Says whether the guard has left the operation to this process. */
bool cbpi_machine_is_in_hand(const struct cbpi_machine *machine,
                             const struct cbpi_machine_operation *operation);
void cbpi_machine_tend_operations(struct cbpi_machine *machine, uint64_t now_ns);
/* Tells the guard how long the operation may wait: until the latest deadline of the sessions that are asked. */
void cbpi_machine_plan(struct cbpi_machine *machine, struct cbpi_machine_operation *operation);
void cbpi_machine_let_all_go(struct cbpi_machine *machine);
/* ---- serving.c ---- */
/* Lets go what the session was told. The mutex is held. */
void cbpi_session_let_go(struct cbpi_machine_session *session);

/* ---- tellings.c: messages that wait for workers and answers; the mutex is held ---- */
/* Gives room for a message of that size. NULL: no memory, or the queue is full. */
struct cbpi_told *cbpi_told_make(struct cbpi_machine_session *session, uint32_t message_size, bool is_held);
/* Says whether an event that nobody waits for may have a list of arguments of that size. */
bool cbpi_told_has_room_for_list(const struct cbpi_machine *machine, size_t size);
/* Puts it into the session's queue. operation may be NULL. */
void cbpi_told_send(struct cbpi_told *told, struct cbpi_machine_operation *operation,
                    const struct cbpd_answerable *answerable);
/* Takes the first one out of the queue, which is the caller's then. NULL: it is empty. */
struct cbpi_told *cbpi_told_take(struct cbpi_machine_session *session);
/* The operation does not wait for this answer any more. Gives it if it waits for no other one either. */
struct cbpi_machine_operation *cbpi_told_stop_waiting(struct cbpi_told *told);
void cbpi_session_ring_bell(struct cbpi_machine_session *session);
/* Wakes a worker if the queue has something for one that waits. */
void cbpi_session_wake(struct cbpi_machine_session *session);
void cbpi_machine_ring_bells(struct cbpi_machine *machine);

#endif

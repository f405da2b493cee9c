/* What the files of the helper share: its data, and who offers what. One thread, the tracer, owns all of
 * this; the only other thread (control.c) just watches descriptors and wakes the tracer.
 *
 * Knows the protocol and Linux; must not know the core or Python. */
#ifndef CBPD_TRACER_H
#define CBPD_TRACER_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proc.h"
#include "reading.h"
#include "records.h"

/* The descriptors that the core hands over. */
enum { CHANNEL_FD = 3, CONTROL_FD = 4, CONTROLLER_FD = 5 };

/* A thread group. Its tasks hold references. */
struct process {
    struct cbpd_process base;
    uint32_t thread_count; /* living tasks whose exit has not been reported */
    uint32_t parent_pid;   /* as last known; see parents.c */
    uint32_t tree;         /* its root's id; 0: nobody knows */
    uint32_t creator_pid;
    uint32_t creator_tid;
    uint32_t user_id;
    uint32_t exit_status;
    uint32_t filter_parts; /* CBP_LAUNCH_FLAG_ bits: what our seccomp filter in it stops; only while traced do
                              these calls work */
    bool has_dropped;      /* one of its tasks was killed in an operation that somebody was asked about */
    uint32_t walk_number;  /* of the last walk that was for its descendants */
    bool is_launcher;      /* a root that has not executed its target yet: nobody's business */
    uint64_t pid_namespace; /* inode; 0: not asked yet, or hidden */
};

/* What was decided about an execution at the entry of execve, to be compared with what is executed. */
struct approval {
    bool valid;
    struct cbpd_image *image; /* a reference; by which it was decided */
    struct execution_facts facts;
    uint64_t sequences[CBP_SESSION_MAX]; /* of the creation event, 0: none was made */
};

struct operation;
struct launch;
struct look;

enum look_stage { LOOK_AT_ENTRY, LOOK_AT_STOP, LOOK_BRIEFLY /* at the stop, after that was in vain */ };

enum operation_kind {
    OPERATION_THREAD,
    OPERATION_FORK,
    OPERATION_ENTRY,
    OPERATION_EXECUTION,
    OPERATION_HANDLE,
    OPERATION_EXIT
};

/* An execution that waits unread; see parked.c. */
struct parked {
    bool is_waiting;
    enum operation_kind kind;
    uint64_t since_ns; /* when it began to wait, until it is resumed; 0: it did not */
    size_t size;       /* what it would take */
    struct task *next;
};

struct task {
    struct cbpd_task base;
    struct process *process;    /* NULL until its creator's event or /proc tells whose it is */
    struct look *look;          /* what is looked at for it beside us, likewise */
    enum look_stage look_stage; /* of that */
    struct launch *launch;      /* of a root whose target does not run yet */
    uint64_t seen_ns;           /* when an unowned task was first seen */
    uint64_t resumed_ns; /* when it last went on, since boot; what it creates is younger. 0: not known */
    uint32_t creator_pid, creator_tid;
    uint32_t kept_creator;  /* tid of a creator that stays stopped until this task has told of itself */
    uint32_t waits_for;     /* as a creator: the tid of the new task that it is kept for */
    uint32_t execution_tid; /* the thread that called execve, if that was not the leader; else 0 */
    int event;              /* PTRACE_EVENT_ that announced it */
    bool stopped;           /* at its first stop, waiting to be announced */
    bool announced;         /* waiting for its first stop */
    bool group_stopped;     /* its process was in a group stop at its first stop */
    bool first_unreported;  /* its creation: after a vfork it is told with the execution or the end */
    bool exit_reported;
    bool listening;        /* in a group stop */
    bool asked_for_parent; /* its last clone that our filter has stopped had CLONE_PARENT */
    struct approval approval;
    struct parked parked;
};

/* What a held handle operation is replaced with when it goes on; see handles.c. */
struct replacement {
    uint32_t argument_count; /* 0: it goes on as it is */
    uint32_t architecture;   /* AUDIT_ARCH_ */
    uint64_t number;
    uint64_t arguments[4];
    uint32_t signal_for_many; /* not 0: this signal goes to all of a group but the guarded; see guard.c */
    uint32_t group;           /* by our ids; 0: everybody */
    bool reaches_caller;
};

/* One operation that is held. */
struct operation {
    struct cbpd_held held;      /* its kind is an OPERATION_ */
    uint32_t descriptor_access; /* rights of a handle operation that names its target by a descriptor alone */
    struct approval approval;
    struct replacement replacement;
};

/* Everything the helper has. */
struct tracer {
    struct cbpd_helper helper;
    uint32_t controller_pid;
    uint32_t unowned_count;  /* tasks whose creator is not known yet */
    uint32_t let_go_count;   /* tasks of processes that have been let go: detached at their next stop */
    uint32_t served_tid;     /* whose stop, answer or look is dealt with; 0: what the controller wants */
    uint32_t filtered_count; /* tasks that have our filter: without a tracer they cannot go on */
    bool is_attaching;       /* meanwhile nobody is let go for want of a rule */
    /* Stops, answers and deadlines, in the middle of something long. False: the controller has ended. */
    bool (*serve_in_between)(struct tracer *self);
};

/* ---- Dispositions: what is to be done with a stopped task ---- */
enum disposition_kind {
    DISPOSE_HOLD,             /* it waits for something; or it has been killed, and wait4 will tell */
    DISPOSE_RESUME,           /* or let it go, where nobody wants it any more: as with the next two */
    DISPOSE_RESUME_TO_RETURN, /* to stop again when its system call returns */
    DISPOSE_STAY_STOPPED,     /* in its group stop */
    DISPOSE_DETACH,           /* its end has been told: its parent reaps it */
    DISPOSE_END_UNKNOWN       /* nothing can be known of it, so that no rule would hold for it */
};

/* Handlers of stops, and what follows from answers, return one; nothing else lets a task go on. */
struct disposition {
    enum disposition_kind what;
    int signal;         /* of DISPOSE_RESUME: what it gets */
    bool kills;         /* its process first of all */
    bool frees_creator; /* the one that was kept stopped for it goes on as well */
};

static inline struct disposition stay(void)
{
    return (struct disposition){.what = DISPOSE_HOLD};
}

static inline struct disposition go_on(int signal)
{
    return (struct disposition){.what = DISPOSE_RESUME, .signal = signal};
}

bool cbpd_fail_syscall(const struct task *task, int os_error);

/* Its system call fails with that errno. */
static inline struct disposition fail_call(const struct task *task, int os_error)
{
    (void) cbpd_fail_syscall(task, os_error);
    return go_on(0);
}

/* ---- host.c: for cbpd_helper_init() ---- */
extern const struct cbpd_host cbpd_policy_host;
extern const struct cbpd_helper_host cbpd_helper_host;

static inline struct tracer *tracer_of(struct cbpd_helper *helper)
{
    return (struct tracer *) (void *) helper;
}

/* Of all tasks whose creator is not known yet: an id that no tree's root has. */
enum { UNOWNED_TREE = 1 };

/* On behalf of which tree the tracer works just now; 0: of none. */
static inline uint32_t served_tree(struct tracer *self)
{
    const struct task *task = self->served_tid != 0 ? find_task(&self->helper, self->served_tid) : NULL;
    if (!task || !task->process)
        return self->served_tid != 0 ? UNOWNED_TREE : 0;
    return task->process->tree;
}

/* ---- bell.c ---- */
void cbpd_set_bell(struct cbp_channel *channel); /* first of all */
uint32_t cbpd_bell_value(void);
/* Sleeps until the bell has another value than this, or until that time; 0: for ever. */
void cbpd_sleep_on_bell(uint32_t value, uint64_t until_ns);
void cbpd_listen_for_children(bool on); /* SIGCHLD moves the bell */
void cbpd_wake_tracer(void);            /* any thread: wakes the tracer from its sleep */

/* ---- clock.c ---- */
uint64_t cbpd_now_ns(void);  /* the clock of deadlines */
uint64_t cbpd_wall_ns(void); /* since 1970 */
uint64_t cbpd_boot_ns(void);
uint64_t cbpd_boot_ticks(void);           /* in the unit of start times */
uint64_t cbpd_ticks_of(uint64_t boot_ns); /* likewise */

/* ---- codes.c ---- */
int cbpd_errno_of_code(uint32_t code);

/* ---- tasks.c: tasks that come and go ---- */
uint32_t cbpd_capabilities_of(const struct cbpd_process *process); /* the CAP_ bits that hold for it */
uint32_t
cbpd_parent_of(struct cbpd_helper *helper,
               const struct cbpd_process *process); /* the parent's id, as the system would say now */
struct task *cbpd_add_task(struct tracer *self, uint32_t tid); /* nobody's so far; NULL without memory */
void cbpd_remove_task(struct tracer *self, struct task *task);
void cbpd_task_joins(struct tracer *self, struct task *task, struct process *process);
void cbpd_forget_empty_process(struct tracer *self,
                               struct process *process);              /* one that no task has joined */
void cbpd_process_ends(struct tracer *self, struct process *process); /* its last task has gone */
/* What it waits for is nobody's business any more: it goes another way. */
void cbpd_drop_operation(struct task *task);
void cbpd_release_approval(struct tracer *self, struct approval *approval);
/* Lets the controller see how many there are. To be called before anybody can know that one has come; and
 * before anybody can know that one has gone, with that task, which is still counted here. */
void cbpd_publish_counts(struct tracer *self, const struct task *leaving);

/* ---- legacies.c: what those that are gone have left behind ---- */
/* From now on the process has another standing, or none. */
void cbpd_leave_legacy(struct tracer *self, struct process *process);
/* A parent for a child that began at this time, with the rules of all that may be its creator. NULL without
 * memory. */
struct status_facts;
struct process *cbpd_guess_creator(struct tracer *self, const struct status_facts *child,
                                   uint64_t start_time);

/* ---- resume.c: what is done with stopped tasks ---- */
/* Does it. The task, and its creator, may be nobody's any more afterwards. */
void cbpd_carry_out(struct tracer *self, struct task *task, struct disposition disposition);
bool cbpd_lets_go(struct tracer *self, const struct task *task); /* whether it is detached when it goes on */
/* Its process goes on without us; with its last task we know nothing of it any more. */
void cbpd_forget_detached(struct tracer *self, struct task *task);

/* ---- reports.c ---- */
/* Begins a report about the task's process, made by its creator. */
void cbpd_start_report(struct tracer *self, struct cbpd_report *report, struct task *task);
/* After a vfork a first thread is told with what the process executes; but before it is named in an event. */
void cbpd_introduce(struct tracer *self, struct task *task);

/* ---- trace.c: stops and answers ---- */
void cbpd_handle_wait_status(struct tracer *self, uint32_t tid, int status);
void cbpd_apply_settled(struct tracer *self);    /* operations whose answers are all in */
void cbpd_forget_everybody(struct tracer *self); /* the kernel says that there is no tracee */

/* ---- ends.c ---- */
struct disposition cbpd_handle_exit_stop(struct tracer *self, struct task *task);
struct disposition cbpd_after_end(struct tracer *self, struct task *task); /* which nobody holds any more */
/* It has ended without a stop at its exit, or is nowhere any more. */
void cbpd_handle_gone(struct tracer *self, struct task *task, int status);
/* Those of a process that took its first thread's id and were killed in that. */
void cbpd_end_vanished_threads(struct tracer *self, uint32_t pid);

/* ---- tracees.c: tasks that begin and cease to be traced ---- */
/* A stopped task of which nothing can be known, mostly for want of memory. No rule would hold for it, so it
 * has to end; that is counted as a loss. */
void cbpd_end_unknown_task(struct tracer *self, uint32_t tid);
/* Whether that has been done to this task, so that it comes to no stop any more. */
bool cbpd_was_ended_unknown(struct tracer *self, uint32_t tid);
void cbpd_count_loss(struct tracer *self); /* an event that no session can be told of */
/* Begins to trace a launcher that will install a filter with these parts (0: none). */
uint32_t cbpd_seize_root(struct tracer *self, uint32_t tid, uint32_t filter_parts, struct task **task);
/* Begins to trace a running thread of a process. Error codes of cbpd_attach_process(). */
uint32_t cbpd_seize_thread(struct tracer *self, uint32_t tid, struct process *process);

/* ---- letting_go.c: tasks that go on without us ---- */
void cbpd_let_released_go(struct cbpd_helper *helper); /* see struct cbpd_helper_host */
#define HELPER_NAME "cbp-ptrace"                       /* as others see it in /proc */
void cbpd_listen_for_wishes(void);                     /* of another helper that wants what we let go */
void cbpd_serve_wishes(struct tracer *self);
void cbpd_let_everything_go(struct tracer *self); /* nobody waits for anything any more */
/* The process is let go, or taken back. */
void cbpd_set_let_go(struct tracer *self, struct process *process, bool on);
/* A process that is known, and has not ended since some of its threads were let go. */
struct process *cbpd_find_whole_process(struct tracer *self, uint32_t pid);
/* Whether somebody could not go on as he should without us. */
bool cbpd_anybody_needs_us(struct tracer *self);
bool cbpd_is_other_helper(uint32_t tracer_pid);
/* The helper of another controller that has a thread of the process; 0: none. */
uint32_t cbpd_other_helper_of(struct tracer *self, uint32_t pid);
void cbpd_wish_for_tasks_of(uint32_t helper_pid); /* that it has let go and still traces */

/* ---- seize.c ---- */
/* PTRACE_SEIZE of a thread that may be busy with an execve. False: errno, ETIMEDOUT if it stayed busy. */
bool cbpd_seize_within_limit(struct tracer *self, uint32_t tid, unsigned long options);

/* ---- attach.c: processes that run already ---- */
/* See struct cbpd_helper_host. */
uint32_t cbpd_attach_process(struct cbpd_helper *helper, uint32_t pid, uint64_t start_time, bool children);
uint32_t cbpd_attach_matching(struct cbpd_helper *helper, struct cbpd_rule_set *set, uint32_t wanted_rule_id);
/* Around all that a request attaches to: it has one limit. Meanwhile nobody is let go for want of a rule. */
void cbpd_begin_attaching(void);
void cbpd_end_attaching(struct tracer *self);

/* ---- handles.c: operations on other processes and threads ---- */
struct disposition cbpd_handle_handle_call(struct tracer *self, struct task *task,
                                           const struct syscall_entry *entry);
struct disposition cbpd_finish_handle_call(struct tracer *self, struct task *task,
                                           const struct operation *operation);

/* ---- foreign_tracers.c: tasks that want to trace others ---- */
/* The errno with which an attach has to fail; 0: it may go on. */
int cbpd_refusal_of_attach(struct tracer *self, struct task *task, const struct syscall_entry *entry);

/* ---- creation.c: new tasks ---- */
struct disposition cbpd_handle_creation(struct tracer *self, struct task *creator, int event);
struct disposition cbpd_after_creation(const struct task *task, uint32_t result_code);
struct disposition cbpd_task_is_ready(struct tracer *self, struct task *task); /* known and stopped */
bool cbpd_find_owner(struct tracer *self, struct task *task); /* from /proc; false: it cannot be known */
void cbpd_resolve_unowned_tasks(struct tracer *self);

/* ---- parents.c: who is whose parent, which need not be the creator ---- */
/* Asks /proc who it is, of a process that has not ended. */
void cbpd_look_at_parent(struct tracer *self, struct process *process);
/* At the stop of a creation: whether the new process is to be its creator's parent's. What is true by chance
 * costs a look. */
bool cbpd_creates_for_parent(struct task *creator);

/* ---- memory.c: a stopped task's memory and registers ---- */
/* At the stop of a creation: whether the call is fork or vfork, which take no flags. */
bool cbpd_calls_plain_fork(const struct task *task);
/* At a stop in the middle of a call: its number, and its first argument. */
bool cbpd_read_call_registers(const struct task *task, struct syscall_entry *entry);
bool cbpd_read_syscall_entry(const struct task *task, struct syscall_entry *entry);
bool cbpd_read_syscall_error(const struct task *task,
                             int *os_error); /* where a call returns; 0: there is none */
bool cbpd_fail_syscall(const struct task *task, int os_error);
bool cbpd_set_first_argument(const struct task *task, const struct syscall_entry *entry, uint64_t value);
bool cbpd_replace_syscall(const struct task *task, const struct replacement *replacement);
bool cbpd_read_stop_registers(const struct task *task, struct stop_registers *registers);
/* What an event's stop says: a task's id. False: the task has been killed and has left that stop, or gone. */
bool cbpd_read_event_message(uint32_t tid, int event, uint32_t *message);

/* ---- images.c ---- */
/* The image of a reading's chain; NULL without memory. */
struct cbpd_image *cbpd_image_of_chain(struct tracer *self, const struct reading *reading);
/* Likewise; NULL: there is nothing but the fact that something is executed. */
struct cbpd_image *cbpd_image_of_reading(struct tracer *self, const struct reading *reading);
/* As far as it can be told within a limit, otherwise a vague one. NULL without memory. */
struct cbpd_image *cbpd_image_of_running(struct tracer *self, uint32_t pid);

/* ---- execution.c: programs being executed ---- */
struct disposition cbpd_handle_execution_entry(struct tracer *self, struct task *task,
                                               const struct syscall_entry *entry);
struct disposition cbpd_handle_execution_stop(struct tracer *self, struct task *task);
/* At the stop that DISPOSE_RESUME_TO_RETURN leads to. */
struct disposition cbpd_handle_execution_return(struct tracer *self, struct task *task);
/* What was looked at beside the tracer is there; or NULL: it was not in time. */
struct job;
struct disposition cbpd_go_on_after_look(struct tracer *self, struct task *task, struct job *job);
void cbpd_end_every_look(struct tracer *self); /* as if none had been in time */
struct disposition cbpd_go_on_after_parking(struct tracer *self, struct task *task);
struct disposition cbpd_finish_execution(struct tracer *self, struct task *task, enum operation_kind kind,
                                         const struct operation *operation, uint32_t result_code);
/* If it was allowed at its entry: it has not happened, the system refused it itself. 0: with the process. */
void cbpd_note_failed_execution(struct tracer *self, struct task *task, int os_error);

/* ---- identity.c: which file a program is ---- */
bool cbpd_path_leads_to_file(const struct cbpd_image_file *file); /* see struct cbpd_host */
void cbpd_identify_programs(struct cbpd_helper *helper);
bool cbpd_files_matter(struct tracer *self); /* whether any rule asks */
/* Finds it out, if it matters and is not known, for the image that the process executes now. */
void cbpd_identify_program(struct tracer *self, struct cbpd_image *image, uint32_t pid);

/* ---- hardening.c: the helper's own protection ---- */
void cbpd_harden(void); /* first of all */

/* ---- parked.c: executions that wait unread ---- */
/* Lets the task wait at its stop if so much cannot be held as well; false: it is to be served now. */
bool cbpd_park_if_full(struct tracer *self, struct task *task, enum operation_kind kind, size_t size);
void cbpd_unpark(struct task *task); /* if it waits */
uint32_t cbpd_parked_count(void);
/* The first one, which does not wait any more, if it can be served by now; or NULL. */
struct task *cbpd_next_unparked(struct tracer *self);

/* ---- watching.c ---- */
bool cbpd_begin_watching(struct tracer *self); /* errno says why not */
bool cbpd_watch(int fd);
void cbpd_unwatch(int fd);
bool cbpd_is_called(void); /* something may be readable */
void cbpd_call_is_answered(void);
bool cbpd_controller_has_ended(void);

/* ---- control.c: requests ---- */
/* Answers the first request with the limit that keeps the helper from serving any. */
void cbpd_control_refuse(struct tracer *self, int os_error);
void cbpd_serve_requests(struct tracer *self);
bool cbpd_control_is_open(void);

/* ---- launches.c ---- */
/* The descriptors are the launch's if it succeeds. */
uint32_t cbpd_begin_launch(const struct cbp_launch *request, int launcher_fd, int result_fd);
/* One message of each launcher: whatever is still readable brings the next call. */
void cbpd_serve_launchers(struct tracer *self);
void cbpd_finish_launch(struct tracer *self, struct task *task, uint32_t status, int os_error);
void cbpd_end_every_launch(struct tracer *self);

/* ---- rule_loading.c: rules on their way ---- */
/* The tracer's: takes over a request and its descriptor (-1: none came with it). */
void cbpd_begin_loading_rules(const struct cbp_rules *request, int fd);
bool cbpd_is_loading_rules(void);
/* If they have been loaded: puts them in force, and gives what to reply to which request. */
bool cbpd_finish_loading_rules(struct tracer *self, struct cbp_message_header *request, uint32_t *status,
                               uint64_t *value);
/* The watching thread's: reads and validates what is wanted; false: nothing is. */
bool cbpd_load_wanted_rules(struct tracer *self);

/* ---- channel_memory.c: what the core has made, and who it is ---- */
bool cbpd_map_channel(struct tracer *self);
bool cbpd_peer_is_same_user(struct tracer *self);

/* Our user's id as the kernel has it. A library that is loaded into us (fakeroot's) may
 * have getuid() say something else. */
uint32_t cbpd_own_user(bool effective);

#endif

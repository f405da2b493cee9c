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
    struct process *process;     /* NULL until its creator's event or /proc tells whose it is */
    struct operation *operation; /* what it waits for, if anything */
    struct look *look;           /* what is looked at for it beside us, likewise */
    enum look_stage look_stage;  /* of that */
    struct launch *launch;       /* of a root whose target does not run yet */
    uint64_t seen_ns;            /* when an unowned task was first seen */
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
    struct cbpd_held held;
    enum operation_kind kind;
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
};

/* ---- host.c: for cbpd_helper_init() ---- */
extern const struct cbpd_host cbpd_policy_host;
extern const struct cbpd_helper_host cbpd_helper_host;

/* ---- The policy's processes and the helper's tasks as ours ---- */
static inline struct process *find_process(struct tracer *self, uint32_t pid) /* that has not ended */
{
    return process_of(cbpd_find_process(&self->helper.policy, pid));
}

static inline struct process *first_process(struct tracer *self)
{
    return process_of(self->helper.policy.processes);
}

static inline const struct cbp_stance *stances_of(struct tracer *self, struct process *process)
{
    return cbpd_stances_of(&self->helper.policy, &process->base);
}

static inline struct task *find_task(struct tracer *self, uint32_t tid)
{
    return task_of(cbpd_find_task(&self->helper, tid));
}

static inline struct task *first_task(struct tracer *self)
{
    return task_of(self->helper.tasks);
}

/* ---- main.c ---- */
void cbpd_wake_tracer(void); /* any thread: wakes the tracer from its sleep */
/* Lets the controller see how many there are. To be called before anybody can know that one has come; and
 * before anybody can know that one has gone, with that task, which is still counted here. */
void cbpd_publish_counts(struct tracer *self, const struct task *leaving);

/* ---- tasks.c: tasks that come and go ---- */
uint32_t cbpd_capabilities_of(const struct process *process); /* the CAP_ bits that hold for it */
uint32_t cbpd_parent_of(struct tracer *self,
                        struct process *process); /* the parent's id, as the system would say now */
struct task *cbpd_add_task(struct tracer *self, uint32_t tid); /* nobody's so far; NULL without memory */
void cbpd_remove_task(struct tracer *self, struct task *task);
void cbpd_task_joins(struct tracer *self, struct task *task, struct process *process);
void cbpd_forget_empty_process(struct tracer *self,
                               struct process *process);              /* one that no task has joined */
void cbpd_process_ends(struct tracer *self, struct process *process); /* its last task has gone */
struct process *cbpd_make_nobody(void); /* a parent that is no process; NULL without memory */

/* ---- legacies.c: what those that are gone have left behind ---- */
/* From now on the process has another standing, or none. */
void cbpd_leave_legacy(struct tracer *self, struct process *process);
/* A parent for a child that began at this time, with the rules of all that may be its creator. NULL without
 * memory. */
struct status_facts;
struct process *cbpd_guess_creator(struct tracer *self, const struct status_facts *child,
                                   uint64_t start_time);
/* ---- trace.c: what tasks do ---- */
void cbpd_handle_wait_status(struct tracer *self, uint32_t tid, int status);
void cbpd_resume_task(struct tracer *self, struct task *task, int signal);
void cbpd_resume_until_return(struct tracer *self,
                              struct task *task); /* likewise, to stop again when its system call returns */
void cbpd_resume_kept_creator(struct tracer *self, struct task *task);
void cbpd_start_report(struct tracer *self, struct cbpd_report *report,
                       struct task *task); /* about its process, made by its creator */
void cbpd_add_item(struct cbpd_report *report, uint32_t type, uint32_t flags);
/* Posts a report on a task; it stays stopped if somebody is asked, else what follows is done at once. */
void cbpd_post_and_hold(struct tracer *self, struct task *task, const struct cbpd_report *report,
                        enum operation_kind kind);
void cbpd_apply_settled(struct tracer *self); /* operations whose answers are all in */
/* It has ended without a stop at its exit, or is nowhere any more. */
void cbpd_handle_gone(struct tracer *self, struct task *task, int status);
bool cbpd_lets_go(struct tracer *self, const struct task *task); /* whether it is detached when it goes on */
/* Its process goes on without us; with its last task we know nothing of it any more. */
void cbpd_forget_detached(struct tracer *self, struct task *task);
/* What an event's stop says: a task's id. False: the task has been killed and has left that stop, or gone. */
bool cbpd_read_event_message(uint32_t tid, int event, uint32_t *message);

/* ---- tracees.c: tasks that begin and cease to be traced ---- */
/* A stopped task of which nothing can be known, mostly for want of memory. No rule would hold for it, so it
 * has to end; that is counted as a loss. */
void cbpd_end_unknown_task(struct tracer *self, uint32_t tid);
/* Whether that has been done to this task, so that it comes to no stop any more. */
bool cbpd_was_ended_unknown(struct tracer *self, uint32_t tid);
void cbpd_count_loss(struct tracer *self); /* an event that no session can be told of */
/* The kernel says that there is no tracee. */
void cbpd_forget_everybody(struct tracer *self);
/* Begins to trace a launcher that will install a filter with these parts (0: none). */
uint32_t cbpd_seize_root(struct tracer *self, uint32_t tid, uint32_t filter_parts, struct task **task);
/* Begins to trace a running thread of a process. Error codes of cbpd_attach_process(). */
uint32_t cbpd_seize_thread(struct tracer *self, uint32_t tid, struct process *process);

/* ---- letting_go.c: tasks that go on without us ---- */
void cbpd_let_released_go(struct tracer *self); /* see struct cbpd_helper_host */
#define HELPER_NAME "cbp-ptrace"                /* as others see it in /proc */
void cbpd_listen_for_wishes(void);              /* of another helper that wants what we let go */
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
uint32_t cbpd_attach_process(struct tracer *self, uint32_t pid, uint64_t start_time, bool children);
uint32_t cbpd_attach_matching(struct tracer *self, struct cbpd_rule_set *set, uint32_t wanted_rule_id);
/* As far as it can be told within a limit, otherwise a vague one. NULL without memory. */
struct cbpd_image *cbpd_image_of_running(struct tracer *self, uint32_t pid);
/* Around all that a request attaches to: it has one limit. Meanwhile nobody is let go for want of a rule. */
void cbpd_begin_attaching(void);
void cbpd_end_attaching(struct tracer *self);
bool cbpd_is_attaching(void);

/* ---- main.c ---- */
/* Stops, answers and deadlines, in the middle of something long. False: the controller has ended. */
bool cbpd_serve_in_between(struct tracer *self);

/* ---- handles.c: operations on other processes and threads ---- */
void cbpd_handle_handle_call(struct tracer *self, struct task *task, const struct syscall_entry *entry);
void cbpd_finish_handle_call(struct tracer *self, struct task *task, const struct operation *operation);

/* ---- foreign_tracers.c: tasks that want to trace others ---- */
/* The errno with which an attach has to fail; 0: it may go on. */
int cbpd_refusal_of_attach(struct tracer *self, struct task *task, const struct syscall_entry *entry);

/* ---- creation.c: new tasks ---- */
/* After a vfork a first thread is told with what the process executes; but before it is named in an event. */
void cbpd_introduce(struct tracer *self, struct task *task);
void cbpd_handle_creation(struct tracer *self, struct task *creator, int event);
void cbpd_task_is_ready(struct tracer *self, struct task *task); /* known and stopped */
bool cbpd_find_owner(struct tracer *self, struct task *task);    /* from /proc; false: it cannot be known */
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

/* ---- execution.c: programs being executed ---- */
void cbpd_handle_execution_entry(struct tracer *self, struct task *task, const struct syscall_entry *entry);
void cbpd_handle_execution_stop(struct tracer *self, struct task *task);
void cbpd_finish_execution(struct tracer *self, struct task *task, enum operation_kind kind,
                           const struct operation *operation, uint32_t result_code);
/* If it was allowed at its entry: it has not happened, the system refused it itself. 0: with the process. */
void cbpd_note_failed_execution(struct tracer *self, struct task *task, int os_error);
void cbpd_handle_execution_return(struct tracer *self,
                                  struct task *task); /* at the stop that cbpd_resume_until_return() makes */
void cbpd_release_approval(struct tracer *self, struct approval *approval);
/* The image of a reading's chain; NULL without memory. */
struct cbpd_image *cbpd_image_of_chain(struct tracer *self, const struct reading *reading);
/* Likewise; NULL: there is nothing but the fact that something is executed. */
struct cbpd_image *cbpd_image_of_reading(struct tracer *self, const struct reading *reading);
int cbpd_errno_of_code(uint32_t code);

/* ---- identity.c: which file a program is ---- */
bool cbpd_path_leads_to_file(const struct cbpd_image_file *file); /* see struct cbpd_host */
void cbpd_identify_programs(struct tracer *self);
bool cbpd_files_matter(struct tracer *self); /* whether any rule asks */
/* Finds it out, if it matters and is not known, for the image that the process executes now. */
void cbpd_identify_program(struct tracer *self, struct cbpd_image *image, uint32_t pid);

/* ---- hardening.c: the helper's own protection ---- */
void cbpd_harden(void); /* first of all */

/* ---- parked.c: executions that wait unread ---- */
/* Lets the task wait at its stop if so much cannot be held as well; false: it is to be served now. */
bool cbpd_park_if_full(struct tracer *self, struct task *task, enum operation_kind kind, size_t size);
void cbpd_unpark(struct task *task); /* if it waits */
void cbpd_serve_parked(struct tracer *self);
bool cbpd_anything_parked(void);

/* ---- control.c: requests and launches ---- */
bool cbpd_control_init(struct tracer *self); /* errno says why not */

/* Answers the first request with the limit that keeps the helper from serving any. */
void cbpd_control_refuse(struct tracer *self, int os_error);
void cbpd_serve_control(struct tracer *self);
void cbpd_finish_launch(struct tracer *self, struct task *task, uint32_t status, int os_error);
bool cbpd_control_wants_attention(void);
bool cbpd_controller_has_ended(void);

/* ---- rule_loading.c: rules on their way ---- */
/* The tracer's: takes over a request and its descriptor (-1: none came with it). */
void cbpd_begin_loading_rules(const struct cbp_rules *request, int fd);
bool cbpd_is_loading_rules(void);
/* If they have been loaded: puts them in force, and gives what to reply to which request. */
bool cbpd_finish_loading_rules(struct tracer *self, struct cbp_rules *request, uint32_t *status,
                               uint64_t *value);
/* The watching thread's: reads and validates what is wanted; false: nothing is. */
bool cbpd_load_wanted_rules(struct tracer *self);

/* ---- proc.c: facts from /proc ---- */
uint64_t cbpd_now_ns(void);  /* the clock of deadlines */
uint64_t cbpd_wall_ns(void); /* since 1970 */
/* As much of a file in a task's folder as one read gives, with a NUL behind it: how much; 0: nothing. */
size_t cbpd_read_proc_file(uint32_t id, const char *name, char *buffer, size_t size);
uint64_t cbpd_read_start_time(struct tracer *self, uint32_t pid);
bool cbpd_read_parent(struct tracer *self, uint32_t pid, uint32_t *parent_pid); /* false: gone, or hidden */
uint64_t cbpd_start_time_since(struct tracer *self, uint32_t pid,
                               uint64_t earliest_ns); /* the same, of a process that is not older */
uint64_t cbpd_boot_ns(void);
uint64_t cbpd_boot_ticks(void); /* in the unit of start times */
/* What is asked of /proc may be hidden there: descriptors of a task that is not dumpable, a namespace, a
 * whole process (hidepid). */
enum knowledge { KNOWN, ABSENT /* surely */, NOT_KNOWN };
enum { NAMESPACE_DEPTH_MAX = 33 }; /* the kernel allows 32 nested ones */
struct status_facts {
    char state;
    uint32_t group, parent_pid, tracer_pid;
    uint32_t user_id, effective_user_id, saved_user_id;
    bool has_filter;                   /* of system calls, anybody's; or it is not known */
    uint32_t filter_count;             /* UINT32_MAX: the kernel does not say (before 5.9) */
    uint32_t depth;                    /* PID namespaces that it is in, from ours on */
    uint32_t ids[NAMESPACE_DEPTH_MAX]; /* its id in each of them */
    uint32_t group_depth;
    uint32_t group_ids[NAMESPACE_DEPTH_MAX]; /* its process group's */
};
bool cbpd_read_status(struct tracer *self, uint32_t tid,
                      struct status_facts *facts); /* false: gone, or hidden: see cbpd_is_there() */
bool cbpd_is_there(uint32_t tid);                  /* a task with that id exists, maybe hidden */
uint32_t
cbpd_process_group_of(uint32_t tid); /* its process group; 0: gone, or led from outside of our namespace */
uint32_t cbpd_count_threads(struct tracer *self, uint32_t pid);      /* with the kernel's for it; 0: gone */
uint64_t cbpd_read_pid_namespace(struct tracer *self, uint32_t tid); /* inode; 0: gone, or hidden */
struct descriptor_facts {
    bool is_pidfd;
    uint32_t pid;   /* of a pidfd; UINT32_MAX: it has ended */
    uint32_t flags; /* as of open(2) */
    uint32_t mount_id;
};
enum knowledge cbpd_read_descriptor(struct tracer *self, uint32_t tid, int fd,
                                    struct descriptor_facts *facts);
/* The process whose folder of a /proc a descriptor stands for: its id there, and whether that /proc is ours.
 */
enum knowledge cbpd_read_process_folder(struct tracer *self, uint32_t tid, int fd,
                                        const struct descriptor_facts *facts, uint32_t *id, bool *is_ours);

/* ---- listing.c ---- */
struct id_list { /* from malloc */
    uint32_t *ids;
    uint32_t count;
};
/* All processes that /proc shows. False, and an empty list: not all of them can be known. */
bool cbpd_list_processes(struct tracer *self, struct id_list *list);
/* The threads of one. Unless they are KNOWN the list is empty. */
enum knowledge cbpd_list_threads(struct tracer *self, uint32_t pid, struct id_list *list);
void cbpd_free_id_list(struct id_list *list);
/* The thread of a process by which the others are known: the first one, or where that has ended another one
 * that lives. Goes through folders of /proc: to be called in a look. Any thread. */
uint32_t cbpd_living_thread(uint32_t pid);

/* ---- ids.c: ids of other namespaces ---- */
/* How a process sees ids: a namespace and how deep it lies below ours. */
struct id_view {
    const struct process *process;
    bool is_foreign; /* false: as we do */
    uint64_t inode;  /* 0: it is hidden */
    uint32_t level;
};
bool cbpd_open_view(struct tracer *self, struct task *task,
                    struct id_view *view); /* false: it cannot be known */
/* Our id of what has that id there. */
enum knowledge cbpd_known_as(struct tracer *self, const struct id_view *view, uint32_t id, uint32_t *tid);
/* The id there of what has this one here. */
enum knowledge cbpd_seen_as(struct tracer *self, const struct id_view *view, uint32_t tid, uint32_t *id);
enum knowledge cbpd_is_visible(struct tracer *self, const struct id_view *view, uint32_t tid,
                               const struct status_facts *facts);
/* Our id of a user. */
enum knowledge cbpd_user_known_as(struct tracer *self, uint32_t tid, uint32_t user_id, uint32_t *our_id);

/* ---- channel_memory.c: what the core has made, and who it is ---- */
bool cbpd_map_channel(struct tracer *self);
bool cbpd_peer_is_same_user(struct tracer *self);

/* Our user's id as the kernel has it. A library that is loaded into us (fakeroot's) may
 * have getuid() say something else. */
uint32_t cbpd_own_user(bool effective);

#endif

/* Declares what the files of the ptrace helper share: its data, and which file offers what. One thread, the
 * tracer, owns all of it. Other threads only watch descriptors (watching.c), read beside the tracer
 * (beside.h) and watch for risks (risk.c).
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

/* The core hands over these descriptors. */
enum { CHANNEL_FD = 3, CONTROL_FD = 4, CONTROLLER_FD = 5 };

/* A process is a thread group. Its tasks hold references to it. */
struct process {
    struct cbpd_process base;
    uint32_t thread_count; /* living tasks whose exit has not been reported */
    uint32_t parent_pid;   /* as last known; see parents.c */
    uint32_t tree;         /* its root's id; 0: not known */
    uint32_t creator_pid;
    uint32_t creator_tid;
    uint32_t user_id;
    uint32_t exit_status;
    uint32_t filter_parts;  /* CBP_LAUNCH_FLAG_: calls that its seccomp filter stops; they need a tracer */
    bool has_dropped;       /* one of its tasks was killed in an operation about which a session was asked */
    uint32_t walk_number;   /* the last walk that was for its descendants */
    bool has_our_root;      /* it has the helper's root, unless some root may differ; see roots.c */
    bool is_launcher;       /* a root that has not executed its target yet: nothing is told of it */
    uint64_t pid_namespace; /* inode; 0: not read yet, or hidden */
};

/* The entry of execve keeps here what was decided, to be compared with what is executed. */
struct approval {
    bool valid;
    struct cbpd_image *image; /* with a reference: the image about which it was decided */
    struct execution_facts facts;
    uint64_t sequences[CBP_SESSION_MAX]; /* of the creation event; 0: there was none */
};

struct operation;
struct launch;
struct look;

enum look_stage { LOOK_AT_ENTRY, LOOK_AT_STOP, LOOK_BRIEFLY /* at the stop, after a LOOK_AT_STOP in vain */ };

enum operation_kind {
    OPERATION_THREAD,
    OPERATION_FORK,
    OPERATION_ENTRY,
    OPERATION_EXECUTION,
    OPERATION_HANDLE,
    OPERATION_EXIT
};

/* An execution waits unread; see parked.c. */
struct parked {
    bool is_waiting;
    enum operation_kind kind;
    uint64_t since_ns; /* when it began to wait, until it is resumed; 0: it does not wait */
    size_t size;       /* memory that its event needs */
    struct task *next;
};

struct task {
    struct cbpd_task base;
    struct process *process;    /* NULL until its creator's event or /proc tells whose it is */
    struct look *look;          /* a look that a reader makes for it; NULL: none */
    enum look_stage look_stage; /* the stage of that look */
    struct launch *launch;      /* if it is a root whose target does not run yet */
    uint64_t seen_ns;           /* when a task without an owner was first seen */
    uint64_t resumed_ns; /* when it last went on, since boot: what it creates is younger. 0: not known */
    uint32_t creator_pid, creator_tid;
    uint32_t kept_creator;  /* tid of the creator that stays stopped until this task's creation is told */
    uint32_t waits_for;     /* if it is such a creator: the tid of the new task */
    uint32_t execution_tid; /* the thread that called execve, if it is not the leader; else 0 */
    int event;              /* the PTRACE_EVENT_ that announced it */
    bool stopped;           /* at its first stop, not announced yet */
    bool announced;         /* announced, not at its first stop yet */
    bool group_stopped;     /* its process was in a group stop at its first stop */
    bool first_unreported;  /* its creation is told later: after a vfork, with its execution or its end */
    bool exit_reported;
    bool listening;        /* in a group stop */
    bool asked_for_parent; /* its last clone that the filter has stopped had CLONE_PARENT */
    struct approval approval;
    struct parked parked;
};

/* A held handle operation goes on as this call instead; see handles.c. */
struct replacement {
    uint32_t argument_count; /* 0: it goes on as it is */
    uint32_t architecture;   /* AUDIT_ARCH_ */
    uint64_t number;
    uint64_t arguments[4];
    uint32_t signal_for_many; /* not 0: this signal goes to a whole group except the guarded; see guard.c */
    uint32_t group;           /* an id of the helper's namespace; 0: all processes */
    bool reaches_caller;
};

/* An operation of this driver is held. */
struct operation {
    struct cbpd_held held;      /* its kind is an operation_kind */
    uint32_t descriptor_access; /* the rights asked for, if only a descriptor names the target */
    struct approval approval;
    struct replacement replacement;
};

/* The helper's files share this state. What one of them alone needs stands in its own variables. */
struct tracer {
    struct cbpd_helper helper;
    uint32_t controller_pid;
    uint32_t unowned_count;  /* tasks whose creator is not known yet */
    uint32_t let_go_count;   /* tasks of processes that have been let go: each is detached at its next stop */
    uint32_t served_tid;     /* the task whose stop, answer or look is being served; 0: a request is */
    uint32_t filtered_count; /* tasks with the filter: they cannot go on without a tracer */
    bool roots_may_differ;   /* for ever */
    bool is_attaching;       /* meanwhile no process is let go for want of a rule */
    /* Serves stops, answers and deadlines in the middle of long work. False: the controller has ended. */
    bool (*serve_in_between)(struct tracer *self);
};

/* ---- Dispositions: what to do with a stopped task ---- */
enum disposition_kind {
    DISPOSE_HOLD,             /* it waits for something, or was killed and wait4 will tell */
    DISPOSE_RESUME,           /* like the next two: or let it go, if no rule concerns it any more */
    DISPOSE_RESUME_TO_RETURN, /* until its system call returns, where it stops again */
    DISPOSE_STAY_STOPPED,     /* in its group stop */
    DISPOSE_DETACH,           /* its end has been told; its parent reaps it */
    DISPOSE_END_UNKNOWN       /* end the served task, and count a loss: no rule would apply to it */
};

/* Handlers of stops and answers return a disposition, and only resume.c lets a task go on. A handler prepares
 * that: a failing or a changed system call is in the stopped task's registers before. */
struct disposition {
    enum disposition_kind what;
    int signal;         /* of DISPOSE_RESUME: the signal that it gets */
    bool kills;         /* its process is killed first */
    bool frees_creator; /* the creator that was kept stopped for it goes on as well */
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

/* The task's system call fails with that errno. */
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

/* Tasks whose creator is not known yet form this tree; no root has this id. */
enum { UNOWNED_TREE = 1 };

/* Gives the tree for which the tracer works just now; 0: none. */
static inline uint32_t served_tree(struct tracer *self)
{
    const struct task *task = self->served_tid != 0 ? find_task(&self->helper, self->served_tid) : NULL;
    if (!task || !task->process)
        return self->served_tid != 0 ? UNOWNED_TREE : 0;
    return task->process->tree;
}

/* Gives the CBP_SESSION_FLAG_ bits that some session has. */
static inline uint32_t flags_of_sessions(const struct tracer *self)
{
    const struct cbpd_policy *policy = &self->helper.policy;
    uint32_t flags = 0;
    for (uint32_t i = 0; i < policy->session_count; i++)
        flags |= policy->sessions[policy->order[i]].settings.flags;
    return flags;
}

/* Asks with a limit, on behalf of that tree; see cbpd_look_now(). */
static inline enum knowledge look_now(struct tracer *self, enum knowledge (*work)(void *block), void *block,
                                      size_t size)
{
    return cbpd_look_now(served_tree(self), work, NULL, block, size);
}

/* ---- bell.c ---- */
/* Sets the bell, before any other function here is called. */
void cbpd_set_bell(struct cbp_channel *channel);
uint32_t cbpd_bell_value(void);
/* Sleeps until the bell has a value other than this, or until that time; 0: without limit. */
void cbpd_sleep_on_bell(uint32_t value, uint64_t until_ns);
void cbpd_listen_for_children(bool on); /* on: SIGCHLD moves the bell */
void cbpd_wake_tracer(void);            /* any thread may call this */

/* ---- scheduling.c ---- */
void cbpd_prepare_scheduling(void); /* of the calling thread, which is the tracer */
/* Asks for a moment, again and again, whether something has come. False, perhaps at once: nothing has. */
bool cbpd_spin(struct tracer *self, bool (*has_come)(struct tracer *));

/* ---- clock.c ---- */
uint64_t cbpd_now_ns(void);  /* the clock of deadlines */
uint64_t cbpd_wall_ns(void); /* since 1970 */
uint64_t cbpd_boot_ns(void);
uint64_t cbpd_boot_ticks(void);           /* now, in the unit of start times */
uint64_t cbpd_ticks_of(uint64_t boot_ns); /* in the unit of start times */

/* ---- codes.c ---- */
int cbpd_errno_of_code(uint32_t code);

/* ---- tasks.c: tasks that come and go ---- */
uint32_t cbpd_capabilities_of(const struct cbpd_process *process); /* CAP_: those that hold for it */
/* Gives the parent's id as the system has it now. */
uint32_t cbpd_parent_of(struct cbpd_helper *helper, const struct cbpd_process *process);
/* Adds a task without an owner. NULL without memory. */
struct task *cbpd_add_task(struct tracer *self, uint32_t tid);
void cbpd_remove_task(struct tracer *self, struct task *task);
void cbpd_task_joins(struct tracer *self, struct task *task, struct process *process);
/* Forgets a process that no task has joined. */
void cbpd_forget_empty_process(struct tracer *self, struct process *process);
/* The process's last task has gone. */
void cbpd_process_ends(struct tracer *self, struct process *process);
/* The task goes another way and no longer waits for its operation. */
void cbpd_drop_operation(struct task *task);
void cbpd_release_approval(struct tracer *self, struct approval *approval);
/* Shows the controller how many tasks there are. Call it before anything can tell that a task has come. Call
 * it with the task before anything can tell that it has gone; the counters still have it then. */
void cbpd_publish_counts(struct tracer *self, const struct task *leaving);

/* ---- roots.c ---- */
/* At the execve of a launch's target: looks whether its root is the helper's. */
void cbpd_look_at_root(struct tracer *self, struct task *task);
/* From now on nobody's root is known to be the helper's. */
void cbpd_note_other_root(struct tracer *self);
bool cbpd_has_our_root(const struct tracer *self, const struct process *process);

/* ---- legacies.c: what processes leave behind ---- */
/* Keeps the process's standing as a legacy: from now on it has another one, or none. */
void cbpd_leave_legacy(struct tracer *self, struct process *process);
/* Makes a stand-in for the unknown creator of a child that began at this time, with the rules of every
 * process that may be it. NULL without memory. */
struct status_facts;
struct process *cbpd_guess_creator(struct tracer *self, const struct status_facts *child,
                                   uint64_t start_time);

/* ---- resume.c: carries out dispositions ---- */
/* Does what the disposition says. Afterwards the task and its creator may no longer exist. task is NULL only
 * with DISPOSE_END_UNKNOWN, if there was no memory for the served task. */
void cbpd_carry_out(struct tracer *self, struct task *task, struct disposition disposition);
/* Says whether DISPOSE_END_UNKNOWN has ended this task; it comes to no stop any more. */
bool cbpd_was_ended_unknown(struct tracer *self, uint32_t tid);
bool cbpd_lets_go(struct tracer *self, const struct task *task); /* it is detached when it goes on */
/* Forgets a task whose process goes on without the helper; with its last task, the process too. */
void cbpd_forget_detached(struct tracer *self, struct task *task);

/* ---- reports.c ---- */
/* Begins a report about the task's process, with its creator as originator. */
void cbpd_start_report(struct tracer *self, struct cbpd_report *report, struct task *task);
/* Adds the creation of a first thread that was not told of yet. */
void cbpd_add_first_thread(struct cbpd_report *report, struct task *task);
/* Tells of a vfork's first thread before an event names it; else it is told of with its execution. */
void cbpd_introduce(struct tracer *self, struct task *task);

/* ---- trace.c: stops and answers ---- */
void cbpd_handle_wait_status(struct tracer *self, uint32_t tid, int status);
/* Goes on with operations that have all their answers. */
void cbpd_apply_settled(struct tracer *self);
/* The kernel says that there is no tracee. */
void cbpd_forget_everybody(struct tracer *self);

/* ---- ends.c ---- */
struct disposition cbpd_handle_exit_stop(struct tracer *self, struct task *task);
/* Says what to do with a task at its exit that is not held any more. */
struct disposition cbpd_after_end(struct tracer *self, struct task *task);
/* The task has ended without a stop at its exit, or cannot be found any more. */
void cbpd_handle_gone(struct tracer *self, struct task *task, int status);
/* Ends the threads that took their leader's id in an execution and were killed while doing so. */
void cbpd_end_vanished_threads(struct tracer *self, uint32_t pid);

/* ---- tracees.c: tasks that begin to be traced ---- */
/* Begins to trace a launcher that will install a filter with these parts (0: none). */
uint32_t cbpd_seize_root(struct tracer *self, uint32_t tid, uint32_t filter_parts, struct task **task);
/* Begins to trace a running thread of a process. Gives cbpd_attach_process()'s error codes. */
uint32_t cbpd_seize_thread(struct tracer *self, uint32_t tid, struct process *process);

/* ---- letting_go.c: tasks that go on without the helper ---- */
void cbpd_let_released_go(struct cbpd_helper *helper); /* the host's let_released_go */
#define HELPER_NAME "cbp-ptrace"                       /* its name in /proc */
void cbpd_listen_for_wishes(void); /* from other helpers, for tasks that are let go here */
void cbpd_serve_wishes(struct tracer *self);
void cbpd_let_everything_go(struct tracer *self); /* after it no task waits for anything */
/* The process is let go (on), or taken back. */
void cbpd_set_let_go(struct tracer *self, struct process *process, bool on);
/* Finds a known process that has not ended since some of its threads were let go. */
struct process *cbpd_find_whole_process(struct tracer *self, uint32_t pid);
/* Says whether some task could not go on properly without the helper. */
bool cbpd_anybody_needs_us(struct tracer *self);
bool cbpd_is_other_helper(uint32_t tracer_pid);
/* Gives the helper of another controller that traces a thread of the process; 0: none. */
uint32_t cbpd_other_helper_of(struct tracer *self, uint32_t pid);
void cbpd_wish_for_tasks_of(uint32_t helper_pid); /* asks it to detach tasks that it has let go */

/* ---- seize.c ---- */
/* Seizes a thread that may be busy with an execve. False: errno says why, ETIMEDOUT if it stayed busy. */
bool cbpd_seize_within_limit(struct tracer *self, uint32_t tid, unsigned long options);

/* ---- attach.c: processes that run already ---- */
/* These are the host's attach_process and attach_matching. */
uint32_t cbpd_attach_process(struct cbpd_helper *helper, uint32_t pid, uint64_t start_time, bool children);
uint32_t cbpd_attach_matching(struct cbpd_helper *helper, struct cbpd_rule_set *set, uint32_t wanted_rule_id);
/* A request calls these around all its attaching, which has one limit. Meanwhile no process is released. */
void cbpd_begin_attaching(void);
void cbpd_end_attaching(struct tracer *self);

/* ---- handles.c: operations on other processes and threads ---- */
struct disposition cbpd_handle_handle_call(struct tracer *self, struct task *task,
                                           const struct syscall_entry *entry);
struct disposition cbpd_finish_handle_call(struct tracer *self, struct task *task,
                                           const struct operation *operation);

/* ---- foreign_tracers.c: tasks that want to trace others ---- */
/* Gives the errno with which an attach has to fail; 0: it may go on. */
int cbpd_refusal_of_attach(struct tracer *self, struct task *task, const struct syscall_entry *entry);

/* ---- creation.c: new tasks ---- */
/* Serves the creator's stop. The creator stays stopped and *stopped is the new task afterwards, if that is at
 * its first stop already: the disposition is that task's. */
struct disposition cbpd_handle_creation(struct tracer *self, struct task **stopped, int event);
struct disposition cbpd_after_creation(const struct task *task, uint32_t result_code);
/* Goes on with a new task that is known and at its first stop. */
struct disposition cbpd_task_is_ready(struct tracer *self, struct task *task);
/* Finds a task's owner in /proc. False: it cannot be known. */
bool cbpd_find_owner(struct tracer *self, struct task *task);
void cbpd_resolve_unowned_tasks(struct tracer *self);

/* ---- parents.c: parents, which need not be creators ---- */
/* Reads from /proc which parent a process has that has not ended. */
void cbpd_look_at_parent(struct tracer *self, struct process *process);
/* Says at a creation's stop whether the child may be its creator's parent's. A wrong yes costs a look. */
bool cbpd_creates_for_parent(struct task *creator);

/* ---- task_memory.c: a stopped task's memory and registers ---- */
/* Says at the stop of a creation whether the call is fork or vfork, which have no flags. */
bool cbpd_calls_plain_fork(const struct task *task);
/* Reads the number and the first argument of a call at a stop in its middle. */
bool cbpd_read_call_registers(const struct task *task, struct syscall_entry *entry);
bool cbpd_read_syscall_entry(const struct task *task, struct syscall_entry *entry);
/* Reads the error of a call that returns; 0: none. */
bool cbpd_read_syscall_error(const struct task *task, int *os_error);
bool cbpd_replace_syscall(const struct task *task, const struct replacement *replacement);
bool cbpd_read_stop_registers(const struct task *task, struct stop_registers *registers);
/* Reads the task id of an event's stop. False: the task was killed and has left that stop. */
bool cbpd_read_event_message(uint32_t tid, int event, uint32_t *message);

/* ---- image_making.c ---- */
/* Makes the image of a reading's chain. NULL without memory. */
struct cbpd_image *cbpd_image_of_chain(struct tracer *self, const struct reading *reading);
/* Makes the image of a reading. NULL: nothing is known of the program, or memory is lacking. */
struct cbpd_image *cbpd_image_of_reading(struct tracer *self, const struct reading *reading);
/* Makes a running process's image, a vague one if a limit passes before all is read. NULL without memory. */
struct cbpd_image *cbpd_image_of_running(struct tracer *self, uint32_t pid);

/* ---- execution.c: programs being executed ---- */
/* Serves the entry of execve, or without an entry the stop after it. */
struct disposition cbpd_handle_execution(struct tracer *self, struct task *task,
                                         const struct syscall_entry *entry);
/* Serves the stop that DISPOSE_RESUME_TO_RETURN leads to. */
struct disposition cbpd_handle_execution_return(struct tracer *self, struct task *task);
/* Goes on with a task after its look. NULL: the look was not done in time. */
struct job;
struct disposition cbpd_go_on_after_look(struct tracer *self, struct task *task, struct job *job);
/* Gives up all looks, as if none had been done in time. */
void cbpd_end_every_look(struct tracer *self);
struct disposition cbpd_go_on_after_parking(struct tracer *self, struct task *task);
/* What was asked at the entry, or at the stop after it, is answered: 0, or the code of a refusal. */
struct disposition cbpd_finish_entry(struct task *task, const struct approval *approval,
                                     uint32_t result_code);
struct disposition cbpd_finish_execution(struct tracer *self, struct task *task, uint32_t result_code);
/* Tells that an execution allowed at its entry has failed. os_error 0: it did because the process ended. */
void cbpd_note_failed_execution(struct tracer *self, struct task *task, int os_error);

/* ---- identity.c: which file a program is ---- */
bool cbpd_path_leads_to_file(const struct cbpd_image_file *file); /* the policy host's path_leads_to_file */
void cbpd_identify_programs(struct cbpd_helper *helper);
bool cbpd_files_matter(struct tracer *self); /* a rule needs to know them */
/* Finds out which file the program is that the process executes now, if that matters and is not known. */
void cbpd_identify_program(struct tracer *self, struct cbpd_image *image, uint32_t pid);

/* ---- hardening.c: the helper's own protection ---- */
void cbpd_harden(void); /* comes before everything else */

/* ---- parked.c: executions that wait unread ---- */
/* Lets the task wait at its stop if an event of that size cannot be held as well. False: serve it now. */
bool cbpd_park_if_full(struct tracer *self, struct task *task, enum operation_kind kind, size_t size);
void cbpd_unpark(struct task *task); /* it no longer waits, if it did */
uint32_t cbpd_parked_count(void);
/* Gives the first waiting task that can be served now and stops its waiting; or NULL. */
struct task *cbpd_next_unparked(struct tracer *self);

/* ---- watching.c ---- */
bool cbpd_begin_watching(struct tracer *self); /* false: errno says why */
bool cbpd_watch(int fd);
void cbpd_unwatch(int fd);
bool cbpd_is_called(void); /* says whether a descriptor may be readable */
void cbpd_call_is_answered(void);
bool cbpd_controller_has_ended(void);

/* ---- control.c: requests ---- */
/* Answers the first request with the limit that keeps the helper from serving any request. */
void cbpd_control_refuse(struct tracer *self, int os_error);
void cbpd_serve_requests(struct tracer *self);
bool cbpd_control_is_open(void);

/* ---- launches.c ---- */
/* Begins a launch, which owns the descriptors from then on if this succeeds. */
uint32_t cbpd_begin_launch(const struct cbp_launch *request, int launcher_fd, int result_fd);
/* Reads one message of each launcher. If more is readable, the watch calls again. */
void cbpd_serve_launchers(struct tracer *self);
void cbpd_finish_launch(struct tracer *self, struct task *task, uint32_t status, int os_error);
void cbpd_end_every_launch(struct tracer *self);

/* ---- rule_loading.c: rules on their way ---- */
/* Takes over a request and its descriptor (-1: none). The tracer calls this. */
void cbpd_begin_loading_rules(struct tracer *self, const struct cbp_rules *request, int fd);
uint32_t cbpd_copy_rules(struct cbpd_helper *helper, void **block); /* the host's copy_rules */

/* ---- channel_memory.c: the core's memory, and which process the core is ---- */
bool cbpd_map_channel(struct tracer *self);
bool cbpd_peer_is_same_user(struct tracer *self);

/* Gives the helper's user id as the kernel has it. A library such as fakeroot's may change getuid(). */
uint32_t cbpd_own_user(bool effective);

#endif

/* Declares what the files of the debug helper share: its data, and which file offers what. One thread, the
 * debugger, owns all of it, because the system gives a process's debug events to one thread only.
 *
 * Knows the protocol and Windows; must not know the core or Python. */
#ifndef CBPD_DEBUGGER_H
#define CBPD_DEBUGGER_H

#include "process_facts.h"

#include "cbp_debug_control.h"
#include "records.h"

static inline void close_handle(HANDLE handle) /* NULL: there is none */
{
    if (handle)
        CloseHandle(handle);
}

struct launch;

/* A process is debugged. Its tasks hold references to it. */
struct process {
    struct cbpd_process base;
    uint32_t parent_pid;
    uint32_t creator_tid; /* known for launches only */
    HANDLE handle;
    bool is_held;     /* one of its events waits for ContinueDebugEvent */
    bool is_root;     /* the controller may have created it, and has to say for which session */
    bool refused;     /* its creation was refused: its end is not told */
    uint64_t seen_ns; /* of a root: the time of its first event */
    struct launch *launch;
    uint64_t ended_time;    /* a FILETIME, like start times and the next member */
    uint64_t attached_time; /* older threads and children are not new */
};

struct task {
    struct cbpd_task base;
    struct process *process;
};

enum operation_kind { OPERATION_CREATION, OPERATION_THREAD, OPERATION_THREAD_EXIT, OPERATION_EXIT };

/* The helper's files share this state. What one of them alone needs stands in its own variables. */
struct debugger {
    struct cbpd_helper helper;
    struct cbp_debug_control *control;
    HANDLE section, debug_object, controller, answer_event, request_event, reply_event;
    HANDLE bells[CBP_SESSION_MAX];
    uint32_t controller_pid;
};

/* ---- Dispositions: what to do with a process that stands still ---- */
enum disposition_kind {
    DISPOSE_HOLD,       /* it waits for an answer or for a claim, or no event of it is here */
    DISPOSE_CONTINUE,   /* continue the event; let the process go if no rule concerns it any more */
    DISPOSE_END_THREAD, /* like DISPOSE_CONTINUE, and the thread has ended */
    DISPOSE_END_PROCESS,
    DISPOSE_LET_GO /* no event of it waits */
};

/* Handlers of events and answers return a disposition. Only resume.c continues an event, ends a process or
 * lets one go. */
struct disposition {
    enum disposition_kind what;
    DWORD how;             /* DBG_ */
    HANDLE victim;         /* this process is ended first; NULL: none */
    uint32_t refusal;      /* the code of the refusal, if there is one */
    struct launch *launch; /* this launch is over next; NULL: none */
};

static inline struct disposition stay(void)
{
    return (struct disposition){.what = DISPOSE_HOLD};
}

static inline struct disposition go_on(DWORD how)
{
    return (struct disposition){.what = DISPOSE_CONTINUE, .how = how};
}

/* ---- host.c: for cbpd_helper_init() ---- */
extern const struct cbpd_host cbpd_policy_host;
extern const struct cbpd_helper_host cbpd_helper_host;

static inline struct debugger *debugger_of(struct cbpd_helper *helper)
{
    return (struct debugger *) (void *) helper;
}

/* ---- system.c ---- */
uint64_t cbpd_now_ns(void); /* the clock of deadlines */

/* ---- tasks.c: tasks and processes that come and go ---- */
struct facts;
/* Adds a task to a process. NULL without memory. */
struct task *cbpd_add_task(struct debugger *self, uint32_t tid, struct process *process);
void cbpd_remove_task(struct debugger *self, struct task *task);
void cbpd_publish_counts(struct debugger *self); /* shows the controller how many there are */
/* Begins a process, which stays until cbpd_forget_process(), even without tasks, and inherits its parent's
 * rules. of (NULL: not known) are its facts. NULL without memory. */
struct process *cbpd_begin_process(struct debugger *self, uint32_t pid, uint64_t start_time,
                                   struct process *parent, const struct facts *of);
/* Forgets a process that has ended or is not debugged any more, with all its tasks. */
void cbpd_forget_process(struct debugger *self, struct process *process);

struct cbpd_image *cbpd_image_of(struct debugger *self, const struct facts *of);
uint32_t cbpd_capabilities_of(const struct cbpd_process *process); /* CAP_: those that hold for it */

/* ---- codes.c ---- */
UINT cbpd_refusal_status(uint32_t code); /* always one of failure */

/* ---- reports.c ---- */
struct task *cbpd_task_in(struct debugger *self, const struct process *process); /* any one, or NULL */
void cbpd_start_report(struct debugger *self, struct cbpd_report *report, struct task *task);
/* Begins the report about the creation of the task's process, once its creator is known. */
void cbpd_start_creation_report(struct debugger *self, struct cbpd_report *report, struct task *task);
/* Tells of a process without a debug event: its creation, and the refusal that has been carried out. */
void cbpd_tell_refused(struct debugger *self, struct process *process, const struct facts *of);

/* ---- resume.c: carries out dispositions ---- */
/* Does what the disposition says. Afterwards the process and the task may no longer exist. */
void cbpd_carry_out(struct debugger *self, uint32_t pid, uint32_t tid, struct disposition disposition);
void cbpd_let_released_go(struct cbpd_helper *helper); /* the host's let_released_go */
/* Lets every process go. Nothing waits for an answer any more, so one that stands still is unclaimed. */
void cbpd_let_everything_go(struct debugger *self);

/* ---- events.c: what the system tells ---- */
void cbpd_handle_debug_events(struct debugger *self); /* a limited number of those that wait */
void cbpd_apply_settled(struct debugger *self); /* goes on with operations that have all their answers */
void cbpd_tell_creation(struct debugger *self, struct process *process); /* its creator is known now */
/* Goes on with processes that will not be claimed any more. */
void cbpd_settle_unclaimed(struct debugger *self);

/* ---- creators.c: which process created which ---- */
/* Finds the process that the system names as a parent, if it is or was just debugged and fits; or NULL. */
struct process *cbpd_find_creator(struct debugger *self, uint32_t parent_pid, uint64_t start_time);
bool cbpd_was_ours(struct debugger *self, uint32_t pid); /* it is debugged, or has just been */
bool cbpd_anybody_was_ours(struct debugger *self);
/* Remembers a process whose children may be told of after its end. */
void cbpd_remember_ended(struct debugger *self, struct process *process);
void cbpd_forget_ended(struct debugger *self); /* forgets ended processes whose children have been told of */
/* Gives the parent's id as the system has it. */
uint32_t cbpd_parent_of(struct cbpd_helper *helper, const struct cbpd_process *process);
/* Handles a process without a known creator. True: the controller may have created and may still claim it.
 * False: it has got the rules of a child of any debugged process. */
bool cbpd_awaits_claim(struct debugger *self, struct process *process);
/* Gives the next process that will not be claimed any more, after it has got such rules; or NULL. */
struct process *cbpd_next_orphan(struct debugger *self);
bool cbpd_has_unclaimed(struct debugger *self);

/* ---- strays.c: descendants without debug events ---- */
void cbpd_look_for_strays(struct debugger *self);
uint64_t cbpd_next_stray_look_ns(struct debugger *self); /* 0: none */

/* ---- exceptions.c ---- */
DWORD cbpd_answer_exception(HANDLE process, const EXCEPTION_DEBUG_INFO *info);

/* ---- attach.c ---- */
/* These are the host's attach_process and attach_matching. */
uint32_t cbpd_attach_process(struct cbpd_helper *helper, uint32_t pid, uint64_t start_time, bool children);
uint32_t cbpd_attach_matching(struct cbpd_helper *helper, struct cbpd_rule_set *set, uint32_t wanted_rule_id);

/* ---- launches.c ---- */
/* Takes over a claim. *claimed is the process whose creation is to be told now, or NULL. */
uint32_t cbpd_claim_process(struct debugger *self, const struct cbp_launch_process *request,
                            struct process **claimed);
/* Says whether a new process has been claimed, and connects it with the claim. */
bool cbpd_find_claim(struct debugger *self, struct process *process);
void cbpd_end_launch(struct launch *launch, uint32_t status, uint32_t os_error);
void cbpd_end_every_launch(void);
bool cbpd_has_open_claims(void);
void cbpd_expire_claims(void);

/* ---- control.c: requests ---- */
void cbpd_serve_control(struct debugger *self);
void cbpd_leave(struct debugger *self); /* the controller is gone: let everything go, and end */

/* ---- rule_loading.c: rules on their way into force ---- */
bool cbpd_prepare_rule_loading(void);
/* Says whether a view of a section begins with so many bytes of usable memory. */
bool cbpd_view_holds(const void *view, uint64_t size);
void cbpd_begin_loading_rules(struct debugger *self, const struct cbp_rules *request);
HANDLE cbpd_rules_loaded_event(void);                               /* set when loading has ended */
uint32_t cbpd_copy_rules(struct cbpd_helper *helper, void **block); /* the host's copy_rules */

/* ---- debugging.c: calls of the system's debugger ---- */
bool cbpd_next_debug_event(DEBUG_EVENT *event);
void cbpd_resume_event(uint32_t pid, uint32_t tid, DWORD how);
bool cbpd_start_debugging(struct debugger *self, HANDLE process);
void cbpd_stop_debugging(uint32_t pid);
void cbpd_end_by_force(HANDLE process, UINT status);
enum debugged_by { DEBUGGER_NOBODY, DEBUGGER_OURSELVES, DEBUGGER_ANOTHER, DEBUGGER_UNKNOWN };
enum debugged_by cbpd_who_debugs(struct debugger *self, HANDLE process);
struct listing { /* begins with all 0 */
    HANDLE snapshot;
    bool has_failed; /* for want of memory: not all processes are known */
};
/* Gives the next process. Call it until there is none. */
bool cbpd_next_listed_process(struct listing *listing, uint32_t *pid, uint32_t *parent_pid);

/* ---- system.c: facts ---- */
enum { PATH_UNITS_MAX = 32768, NAME_SIZE_MAX = 3 * PATH_UNITS_MAX + 1 };
struct facts {
    uint32_t parent_pid;
    struct text path, given, command_line; /* WTF-8; kept for the next use */
    bool is_lacking;                       /* memory was lacking: nothing is known */
};
/* Reads a process's facts. file (may be NULL) is its image's, which has a name if the process's own cannot be
 * told. False: nothing is known. A path that cannot be found out is empty. */
bool cbpd_read_facts(HANDLE process, HANDLE file, struct facts *facts);
/* Opens a process for debugging. NULL: see GetLastError(); the helper itself always gives NULL. */
HANDLE cbpd_open_process(struct debugger *self, uint32_t pid);
HANDLE cbpd_open_process_to_look(uint32_t pid); /* any process, to read its times */
HANDLE cbpd_keep_handle(HANDLE handle);         /* a copy, which stays open */
/* Gives the function of every process that raises exceptions about wrong handles; 0: not known. */
uint64_t cbpd_raising_function(void);
bool cbpd_checks_handles_strictly(HANDLE process);
/* Hides the debugger from IsDebuggerPresent and, before a process's first instruction, from its heap.
 * thread_block is the first thread's environment block, or NULL. */
void cbpd_hide_debugger(HANDLE process, const void *thread_block);
bool cbpd_is_own_user(HANDLE process);

#endif

/* What the files of the debug helper share: its data, and who offers what. One thread, the debugger, owns all
 * of this, because the system gives a process's debug events to one thread only.
 *
 * Knows the protocol and Windows; must not know the core or Python. */
#ifndef CBPD_DEBUGGER_H
#define CBPD_DEBUGGER_H

#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>

#include "cbp_debug_control.h"
#include "records.h"

struct launch;

/* A process that is debugged. Its tasks hold references. */
struct process {
    struct cbpd_process base;
    uint32_t parent_pid;
    uint32_t creator_tid; /* known of launches only */
    HANDLE handle;
    bool is_held;     /* an event of it waits for ContinueDebugEvent */
    bool is_root;     /* the controller may have created it, and has to say for whom */
    bool refused;     /* its creation was, so that its end is nobody's business */
    uint64_t seen_ns; /* of a root: when its first event came */
    struct launch *launch;
    uint64_t ended_time;    /* this and the next are FILETIMEs, as start times are */
    uint64_t attached_time; /* threads and children older than this are not new */
};

struct task {
    struct cbpd_task base;
    struct process *process;
};

enum operation_kind { OPERATION_CREATION, OPERATION_THREAD, OPERATION_THREAD_EXIT, OPERATION_EXIT };

/* Everything the helper has. */
struct debugger {
    struct cbpd_helper helper;
    struct cbp_debug_control *control;
    HANDLE section, debug_object, controller, answer_event, request_event, reply_event;
    HANDLE bells[CBP_SESSION_MAX];
    uint32_t controller_pid;
};

/* ---- Dispositions: what is to be done with a process that stands still ---- */
enum disposition_kind {
    DISPOSE_HOLD,       /* it waits for an answer, or for a claim */
    DISPOSE_CONTINUE,   /* its event; and it is let go, where no rule concerns it any more */
    DISPOSE_END_THREAD, /* likewise: the thread has ended */
    DISPOSE_END_PROCESS
};

/* Handlers of events, and what follows from answers, return one; nothing else continues an event. */
struct disposition {
    enum disposition_kind what;
    DWORD how; /* DBG_ */
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
uint64_t cbpd_now_ns(void);  /* the clock of deadlines */
uint64_t cbpd_wall_ns(void); /* since 1970 */

/* ---- tasks.c: tasks and processes that come and go ---- */
struct task *cbpd_add_task(struct debugger *self, uint32_t tid,
                           struct process *process); /* NULL without memory */
void cbpd_remove_task(struct debugger *self, struct task *task);
void cbpd_publish_counts(struct debugger *self); /* lets the controller see how many there are */
/* It holds itself until cbpd_forget_process(): it may be known before its first task is. NULL without memory. */
struct process *cbpd_begin_process(struct debugger *self, uint32_t pid, struct process *parent);
void cbpd_forget_process(
    struct debugger *self,
    struct process *process); /* it has ended, or is not debugged any more: all of its tasks go */

struct facts;
struct cbpd_image *cbpd_image_of(struct debugger *self, const struct facts *of);
uint32_t cbpd_capabilities_of(const struct cbpd_process *process); /* the CAP_ bits that hold for it */
void cbpd_count_lost(struct debugger *self);
void cbpd_count_refused(struct debugger *self);
void cbpd_count_guess(struct debugger *self);

/* ---- codes.c ---- */
UINT cbpd_refusal_status(uint32_t code); /* always one of failure */

/* ---- reports.c ---- */
struct task *cbpd_task_in(struct debugger *self, const struct process *process); /* any; or NULL */
void cbpd_start_report(struct debugger *self, struct cbpd_report *report, struct task *task);
/* Holds it for its creation, as cbpd_is_held() does: it is known now whose it is. */
bool cbpd_is_held_at_creation(struct debugger *self, struct process *process, uint32_t *result_code);
/* Of a process that the system did not tell of: its creation, with the refusal that has been carried out. */
void cbpd_tell_refused(struct debugger *self, struct process *process, const struct facts *of);

/* ---- resume.c: what is done with processes that stand still ---- */
/* Does it; the process and the task may be nobody's any more afterwards. */
void cbpd_carry_out(struct debugger *self, uint32_t pid, uint32_t tid, struct disposition disposition);
void cbpd_let_released_go(struct cbpd_helper *helper); /* see struct cbpd_helper_host */
/* Nothing is held for an answer any more: what stands still is unclaimed. */
void cbpd_let_everything_go(struct debugger *self);

/* ---- events.c: what the system tells ---- */
void cbpd_handle_debug_events(struct debugger *self); /* a bounded number of those that wait */
void cbpd_apply_settled(struct debugger *self);       /* operations whose answers are all in */
void cbpd_tell_creation(struct debugger *self, struct process *process); /* it is known now whose it is */
void cbpd_settle_unclaimed(
    struct debugger *self); /* those of whom it is known now that nobody will claim them */

/* ---- creators.c: who created whom ---- */
/* The process that the system names as a parent, if it is ours or was a moment ago, and can be it; or NULL.
 */
struct process *cbpd_find_creator(struct debugger *self, uint32_t parent_pid, uint64_t start_time);
bool cbpd_was_ours(struct debugger *self, uint32_t pid); /* it is ours, or was a moment ago */
bool cbpd_anybody_was_ours(struct debugger *self);
void cbpd_remember_ended(struct debugger *self,
                         struct process *process); /* its children may be told of after its end */
void cbpd_forget_ended(struct debugger *self);     /* those whose children have been told of by now */
uint32_t
cbpd_parent_of(struct cbpd_helper *helper,
               const struct cbpd_process *process); /* the parent's id, as the system would say now */
/* One without a known creator. True: the controller may have created it, and may claim it yet. False: it has
 * been given rules as of a child of anybody of ours. */
bool cbpd_awaits_claim(struct debugger *self, struct process *process);
/* The next one that nobody will claim any more, which has been given such rules; or NULL. */
struct process *cbpd_next_orphan(struct debugger *self);
bool cbpd_has_unclaimed(struct debugger *self);

/* ---- strays.c: descendants that the system does not tell us of ---- */
void cbpd_look_for_strays(struct debugger *self);
uint64_t cbpd_next_stray_look_ns(struct debugger *self); /* 0: none */

/* ---- exceptions.c ---- */
DWORD cbpd_answer_exception(HANDLE process, const EXCEPTION_DEBUG_INFO *info);

/* ---- attach.c ---- */
/* See struct cbpd_helper_host. */
uint32_t cbpd_attach_process(struct cbpd_helper *helper, uint32_t pid, uint64_t start_time, bool children);
uint32_t cbpd_attach_matching(struct cbpd_helper *helper, struct cbpd_rule_set *set, uint32_t wanted_rule_id);

/* ---- launches.c ---- */
/* Takes a claim over. *claimed is the process whose creation is to be told now, or NULL. */
uint32_t cbpd_claim_process(struct debugger *self, const struct cbp_launch_process *request,
                            struct process **claimed);
/* Of one that has just been created: whether it is claimed, and by whom. */
bool cbpd_find_claim(struct debugger *self, struct process *process);
void cbpd_end_launch(struct launch *launch, uint32_t status, uint32_t os_error);
void cbpd_end_every_launch(void);
bool cbpd_has_open_claims(void);
void cbpd_expire_claims(void);

/* ---- control.c: requests ---- */
void cbpd_serve_control(struct debugger *self);
void cbpd_leave(struct debugger *self); /* nobody is there to serve: let everything go, and end */

/* ---- rule_loading.c: rules on their way into force ---- */
bool cbpd_prepare_rule_loading(void);
bool cbpd_view_holds(const void *view,
                     uint64_t size); /* memory that can be used, behind a view of a section */
void cbpd_begin_loading_rules(struct debugger *self, const struct cbp_rules *request);
bool cbpd_is_loading_rules(void);
HANDLE cbpd_rules_loaded_event(void); /* set when there is something to finish */
/* Puts in force what has been loaded: the request with status and value of its reply. False: not yet. */
bool cbpd_finish_loading_rules(struct debugger *self, struct cbp_message_header *request, uint32_t *status,
                               uint64_t *value);

/* ---- debugging.c: what is asked of the system's debugger ---- */
bool cbpd_next_debug_event(DEBUG_EVENT *event);
void cbpd_resume_event(uint32_t pid, uint32_t tid, DWORD how);
bool cbpd_start_debugging(struct debugger *self, HANDLE process);
void cbpd_stop_debugging(uint32_t pid);
void cbpd_end_by_force(HANDLE process, UINT status);
enum debugged_by { DEBUGGER_NOBODY, DEBUGGER_OURSELVES, DEBUGGER_ANOTHER, DEBUGGER_UNKNOWN };
enum debugged_by cbpd_who_debugs(struct debugger *self, HANDLE process);
struct listing { /* to begin with all 0 */
    HANDLE snapshot;
    bool has_failed; /* for want of memory: which processes there are is not known */
};
bool cbpd_next_listed_process(struct listing *listing, uint32_t *pid,
                              uint32_t *parent_pid); /* to be called to the end */

/* ---- system.c: facts ---- */
enum { PATH_UNITS_MAX = 32768, NAME_SIZE_MAX = 3 * PATH_UNITS_MAX + 1 };
struct facts {
    uint32_t parent_pid;
    struct text path, given, command_line; /* WTF-8; kept for the next use */
    bool is_lacking;                       /* memory: then nothing is known */
};
/* file is the image's, which has a name where the process has none that can be said; or NULL. False: nothing
 * is known of it. A path that cannot be found out is empty. */
bool cbpd_read_facts(HANDLE process, HANDLE file, struct facts *facts);
HANDLE cbpd_open_process(struct debugger *self,
                         uint32_t pid); /* for debugging; NULL with GetLastError(), always for our own */
HANDLE cbpd_open_process_to_look(uint32_t pid); /* any process, for its times */
HANDLE cbpd_keep_handle(HANDLE handle);         /* a copy that lives on */
uint64_t cbpd_file_time_now(void);
uint64_t
cbpd_raising_function(void); /* in every process: what raises exceptions of wrong handles; 0: not known */
bool cbpd_checks_handles_strictly(HANDLE process);
uint64_t cbpd_read_start_time(HANDLE process); /* 0: not known */
uint64_t cbpd_read_thread_start_time(HANDLE thread);
/* From IsDebuggerPresent and, before its first instruction, from the heap. Its first thread's environment
 * block, or NULL. */
void cbpd_hide_debugger(HANDLE process, const void *thread_block);
bool cbpd_is_own_user(HANDLE process);

#endif

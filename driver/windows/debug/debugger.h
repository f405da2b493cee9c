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
    struct operation *operation; /* what it waits for, if anything */
};

enum operation_kind { OPERATION_CREATION, OPERATION_THREAD, OPERATION_THREAD_EXIT, OPERATION_EXIT };

/* One operation that is held. Nothing is ever stripped here: no handle operation is seen. */
struct operation {
    struct cbpd_held held;
    enum operation_kind kind;
};

/* Everything the helper has. */
struct debugger {
    struct cbpd_helper helper;
    struct cbp_debug_control *control;
    HANDLE section, debug_object, controller, answer_event, request_event, reply_event;
    HANDLE bells[CBP_SESSION_MAX];
    uint32_t controller_pid;
};
extern struct debugger self;

/* ---- The policy's processes and the helper's tasks as ours ---- */
static inline struct process *find_process(uint32_t pid) /* that has not ended */
{
    return process_of(cbpd_find_process(&self.helper.policy, pid));
}

static inline struct process *first_process(void)
{
    return process_of(self.helper.policy.processes);
}

static inline const struct cbp_stance *stances_of(struct process *process)
{
    return cbpd_stances_of(&self.helper.policy, &process->base);
}

static inline struct task *find_task(uint32_t tid)
{
    return task_of(cbpd_find_task(&self.helper, tid));
}

static inline struct task *first_task(void)
{
    return task_of(self.helper.tasks);
}

/* ---- system.c ---- */
uint64_t now_ns(void);  /* the clock of deadlines */
uint64_t wall_ns(void); /* since 1970 */

/* ---- main.c ---- */
void publish_counts(void);

/* ---- tasks.c: tasks and processes that come and go ---- */
struct task *add_task(uint32_t tid, struct process *process); /* NULL without memory */
void remove_task(struct task *task);
/* It holds itself until forget_process(): it may be known before its first task is. NULL without memory. */
struct process *begin_process(uint32_t pid, struct process *parent);
void forget_process(
    struct process *process); /* it has ended, or is not debugged any more: all of its tasks go */

/* ---- events.c: what the system tells ---- */
void handle_debug_events(void);                /* a bounded number of those that wait */
void report_creation(struct process *process); /* it is known now whose it is */
struct facts;
/* Of a process that the system did not tell of: its creation, with the refusal that has been carried out. */
void tell_refused(struct process *process, const struct facts *facts);
UINT refusal_status(uint32_t result_code);
void count_lost(void);
void count_refused(void);
void count_guess(void);
void let_everything_go(void);
void let_released_go(void);                              /* see struct cbpd_helper_host */
void apply_settled(void);                                /* operations whose answers are all in */
uint32_t capabilities_of(const struct process *process); /* the CAP_ bits that hold for it */
uint32_t parent_of(struct process *process);             /* the parent's id, as the system would say now */

/* ---- creators.c: who created whom ---- */
/* The process that the system names as a parent, if it is ours or was a moment ago, and can be it; or NULL.
 */
struct process *find_creator(uint32_t parent_pid, uint64_t start_time);
bool was_ours(uint32_t pid); /* it is ours, or was a moment ago */
bool anybody_was_ours(void);
void remember_ended(struct process *process); /* its children may be told of after its end */
void forget_ended(void);                      /* those whose children have been told of by now */
void await_claim(struct process *process);    /* it has no known creator: the controller's, or anybody's */
void settle_unclaimed(void);                  /* those of whom it is known now that nobody will claim them */
bool has_unclaimed(void);

/* ---- strays.c: descendants that the system does not tell us of ---- */
void look_for_strays(void);
uint64_t next_stray_look_ns(void); /* 0: none */

/* ---- exceptions.c ---- */
DWORD answer_exception(HANDLE process, const EXCEPTION_DEBUG_INFO *info);

/* ---- attach.c ---- */
/* See struct cbpd_helper_host. */
uint32_t attach_process(uint32_t pid, uint64_t start_time, bool children);
uint32_t attach_matching(struct cbpd_rule_set *set, uint32_t wanted_rule_id);
struct cbpd_image *image_of(const struct facts *of);

/* ---- control.c: requests and launches ---- */
void serve_control(void);
void leave(void);                         /* nobody is there to serve: let everything go, and end */
bool find_claim(struct process *process); /* of one that has just been created: whether it is claimed */
void end_launch(struct launch *launch, uint32_t status, uint32_t os_error);
bool has_open_claims(void);
void expire_claims(void);

/* ---- rule_loading.c: rules on their way into force ---- */
bool prepare_rule_loading(void);
bool view_holds(const void *view, uint64_t size); /* memory that can be used, behind a view of a section */
void begin_loading_rules(const struct cbp_rules *request);
bool is_loading_rules(void);
HANDLE rules_loaded_event(void); /* set when there is something to finish */
/* Puts in force what has been loaded: the request with status and value of its reply. False: not yet. */
bool finish_loading_rules(struct cbp_rules *request, uint32_t *status, uint64_t *value);

/* ---- debugging.c: what is asked of the system's debugger ---- */
bool next_debug_event(DEBUG_EVENT *event);
void resume_event(uint32_t pid, uint32_t tid, DWORD how);
bool start_debugging(HANDLE process);
void stop_debugging(uint32_t pid);
void end_by_force(HANDLE process, UINT status);
enum debugger { DEBUGGER_NOBODY, DEBUGGER_OURSELVES, DEBUGGER_ANOTHER, DEBUGGER_UNKNOWN };
enum debugger debugger_of(HANDLE process);
struct listing { /* to begin with all 0 */
    HANDLE snapshot;
    bool has_failed; /* for want of memory: which processes there are is not known */
};
bool next_listed_process(struct listing *listing, uint32_t *pid,
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
bool read_facts(HANDLE process, HANDLE file, struct facts *facts);
HANDLE open_process(uint32_t pid);         /* for debugging; NULL with GetLastError(), always for our own */
HANDLE open_process_to_look(uint32_t pid); /* any process, for its times */
HANDLE keep_handle(HANDLE handle);         /* a copy that lives on */
uint64_t file_time_now(void);
uint64_t raising_function(void); /* in every process: what raises exceptions of wrong handles; 0: not known */
bool checks_handles_strictly(HANDLE process);
uint64_t read_start_time(HANDLE process); /* 0: not known */
uint64_t read_thread_start_time(HANDLE thread);
/* From IsDebuggerPresent and, before its first instruction, from the heap. Its first thread's environment
 * block, or NULL. */
void hide_debugger(HANDLE process, const void *thread_block);
bool is_own_user(HANDLE process);

#endif

/* What the files of the debug helper share: its data, and who offers what. One thread, the debugger, owns all
 * of this, because the system gives a process's debug events to one thread only.
 *
 * Knows the protocol and Windows; must not know the core or Python. */
#ifndef CBP_SUPERVISOR_H
#define CBP_SUPERVISOR_H

#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>

#include "debug_control.h"
#include "tree_driver.h"

struct launch;

/* A process that is debugged; kept after its end while descendants live, because rules cover descendants
 * however deep. */
struct process {
    struct process *hash_next;
    struct process *next, *previous; /* all processes that have not ended */
    struct process *parent;          /* who created it; NULL for a root */
    uint32_t reference_count;        /* living tasks and child processes */
    uint32_t pid, parent_pid;
    uint32_t creator_tid; /* known of launches only */
    HANDLE handle;
    bool is_held;  /* an event of it waits for ContinueDebugEvent */
    bool is_root;  /* the controller may have created it, and has to say for whom */
    bool attached; /* it ran before it was debugged */
    bool executed; /* always: a process of Windows begins with its program */
    bool refused;  /* its creation was, so that its end is nobody's business */
    bool ended;
    uint64_t seen_ns; /* of a root: when its first event came */
    struct launch *launch;
    uint64_t start_time;    /* a FILETIME */
    uint64_t ended_time;    /* this and the next are told by that clock too */
    uint64_t attached_time; /* threads and children older than this are not new */
    struct image *image;
    struct standing standing;
};

struct task {
    struct task *hash_next;
    struct task *next, *previous; /* all tasks */
    struct process *process;
    struct operation *operation; /* what it waits for, if anything */
    uint32_t tid;
};

enum operation_kind { OPERATION_CREATION, OPERATION_THREAD, OPERATION_THREAD_EXIT, OPERATION_EXIT };

/* One operation that is held: one message for each session that was asked. */
struct operation {
    struct task *task;
    enum operation_kind kind;
    uint32_t unanswered_count;
    uint32_t result_code; /* the refusal of the session with the highest altitude */
    uint32_t refuser_id;  /* that session; of a rule's refusal, the highest of all */
    bool is_stripped;     /* never here: no handle operation is seen */
};

/* Everything the helper has. */
struct supervisor {
    struct cbp_channel *channel;
    struct cbp_debug_control *control;
    HANDLE section, debug_object, controller, answer_event, request_event, reply_event;
    HANDLE bells[CBP_SESSION_MAX];
    struct session sessions[CBP_SESSION_MAX];
    uint32_t session_count;
    uint32_t order[CBP_SESSION_MAX]; /* the open sessions, highest altitude first */
    struct rule_sets rules;
    uint32_t controller_pid;
    struct task *tasks;
    struct process *processes;
    uint32_t task_count, process_count;
    bool leaving;         /* the controller is gone or done: let everything go */
    bool controller_gone; /* nobody answers any more */
};
extern struct supervisor self;

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
struct image *image_of(const struct facts *of);

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
bool next_process(struct listing *listing, uint32_t *pid, uint32_t *parent_pid); /* to be called to the end */

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

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
    bool is_root;  /* the controller created it, and has to say for whom */
    bool attached; /* it ran before it was debugged */
    bool executed; /* always: a process of Windows begins with its program */
    bool refused;  /* its creation was, so that its end is nobody's business */
    bool ended;
    uint64_t seen_ns; /* of a root: when its first event came */
    struct launch *launch;
    uint64_t start_time;    /* a FILETIME */
    uint64_t attached_time; /* the same clock: threads older than this are not new */
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
    HANDLE debug_object, controller, answer_event, request_event, reply_event;
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
void handle_debug_event(const DEBUG_EVENT *event);
void report_creation(struct process *process); /* of a root that has been claimed */
void let_unclaimed_go(void);                   /* roots that nobody has claimed for too long */
bool has_unclaimed(void);
void let_everything_go(void);

/* ---- control.c: requests and launches ---- */
void serve_control(void);
void leave(void);                      /* nobody is there to serve: let everything go, and end */
void find_claim(struct process *root); /* it has just been created */
void end_launch(struct launch *launch, uint32_t status, uint32_t os_error);
bool has_open_claims(void);
void expire_claims(void);

/* ---- rule_loading.c: rules on their way into force ---- */
bool prepare_rule_loading(void);
void begin_loading_rules(const struct cbp_rules *request);
bool is_loading_rules(void);
HANDLE rules_loaded_event(void); /* set when there is something to finish */
/* Puts in force what has been loaded: the request with status and value of its reply. False: not yet. */
bool finish_loading_rules(struct cbp_rules *request, uint32_t *status, uint64_t *value);

/* ---- system.c: facts ---- */
struct facts {
    uint32_t parent_pid;
    struct text path, given, command_line; /* WTF-8; kept for the next use */
};
bool read_facts(HANDLE process, struct facts *facts);
uint64_t read_start_time(HANDLE process); /* 0: not known */
uint64_t read_thread_start_time(HANDLE thread);
/* From IsDebuggerPresent and the heap, before its first instruction; its first thread's environment block. */
void hide_debugger(HANDLE process, const void *thread_block);
bool is_own_user(HANDLE process);

#endif

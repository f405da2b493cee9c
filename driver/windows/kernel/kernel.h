/* States what the files of cbprocess.sys offer one another. The driver has two halves: operations (the system's
 * callbacks, processes, reports to the policy) and deliveries (controllers, their requests, messages that wait
 * for them). system.h and memory.c stand below both.
 *
 * Locks, in the order in which they may be taken: arming (PASSIVE_LEVEL, around the opening and closing of
 * sessions and the registering of callbacks; no callback takes it), the books (a fast mutex, APC_LEVEL, around
 * the policy and everything of the first half), then one of the spin locks of outbox.c, controllers.c and
 * workers.c (DISPATCH_LEVEL; nothing is called with it held that may wait, complete a request or call back). No
 * thread waits for an answer with a lock held, and every wait has a bound.
 *
 * Every function may be called at PASSIVE_LEVEL and APC_LEVEL, unless its comment says otherwise. */
#ifndef CBPD_KERNEL_H
#define CBPD_KERNEL_H

#include "system.h"

#include "cbp_kernel_control.h"
#include "event_messages.h"
#include "policy.h"

/* ---- memory.c: nonpaged memory with the driver's tag, counted so that unload can tell a leak ---- */
void *cbpd_pool_allocate(size_t size); /* all 0; NULL: none */
void cbpd_pool_free(void *memory);     /* NULL: nothing. Any IRQL up to DISPATCH_LEVEL */
uint64_t cbpd_pool_count(void);        /* blocks that are not freed */

/* ---- clock.c. Any IRQL ---- */
uint64_t cbpd_now_ns(void);  /* the clock of deadlines: the performance counter, as the core reads it */
uint64_t cbpd_wall_ns(void); /* since 1970 */

/* ==== Operations ==== */

struct cbpd_controller;

/* The kernel itself opens handles and creates threads by this process, and by none (0). */
enum { CBPD_SYSTEM_PID = 4 };

static inline bool cbpd_is_system(uint32_t pid)
{
    return pid == 0 || pid == CBPD_SYSTEM_PID;
}

/* A creation gives its creator a handle of the process and one of its first thread. The creator hands both on
 * once, to the system's process that completes the creation. */
enum {
    CBPD_BIRTHRIGHT_PROCESS = 1,
    CBPD_BIRTHRIGHT_THREAD = 2,
    CBPD_BIRTHRIGHT_PROCESS_COPY = 4,
    CBPD_BIRTHRIGHT_THREAD_COPY = 8,
    CBPD_ALL_BIRTHRIGHTS = 15
};

/* A process as the driver knows it. */
struct cbpd_kernel_process {
    struct cbpd_process base;
    uint32_t parent_pid;
    uint32_t creator_pid, creator_tid; /* 0: it has begun before it was watched */
    uint32_t birthrights; /* bits: handles that its creation has still to give; handle_notify.c */
    bool is_exempt;       /* a worker started it, or such a process did: its operations fire nothing */
    bool is_launched;     /* a controller's launch started it */
    bool has_threads;     /* its first thread has been told of */
};

/* ---- books.c: the policy and its lock. What the system has to be asked is asked before: nothing that may
 * call back, and nothing that needs PASSIVE_LEVEL, is called with the books held ---- */
bool cbpd_books_open(void); /* at load. False: no memory */
void cbpd_books_close(void);
struct cbpd_policy *cbpd_books_lock(void);
void cbpd_books_unlock(void);

/* ---- names.c: texts of the system in the bytes of messages (WTF-8), paths with drive letters ---- */
/* A drive letter stands for a device. PASSIVE_LEVEL. NULL: no memory. */
struct cbpd_drives;
struct cbpd_drives *cbpd_drives_read(void);
/* Gives memory with the text, or NULL without memory. *size excludes the NUL that follows. */
char *cbpd_name_of_path(const struct cbpd_drives *drives, const UNICODE_STRING *path,
                        uint32_t *size); /* \Device\HarddiskVolume2\a -> C:\a */
char *cbpd_name_of_text(const UNICODE_STRING *text, uint32_t *size);

/* ---- facts.c: what the system says of a process. The books are not held ---- */
struct cbpd_facts {
    uint32_t pid, parent_pid; /* parent_pid 0: not known */
    uint64_t start_time;
    char *path; /* of the program; NULL: not known, or there is no program */
    uint32_t path_size;
    bool is_vague; /* the path is not known, or not whole: rules that forbid apply */
    char *given;   /* as it was named at the creation; NULL: like path */
    uint32_t given_size;
};
/* Reads the path and the start time. PASSIVE_LEVEL, unless the path is not wanted (drives is NULL). */
void cbpd_facts_read(PEPROCESS process, const struct cbpd_drives *drives, struct cbpd_facts *facts);
/* Replaces abbreviated parts of the path of that file. PASSIVE_LEVEL. */
void cbpd_facts_lengthen(struct cbpd_facts *facts, PFILE_OBJECT file);
void cbpd_facts_free(struct cbpd_facts *facts);

/* ---- processes.c: the machine's processes in the books. Callers hold the books ---- */
struct cbpd_kernel_process *cbpd_process_of(struct cbpd_policy *policy, uint32_t pid); /* NULL: not known */
/* Begins a process, in place of an earlier one with its id. creator NULL: none is known. NULL without memory. */
struct cbpd_kernel_process *cbpd_process_begin(struct cbpd_policy *policy, const struct cbpd_facts *facts,
                                               struct cbpd_kernel_process *creator);
void cbpd_process_end(struct cbpd_policy *policy, struct cbpd_kernel_process *process);
void cbpd_processes_forget(struct cbpd_policy *policy); /* all of them */

/* ---- census.c: brings processes into the books. Callers do not hold them ---- */
/* Adds every process that runs now and is not in the books, parents first. PASSIVE_LEVEL. Gives a Win32 code. */
uint32_t cbpd_processes_read(void);
/* A party takes part in an operation. */
struct cbpd_party {
    uint32_t pid;
    PEPROCESS object;                    /* NULL: it is found by the id */
    struct cbpd_kernel_process *process; /* NULL: it has ended, or there is no memory */
};
/* Locks the books and finds the parties in them. One that is not there is added; the first one, in whose thread
 * this is, may be the creator of a new one. Names are read only at PASSIVE_LEVEL (can_read_names): else they are
 * not known. */
struct cbpd_policy *cbpd_books_lock_for(struct cbpd_party *parties, uint32_t count, bool can_read_names);

/* ---- process_notify.c, thread_notify.c, handle_notify.c: one for each of the system's callbacks ---- */
/* Each of these is registered while a session is open and not after the last one has closed; a failure to
 * register has its Win32 code. Disarming waits until no callback runs, so no callback may disarm. Callers hold
 * neither lock, and are at PASSIVE_LEVEL. The process callback comes first and goes last: arming it reads all
 * processes. */
uint32_t cbpd_process_notify_arm(void);
void cbpd_process_notify_disarm(void);
uint32_t cbpd_thread_notify_arm(void);
void cbpd_thread_notify_disarm(void);
/* altitude: a decimal as text, which is not checked here. CBP_ERROR_ALREADY_EXISTS: is_strict, and it is
 * taken; else a neighbour is. */
uint32_t cbpd_handle_notify_arm(const char *altitude, uint32_t size, bool is_strict);
void cbpd_handle_notify_disarm(void);

/* ---- reports.c: what callbacks tell the policy, and what becomes of it ---- */
struct cbpd_kernel_report {
    struct cbpd_report base;
    uint32_t parent_pid;
    bool is_exempt; /* rules apply, and no session is told or asked */
    bool is_launch; /* a controller's launch, which is no request of its own */
};

/* The operation as a whole ends like this. */
struct cbpd_kernel_outcome {
    uint32_t result_code; /* not 0: refused with this Win32 code */
    uint32_t lost_access; /* rights that were asked for and are taken away */
};

/* Begins a report about that process, by a thread of that originator (NULL: not known). The caller adds the
 * events, and what else is to be told. */
struct cbpd_kernel_report cbpd_report_begin(struct cbpd_policy *policy, struct cbpd_kernel_process *process,
                                            struct cbpd_kernel_process *originator, uint32_t originator_tid);
/* Tells and asks sessions. The caller holds the books; they are let go while an answer is awaited, and are
 * NOT held any more on return. What the report points to may be gone then. */
void cbpd_report_send(struct cbpd_policy *policy, const struct cbpd_kernel_report *report,
                      struct cbpd_kernel_outcome *outcome);
/* Counts an event of which no session can be told, for want of memory. */
void cbpd_report_lost(const struct cbpd_policy *policy);

/* ==== Deliveries ==== */

/* ---- pending.c: an event that waits for answers; states as in tests/windows/kernel/model/pending.pml ---- */
/* One operation waits for messages of several sessions. It is its thread's own. */
struct cbpd_pending;

/* One session's answer. */
struct cbpd_answer {
    uint32_t place;   /* the session's, in the policy */
    bool is_answered; /* else its deadline has passed, or its session or controller has gone (is_let_go) */
    bool is_let_go;
    struct cbpd_answerable answerable;
    struct cbp_event_item items[CBP_BATCH_MAX]; /* as the handlers have left them */
};

struct cbpd_pending *cbpd_pending_create(void); /* NULL: no memory */
/* Sends a message, which becomes the driver's (memory of cbpd_pool_allocate()). pending NULL: nothing waits for
 * it. Its header has the deadline (0: none while the heartbeat lives); its id is given here. False: there is no
 * room or the session has gone; the message is freed. The caller holds the books. */
bool cbpd_pending_send(struct cbpd_pending *pending, uint32_t place, struct cbp_event_message *message,
                       const struct cbpd_answerable *answerable);
/* Waits until every message is answered or given up; gives the answers, which stay valid until destroy. The
 * caller holds no lock. */
uint32_t cbpd_pending_wait(struct cbpd_pending *pending, const struct cbpd_answer **answers);
void cbpd_pending_destroy(struct cbpd_pending *pending);      /* NULL: nothing */
bool cbpd_session_is_silent(uint32_t place, uint64_t now_ns); /* its heartbeat is too old */
/* Counts for the session in that place of the policy. Any IRQL up to DISPATCH_LEVEL. */
enum cbpd_count { CBPD_COUNT_LOST, CBPD_COUNT_TIMED_OUT, CBPD_COUNT_REFUSED, CBPD_COUNT_DECIDED };
void cbpd_count(uint32_t place, enum cbpd_count what, uint32_t more);

/* ---- deliveries.c: messages that wait for a receive, and receives that wait for a message ---- */
/* Pends the request, or completes it at once. */
NTSTATUS cbpd_deliveries_receive(struct cbpd_controller *controller, PIRP irp);
/* Answers, moves deadlines, gives tokens: the requests of cbp_message.h. Each gives a Win32 code. */
uint32_t cbpd_deliveries_answer(struct cbpd_controller *controller, const struct cbp_kernel_answer *answer);
uint32_t cbpd_deliveries_deadline(struct cbpd_controller *controller,
                                  const struct cbp_kernel_deadline *request, uint64_t *deadline_ns);
uint32_t cbpd_deliveries_token(struct cbpd_controller *controller, const struct cbp_kernel_token *request,
                               uint64_t *handle);
/* The dispatcher of the session lives. Gives what the session has counted. */
uint32_t cbpd_deliveries_beat(struct cbpd_controller *controller, uint32_t session_id,
                              struct cbp_kernel_counts *counts);
/* Opens and closes the deliveries of a session. Closing lets everything go that waits for it. Callers hold the
 * books. */
uint32_t cbpd_deliveries_open(struct cbpd_controller *controller, uint32_t session_id, uint32_t place);
void cbpd_deliveries_close(uint32_t place);
void cbpd_deliveries_limit_silence(uint32_t place, uint64_t limit_ns);
void cbpd_deliveries_begin(void); /* at load */
/* Completes the receives that have got a message or are over. No request may be completed with a lock held, so
 * cbpd_books_unlock() does this when the lock has been let go. */
void cbpd_deliveries_flush(void);

/* ---- controllers.c: who has opened the device ---- */
void cbpd_controllers_begin(void); /* at load */
/* Gives the id by which the policy knows the controller, never 0. */
uint64_t cbpd_controller_id(const struct cbpd_controller *controller);
struct cbpd_controller *cbpd_controller_create(void); /* of the current process. NULL: no memory */
/* Says whether the controller may open sessions: neither its process nor its last handle has gone. Callers hold
 * the books. */
bool cbpd_controller_is_open(const struct cbpd_controller *controller);
/* It opens no session any more. Callers hold the books. */
void cbpd_controller_shut(struct cbpd_controller *controller);
/* Finds a controller that this process has opened, shuts it and forgets the process. NULL: there is no other
 * one. Callers hold the books. */
struct cbpd_controller *cbpd_controller_forget_process(uint32_t pid);
void cbpd_controller_free(struct cbpd_controller *controller); /* the last request has ended, too */
/* Gives the process that the controller with this id is of, or 0 if it has gone. */
uint32_t cbpd_controller_pid(uint64_t controller_id);

/* ---- session_life.c: sessions begin and end. Callers hold the books, except of the last one ---- */
/* Opens a session, or changes its settings. Gives a Win32 code. */
uint32_t cbpd_session_open(struct cbpd_policy *policy, struct cbpd_controller *controller,
                           const struct cbp_session_settings *settings);
void cbpd_session_end(struct cbpd_policy *policy, struct cbpd_controller *controller, uint32_t place);
void cbpd_sessions_end(struct cbpd_policy *policy, struct cbpd_controller *controller);
/* The process-notify routine has seen this process end: its sessions end now, not when its handles are closed.
 * It runs in a callback, so it disarms nothing. */
void cbpd_controllers_process_ended(uint32_t pid);

/* ---- arming.c: sessions, and the callbacks that are registered while there are any. PASSIVE_LEVEL ---- */
void cbpd_arming_begin(void); /* at load */
/* Opens a session, or changes its settings. Gives a Win32 code, as the others do. */
uint32_t cbpd_session_set(struct cbpd_controller *controller, const struct cbp_session_settings *settings);
uint32_t cbpd_session_arm(struct cbpd_controller *controller, const struct cbp_kernel_session *request);
uint32_t cbpd_session_close(struct cbpd_controller *controller, uint32_t session_id);
/* The controller's last handle has been closed: all its sessions end, and it opens no other one. Requests may
 * still be on their way. */
void cbpd_sessions_close(struct cbpd_controller *controller);

/* ---- workers.c: threads whose operations fire nothing ---- */
void cbpd_workers_begin(void);                                                     /* at load */
uint32_t cbpd_worker_add(struct cbpd_controller *controller, uint32_t session_id); /* the current thread */
void cbpd_worker_remove(void);                                                     /* likewise */
bool cbpd_is_worker(uint32_t tid);
void cbpd_workers_thread_ended(uint32_t tid);
void cbpd_workers_of_session_ended(const struct cbpd_controller *controller, uint32_t session_id);
/* The next process that this thread of the controller creates has that rule of a launch. rule_id 0: takes it
 * back. */
uint32_t cbpd_launcher_set(struct cbpd_controller *controller, uint32_t session_id, uint32_t tid,
                           uint32_t rule_id);
/* Takes that back for whichever thread it was made. False: it has been used, or there was none. */
bool cbpd_launcher_forget(struct cbpd_controller *controller, uint32_t session_id, uint32_t rule_id);
/* Takes what that thread's next process is to have. False: nothing. */
bool cbpd_launcher_take(uint32_t tid, uint64_t *controller_id, uint32_t *session_id, uint32_t *rule_id);

/* ---- requests.c: the one table of control requests ---- */
/* Serves a REQUEST: size bytes at buffer, aligned to 8, which become the reply. Gives the status of the
 * request and the size of the reply. */
NTSTATUS cbpd_requests_serve(struct cbpd_controller *controller, void *buffer, size_t size, size_t reply_max,
                             size_t *reply_size);

/* ---- device.c ---- */
NTSTATUS cbpd_device_create(PDRIVER_OBJECT driver);
void cbpd_device_delete(void);

#endif

/* Declares the structures of the portable core and the functions that its files offer one another. Knows the
 * two seams (platform.h, transport.h), but no operating system and no driver.
 *
 * Locks may be taken together in this order: a session's control, the table of deferrals (in defer.c), a
 * session's mutex. control is held across requests to the driver and serialises them with the start and the
 * stop; mutex guards fields and is held briefly. No lock is held while a callback runs.
 *
 * An active session has these threads: one dispatcher, which starts and joins the workers and takes
 * everything down at the end, whichever thread asked for it; and the workers. */
#ifndef CBPI_CORE_H
#define CBPI_CORE_H

#include "cbp_atomic.h"
#include "cbp_compiler.h"
#include "cbp_message_check.h"
#include "cbprocess.h"
#include "errors.h"
#include "platform.h"
#include "rule_list.h"
#include "script_log.h"
#include "transport.h"

enum cbpi_state {
    CBPI_STATE_INACTIVE,
    CBPI_STATE_STARTING, /* the driver is attached, the first worker is coming up */
    CBPI_STATE_ACTIVE,
    CBPI_STATE_STOPPING, /* the driver is detached; the dispatcher takes down the rest */
};

/* These settings of cbp_session_set_config() are numbers, so that one table describes them. */
struct cbpi_config {
    struct cbpi_session_settings told; /* what the driver is told, see cbpi_config_settings() */
    uint32_t min_worker_count;
    uint32_t max_worker_count;
    uint32_t worker_stack_size;
    uint32_t serialize_events;
    uint32_t driver;            /* index in cbpi_driver_names */
    uint32_t is_refusal_chosen; /* RefuseWith has been set */
    uint32_t own_requests;      /* this and the next three are told as flags */
    uint32_t fork_is_creation;
    uint32_t scope_signals;
    uint32_t scope_proc_files;
    uint32_t hide_controller;
};

#define CBPI_ALL_EVENTS UINT32_MAX /* how PROC_EVT_ALL is kept in told.policy.events, and shown as -1 */

/* These settings are texts; NULL stands for "". */
struct cbpi_text_config {
    char *script;
    char *record_to;
    char *hold_paths;
};

struct cbpi_recorder;

struct cbp_session {
    uint64_t generation;                                                /* of the process that made it */
    char product_guid[sizeof "{xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx}"]; /* control; "": not yet */
    struct cbpi_mutex control;
    struct cbpi_mutex mutex;
    struct cbpi_condition condition; /* of mutex: state, startup and workers change, the dispatcher is due */

    uint32_t state;        /* atomic; leaves INACTIVE and enters STOPPING under control and mutex */
    bool is_started;       /* mutex: the dispatcher has said how the startup went, */
    uint32_t startup_code; /* mutex: and this is how, with a sentence */
    char startup_detail[256];
    uint32_t stop_code; /* why the driver did not confirm the stop, until it has been told */
    char stop_detail[256];
    bool is_closed;      /* mutex: the transport is closed, and begin_stop() does not use it any more */
    uint64_t epoch;      /* control: counts the starts */
    uint32_t timeout_ms; /* control */

    struct cbp_callbacks callbacks; /* changes only while inactive */
    struct cbpi_config config;      /* mutex */
    struct cbpi_text_config texts;  /* mutex; changes only while inactive */
    struct cbpi_rule_list rules;    /* control */
    uint32_t main_last_id;          /* control: see rule_parts.c */

    const struct cbpi_driver *driver; /* of the start before, or of this one */
    uint32_t capabilities;            /* control: CAP_ bits of driver, when the session was started last */
    struct cbpi_transport *transport; /* there from STARTING until the dispatcher releases it (mutex) */
    struct cbpi_recorder *recorder;   /* NULL: nothing is recorded; there as long as the transport */
    struct cbpi_script_log script;

    struct cbpi_thread dispatcher;
    bool must_join; /* mutex: dispatcher has been started and not joined */

    struct cbp_worker *workers; /* mutex */
    uint32_t worker_count;      /* atomic, written under mutex: workers that have not ended */
    uint32_t least_workers;     /* atomic, as is the next: what the pool should have */
    uint32_t most_workers;
    uint32_t failed_count; /* dispatcher only: workers that ended without serving */
    uint32_t idle_count;   /* atomic: workers waiting for a delivery */
    uint32_t is_watched;   /* atomic: the dispatcher looks often, because nobody is idle */

    uint64_t ended_delivered; /* mutex: cbp_statistics.delivered of workers that are gone */
    uint64_t late;            /* atomic, as are the next three */
    uint64_t malformed;
    uint64_t deferred;
    uint64_t skipped;     /* events that no memory was left for */
    uint64_t failed_seen; /* atomic: so many of those that failed_after counts have been reported */
    struct cbp_statistics final_counts; /* mutex: of the last transport */
};

enum cbpi_worker_state {
    CBPI_WORKER_STARTING,
    CBPI_WORKER_RUNNING,
    CBPI_WORKER_ENDED, /* its thread can be joined */
};

struct cbpi_deferral;

/* A block has room for an event of at most CBP_EVENT_SIZE_INLINE and the message that a transport decodes it
 * from. */
#define CBPI_BLOCK_SIZE (2u * (CBP_EVENT_SIZE_INLINE + 128u))

#define CBPI_EVENT_TYPE_MAX CBP_PROC_EVT_THREAD_HANDLE_OPERATION /* the largest type of an event */

struct cbp_worker {
    struct cbp_session *session;
    struct cbp_worker *next; /* session mutex */
    struct cbpi_thread thread;
    uint32_t state;     /* session mutex */
    bool has_run;       /* session mutex: it reached cbp_worker_run() */
    bool has_left;      /* session mutex: worker_count does not count it any more */
    uint64_t delivered; /* atomic, written by its thread alone, as is the next */
    uint64_t handling;  /* the address of the event that is being handled; 0: none */

    /* The rest belongs to the worker's own thread, or to the thread that has entered its handler. */
    uint32_t pending;            /* the transport's memory of a delivery that did not fit */
    uint32_t item;               /* which one of the delivery */
    uint32_t deferred_mask;      /* items of the delivery that were deferred */
    cbp_event_callback callback; /* its own, for events in block; NULL: the session's */
    /* In its place for events of one type in block, where not NULL. */
    cbp_event_callback type_callbacks[CBPI_EVENT_TYPE_MAX + 1];
    struct cbpi_deferral *deferral;
    void *grown; /* memory for a delivery that does not fit into block, or NULL */
    struct cbpi_delivery delivery;
    struct cbpi_turn turn; /* the transport's; not in the delivery, which may be copied */
    CBP_ALIGNAS(16) unsigned char block[CBPI_BLOCK_SIZE];
};

/* ---- drivers.c ---- */

/* Finds the driver of that name in this build, or gives NULL. "auto" is the default driver here. */
const struct cbpi_driver *cbpi_driver_find(const char *name, const char *product_guid);

bool cbpi_is_driver_name(const char *name); /* whether Driver accepts it; NULL is none */

/* Fails with CBP_ERROR_NOT_SUPPORTED and a sentence if the driver cannot launch programs in that way. */
uint32_t cbpi_driver_check_launch(const struct cbpi_driver *driver, uint32_t way);

/* Says whether the driver plays scripts. */
bool cbpi_driver_plays(const struct cbpi_driver *driver);

/* Gives the operations for the driver's own processes, or else for the machine's. */
const struct cbpi_process_ops *cbpi_driver_processes(const struct cbpi_driver *driver);

/* Gives the operations that install a driver; those of one that needs no installation do nothing. */
const struct cbpi_installation_ops *cbpi_driver_installation(const struct cbpi_driver *driver);

/* Tells the driver that the calling thread becomes a worker, or ceases to be one. An error ends the worker. */
uint32_t cbpi_driver_enter_worker(const struct cbpi_driver *driver, struct cbpi_transport *transport);
void cbpi_driver_leave_worker(const struct cbpi_driver *driver, struct cbpi_transport *transport);

/* Gives a token of the delivery's originator; -1: the driver has none that is better than the process's. */
int64_t cbpi_driver_originator_token(const struct cbpi_driver *driver, struct cbpi_transport *transport,
                                     const struct cbpi_delivery *delivery);

/* Visits the running processes by the way of a driver. CBP_ERROR_NOT_SUPPORTED, before any visit: there is none
 * here, or it is not worth while unless it is asked for. */
uint32_t cbpi_driver_list_processes(bool with_arguments, bool is_asked_for, cbpi_process_visitor *visit,
                                    void *context);

void cbpi_drivers_forget(void); /* in the child of a fork */

/* ---- handler.c: the session and the worker that the calling thread belongs to ---- */
void cbpi_thread_enter(struct cbp_session *session, struct cbp_worker *worker);
void cbpi_thread_leave(void);
struct cbp_session *cbpi_thread_session(void); /* NULL outside the library's threads */

/* Gives the worker that this thread belongs to, or whose handler it has entered; or NULL. */
struct cbp_worker *cbpi_thread_worker(void);

/* Gives the worker that is handling an event in this thread, or NULL. */
struct cbp_worker *cbpi_thread_serving(void);

/* Fails in a handler of any session with CBP_ERROR_POSSIBLE_DEADLOCK and a sentence about what. */
uint32_t cbpi_check_outside_handler(const char *what);

/* Fails if what is fixed in handlers and while active cannot be changed now. control is held. */
uint32_t cbpi_check_changeable(const struct cbp_session *session, const char *what);

/* Fails if the session cannot be used: it is NULL, or belongs to another process. */
uint32_t cbpi_session_check(const struct cbp_session *session);

/* ---- stop.c ---- */

/* Detaches an active or starting session; the dispatcher does the rest. Any thread may call it, without a
 * lock. */
void cbpi_session_begin_stop(struct cbp_session *session);

/* Waits until the dispatcher has taken everything down, and joins it. CBP_ERROR_TIMEOUT after slice_ms; 0: no
 * limit. */
uint32_t cbpi_session_wait_until_inactive(struct cbp_session *session, uint32_t slice_ms);

/* Ends the recording, if there is one: no worker and no deferred answer is left. */
void cbpi_session_end_recording(struct cbp_session *session);

/* ---- failed_executions.c ---- */

/* Tells the error callback of the failed executions that have not been reported yet, of the first so many
 * since the start. */
void cbpi_failed_executions_report(struct cbp_session *session, uint64_t limit);

/* ---- config.c ---- */
void cbpi_config_init(struct cbpi_config *config); /* which is all 0 */

/* Gives the settings that the driver is told; takes the session's mutex. */
void cbpi_config_settings(struct cbp_session *session, struct cbpi_session_settings *settings);

uint32_t cbpi_config_stack_size(struct cbp_session *session); /* of a worker, in bytes */

/* Writes least_workers and most_workers from the configuration; takes the session's mutex. */
void cbpi_config_apply_worker_limit(struct cbp_session *session);

/* ---- text.c ---- */
char cbpi_lower(char c);                                    /* of an ASCII letter */
bool cbpi_equal_without_case(const char *a, const char *b); /* but for the case of ASCII letters */
bool cbpi_is_guid(const char *text);                        /* in braces */
uint32_t cbpi_check_pattern(const char *pattern, uint64_t pattern_size);

/* ---- demands.c: what a driver with these capabilities cannot do, CBP_ERROR_NOT_SUPPORTED ---- */
uint32_t cbpi_demands_check_config(const struct cbpi_driver *driver, uint32_t capabilities,
                                   const struct cbpi_config *config);
uint32_t cbpi_demands_check_action(const struct cbpi_driver *driver, uint32_t capabilities, uint32_t action);
/* Checks everything that the session has with the driver that it is about to open. control is held. */
uint32_t cbpi_demands_check_session(struct cbp_session *session);
/* Says whether the driver of this start must be able now to do what is asked of it. control is held. */
bool cbpi_demands_are_due(const struct cbp_session *session);

/* ---- rules.c ---- */

/* Enters the rule (process, children, ask) of a launched process. The driver has it already under rule_id if
 * epoch is the running one. Takes control. */
uint32_t cbpi_rules_adopt(struct cbp_session *session, uint32_t rule_id, uint64_t epoch, uint32_t process_id,
                          uint64_t start_time);

uint32_t cbpi_rules_check_pattern(const char *pattern, uint64_t pattern_size);

/* Makes a rule about this process, or about all, as a call names it. */
struct cbpi_rule cbpi_rule_for_process(uint32_t process_id, uint32_t action);

/* ---- rule_parts.c: control is held ---- */

/* Gives the driver all rules when the filter starts, except those of processes that have ended. */
uint32_t cbpi_rules_push(struct cbp_session *session);

/* Tells the driver, while active, of the list with one rule more (may be NULL) and without the rules that
 * leave. The list itself is not changed. */
uint32_t cbpi_rules_change(struct cbp_session *session, const struct cbpi_rule *added);

/* Says whether a launch made the rule since the session was started last. The driver then has it by itself
 * until it is told to forget it. */
bool cbpi_rule_is_kept_by_driver(const struct cbp_session *session, const struct cbpi_rule_item *item);
uint32_t cbpi_rules_forget_launch(struct cbp_session *session, const struct cbpi_rule_item *item);

/* ---- log.c: the lines of LoggingEnabled, and the error callback ---- */
bool cbpi_log_refresh(void);               /* looks whether it is on, and says so */
uint32_t cbpi_log_enable(bool is_enabled); /* for good; cbpi_logging_write()'s codes */
CBP_PRINTF(1, 2) void cbpi_log(const char *format, ...);

/* Calls the error callback, if there is one, with a sentence made from format. */
CBP_PRINTF(3, 4)
void cbpi_session_report(const struct cbp_session *session, uint32_t code, const char *format, ...);

/* ---- dispatcher.c ---- */
void cbpi_dispatcher_body(void *session);

/* ---- worker.c ---- */

/* Starts a worker and enters it in the session's list. */
uint32_t cbpi_worker_start(struct cbp_session *session);

/* Joins workers that have ended and frees them; with all set, waits until every one has ended. Gives how many
 * of them had never run. */
uint32_t cbpi_workers_join(struct cbp_session *session, bool all);

/* ---- delivery.c ---- */

/* Answers a delivery whose handlers have returned or that was deferred; records and counts what became of it.
 * Gives the transport's result. */
uint32_t cbpi_delivery_answer(struct cbp_session *session, const struct cbpi_delivery *delivery);

/* Keeps the answer to item, unless a rule has decided it: the access can only lose rights. */
void cbpi_delivery_set_answer(struct cbpi_delivery *delivery, uint32_t item, uint32_t result_code,
                              uint32_t desired_access);

/* ---- defer.c ---- */
void cbpi_deferrals_init(void);
void cbpi_deferrals_forget(void); /* in the child of a fork */

/* Ends the worker's part in a delivery that has deferred events; the last part answers it. */
void cbpi_deferral_settle(struct cbp_worker *worker);

/* Lets go the operations that the session has deferred; its workers have ended. */
void cbpi_deferrals_drop(struct cbp_session *session);

#endif

/* Declares the library cbprocess, which watches and controls what processes and threads do. Programs include
 * this header alone; the others beside it are its parts. Each function's contract is its comment.
 *
 * Conventions
 *   Return values are 0 or a Win32 error code (CBP_ERROR_...); after a failure cbp_error_detail() has a
 * sentence about it, for the calling thread. Out-parameters come last and are written only on success, except
 * where a comment says otherwise. "size" is in bytes, "_ns" nanoseconds, "_ms" milliseconds. Texts are
 * NUL-terminated UTF-8; a system name that is not valid UTF-8 passes through unchanged (Linux: any bytes;
 * Windows: WTF-8). Every function may be called from any thread unless its comment says otherwise. "In a
 * handler" means: in a thread that is inside an event, error or worker callback of any session. After a fork
 * of the controller process the child's sessions are dead: every call on one gives CBP_ERROR_NOT_READY,
 * cbp_session_destroy() frees its memory, and the parent's filter is untouched.
 *   If several reasons to refuse a call are there at once, its result is the first of: the session cannot
 * be used (CBP_ERROR_NOT_READY), an argument is wrong (CBP_ERROR_INVALID_PARAMETER and
 * CBP_ERROR_IMPLEMENTATION_LIMIT), a handler may not do that (CBP_ERROR_POSSIBLE_DEADLOCK), or only a handler
 * may (CBP_ERROR_NO_CALLBACK_ACTIVE), the filter is active (CBP_ERROR_CONNECTION_ACTIVE); then the rest. */
#ifndef CBPROCESS_H
#define CBPROCESS_H

#include "cbp_api.h"

/* The version stands here and nowhere else; setup.py and CMakeLists.txt read this line. */
#define CBP_VERSION "0.1.0"

#ifdef __cplusplus
extern "C" {
#endif

struct cbp_session;
struct cbp_worker;

/* An event holds an operation, and the answer to it. The handler reads it, may change result_code and
 * desired_access, and returns. The memory is valid until then. All events of one worker have the same
 * address, unless size says more than CBP_EVENT_SIZE_INLINE. New fields are only ever appended to the fixed
 * part: use the offsets for the texts, never sizeof.
 *
 * result_code is 0 at first, or the code with which a rule has refused; any other code than 0 refuses where
 * EVENT_FLAG_REFUSABLE is set. desired_access has at first the rights that are asked for, less those that
 * rules took; bits can be taken out, not added. Texts are NUL-terminated, and their sizes do not count the NUL.
 * process_name_offset is equal in every event, also in one without a name: a NUL stands there. */
#define CBP_FIELDS_event(X, S)                                                                               \
    X(S, uint32_t, size)           /* of the event, its texts included */                                    \
    X(S, uint32_t, type)           /* one PROC_EVT_ bit */                                                   \
    X(S, uint32_t, result_code)    /* in/out */                                                              \
    X(S, uint32_t, desired_access) /* in/out */                                                              \
    X(S, uint32_t, flags)          /* EVENT_FLAG_ bits */                                                    \
    X(S, uint32_t, process_id)                                                                               \
    X(S, uint32_t, thread_id)                                                                                \
    X(S, uint32_t, parent_process_id)                                                                        \
    X(S, uint32_t, originator_process_id) /* creating process, or caller of a handle operation */            \
    X(S, uint32_t, originator_thread_id)                                                                     \
    X(S, uint32_t, source_process_id)                                                                        \
    X(S, uint32_t, target_process_id)                                                                        \
    X(S, uint32_t, original_desired_access)                                                                  \
    X(S, uint32_t, user_id)      /* Linux: of the process, as of its last execution */                       \
    X(S, uint32_t, exit_status)  /* terminations; Linux: a wait status, Windows: the exit code */            \
    X(S, uint32_t, capabilities) /* CAP_ bits that hold for this process */                                  \
    X(S, uint64_t, sequence)     /* counts up by one for each event of the session, lost ones included */    \
    X(S, uint64_t, time_ns)      /* since 1970-01-01 UTC */                                                  \
    X(S, uint64_t, start_time)   /* of process_id: clock ticks since boot, as in /proc/PID/stat */           \
    X(S, uint64_t, deadline_ns)  /* CLOCK_MONOTONIC, as it was when the event was made; 0: none */           \
    X(S, uint64_t, context)      /* cbp_callbacks.context of the session */                                  \
    X(S, uint32_t, process_name_offset) /* of a text from the event's start, as are the next offsets */      \
    X(S, uint32_t, process_name_size)                                                                        \
    X(S, uint32_t, image_file_name_offset)                                                                   \
    X(S, uint32_t, image_file_name_size)                                                                     \
    X(S, uint32_t, arguments_offset) /* each argument with its NUL, counted (Windows: the command line) */   \
    X(S, uint32_t, arguments_size)

struct cbp_event {
    CBP_FIELDS_event(CBP_EVENT_MEMBER_, event)
};
CBP_ASSERT_SIZE(struct cbp_event, 128);

#define CBP_EVENT_SIZE_INLINE 16384u /* an event of at most this size stands at its worker's own address */

/* These functions give the texts of an event: pointers into it, "" where it has none. */
static inline const char *cbp_event_process_name(const struct cbp_event *event)
{
    return event->process_name_size ? (const char *) event + event->process_name_offset : "";
}

static inline const char *cbp_event_image_file_name(const struct cbp_event *event)
{
    return event->image_file_name_size ? (const char *) event + event->image_file_name_offset : "";
}

static inline const char *cbp_event_arguments(const struct cbp_event *event)
{
    return event->arguments_size ? (const char *) event + event->arguments_offset : "";
}

/* A worker thread calls this for each event; the operation waits until it returns (or until
 * cbp_event_complete(), after cbp_event_defer()). It must not throw or unwind through this frame. */
typedef void(CBP_CALL *cbp_event_callback)(struct cbp_event *event);

/* The library calls this with a CBP_ERROR_ code and a sentence when something failed outside any call: events
 * were lost, a worker could not start, the helper died. It runs in the dispatcher's thread or a
 * worker's; text lives until it returns. */
typedef void(CBP_CALL *cbp_error_callback)(uint64_t context, uint32_t code, const char *text);

/* A worker thread calls this in place of its own body: it must call cbp_worker_run(worker) once and return
 * after it. It is for runtimes that want to be the outermost frame of their threads (a Python thread keeps
 * its thread-locals then). If it does not call cbp_worker_run(), that worker ends. */
typedef void(CBP_CALL *cbp_worker_callback)(uint64_t context, struct cbp_worker *worker);

struct cbp_callbacks {
    uint32_t size; /* of this structure, as the caller was compiled */
    uint32_t reserved;
    uint64_t context;
    cbp_event_callback event; /* required */
    cbp_error_callback error;
    cbp_worker_callback worker;
};

/* Counts what happened to the events of a session since cbp_session_start(). */
#define CBP_FIELDS_statistics(X, S)                                                                          \
    X(S, uint64_t, delivered)       /* events that a handler was called for */                               \
    X(S, uint64_t, lost)            /* events that never reached a handler */                                \
    X(S, uint64_t, timed_out)       /* operations let go (or refused) at their deadline */                   \
    X(S, uint64_t, refused)         /* operations refused, by a handler or a rule */                         \
    X(S, uint64_t, decided_by_rule) /* operations that a rule decided */                                     \
    X(S, uint64_t, late)            /* answers that came after the deadline and changed nothing */           \
    X(S, uint64_t, failed_after)    /* executions allowed that then failed in the system */                  \
    X(S, uint64_t, malformed)       /* messages dropped because they were not well-formed */                 \
    X(S, uint64_t, workers)         /* worker threads now */                                                 \
    X(S, uint64_t, supervised)      /* tasks under a tree driver now */                                      \
    X(S, uint64_t, deferred)        /* operations deferred and not yet completed */                          \
    X(S, uint64_t, queued)          /* messages that wait for a worker now */                                \
    X(S, uint64_t, guessed)         /* processes whose creator is not known: they have the rules of all */

struct cbp_statistics {
    CBP_FIELDS_statistics(CBP_EVENT_MEMBER_, statistics)
};
CBP_ASSERT_SIZE(struct cbp_statistics, 104);

/* ---- The library ------------------------------------------------------------------------------------- */

/* Gives the version of the built library, "major.minor.patch". */
CBP_API const char *CBP_CALL cbp_version(void);

/* Gives the text of a CBP_ERROR_ code; "unknown error" for any other. Never NULL. */
CBP_API const char *CBP_CALL cbp_error_message(uint32_t code);

/* Gives, in an error callback with CBP_ERROR_GEN_FAILURE, the sequence number of the creation event of an
 * execution that was allowed and then failed in the system, so that it did not happen. *os_error is its errno
 * (0: the process has ended in it, or the driver does not know); os_error may be NULL. Gives 0 for every other
 * error, and elsewhere. */
CBP_API uint64_t CBP_CALL cbp_failed_execution(uint32_t *os_error);

/* Gives a sentence about the last call that failed in this thread; "" before the first. It is valid until the
 * next failure. */
CBP_API const char *CBP_CALL cbp_error_detail(void);

/* Describes one thing that the library was built with, for tests of a binding: kind "struct" (offset 0, its
 * size), "field" (of owner), "const" (value in offset, as two's complement; owner is its group). */
struct cbp_abi_row {
    const char *kind;
    const char *owner;
    const char *name;
    const char *text; /* constants: what it means */
    uint32_t offset;
    uint32_t size;
};

/* Gives the rows; *count is always written. */
CBP_API const struct cbp_abi_row *CBP_CALL cbp_abi_rows(uint32_t *count);

/* Checks size bytes as a message of the given type (CBP_MESSAGE_...), as both sides of a driver's boundary
 * do. Gives 0 or CBP_ERROR_INVALID_DATA, for any bytes whatever. */
CBP_API uint32_t CBP_CALL cbp_message_validate(const void *message, uint64_t size, uint32_t type);

/* Says whether a name rule with this pattern matches this name: *matches is 1 or 0. In a pattern '*' is any
 * run of characters and '?' exactly one; without a separator the file name alone is matched.
 * CBP_ERROR_INVALID_PARAMETER for a pattern that a rule could not have (empty, longer than PATTERN_SIZE_MAX).
 */
CBP_API uint32_t CBP_CALL cbp_pattern_match(const char *pattern, uint64_t pattern_size, const char *name,
                                            uint64_t name_size, uint32_t *matches);

/* ---- Sessions ----------------------------------------------------------------------------------------- */

/* Makes an inactive session. product_guid is a GUID in braces, case ignored; anything else is
 * CBP_ERROR_INVALID_PARAMETER. With NULL the session has none yet: it keeps its settings and rules, and
 * starts only after cbp_session_set_product_guid() (CBP_ERROR_NOT_READY). *session is the caller's until
 * cbp_session_destroy(). */
CBP_API uint32_t CBP_CALL cbp_session_create(const char *product_guid, struct cbp_session **session);

/* Gives the session a product GUID, in place of the one that it may have. CBP_ERROR_INVALID_PARAMETER if it
 * is no GUID, CBP_ERROR_CONNECTION_ACTIVE while the session is active. */
CBP_API uint32_t CBP_CALL cbp_session_set_product_guid(struct cbp_session *session, const char *product_guid);

/* Copies to the session the settings of another one, which may belong to the process that this one was forked
 * from. All are copied but RecordTo, since a file has one writer. CBP_ERROR_CONNECTION_ACTIVE while the
 * session is active. */
CBP_API uint32_t CBP_CALL cbp_session_copy_config(struct cbp_session *session, struct cbp_session *other);

/* Stops the session if it is active and frees it; NULL does nothing. A handler of this session cannot do it
 * (CBP_ERROR_POSSIBLE_DEADLOCK, nothing freed). No other call on the session may run or follow. */
CBP_API uint32_t CBP_CALL cbp_session_destroy(struct cbp_session *session);

/* Sets the callbacks, while the session is inactive (else CBP_ERROR_CONNECTION_ACTIVE). event must not be
 * NULL. */
CBP_API uint32_t CBP_CALL cbp_session_set_callbacks(struct cbp_session *session,
                                                    const struct cbp_callbacks *callbacks);

/* Sets a configuration value from text. Names and values are compared without case; booleans are True, False,
 * 1, 0, Yes, No; numbers are decimal, or hexadecimal with 0x.
 *
 * - EventsToFire: PROC_EVT_ bits, -1 for all; default 0; takes effect at once.
 * - FilterOwnRequests: boolean, default False; takes effect at once.
 * - MinWorkerThreadCount: 0 .. 1024; 0 (default): max(processors, 4). The maximum is used if it is less.
 * - MaxWorkerThreadCount: 0 .. 1024; 0 (default): 4 * processors.
 * - WorkerInitialStackSize: bytes, 0 (default) and less than 1 MiB: 1 MiB; at most 1 GiB; fixed while active.
 * - SerializeEvents: 0 or 1 (SERIALIZE_...); fixed while active.
 * - Driver: auto (default), ptrace, bpf, simulated, debug, kernel; fixed while active. On Windows auto is
 *   kernel if the caller is an administrator, else debug; on Linux it is bpf if the session's product has
 *   installed that and the caller has CAP_SYS_ADMIN, else ptrace.
 * - TimeoutAction: allow (default) or deny, or TIMEOUT_ACTION_ALLOW, TIMEOUT_ACTION_DENY as a number; takes
 * effect at once.
 * - RefuseWith: errno (default) or kill, or REFUSE_WITH_ERRNO, REFUSE_WITH_KILL as a number: how a tree
 * driver refuses an execution; applies to trees that are started afterwards.
 * - ForkIsCreation: boolean, default False; takes effect at once.
 * - HideController: boolean, default False; fixed while active. With cbp_session_start() this process becomes
 *   one that nobody of its user can read, open the descriptors of or trace, until it ends: no core dumps, no
 *   debuggers, no /proc/self/mem. CBP_ERROR_NOT_SUPPORTED on Windows.
 * - ScopeSignals: boolean, default False; applies to trees that are started afterwards. Their processes can
 *   signal nobody outside of the tree of their launch. Takes a Landlock that can do that (Linux 6.12):
 *   CBP_ERROR_NOT_SUPPORTED elsewhere, when the filter starts.
 * - ScopeProcFiles: boolean, default False; applies to trees that are started afterwards. Their processes can
 *   write no file below /proc, not even their own, and can read memory, environment and descriptors of nobody
 *   outside of the tree of their launch; inside of it they can read each other's. They cannot mount. Takes
 *   Landlock (Linux 5.19): CBP_ERROR_NOT_SUPPORTED elsewhere, when the filter starts.
 * - Altitude: a decimal number above 0 and below 4294967296, with at most 9 decimal places; default 400055;
 *   takes effect at once. The sessions that an operation is told to are told in order of altitude, the
 * highest first, and where several refuse, the refusal of the highest counts.
 * - StrictAltitude: boolean, default False. Tree drivers let sessions share an altitude (the one that was
 *   started first comes first), so that it changes nothing for them. The kernel driver takes a neighbouring
 *   altitude where another driver has this one; with True that is CBP_ERROR_ALREADY_EXISTS.
 * - LoggingEnabled: boolean, default False; the machine's rather than the session's, and kept. While it is
 *   True, sessions write what becomes of them (started, stopped with their counts, every report to an error
 *   callback) to the system log: on Linux to the journal or syslog. Takes effect in this process at once, in
 *   others when they next start a filter. Needs the right to write the file it is kept in (Linux:
 *   /etc/cbprocess/logging, or of that name in the folder that CBPROCESS_CONFIG_DIR names):
 *   CBP_ERROR_PRIVILEGE_NOT_HELD without.
 * - Script: path of a recording or script that the simulated driver plays from the start on; "" (default) for
 *   none; fixed while active. The file is read by cbp_session_start(); docs/recording.md has its format.
 * - ReplaySpeed: max (default: as fast as the handlers are) or recorded (no event before its time, counted
 * from the start); fixed while active.
 * - ReplayVerdicts: asked (default: the handlers decide) or recorded (what a recording says was answered
 * stands; the events are marked as decided, or as timed out); fixed while active.
 * - RecordTo: path of a file that is written with every event that is delivered and every verdict; ""
 * (default) for none; fixed while active. With any driver. cbp_session_start() creates or empties the file,
 * readable by its owner alone.
 * - HoldPaths: paths with colons between them, "" (default) for none; fixed while active. The bpf driver holds
 * only executions of files on the file systems of these paths, and sees the others. Other drivers take no
 * notice of it.
 *
 * CBP_ERROR_INVALID_PARAMETER for an unknown name or value; where the setting is fixed while active,
 * CBP_ERROR_CONNECTION_ACTIVE then and CBP_ERROR_POSSIBLE_DEADLOCK in a handler; CBP_ERROR_NOT_SUPPORTED for
 * a driver that is not part of this build, and while active for what the driver cannot do. */
CBP_API uint32_t CBP_CALL cbp_session_set_config(struct cbp_session *session, const char *name,
                                                 const char *value);

/* Copies a configuration value as text into buffer, NUL-terminated; booleans are "True" and "False". Besides
 * the settings above there is BuildInfo. CBP_ERROR_INSUFFICIENT_BUFFER if it does not fit; *needed (may be
 * NULL) is written in both cases: the bytes that it takes with its NUL. */
CBP_API uint32_t CBP_CALL cbp_session_get_config(struct cbp_session *session, const char *name, char *buffer,
                                                 uint64_t size, uint64_t *needed);

/* Starts the driver if need be, attaches the filter and starts the workers. timeout_ms is 0 (no deadline as
 * long as the dispatcher lives) or at least TIMEOUT_MIN_MS, else CBP_ERROR_IMPLEMENTATION_LIMIT.
 * CBP_ERROR_NOT_READY without a product GUID; CBP_ERROR_CONNECTION_ACTIVE if it is active;
 * CBP_ERROR_APP_INIT_FAILURE if the driver's handshake or the first worker failed;
 * CBP_ERROR_FS_DRIVER_REQUIRED if the helper's program, or the installed driver, is missing or damaged;
 * CBP_ERROR_PRIVILEGE_NOT_HELD if no process may be traced here (cbp_driver_probe() tells);
 * CBP_ERROR_POSSIBLE_DEADLOCK in a handler. The kernel driver and the bpf driver give
 * CBP_ERROR_FILE_NOT_FOUND if this product has not installed them, and CBP_ERROR_INVALID_KERNEL_INFO_VERSION
 * if they are older than the library; where the caller may not use them, the former gives
 * CBP_ERROR_ACCESS_DENIED and the latter CBP_ERROR_PRIVILEGE_NOT_HELD. The kernel driver gives CBP_ERROR_ALREADY_EXISTS if StrictAltitude
 * is True and another driver has the altitude. There is also
 * CBP_ERROR_INVALID_PARAMETER without callbacks; CBP_ERROR_NOT_SUPPORTED if the driver cannot do here what a
 * setting or a rule asks for. Where a limit is reached it gives CBP_ERROR_NO_SYSTEM_RESOURCES (processes,
 * threads, sessions), CBP_ERROR_TOO_MANY_OPEN_FILES or CBP_ERROR_NOT_ENOUGH_MEMORY; where a rule with
 * RULE_FLAG_ATTACH cannot be fulfilled, the codes of cbp_rule_add_process(). With RecordTo or Script it also
 * gives the codes of cbp_recording_open(), and CBP_ERROR_GEN_FAILURE for a file that cannot be written. On
 * failure nothing runs and nothing is attached. */
CBP_API uint32_t CBP_CALL cbp_session_start(struct cbp_session *session, uint32_t timeout_ms);

/* Ends delivery, lets everything held go on unrefused, and joins the workers. Rules stay. It waits at most
 * slice_ms milliseconds (0: as long as it takes); CBP_ERROR_TIMEOUT when handlers are still running then:
 * call it again to go on waiting. In a handler it ends delivery and returns 0 without waiting; the stop
 * completes when the handlers have returned. On an inactive session it does nothing. Deferred operations are
 * let go. CBP_ERROR_SERVICE_REQUEST_TIMEOUT, within seconds: the filter has stopped here, but the driver's
 * process does not answer (it may have been stopped by a signal). What it holds then stays held until it
 * answers. */
CBP_API uint32_t CBP_CALL cbp_session_stop(struct cbp_session *session, uint32_t slice_ms);

/* Says whether the session is active: *active is 1 from a successful start until the stop begins, else 0. A
 * session whose driver dies, or whose last worker ends, tells its error callback and stops by itself. */
CBP_API uint32_t CBP_CALL cbp_session_is_active(struct cbp_session *session, uint32_t *active);

/* Fills *statistics; size is sizeof(struct cbp_statistics) as the caller was compiled (a smaller one gets the
 * leading fields). */
CBP_API uint32_t CBP_CALL cbp_session_get_statistics(struct cbp_session *session,
                                                     struct cbp_statistics *statistics, uint64_t size);

/* Says what can be seen, held and refused of one process: *capabilities gets CAP_ bits, maybe fewer than the
 * driver's own (for a process that was attached, say). CBP_ERROR_NOT_READY while inactive;
 * CBP_ERROR_NOT_FOUND for a process that the driver does not supervise. */
CBP_API uint32_t CBP_CALL cbp_session_process_capabilities(struct cbp_session *session, uint32_t process_id,
                                                           uint32_t *capabilities);

/* ---- Rules -------------------------------------------------------------------------------------------- */

/* These calls work at any time between create and destroy, in handlers, too; rules outlive a stop. A rule
 * that is added again (for the process or pattern, with the action) replaces the earlier one, so that one
 * removal removes it; it is then the newest. If several rules refuse, the code of the oldest counts. A
 * session has at most 1,048,576 rules, with patterns of 1 GiB. */

/* Adds a rule for one process, or with process_id 0xffffffff (-1) for all (not with ACTION_IGNORE). flags are
 * RULE_FLAG_ bits: CHILDREN extends it to descendants alive now and all later ones; with ATTACH a tree driver
 * takes the process (and with CHILDREN its descendants) under the filter if it runs outside of it, but never
 * the controller itself. action is ACTION_...; action_value is the refusal's Win32 code for ACTION_DENY (not
 * 0), for ACTION_STRIP the rights (PROCESS_ bits, not 0; out of thread handles it takes the corresponding
 * ones), else 0. The rule belongs to the process, not to the number: the rule of a process that had the id
 * before stays for its descendants, if it extends to them, until it is removed. CBP_ERROR_INVALID_PARAMETER
 * if no such process lives (under the simulated driver any id but 0 will do: if no process of the script has
 * it now, the rule belongs to the next one that gets it). With ATTACH, where nothing is added on an error:
 * CBP_ERROR_BUSY if another tracer has the process, CBP_ERROR_ACCESS_DENIED if it must not be traced.
 * CBP_ERROR_NO_SYSTEM_RESOURCES if there are as many rules as there can be. While active
 * CBP_ERROR_NOT_SUPPORTED for an action that the driver cannot carry out. */
CBP_API uint32_t CBP_CALL cbp_rule_add_process(struct cbp_session *session, uint32_t process_id,
                                               uint32_t flags, uint32_t action, uint32_t action_value);

/* Adds a rule for every process whose executable matches pattern (see cbp_pattern_match), now or later;
 * pattern has pattern_size bytes, no NUL among them. A process goes by two names: its executable's path, and
 * the path by which it was started (a script, a symbolic link); the rule matches either. With ATTACH a tree
 * driver takes running processes of the same user that match under the filter, except the controller, its
 * ancestors, and the processes that the system stands on (docs/linux.md); it leaves alone those that it
 * cannot take. CBP_ERROR_INVALID_PARAMETER for a pattern that is empty, longer than PATTERN_SIZE_MAX, has a
 * NUL, or on Windows is not UTF-8 (surrogates let through); CBP_ERROR_NO_SYSTEM_RESOURCES if there are as
 * many rules as there can be. */
CBP_API uint32_t CBP_CALL cbp_rule_add_name(struct cbp_session *session, const char *pattern,
                                            uint64_t pattern_size, uint32_t flags, uint32_t action,
                                            uint32_t action_value);

/* Removes the rule of this process or pattern with this action. CBP_ERROR_NOT_FOUND if there is none. The
 * rule of a process that has ended can still be removed by its id; if a process that has the id now has such
 * a rule, too, that rule goes first. */
CBP_API uint32_t CBP_CALL cbp_rule_remove_process(struct cbp_session *session, uint32_t process_id,
                                                  uint32_t action);
CBP_API uint32_t CBP_CALL cbp_rule_remove_name(struct cbp_session *session, const char *pattern,
                                               uint64_t pattern_size, uint32_t action);

/* Removes many rules with that action at once, for the price of one change: the rules of pattern_count
 * patterns of pattern_sizes bytes, and of process_count processes. All are in force until none is.
 * CBP_ERROR_NOT_FOUND, and nothing is removed, if one of them is not there; one that is named twice counts
 * once. */
CBP_API uint32_t CBP_CALL cbp_rules_remove(struct cbp_session *session, uint32_t action,
                                           const char *const *patterns, const uint64_t *pattern_sizes,
                                           uint32_t pattern_count, const uint32_t *process_ids,
                                           uint32_t process_count);

/* ---- In a handler ------------------------------------------------------------------------------------- */

/* Runs a worker until it has to end; a cbp_worker_callback calls it, once. */
CBP_API void CBP_CALL cbp_worker_run(struct cbp_worker *worker);

/* Lets callback, in place of the session's, handle those events of this worker that stand in its own block of
 * CBP_EVENT_SIZE_INLINE bytes, whose address *event gets; larger events still go to the session's. It is for
 * bindings whose callback can keep what belongs to that memory. Only the worker callback may call it, before
 * cbp_worker_run(): CBP_ERROR_NO_CALLBACK_ACTIVE elsewhere; CBP_ERROR_INVALID_PARAMETER for NULL. */
CBP_API uint32_t CBP_CALL cbp_worker_bind(struct cbp_worker *worker, cbp_event_callback callback,
                                          struct cbp_event **event);

/* Lets callback handle those events of one type that would go to the callback of cbp_worker_bind(), so that a
 * binding need not look at an event to find its handler. It may be called where cbp_worker_bind() may, and
 * does nothing without that. CBP_ERROR_NO_CALLBACK_ACTIVE elsewhere; CBP_ERROR_INVALID_PARAMETER for NULL or
 * a type that no event has. */
CBP_API uint32_t CBP_CALL cbp_worker_bind_type(struct cbp_worker *worker, uint32_t type,
                                               cbp_event_callback callback);

/* Restarts the deadline of the event that is handled in this thread: timeout_ms from now, or none with 0.
 * *accepted is 1, or 0 when the deadline had passed already. CBP_ERROR_NO_CALLBACK_ACTIVE outside a handler.
 */
CBP_API uint32_t CBP_CALL cbp_event_reset_timeout(uint32_t timeout_ms, uint32_t *accepted);

/* Lets the handler return without an answer: the operation stays held, its deadline running, until
 * cbp_event_complete() is called with *ticket. A handler may call it once for each event, before it returns.
 * CBP_ERROR_NO_CALLBACK_ACTIVE outside a handler. */
CBP_API uint32_t CBP_CALL cbp_event_defer(uint64_t *ticket);

/* Answers a deferred event, from any thread. CBP_ERROR_NOT_FOUND for a ticket that is unknown, used up, or
 * whose session has stopped; CBP_ERROR_TIMEOUT if the deadline had passed (the answer changes nothing). */
CBP_API uint32_t CBP_CALL cbp_event_complete(uint64_t ticket, uint32_t result_code, uint32_t desired_access);

/* Gives a handle of the process that asks for the operation that is handled in this thread (of a termination:
 * the process that ends): a pidfd on Linux, an access token on Windows. The caller closes it. *token is -1 if
 * that process has gone or no handle of it can be had. CBP_ERROR_NO_CALLBACK_ACTIVE outside a handler. */
CBP_API uint32_t CBP_CALL cbp_event_originator_token(int64_t *token);

/* Says whether this thread is in a handler: 1 or 0. */
CBP_API uint32_t CBP_CALL cbp_in_handler(void);

/* Makes this thread count as in the handler of event until cbp_handler_leave(), so that cbp_event_defer() and
 * its like are about that event. It is for runtimes that run a callback in another thread than the worker's,
 * which waits for it meanwhile (Node.js, say). event is the one that the handler was called with, and the
 * handler has not returned: leave before it does. CBP_ERROR_NOT_FOUND for another event;
 * CBP_ERROR_POSSIBLE_DEADLOCK in a handler. */
CBP_API uint32_t CBP_CALL cbp_handler_enter(struct cbp_session *session, const struct cbp_event *event);

/* Ends what cbp_handler_enter() began. CBP_ERROR_NO_CALLBACK_ACTIVE if this thread has not entered a handler.
 */
CBP_API uint32_t CBP_CALL cbp_handler_leave(void);

/* ---- Processes ---------------------------------------------------------------------------------------- */

/* Gives the path of a living process's executable, or "" if there is no such process; in a handler of its
 * creation or termination, the event's process_name. The buffer rules are those of cbp_session_get_config().
 */
CBP_API uint32_t CBP_CALL cbp_process_name(uint32_t process_id, char *buffer, uint64_t size,
                                           uint64_t *needed);

/* ---- Launching (tree drivers) ------------------------------------------------------------------------- */

/* Makes a launch: one descriptor that the launcher program (cbprocess-launch) inherits, and one that tells
 * how it ended. The caller starts the launcher by its own means with argv[0] "cbprocess-launch" followed by
 * the decimal number of *launcher_fd after one space, the other arguments being the target's own from argv[1]
 * on. argument0 is the target's argv[0]; paths are the paths to try in turn, NUL-terminated one after the
 * other, paths_size bytes in all. Adds the rule (process, children, ask) before the target runs when ask is
 * 1. CBP_ERROR_NOT_READY if the session is not active; CBP_ERROR_POSSIBLE_DEADLOCK in a handler;
 * CBP_ERROR_NOT_SUPPORTED if the driver cannot launch; CBP_ERROR_TOO_MANY_OPEN_FILES. On failure there is
 * nothing to finish. */
struct cbp_launch_handle;
CBP_API uint32_t CBP_CALL cbp_launch_begin(struct cbp_session *session, const char *argument0,
                                           const char *paths, uint64_t paths_size, uint32_t ask,
                                           int32_t *launcher_fd, struct cbp_launch_handle **launch);

/* These two calls begin a launch on Windows, where the caller's own CreateProcess does the rest. A process
 * that this thread creates with the flag DEBUG_PROCESS between enter and leave is debugged by the filter's
 * helper, and waits at its first event. leave is called in the thread of enter, with the id of the process
 * that was created, or 0 if none was; after it comes cbp_launch_finish() (started 0 after a leave with
 * process id 0, or that failed). Between the two this thread must not debug anything itself. Adds the rule
 * (process, children, ask) when ask is 1. A process for which leave is not called waits until the launch is
 * finished, and belongs to no launch then. Errors as for cbp_launch_begin(); each of the two ways gives
 * CBP_ERROR_NOT_SUPPORTED on the other system. */
CBP_API uint32_t CBP_CALL cbp_launch_enter(struct cbp_session *session, uint32_t ask,
                                           struct cbp_launch_handle **launch);
CBP_API uint32_t CBP_CALL cbp_launch_leave(struct cbp_launch_handle *launch, uint32_t process_id);

/* Gives the flags that CreateProcess needs, besides the caller's own, between these two calls:
 * DEBUG_PROCESS (1) with the debug driver, 0 with the kernel driver. */
CBP_API uint32_t CBP_CALL cbp_launch_creation_flags(const struct cbp_launch_handle *launch, uint32_t *flags);

/* Waits until the target's image runs, was refused or could not be executed; frees the launch. It is called
 * exactly once, before the session is destroyed, after the launcher was started (or could not be: with
 * started 0 it only frees). Closes *launcher_fd in this process. With slice_ms not 0 the wait ends with
 * CBP_ERROR_TIMEOUT, and the launch stays valid. On success *os_error is 0, or the errno of the execve that
 * failed or was refused (Windows: the Win32 code of the refusal). CBP_ERROR_BUSY: the program has another
 * tracer; CBP_ERROR_BROKEN_PIPE: the launcher or the helper died. */
CBP_API uint32_t CBP_CALL cbp_launch_finish(struct cbp_launch_handle *launch, uint32_t started,
                                            uint32_t slice_ms, uint32_t *os_error);

/* Gives the path of the launcher program that belongs to this library. The buffer rules are those of
 * cbp_session_get_config(); CBP_ERROR_FS_DRIVER_REQUIRED if it is missing or may not be executed. */
CBP_API uint32_t CBP_CALL cbp_launcher_path(char *buffer, uint64_t size, uint64_t *needed);

#ifdef __cplusplus
}
#endif

/* These headers declare the rest of the interface, by subject. */
#include "cbp_drivers.h"
#include "cbp_pattern_set.h"
#include "cbp_script.h"
#include "cbp_snapshot.h"

#endif

/* Is the seam between the portable core and the operating system: threads, clock, processes. One file for
 * each platform under src/platform/ implements it. Knows nothing of sessions. */
#ifndef CBPI_PLATFORM_H
#define CBPI_PLATFORM_H

#include "cbp_time.h"
#include "cbprocess.h"

#include <stdbool.h>

#if defined(_WIN32)
#include "../platform/windows/platform_types.h"
#else
#include "../platform/linux/platform_types.h" /* struct cbpi_mutex, cbpi_condition, cbpi_thread, cbpi_file */
#endif

/* Gives the nanoseconds of the monotonic clock that deadlines are told in. */
uint64_t cbpi_now_ns(void);

/* Gives the time so many ms from now; for 0 one that never comes. */
static inline uint64_t cbpi_deadline_ns(uint32_t slice_ms)
{
    return slice_ms ? cbpi_now_ns() + slice_ms * CBP_NS_PER_MS : UINT64_MAX;
}

/* Gives the nanoseconds since 1970-01-01 UTC. */
uint64_t cbpi_wall_ns(void);

void cbpi_mutex_init(struct cbpi_mutex *mutex);
void cbpi_mutex_destroy(struct cbpi_mutex *mutex);
void cbpi_mutex_lock(struct cbpi_mutex *mutex);
void cbpi_mutex_unlock(struct cbpi_mutex *mutex);

/* Says whether the mutex was free; it is held then. */
bool cbpi_mutex_try_lock(struct cbpi_mutex *mutex);

void cbpi_condition_init(struct cbpi_condition *condition);
void cbpi_condition_destroy(struct cbpi_condition *condition);
void cbpi_condition_broadcast(struct cbpi_condition *condition);

/* Waits until broadcast or the time of the monotonic clock (UINT64_MAX: no limit); may return early. The
 * mutex is held before and after. */
void cbpi_condition_wait_until(struct cbpi_condition *condition, struct cbpi_mutex *mutex,
                               uint64_t deadline_ns);

/* Ends the wait of one thread at least, if any waits. */
void cbpi_condition_signal(struct cbpi_condition *condition);

/* Starts a thread with all signals blocked. stack_size is in bytes, and is rounded up to what the system
 * takes. A thread is joined exactly once. CBP_ERROR_NO_SYSTEM_RESOURCES, CBP_ERROR_NOT_ENOUGH_MEMORY. */
uint32_t cbpi_thread_start(struct cbpi_thread *thread, void (*body)(void *), void *argument,
                           uint64_t stack_size);
void cbpi_thread_join(struct cbpi_thread *thread);

uint32_t cbpi_processor_count(void);

/* Gives the id of the calling thread, as the system's tools show it. */
uint32_t cbpi_thread_id(void);

uint32_t cbpi_process_id(void);

/* Keeps other processes of this process's user, from now on and as long as it runs, from reading its memory,
 * opening its descriptors or tracing it. CBP_ERROR_NOT_SUPPORTED where the system does not offer that. */
uint32_t cbpi_process_hide(void);

/* Fails with code, CBP_ERROR_NO_SYSTEM_RESOURCES or CBP_ERROR_TOO_MANY_OPEN_FILES, and a sentence that begins
 * with what could not be done and names the limit that is in the way. */
uint32_t cbpi_fail_limit(uint32_t code, const char *what);

/* Gives a number that changes when the process is a fork of the one that asked before. Two numbers are equal
 * only in one process. */
uint64_t cbpi_process_generation(void);

/* Registers a hook, once, that is called in the child of every fork of this process. The hook must not lock:
 * the locks are as the parent's other threads left them. */
void cbpi_on_fork_child(void (*hook)(void));

/* Gives the start time of a living process in the unit of cbp_event.start_time. CBP_ERROR_INVALID_PARAMETER
 * if there is none. */
uint32_t cbpi_process_start_time(uint32_t process_id, uint64_t *start_time);

/* Gives what cbp_process_name() gives, as the system shows it now. */
uint32_t cbpi_process_path(uint32_t process_id, char *buffer, uint64_t size, uint64_t *needed);

/* Gives what cbp_event_originator_token() gives, for a process that started at start_time (0: at any time).
 */
int64_t cbpi_process_token(uint32_t process_id, uint64_t start_time);

/* The system tells this of one process; texts are without a NUL, and valid during the visit. */
struct cbpi_process_facts {
    uint32_t process_id, parent_process_id, thread_count;
    uint64_t start_time;
    const char *name; /* as in cbp_process_record */
    size_t name_size;
    uint32_t flags;        /* likewise */
    uint32_t user_id;      /* likewise */
    const char *arguments; /* each with its NUL */
    size_t arguments_size;
};

typedef uint32_t cbpi_process_visitor(void *context, const struct cbpi_process_facts *facts);

/* Calls visit for each process that the caller can see, by rising id; stops at its first error, and gives
 * that. Errors of cbp_snapshot_create(). */
uint32_t cbpi_processes_visit(uint32_t with_arguments, cbpi_process_visitor *visit, void *context);

/* Gives the path of a program that belongs to this library: beside it, or else in the folder that an
 * installation has for them. CBP_ERROR_FS_DRIVER_REQUIRED if it is in neither, or may not be executed. */
uint32_t cbpi_helper_path(const char *program, char *buffer, uint64_t size);

/* Says whether logging is enabled on this machine, as far as this process may know. */
bool cbpi_logging_read(void);

/* Enables or disables logging for good. CBP_ERROR_PRIVILEGE_NOT_HELD, CBP_ERROR_GEN_FAILURE. */
uint32_t cbpi_logging_write(bool is_enabled);

/* Writes a line to the system's log, if there is one that takes it now; never waits. */
void cbpi_log_line(const char *text);

/* cbpi_log_line() writes to this address; tests put a place of their own here. */
extern const char *cbpi_log_address;

struct cbpi_shutdown {
    const char *prompt; /* "": none */
    uint32_t timeout_s;
    uint32_t force;
    uint32_t reboot;
};

/* Asks the system to shut down. Gives 0, or why it refuses. */
uint32_t cbpi_shutdown_ask(const struct cbpi_shutdown *request);

/* Runs, on Linux, a program, whose path is arguments[0], and gives its exit status. Tests put a function of
 * their own here, and nothing shuts down. */
extern uint32_t (*cbpi_shutdown_run)(const char *const arguments[], uint32_t *exit_status);

/* Creates the file, readable by its owner alone, or empties it; no program that is started inherits it. The
 * error codes say why not: CBP_ERROR_FILE_NOT_FOUND, PATH_NOT_FOUND, ACCESS_DENIED, TOO_MANY_OPEN_FILES, or
 * GEN_FAILURE. */
uint32_t cbpi_file_create(const char *path, struct cbpi_file *file);

/* Writes all of the bytes. CBP_ERROR_GEN_FAILURE. */
uint32_t cbpi_file_write(struct cbpi_file *file, const void *bytes, size_t size);
void cbpi_file_close(struct cbpi_file *file);

/* Opens a file or a pipe. Codes as for create. */
uint32_t cbpi_file_open(const char *path, struct cbpi_file *file);

/* Reads up to *size bytes, at least one before the end; *size gets their number. path is for the error's
 * sentence. */
uint32_t cbpi_file_read(struct cbpi_file *file, const char *path, void *bytes, size_t *size);

/* Names the system and the machine that the library was built for, as in "Linux x86_64". */
const char *cbpi_platform_name(void);

#endif

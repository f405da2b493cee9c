/* Is what tests see of the shim: the machine around a driver. A thread of a test plays a thread of a process:
 * it opens the device, sends requests, creates processes. A driver that breaks a documented rule ends the
 * program with the rule's name (shim_breach). Knows nothing of a certain driver. */
#ifndef SHIM_H
#define SHIM_H

#include "ntifs.h"

/* ---- breach.c: rules, the calling thread, faults ---- */
struct shim_spin {
    PKSPIN_LOCK lock;
    KIRQL old_irql;
};

enum { SHIM_SPINS_MAX = 4 };

struct shim_thread {
    KIRQL irql, entry_irql; /* now, and when the driver was called */
    uint32_t pid, tid;
    uint32_t critical_regions, mutexes, spin_count, callbacks;
    struct shim_spin spins[SHIM_SPINS_MAX];
};

struct shim_thread *shim_self(void);
/* From now on the calling thread is that one. */
void shim_become(uint32_t pid, uint32_t tid);
/* Ends the program: the driver has broken this rule. Prints "shim: RULE: details". */
_Noreturn void shim_breach(const char *rule, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Breaks irql if the calling thread is above this level. */
void shim_irql_at_most(const char *function, KIRQL irql);
/* Notes the state that a thread of the system enters the driver with, and checks that it has it on return. */
struct shim_thread shim_enter(KIRQL irql, uint32_t critical_regions);
void shim_leave(const char *what, struct shim_thread before, uint32_t critical_regions);
/* The rules of this project: no wait without a bound of max_ms, none with a fast mutex held. 0: any wait. */
extern uint32_t shim_wait_max_ms;

/* What can fail in a real system fails here when a test says so. Points of failure are counted from
 * shim_fail_at() on. kinds 0 stops it. */
enum shim_fault { SHIM_FAULT_POOL = 1, SHIM_FAULT_CALL = 2, SHIM_FAULT_ALL = 3 };
void shim_fail_at(uint32_t kinds, uint64_t first, uint64_t count); /* points first .. first + count - 1 */
uint64_t shim_fault_points(void);                                  /* so far */
uint64_t shim_faults_made(void);
bool shim_is_to_fail(enum shim_fault kind);

/* ---- pool.c ---- */
size_t shim_pool_blocks(void);
void shim_pool_check(void);          /* breaks pool-leak if the driver has pool */
void *shim_pool_system(size_t size); /* memory that the system gives to the driver, to be freed by it */

/* ---- clock.c ---- */
uint64_t shim_now_ns(void);           /* the performance counter's time */
void shim_clock_advance(uint64_t ns); /* lets that time pass at once */
uint64_t shim_wall_100ns(void);       /* since 1601 */

/* ---- locks.c ---- */
void shim_cancel_lock_check(void);

/* ---- objects.c ---- */
enum shim_kind { SHIM_PROCESS = 1, SHIM_THREAD, SHIM_TOKEN, SHIM_DEVICE, SHIM_LINK, SHIM_FILE };
struct shim_object {
    uint32_t magic;
    enum shim_kind kind;
    int64_t system_refs; /* while the system itself needs it */
    int64_t driver_refs; /* what the driver has taken and not given back */
    void (*destroy)(struct shim_object *object);
};
void shim_object_init(struct shim_object *object, enum shim_kind kind, void (*destroy)(struct shim_object *));
struct shim_object *shim_object_of(const char *function, void *object); /* breaks bad-object */
void shim_object_hold(struct shim_object *object);                      /* a reference of the system */
void shim_object_drop(struct shim_object *object);
void shim_object_hold_for_driver(struct shim_object *object);
void shim_objects_check(void); /* breaks reference-leak, handle-leak */
/* Gives the access of a handle of that process, or 0; kind gets the object's. */
uint32_t shim_handle_access(uint32_t pid, uint64_t handle, enum shim_kind *kind, uint32_t *object_pid);
bool shim_handle_close(uint32_t pid, uint64_t handle);

/* ---- processes.c ---- */
enum shim_account { SHIM_SYSTEM_ACCOUNT, SHIM_ADMINISTRATOR, SHIM_USER };
struct shim_process_plan {
    uint32_t pid, parent_pid;
    const wchar_t *image; /* such as \Device\HarddiskVolume2\a.exe */
    enum shim_account account;
};
void shim_processes_init(void);                               /* with the System process */
void shim_process_add(const struct shim_process_plan *plan);  /* it runs; nobody is told */
void shim_process_remove(uint32_t pid, NTSTATUS exit_status); /* likewise */
void shim_process_exits(uint32_t pid, NTSTATUS exit_status);  /* it still runs */
bool shim_process_runs(uint32_t pid);
enum shim_account shim_account_of(uint32_t pid);
void shim_thread_add(uint32_t pid, uint32_t tid);
void shim_thread_remove(uint32_t tid);
PEPROCESS shim_process_object(uint32_t pid); /* NULL: none */
PETHREAD shim_thread_object(uint32_t tid);
void shim_processes_free(void);

/* ---- callbacks.c: what happens in the machine, told to the driver in the calling thread ---- */
struct shim_creation {
    struct shim_process_plan process;
    uint32_t creator_pid, creator_tid; /* 0: the calling thread */
    const wchar_t *command_line;       /* NULL: not known */
    bool has_no_name, open_name_is_known;
    bool is_subsystem;        /* told to Ex2 routines alone */
    NTSTATUS refused_with;    /* by another driver, before this one is told */
    bool is_added;            /* shim_process_add() was called for it before */
    const wchar_t *file_name; /* of the program's file on its volume, without abbreviations. NULL: no file */
};
/* Gives CreationStatus; after a failure the process does not run, and its end is not told. */
NTSTATUS shim_create_process(const struct shim_creation *creation);
void shim_end_process(uint32_t pid, NTSTATUS exit_status); /* the process runs until all are told */
void shim_create_thread(uint32_t pid, uint32_t tid);
void shim_end_thread(uint32_t pid, uint32_t tid);
struct shim_opening {
    bool is_thread, is_duplicate, is_kernel;
    uint32_t id; /* of the process or the thread */
    uint32_t access;
    uint32_t source_pid, target_pid; /* of a duplication */
};
uint32_t shim_open_object(const struct shim_opening *opening); /* the access that is left */
void shim_take_altitude(const wchar_t *altitude);              /* another driver has it. NULL: no longer */
uint32_t shim_registered(void);                                /* callbacks of the driver, 0 .. 3 kinds */
void shim_callbacks_check(void);
bool shim_altitude(wchar_t *buffer, size_t size); /* under which handle callbacks are registered */

/* ---- device.c and requests.c ---- */
struct shim_file;
struct shim_call;
NTSTATUS shim_load(DRIVER_INITIALIZE *entry); /* DriverEntry; after a failure nothing may be left */
void shim_unload(void);                       /* nothing may be left */
extern PDRIVER_OBJECT shim_driver;            /* NULL: not loaded */

struct shim_device {
    struct shim_object object; /* first; followed by the device object */
    DEVICE_OBJECT device;
    wchar_t name[64];
    bool has_dacl;
    _Alignas(8) unsigned char dacl[512];
};
struct shim_object *shim_object_of_device(const void *device); /* NULL: it is no device */
struct shim_device *shim_device_named(const wchar_t *path);    /* of a device or of a link to it */
const wchar_t *shim_link_target(const wchar_t *path);          /* of a driver's link; NULL: none */
void shim_devices_check(void);
bool shim_dacl_grants(const struct shim_device *device, enum shim_account account, uint32_t access);

/* Opens the device as the calling thread's process. rest: what follows the device's name, may be NULL. */
NTSTATUS shim_open(const wchar_t *path, const wchar_t *rest, uint32_t access, struct shim_file **file);
void shim_close(struct shim_file *file);   /* cleanup, then close when the file has no more requests */
void shim_cleanup(struct shim_file *file); /* only the first half */
/* Sends a control request. The call is the caller's and has to be freed. */
struct shim_call *shim_call_start(struct shim_file *file, uint32_t code, const void *input, size_t input_size,
                                  size_t output_max);
bool shim_call_wait(struct shim_call *call, uint32_t timeout_ms); /* false: it is still pended */
bool shim_call_cancel(struct shim_call *call);                    /* false: it had no cancel routine */
NTSTATUS shim_call_status(const struct shim_call *call);
const void *shim_call_output(const struct shim_call *call, size_t *size);
void shim_call_free(struct shim_call *call); /* cancels it first, if it has to */
/* Sends another kind of request (read, write, shutdown). Gives its status. */
NTSTATUS shim_major(struct shim_file *file, UCHAR major);
void shim_cancel_all_of(uint32_t pid); /* as the system does when the threads of a process end */
/* A cancellation meets something else: the next request is cancelled before the driver gets it; this is called
 * when a cancel routine has been taken and is about to be called. */
extern _Thread_local bool shim_is_next_cancelled;
extern void (*shim_before_cancel_routine)(void);

/* Lets MmGetSystemRoutineAddress() not find a function. NULL: finds all again. */
void shim_hide(const char *function);
/* Makes a link such as \??\C: lead to a device's name. */
void shim_link_drive(const wchar_t *link, const wchar_t *target);

#endif

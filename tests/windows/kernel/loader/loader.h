/* States what the parts of the loader offer one another. The loader maps a Windows driver into a Linux process
 * and is the kernel around it: each function that the driver imports is one of ours, which keeps the rules
 * that the documentation states for its caller and ends the program at the first one that is broken.
 *
 * The rules are Windows', and nothing here knows what the driver is for. Scenarios stand above (scenario.h). */
#ifndef LOADER_H
#define LOADER_H

#include "nt.h"

/* ---- verdicts.c: the end of the program at a broken rule ---- */
enum { EXIT_WRONG = 1, EXIT_VIOLATION = 3 };
/* Names the rule that the driver has broken, and ends the program. */
_Noreturn void violation(const char *rule, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* An expectation of a scenario has failed: the driver has given a wrong answer, or none. */
_Noreturn void wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Catches faults from now on. limit_s: after that time the program says where each thread is, and ends. */
void verdicts_open(unsigned limit_s);
void verdicts_context(const char *format, ...) __attribute__((format(printf, 1, 2))); /* of each report */
void verdicts_thread_open(void); /* each other thread, first: faults have a stack of their own */
void verdicts_thread_close(void);
void verdicts_doing(const char *what); /* the calling thread; a constant text */

/* ---- image.c: the driver's file in memory ---- */
struct export
{
    const char *name;
    void *address;
};
#define EXPORT(function)                                                                                     \
    {                                                                                                        \
#function, (void *) (function)                                                                       \
    }

struct image {
    uint8_t *base;
    uint32_t size;
    uint8_t *file; /* the bytes as they lie in the file, for another load */
    size_t file_size;
    void *entry;
    bool is_force_integrity;
};
bool image_read(struct image *image, const char *path); /* false: no such file */
void image_map(struct image *image);                    /* at another place each time */
void image_unmap(struct image *image);                  /* what is called there afterwards faults */
const struct image *image_current(void);
bool image_contains(const void *address);
void *export_find(const char *name); /* NULL: the kernel has no such routine */

/* ---- levels.c: interrupt request levels, spin locks, fast mutexes, critical regions, run-down ---- */
KIRQL level_now(void);
void level_at_most(KIRQL highest, const char *function);
void level_set(KIRQL level); /* the level at which the kernel calls the driver */
/* The thread enters the driver and leaves it; the driver must leave everything as it was. */
struct level_mark {
    KIRQL level;
    int critical_depth;
    unsigned rundown_count;
};
struct level_mark level_enter(void);
void level_leave(struct level_mark mark, const char *routine);
void level_region(int change);     /* the kernel itself enters or leaves a critical region */
unsigned level_spin_locks(void);   /* that this thread holds */
unsigned level_fast_mutexes(void); /* likewise */
void level_acquire_cancel(KIRQL *old);
void level_release_cancel(KIRQL old);
extern const struct export level_exports[];

/* ---- waits.c: events and time ---- */
void wait_on_word(uint32_t *word, uint32_t value); /* while it has that value; may return early */
bool wait_on_word_for(uint32_t *word, uint32_t value, int64_t ns); /* false: the time has passed */
void wake_word(uint32_t *word, int count);
uint64_t time_now_ns(void);              /* as the driver sees it */
void time_tick_ms(unsigned length);      /* waits end with a tick of the system's clock; 0: at once */
void time_scale(unsigned factor);        /* the driver's seconds pass that many times as fast */
void time_slice_limit_ms(unsigned most); /* a longer wait is a violation; 0: any is allowed */
extern const struct export wait_exports[];

/* ---- pool.c ---- */
void pool_special(unsigned share); /* of 256 allocations, how many get pages of their own */
void pool_fail_at(unsigned long number, bool and_all_later); /* 0: none */
unsigned long pool_allocation_count(void);
void pool_check_leaks(void);                                  /* at unload */
void *pool_take(size_t size, uint32_t tag, bool is_driver_s); /* the kernel's own; not counted, never fails */
void pool_give_back(void *memory);
bool pool_is_freed(const void *memory);       /* an address in a block with pages of its own */
bool pool_is_freed_block(const void *memory); /* the address of any block */
enum { POOL_TAG_IRP = 0x20707249 };           /* of requests: "Irp " */
/* Gives the rule that a fault at this address breaks, with an explanation. NULL: it is not in the pool. */
const char *pool_explain(const void *address, char *text, size_t size);
extern const struct export pool_exports[];

/* ---- objects.c, handles.c: processes, threads, tokens, handles ---- */
struct nt_object;
struct nt_process;
struct nt_thread;
/* Makes a process with an id. The path is in UTF-8, such as \Device\HarddiskVolume2\a.exe. */
struct nt_process *process_create(uint32_t pid, uint32_t parent_pid, const char *path);
void process_end(struct nt_process *process, NTSTATUS exit_status); /* it is found by its id no more */
void process_forget(struct nt_process *process);                    /* the last reference of the kernel */
uint32_t process_id(const struct nt_process *process);
struct nt_thread *thread_create(uint32_t tid, struct nt_process *process);
uint32_t thread_id(const struct nt_thread *thread);
struct nt_process *thread_process(const struct nt_thread *thread);
void thread_forget(struct nt_thread *thread);
void actor_set(struct nt_thread *thread); /* the calling thread of Linux is this one of Windows now */
struct nt_thread *actor(void);
bool handle_close(struct nt_process *process, uint64_t handle); /* of the process's own; false: none */
void objects_check_balance(void);                               /* at unload */
void objects_clear(void); /* everything is forgotten; only between loads */
uint32_t objects_list(struct nt_process **list, uint32_t room); /* those that live, with a reference */
void objects_release(struct nt_process **list, uint32_t count);
int64_t process_create_time(const struct nt_process *process);
uint32_t process_parent(const struct nt_process *process);
extern void *type_process, *type_thread, *type_token;
extern const struct export object_exports[], handle_exports[];

/* ---- irps.c, loading.c: devices, files and requests; the driver itself ---- */
struct io_file;
struct io_request;
NTSTATUS io_load(struct image *image); /* maps it and calls DriverEntry */
void io_unload(void);                  /* waits for open files, calls DriverUnload and checks what is left */
/* Opens the device of that name. NULL: status says why. */
struct io_file *io_open(const char *name, NTSTATUS *status);
void io_close(struct io_file *file); /* cleanup; its requests must end by that; close */
void io_hold(struct io_file *file);  /* a thread uses the file: it is not gone before io_release() */
void io_release(struct io_file *file);
bool io_is_cleaned(const struct io_file *file); /* its last handle is closed, and the driver knows */
/* Sends a control request; the buffers stay the caller's and must live until it has ended. */
struct io_request *io_send(struct io_file *file, uint32_t code, const void *input, uint32_t input_size,
                           void *output, uint32_t output_size);
/* Does that in two steps: between them, and in between the driver's own steps, others may cancel it. */
struct io_request *io_prepare(struct io_file *file, uint32_t code, const void *input, uint32_t input_size,
                              void *output, uint32_t output_size);
void io_start(struct io_request *request);
bool io_is_complete(const struct io_request *request);
void io_wait(struct io_request *request);
void io_cancel(struct io_request *request);
NTSTATUS io_finish(struct io_request *request, uint64_t *information); /* waits, frees the request */
NTSTATUS io_control(struct io_file *file, uint32_t code, const void *input, uint32_t input_size, void *output,
                    uint32_t output_size, uint64_t *information); /* send, wait, finish */
bool io_has_symbolic_link(const char *name, char *target, size_t size);
void io_fail_at(unsigned long number); /* the Nth call that may fail for want of resources does; 0: none */
bool io_shall_fail(void);              /* says so to the functions of that kind */
unsigned long io_failable_calls(void); /* so far, since io_fail_at() */
extern const struct export irp_exports[], loading_exports[];

/* ---- callbacks.c: what the driver wants to be told, and telling it ---- */
enum callback_kind { CALLBACK_PROCESS, CALLBACK_THREAD, CALLBACK_HANDLE, CALLBACK_KINDS };
bool callback_has(enum callback_kind kind);
/* Tells of a creation; info is as the caller has filled it. Gives the creation's status. */
NTSTATUS callback_process_created(struct nt_process *process, PS_CREATE_NOTIFY_INFO *info);
void callback_process_ended(struct nt_process *process);
void callback_thread(struct nt_process *process, uint32_t tid, bool is_created);
/* Tells of a handle to a process or thread that is being made. Gives the rights that are left. */
struct handle_operation {
    void *object;
    bool is_thread, is_kernel_handle, is_duplication;
    uint32_t access;
    struct nt_process *source, *target; /* of a duplication */
};
uint32_t callback_handle(const struct handle_operation *operation);
void callback_take_altitude(const char *altitude); /* another driver has it; NULL: nobody has */
const char *callback_altitude(void);               /* of the driver; "": none */
void callbacks_check_gone(void);                   /* at unload */
extern const struct export callback_exports[];

/* ---- facts.c: texts, names, security, the system's version ---- */
void facts_without(const char *routine); /* MmGetSystemRoutineAddress does not find it; NULL: all are there */
void facts_volume(char letter, const char *device); /* the drive's link leads to it; handles.c */
void facts_print(bool is_wanted);                   /* what the driver prints */
UNICODE_STRING *text_make(const char *utf8);        /* ASCII; to be freed with free() */
void text_ascii(const UNICODE_STRING *text, char *ascii, size_t size);
extern const struct export fact_exports[];

#endif

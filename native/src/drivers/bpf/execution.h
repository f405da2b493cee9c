/* Makes an execution of a fanotify event: which program, by which process, with which arguments, before the
 * new image exists. A script, its interpreter and the loader make one execution. What was decided is compared
 * with what has been executed. Knows /proc, memory of tasks and headers of programs, and nothing of rules,
 * sessions and the answer. The machine's lock is held around all of it. */
#ifndef CBPI_EXECUTION_H
#define CBPI_EXECUTION_H

#include "guard_process.h"
#include "policy.h"

struct cbpi_execution {
    uint32_t process_id, thread_id;
    uint32_t user_id;  /* the real one, in the first user namespace */
    uint64_t start_ns; /* of the process, as in records; 0: not known here, the population knows it */
    /* As struct cbpd_image wants them: the file that execve names, interpreters of scripts, the executable
     * last. */
    struct cbpd_image_file files[CBPD_IMAGE_FILE_MAX];
    uint32_t file_count;
    bool is_vague;         /* some of its names are not known */
    const char *arguments; /* each with its NUL, as the caller of execve gave them (decision 3) */
    uint32_t arguments_size;
    bool are_arguments_whole; /* false: the kernel itself executes, or they cannot be read */
    uint64_t device, inode;   /* of the file that will be mapped: for the map "decided" */
    bool is_unsure;           /* another thread can still change the arguments: leave it out of "decided" */
    bool is_changed;          /* a NEW one in place of one that was decided: its files have been exchanged */
    bool has_failed_before;   /* an execution by this thread was decided and allowed, and did not happen */
};

struct cbpi_executions; /* what is under way, by thread */

/* Without a guard (NULL), or one that has no program for looks, /proc is asked, which takes longer. NULL: no
 * memory. */
struct cbpi_executions *cbpi_executions_make(const struct cbpi_guard *guard);
void cbpi_executions_free(struct cbpi_executions *executions);

enum cbpi_execution_kind {
    CBPI_EXECUTION_NEW,     /* *execution is filled; its texts are valid until the next call */
    CBPI_EXECUTION_PART,    /* of one that was decided: interpreter or loader; allow it */
    CBPI_EXECUTION_NOTHING, /* nothing is executed, or it is bound to fail; allow it, and tell nobody */
    CBPI_EXECUTION_UNKNOWN  /* the thread is gone or cannot be read: allow it; its EXEC is not DECIDED */
};
enum cbpi_execution_kind cbpi_execution_read(struct cbpi_executions *executions,
                                             const struct cbpi_file_event *event,
                                             struct cbpi_execution *execution);
/* Gives the process of a thread by one cheap call if it is a process's first thread; 0: it is gone. For those
 * whose executions are answered at once (exempt processes), before cbpi_execution_read(). */
uint32_t cbpi_execution_process_of(uint32_t thread_id);
/* Says how the NEW one was decided, by its thread. */
void cbpi_execution_decided(struct cbpi_executions *executions, uint32_t thread_id, bool refused);

/* Takes what an EXEC record tells (with the texts that follow it), and all arguments as the new program has
 * them. What was under way in record->old_thread_id is over with this. */
enum cbpi_execution_outcome {
    CBPI_EXECUTION_UNDECIDED,  /* nobody has decided about it */
    CBPI_EXECUTION_AS_DECIDED, /* it is what was decided, also where the record lacks FLAG_DECIDED */
    CBPI_EXECUTION_CHANGED     /* file, name or arguments are not those that were decided: a new event */
};
enum cbpi_execution_outcome cbpi_execution_happened(struct cbpi_executions *executions,
                                                    const struct cbp_machine_exec *record,
                                                    const char *arguments, uint32_t arguments_size,
                                                    bool are_arguments_whole);
/* The thread has ended: what was under way is over. True: an execution was decided, allowed, and did not
 * happen. */
bool cbpi_execution_over(struct cbpi_executions *executions, uint32_t thread_id);

/* ---- execution_past.c: what has been executed already ---- */

/* Reads the names of a process that runs, and its arguments if they are wanted. Fills *execution as a NEW one.
 * False: it is gone, or has no program. */
bool cbpi_execution_look(struct cbpi_executions *executions, uint32_t process_id, bool wants_arguments,
                         struct cbpi_execution *execution);

/* Fills *execution from an EXEC record with the texts that follow it, and from all arguments as the new program
 * has them. Of a script all files are looked up, which the process may have left behind by then: what can be known
 * without them is told. */
void cbpi_execution_of_record(struct cbpi_executions *executions, const struct cbp_machine_exec *record,
                              const char *arguments, uint32_t arguments_size, bool are_arguments_whole,
                              struct cbpi_execution *execution);

#endif

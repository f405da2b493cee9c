/* Makes an execution of a fanotify event: which program, by which process, with which arguments, before the
 * new image exists. A script, its interpreter and the loader make one execution. Knows /proc and programs'
 * headers, and nothing of rules, sessions and the answer. The machine's lock is held around all of it. */
#ifndef CBPI_EXECUTION_H
#define CBPI_EXECUTION_H

#include "guard_process.h"
#include "policy.h"

struct cbpi_execution {
    uint32_t process_id, thread_id;
    uint32_t user_id;
    uint64_t start_time; /* of the process, in ticks, as in /proc */
    /* As struct cbpd_image wants them: the file that execve names, interpreters of scripts, the executable
     * last. */
    struct cbpd_image_file files[CBPD_IMAGE_FILE_MAX];
    uint32_t file_count;
    bool is_vague;         /* some of its names are not known */
    const char *arguments; /* each with its NUL, as the new program will see them (a script's: as given) */
    uint32_t arguments_size;
    bool are_arguments_whole;
    uint64_t device, inode; /* of the file that will be mapped: for the map "decided" */
};

struct cbpi_executions; /* what is under way, by thread */

struct cbpi_executions *cbpi_executions_make(void); /* NULL: no memory */
void cbpi_executions_free(struct cbpi_executions *executions);

enum cbpi_execution_kind {
    CBPI_EXECUTION_NEW,    /* *execution is filled; its texts are valid until the next call */
    CBPI_EXECUTION_PART,   /* of one that was decided: interpreter or loader; allow it */
    CBPI_EXECUTION_UNKNOWN /* the thread is gone or cannot be read: allow it */
};
enum cbpi_execution_kind cbpi_execution_read(struct cbpi_executions *executions,
                                             const struct cbpi_file_event *event,
                                             struct cbpi_execution *execution);
/* Says how the NEW one was decided, by its thread. */
void cbpi_execution_decided(struct cbpi_executions *executions, uint32_t thread_id, bool refused);
/* The thread has executed, or ended: what was under way is over. */
void cbpi_execution_over(struct cbpi_executions *executions, uint32_t thread_id);

/* Reads the arguments and names of a process that waits at the exec stop of the gate, or still lives. */
bool cbpi_execution_look(uint32_t process_id, struct cbpi_executions *executions,
                         struct cbpi_execution *execution);

#endif

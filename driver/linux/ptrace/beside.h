/* Runs work beside the tracer that a tree could make last for ever: reading files, paths and memory that it
 * controls. A few threads ("readers") do it, and the tracer never waits for them. A job that is not done
 * within a limit is given up, and its owner goes on without it.
 *
 * Knows threads and the clock; must not know tasks, rules or events. */
#ifndef CBP_BESIDE_H
#define CBP_BESIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A look gives one of these answers. /proc may hide what is asked for: descriptors of a task that is not
 * dumpable, a namespace, a process (hidepid). */
enum knowledge { NOT_KNOWN, ABSENT /* surely not there */, KNOWN };

/* A job begins the block that has all it needs and all that comes out of it. */
struct job {
    void (*work)(struct job *job);    /* runs in a reader and touches nothing but the block */
    void (*discard)(struct job *job); /* frees the block, in the last thread that had it */
    void *owner;                      /* the owner waits for the job */
    uint32_t tree;                    /* the tree that it is done for */
    bool is_urgent;                   /* the owner cannot go on without it: it may use reserved readers */
    /* beside.c uses these members. */
    int state;
    uint32_t reader; /* while a reader works on it */
    uint64_t limit_ns;
    struct job *next, *previous; /* in the list of jobs */
};

/* Starts the first readers, before a tree can use up the number of threads that its user may have. */
void cbpd_prepare_readers(void);

/* Gives the job to the readers. False: none is free now or soon, and the job stays the caller's. */
bool cbpd_do_beside(struct job *job);

/* These are about jobs that were given to the readers and that an owner waits for. */
bool cbpd_any_job_waits(void);
bool cbpd_any_job_is_done(void);
/* Gives the owner of the next job that is done or over its limit, or NULL. *finished is the caller's again,
 * or NULL if the job was not done in time. */
void *cbpd_next_finished_job(struct job **finished);
/* Its owner no longer waits for the job. */
void cbpd_give_up_job(struct job *job);

/* Does short work on a block while the caller waits: at once if nothing can last, or else beside, within a
 * small limit that shrinks each time that tree has reached it. The work touches only its block, which has no
 * pointers to other memory, and gives the answer. NOT_KNOWN is also the answer of work that was not done: the
 * block is then as it was, and errno is ENOMEM if there was no memory for it. If the work leaves memory in its
 * block, which begins without any, release (may be NULL) frees that once the caller no longer waits. */
enum knowledge cbpd_look_now(uint32_t tree, enum knowledge (*work)(void *block), void (*release)(void *block),
                             void *block, size_t size);

/* ---- risk.c: whether anything could last ---- */

/* Begins to watch in a thread of its own. Until that has found nothing, a risk is assumed. */
void cbpd_watch_for_risk(void);
/* Says whether some file, folder or memory within a tree's reach may not answer. Once true, it stays true.
 * The tracer calls this. */
bool cbpd_anything_may_block(void);

#endif

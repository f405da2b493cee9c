/* Work that somebody in a tree could make last for ever - reading files, paths and memory that it controls -
 * is done beside the tracer, by a few threads ("readers"). The tracer never waits for it: a job that is not
 * done within a limit is given up, and whoever wanted it has to do without.
 *
 * Knows threads and the clock; must not know tasks, rules or events. */
#ifndef CBP_BESIDE_H
#define CBP_BESIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The beginning of a block that has all a job needs and all that comes out of it. */
struct job {
    void (*work)(struct job *job);    /* a reader's: it touches nothing but the block */
    void (*discard)(struct job *job); /* frees the block, in whatever thread had it last */
    void *owner;                      /* who wants it */
    uint32_t tree;                    /* on whose behalf */
    bool is_urgent; /* without it the owner cannot go on: it may use what is kept for such */
    /* beside.c's own */
    int state;
    uint32_t reader; /* while one works on it */
    uint64_t limit_ns;
    struct job *next, *previous; /* all that are wanted */
    struct job *queue_next;
};

/* Starts the first readers, before a tree can use up the number of threads that its user may have. */
void cbpd_prepare_readers(void);

/* Gives the job away. False: there is nobody to do it, now or soon, and it is the caller's as before. */
bool cbpd_do_beside(struct job *job);

/* Of the jobs that were given away, and are wanted: */
bool cbpd_any_job_waits(void);
bool cbpd_any_job_is_done(void);
/* The next one that is done, or whose limit has passed. Gives its owner, NULL if there is none; *job is the
 * caller's again, or NULL if it was not done in time. */
void *cbpd_next_finished_job(struct job **job);
/* Nobody wants it any more. */
void cbpd_give_up_job(struct job *job);

/* Does short work on a block of this size, with which the caller has to wait: at once if nothing can last, or
 * else beside, for a small limit that shrinks when that tree has let it be reached. The work may touch
 * nothing but its block, in which no pointers lead out. False: it was not done, and the block is as it was;
 * errno is ENOMEM if there was no memory for it. */
bool cbpd_look_now(uint32_t tree, void (*work)(void *block), void *block, size_t size);
/* Such work may leave memory in its block, which begins without; release frees that of a block that nobody
 * waits for any more. */
bool cbpd_look_now_and_release(uint32_t tree, void (*work)(void *block), void (*release)(void *block),
                               void *block, size_t size);
/* ---- risk.c: whether there is anything that could last ---- */

/* Begins to watch, in a thread of its own; whatever there may be counts as risk until it has found nothing.
 */
void cbpd_watch_for_risk(void);
/* The tracer's: whether some file, folder or memory that a tree can reach may not answer. Once that is so it
 * stays so. */
bool cbpd_anything_may_block(void);

#endif

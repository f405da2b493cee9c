/* Runs jobs in readers; see beside.h. Readers take jobs from one queue. A reader whose job has been given up
 * is "stuck" until it comes back, and frees the job then. Nothing waits for it, not even the end of the
 * helper. It has its own table of descriptors, so it keeps nothing open for others.
 *
 * The number of readers is limited, for one tree as well. A tree has some more for its urgent jobs. */
#include "beside.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

#include "cbp_atomic.h"
#include "look_up.h"
#include "tracer.h"

enum {
    JOB_LIMIT_MS = 1000,
    READER_MAX = 128,
    FIRST_READER_COUNT = 4,
    TREE_MAX = 12,            /* readers for one tree's jobs */
    TREE_URGENT_MAX = 16,     /* for its urgent jobs, with the others */
    WANTED_OF_TREE_MAX = 256, /* waiting jobs of one tree; twice as many with urgent ones */
    READER_STACK_SIZE = 512 * 1024,
    LOOK_LIMIT_MS = 250,
    LOOK_LIMIT_MIN_MS = 20,
    LOOK_FORGET_MS = 30 * 1000,
    TREES_IN_VAIN_MAX = 16
};

enum { JOB_QUEUED, JOB_WORKING, JOB_DONE, JOB_GIVEN_UP };

struct reader {
    uint32_t tree;
    bool is_busy;
    bool is_stuck; /* busy, and no owner waits for its job */
};

/* This lock protects everything below. It is never held while anything could last. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t is_queued = PTHREAD_COND_INITIALIZER;
static pthread_cond_t is_put_back; /* a job that the tracer waits for; uses the clock of cbpd_now_ns() */
static struct reader readers[READER_MAX];
static uint32_t reader_count, busy_count, stuck_count;
static struct job *first_job, *last_job; /* all jobs, in the order of their limits */
static uint32_t job_count, queued_count;
static uint32_t done_count; /* also read without the lock */

/* ---- The list of jobs ---- */

static void add_job(struct job *job)
{
    job->state = JOB_QUEUED;
    job->next = NULL;
    job->previous = last_job;
    if (last_job)
        last_job->next = job;
    else
        first_job = job;
    last_job = job;
    job_count++;
    queued_count++;
}

static void remove_job(struct job *job)
{
    if (job->previous)
        job->previous->next = job->next;
    else
        first_job = job->next;
    if (job->next)
        job->next->previous = job->previous;
    else
        last_job = job->previous;
    job_count--;
    queued_count -= job->state == JOB_QUEUED;
    if (job->state == JOB_DONE)
        cbp_store_u32(&done_count, done_count - 1);
}

/* ---- Readers ---- */

static uint32_t count_of_tree(uint32_t tree, bool stuck_only)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < reader_count; i++)
        count += readers[i].is_busy && readers[i].tree == tree && (!stuck_only || readers[i].is_stuck);
    return count;
}

static bool has_room(const struct job *job, bool stuck_only)
{
    return count_of_tree(job->tree, stuck_only) < (uint32_t) (job->is_urgent ? TREE_URGENT_MAX : TREE_MAX);
}

/* Takes the first job whose tree may have another reader. */
static struct job *take_queued(uint32_t reader)
{
    for (struct job *job = first_job; job; job = job->next)
        if (job->state == JOB_QUEUED && has_room(job, false)) {
            job->state = JOB_WORKING;
            queued_count--;
            job->reader = reader;
            readers[reader] = (struct reader){.tree = job->tree, .is_busy = true};
            busy_count++;
            return job;
        }
    return NULL;
}

/* Frees the job's reader. Says whether the job itself is to be freed. */
static bool put_back(struct job *job)
{
    struct reader *reader = &readers[job->reader];
    stuck_count -= reader->is_stuck;
    busy_count--;
    *reader = (struct reader){.is_busy = false};
    if (job->state == JOB_GIVEN_UP)
        return true;
    job->state = JOB_DONE;
    cbp_store_u32(&done_count, done_count + 1);
    if (!job->owner)
        pthread_cond_signal(&is_put_back);
    return false;
}

static void *read_for_others(void *argument)
{
    uint32_t reader = (uint32_t) (uintptr_t) argument;
    cbpd_leave_descriptors();
    pthread_mutex_lock(&lock);
    for (;;) {
        struct job *job = take_queued(reader);
        if (!job) {
            pthread_cond_wait(&is_queued, &lock);
            continue;
        }
        pthread_mutex_unlock(&lock);
        job->work(job);
        pthread_mutex_lock(&lock);
        bool is_waited_for = !job->owner;
        bool is_unwanted = put_back(job);
        pthread_mutex_unlock(&lock);
        if (is_unwanted)
            job->discard(job);
        else if (!is_waited_for)
            cbpd_wake_tracer();
        pthread_mutex_lock(&lock);
    }
    return NULL;
}

static void add_reader(void)
{
    pthread_t thread;
    pthread_attr_t attributes;
    sigset_t all, before;
    if (reader_count == READER_MAX || pthread_attr_init(&attributes) != 0)
        return;
    (void) pthread_attr_setstacksize(&attributes, READER_STACK_SIZE);
    (void) pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    uintptr_t number = reader_count;
    if (pthread_create(&thread, &attributes, read_for_others, (void *) number) == 0) // NOLINT: a number
        reader_count++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
}

void cbpd_prepare_readers(void)
{
    static bool is_ready;
    pthread_condattr_t monotonic;
    if (!is_ready && pthread_condattr_init(&monotonic) == 0) {
        (void) pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        (void) pthread_cond_init(&is_put_back, &monotonic);
        pthread_condattr_destroy(&monotonic);
        is_ready = true;
    }
    pthread_mutex_lock(&lock);
    while (reader_count < FIRST_READER_COUNT) {
        uint32_t before = reader_count;
        add_reader();
        if (reader_count == before)
            break;
    }
    pthread_mutex_unlock(&lock);
}

/* ---- The tracer's side ---- */

/* Gives the job to the readers. The lock is held. */
static bool give_away(struct job *job)
{
    if (reader_count - busy_count <= queued_count)
        add_reader();
    if (reader_count == stuck_count || !has_room(job, true))
        return false;
    add_job(job);
    pthread_cond_signal(&is_queued);
    return true;
}

/* Each waiting job costs memory until it is done, so a tree's number is limited. */
static bool are_too_many_wanted(const struct job *job)
{
    uint32_t count = 0, limit = job->is_urgent ? 2 * WANTED_OF_TREE_MAX : WANTED_OF_TREE_MAX;
    if (job_count < limit)
        return false;
    for (const struct job *other = first_job; other; other = other->next)
        count += other->tree == job->tree;
    return count >= limit;
}

bool cbpd_do_beside(struct job *job)
{
    pthread_mutex_lock(&lock);
    bool can = !are_too_many_wanted(job) && give_away(job);
    job->limit_ns = cbpd_now_ns() + JOB_LIMIT_MS * CBP_NS_PER_MS;
    pthread_mutex_unlock(&lock);
    return can;
}

bool cbpd_any_job_waits(void)
{
    return first_job; /* only this thread changes it */
}

bool cbpd_any_job_is_done(void)
{
    return cbp_load_u32(&done_count) != 0;
}

/* Takes the job back from the readers. False: the reader that works on it will free it. The lock is held. */
static bool take_back(struct job *job)
{
    remove_job(job);
    if (job->state != JOB_WORKING)
        return true;
    job->state = JOB_GIVEN_UP;
    readers[job->reader].is_stuck = true;
    stuck_count++;
    return false;
}

void cbpd_give_up_job(struct job *job)
{
    pthread_mutex_lock(&lock);
    bool is_ours = take_back(job);
    pthread_mutex_unlock(&lock);
    if (is_ours)
        job->discard(job);
}

void *cbpd_next_finished_job(struct job **finished)
{
    *finished = NULL;
    if (!cbpd_any_job_waits() || (!cbpd_any_job_is_done() && cbpd_now_ns() < first_job->limit_ns))
        return NULL;
    pthread_mutex_lock(&lock);
    struct job *job = first_job;
    while (job && job->state != JOB_DONE)
        job = job->next;
    if (job)
        remove_job(job);
    pthread_mutex_unlock(&lock);
    *finished = job;
    if (job)
        return job->owner;
    void *owner = first_job->owner;
    cbpd_give_up_job(first_job);
    return owner;
}

/* ---- Looks that the tracer waits for ---- */

struct errand {
    struct job job;
    enum knowledge (*work)(void *block);
    enum knowledge answer;
    void (*release)(void *block); /* NULL: nothing to release */
    uint64_t block[];
};

static void run_errand(struct job *job)
{
    struct errand *errand = (struct errand *) job;
    errand->answer = errand->work(errand->block);
}

/* Frees an errand that is done and for which the tracer no longer waits. */
static void discard_errand(struct job *job)
{
    struct errand *errand = (struct errand *) job;
    if (errand->release)
        errand->release(errand->block);
    cbpd_free_surely(errand);
}

/* Each vain wait for a tree's look makes the next limit for that tree shorter; after a while it is forgotten.
 * So a tree that tries to make the tracer wait takes little of its time. The tree with the oldest vain wait
 * makes room for another. */
struct vain_looks {
    uint32_t tree, count;
    uint64_t last_ns;
};
static struct vain_looks in_vain[TREES_IN_VAIN_MAX];

static struct vain_looks *in_vain_for(uint32_t tree)
{
    struct vain_looks *oldest = in_vain;
    for (struct vain_looks *of = in_vain; of < in_vain + TREES_IN_VAIN_MAX; of++) {
        if (of->tree == tree)
            return of;
        if (of->last_ns < oldest->last_ns)
            oldest = of;
    }
    return oldest;
}

static uint64_t limit_of_look(uint32_t tree, uint64_t now)
{
    struct vain_looks *vain = in_vain_for(tree);
    uint32_t count = vain->tree == tree ? vain->count : 0;
    while (count > 0 && now - vain->last_ns > LOOK_FORGET_MS * CBP_NS_PER_MS) {
        vain->count = --count;
        vain->last_ns += LOOK_FORGET_MS * CBP_NS_PER_MS;
    }
    uint64_t limit_ms = LOOK_LIMIT_MS >> 2 * (count < 8 ? count : 8);
    return now + (limit_ms > LOOK_LIMIT_MIN_MS ? limit_ms : LOOK_LIMIT_MIN_MS) * CBP_NS_PER_MS;
}

static void count_in_vain(uint32_t tree, uint64_t at_ns)
{
    struct vain_looks *vain = in_vain_for(tree);
    *vain = (struct vain_looks){tree, vain->tree == tree ? vain->count + 1 : 1, at_ns};
}

/* Waits for a look. Says whether it was done. The lock is held. */
static bool wait_for_look(struct job *job)
{
    uint64_t limit_ns = limit_of_look(job->tree, cbpd_now_ns());
    const struct timespec limit = {(time_t) (limit_ns / CBP_NS_PER_S), (long) (limit_ns % CBP_NS_PER_S)};
    while (job->state != JOB_DONE && pthread_cond_timedwait(&is_put_back, &lock, &limit) == 0)
        continue;
    if (job->state == JOB_DONE)
        return true;
    count_in_vain(job->tree, limit_ns);
    return false;
}

enum knowledge cbpd_look_now(uint32_t tree, enum knowledge (*work)(void *block), void (*release)(void *block),
                             void *block, size_t size)
{
    enum knowledge answer = NOT_KNOWN;
    if (!cbpd_anything_may_block())
        return work(block);
    struct errand *errand = cbpd_allocate_surely(sizeof *errand + size);
    if (!errand) {
        errno = ENOMEM;
        return NOT_KNOWN;
    }
    errand->job = (struct job){.work = run_errand, .discard = discard_errand, .is_urgent = true};
    errand->job.tree = tree;
    errand->work = work;
    errand->release = release;
    memcpy(errand->block, block, size);
    pthread_mutex_lock(&lock);
    bool is_given = give_away(&errand->job), is_done = is_given && wait_for_look(&errand->job);
    if (is_done) {
        answer = errand->answer;
        memcpy(block, errand->block, size);
    }
    bool is_ours = !is_given || take_back(&errand->job);
    pthread_mutex_unlock(&lock);
    if (is_ours)
        cbpd_free_surely(errand);
    errno = is_done ? 0 : ETIMEDOUT;
    return answer;
}

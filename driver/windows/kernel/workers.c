/* Remembers threads of controllers: workers, whose operations fire nothing, and launchers, whose next process has
 * the rule of a launch. A thread is known by its id; it is forgotten when it ends, or its session does. */
#include "cbp_atomic.h"
#include "kernel.h"

enum { WORKER, LAUNCHER, KINDS };

enum { THREADS_MAX = 4096 /* of one kind, of all controllers */, BUCKETS = 64 };

struct known_thread {
    LIST_ENTRY link;
    const struct cbpd_controller *controller;
    uint64_t controller_id; /* the controller may be gone when this is taken out */
    uint32_t session_id, tid;
    uint32_t rule_id; /* of a launcher */
};

/* The counts are read without the lock by callbacks, nearly all of which have nothing to look for. */
static struct {
    KSPIN_LOCK lock;
    LIST_ENTRY buckets[KINDS][BUCKETS];
    uint32_t counts[KINDS]; /* atomic */
} threads;

void cbpd_workers_begin(void)
{
    KeInitializeSpinLock(&threads.lock);
    for (uint32_t i = 0; i < BUCKETS; i++) {
        InitializeListHead(&threads.buckets[WORKER][i]);
        InitializeListHead(&threads.buckets[LAUNCHER][i]);
    }
}

/* ---- With the lock ---- */

/* Ids are multiples of 4. */
static LIST_ENTRY *bucket_of(uint32_t kind, uint32_t tid)
{
    return &threads.buckets[kind][tid / 4 % BUCKETS];
}

static struct known_thread *find(uint32_t kind, uint32_t tid)
{
    LIST_ENTRY *bucket = bucket_of(kind, tid);
    for (LIST_ENTRY *entry = bucket->Flink; entry != bucket; entry = entry->Flink) {
        struct known_thread *thread = CONTAINING_RECORD(entry, struct known_thread, link);
        if (thread->tid == tid)
            return thread;
    }
    return NULL;
}

static void insert(uint32_t kind, struct known_thread *thread)
{
    InsertTailList(bucket_of(kind, thread->tid), &thread->link);
    cbp_add_u32(&threads.counts[kind], 1);
}

/* NULL: nothing. The caller frees it. */
static void remove(uint32_t kind, struct known_thread *thread)
{
    if (!thread)
        return;
    RemoveEntryList(&thread->link);
    cbp_subtract_u32(&threads.counts[kind], 1);
}

/* ---- Both kinds ---- */

static bool is_any(uint32_t kind)
{
    return cbp_load_u32(&threads.counts[kind]) > 0;
}

/* Makes the thread one of that kind, in place of what it was before. */
static uint32_t add(uint32_t kind, struct cbpd_controller *controller, uint32_t session_id, uint32_t tid,
                    uint32_t rule_id)
{
    KIRQL irql;
    struct known_thread *thread = NULL, *old;
    if (cbp_load_u32(&threads.counts[kind]) < THREADS_MAX)
        thread = cbpd_pool_allocate(sizeof *thread);
    if (!thread)
        return CBP_ERROR_NOT_ENOUGH_MEMORY;
    thread->controller = controller;
    thread->controller_id = cbpd_controller_id(controller);
    thread->session_id = session_id;
    thread->tid = tid;
    thread->rule_id = rule_id;
    KeAcquireSpinLock(&threads.lock, &irql);
    old = find(kind, tid);
    remove(kind, old);
    insert(kind, thread);
    KeReleaseSpinLock(&threads.lock, irql);
    cbpd_pool_free(old);
    return 0;
}

/* Gives what was known of the thread, for the caller to free. */
static struct known_thread *take(uint32_t kind, uint32_t tid)
{
    KIRQL irql;
    if (!is_any(kind))
        return NULL;
    KeAcquireSpinLock(&threads.lock, &irql);
    struct known_thread *thread = find(kind, tid);
    remove(kind, thread);
    KeReleaseSpinLock(&threads.lock, irql);
    return thread;
}

/* Forgets the session's threads of one kind: those with that rule, or all of them (0). */
static bool forget(uint32_t kind, const struct cbpd_controller *controller, uint32_t session_id,
                   uint32_t rule_id)
{
    bool is_found = false;
    KIRQL irql;
    KeAcquireSpinLock(&threads.lock, &irql);
    for (uint32_t i = 0; i < BUCKETS; i++) {
        LIST_ENTRY *bucket = &threads.buckets[kind][i];
        for (LIST_ENTRY *entry = bucket->Flink, *next; entry != bucket; entry = next) {
            struct known_thread *thread = CONTAINING_RECORD(entry, struct known_thread, link);
            next = entry->Flink;
            if (thread->controller != controller || thread->session_id != session_id ||
                (rule_id != 0 && thread->rule_id != rule_id))
                continue;
            remove(kind, thread);
            cbpd_pool_free(thread);
            is_found = true;
        }
    }
    KeReleaseSpinLock(&threads.lock, irql);
    return is_found;
}

void cbpd_workers_of_session_ended(const struct cbpd_controller *controller, uint32_t session_id)
{
    (void) forget(WORKER, controller, session_id, 0);
    (void) forget(LAUNCHER, controller, session_id, 0);
}

void cbpd_workers_thread_ended(uint32_t tid)
{
    cbpd_pool_free(take(WORKER, tid));
    cbpd_pool_free(take(LAUNCHER, tid));
}

/* ---- Workers ---- */

static uint32_t current_thread(void)
{
    return (uint32_t) (ULONG_PTR) PsGetCurrentThreadId();
}

uint32_t cbpd_worker_add(struct cbpd_controller *controller, uint32_t session_id)
{
    return add(WORKER, controller, session_id, current_thread(), 0);
}

void cbpd_worker_remove(void)
{
    cbpd_pool_free(take(WORKER, current_thread()));
}

bool cbpd_is_worker(uint32_t tid)
{
    KIRQL irql;
    if (!is_any(WORKER))
        return false;
    KeAcquireSpinLock(&threads.lock, &irql);
    bool is_worker = find(WORKER, tid) != NULL;
    KeReleaseSpinLock(&threads.lock, irql);
    return is_worker;
}

/* ---- Launchers ---- */

uint32_t cbpd_launcher_set(struct cbpd_controller *controller, uint32_t session_id, uint32_t tid,
                           uint32_t rule_id)
{
    if (tid == 0)
        return CBP_ERROR_INVALID_PARAMETER;
    if (rule_id != 0)
        return add(LAUNCHER, controller, session_id, tid, rule_id);
    cbpd_pool_free(take(LAUNCHER, tid));
    return 0;
}

bool cbpd_launcher_forget(struct cbpd_controller *controller, uint32_t session_id, uint32_t rule_id)
{
    return rule_id != 0 && forget(LAUNCHER, controller, session_id, rule_id);
}

bool cbpd_launcher_take(uint32_t tid, uint64_t *controller_id, uint32_t *session_id, uint32_t *rule_id)
{
    struct known_thread *thread = take(LAUNCHER, tid);
    if (!thread)
        return false;
    *controller_id = thread->controller_id;
    *session_id = thread->session_id;
    *rule_id = thread->rule_id;
    cbpd_pool_free(thread);
    return true;
}

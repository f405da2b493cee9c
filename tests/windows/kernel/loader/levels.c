/* Is the interrupt request level of each thread and everything that changes it: spin locks, the cancel spin
 * lock, fast mutexes, critical regions, run-down protection. A level is a number of the thread: threads of
 * Linux are preempted at any of them, which only makes more interleavings. Knows no events. */
#include <limits.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "loader.h"

enum { HELD_MAX = 8, SPIN_ROUNDS = 64 };
#define CONTENDED 0x80000000u
#define FREED_WORD 0xddddddddu /* as pool.c fills what is freed */

/* What one thread holds. */
static __thread struct {
    uint32_t tid;
    KIRQL level;
    int critical_depth;
    const void *spin_locks[HELD_MAX];
    KIRQL levels_before[HELD_MAX];
    unsigned spin_lock_count;
    const void *fast_mutexes[HELD_MAX];
    unsigned fast_mutex_count, rundown_count;
} own;

static KSPIN_LOCK cancel_lock;

static uint32_t own_tid(void)
{
    if (own.tid == 0)
        own.tid = (uint32_t) syscall(SYS_gettid);
    return own.tid;
}

KIRQL level_now(void)
{
    return own.level;
}

void level_set(KIRQL level)
{
    own.level = level;
}

unsigned level_spin_locks(void)
{
    return own.spin_lock_count;
}

unsigned level_fast_mutexes(void)
{
    return own.fast_mutex_count;
}

void level_at_most(KIRQL highest, const char *function)
{
    if (own.level > highest)
        violation("wrong_irql", "%s at level %u, which is allowed up to %u", function, own.level, highest);
}

struct level_mark level_enter(void)
{
    return (struct level_mark){own.level, own.critical_depth, own.rundown_count};
}

void level_leave(struct level_mark mark, const char *routine)
{
    if (own.spin_lock_count > 0)
        violation("lock_held_on_return", "%s returns with a spin lock held", routine);
    if (own.fast_mutex_count > 0)
        violation("lock_held_on_return", "%s returns with a fast mutex held", routine);
    if (own.rundown_count != mark.rundown_count)
        violation("lock_held_on_return", "%s returns with run-down protection held", routine);
    if (own.level != mark.level)
        violation("irql_not_restored", "%s was called at level %u and returns at %u", routine, mark.level,
                  own.level);
    if (own.critical_depth != mark.critical_depth)
        violation("critical_region_unbalanced", "%s has entered %d critical regions more than it left",
                  routine, own.critical_depth - mark.critical_depth);
}

void level_region(int change)
{
    own.critical_depth += change;
}

/* ---- Spin locks: the word has the holder's id, and whether others wait ---- */

static void lock_word(KSPIN_LOCK *lock, const char *function)
{
    uint32_t *word = (uint32_t *) (void *) lock, contended = 0;
    if (pool_is_freed(lock))
        violation("freed_pool", "%s of a lock in freed pool", function);
    for (unsigned round = 0;; round++) {
        uint32_t value = 0;
        if (__atomic_compare_exchange_n(word, &value, own_tid() | contended, false, __ATOMIC_ACQUIRE,
                                        __ATOMIC_RELAXED))
            return;
        if (value == FREED_WORD)
            violation("freed_pool", "%s of a lock in freed pool", function);
        if ((value & ~CONTENDED) == own_tid())
            violation("spin_lock_recursion", "%s of a lock that the thread holds", function);
        if (round < SPIN_ROUNDS) {
            __builtin_ia32_pause();
            continue;
        }
        if ((value & CONTENDED) != 0 || __atomic_compare_exchange_n(word, &value, value | CONTENDED, false,
                                                                    __ATOMIC_RELAXED, __ATOMIC_RELAXED))
            wait_on_word(word, value | CONTENDED);
        contended = CONTENDED;
    }
}

static void unlock_word(KSPIN_LOCK *lock, const char *function)
{
    uint32_t *word = (uint32_t *) (void *) lock;
    uint32_t value = __atomic_load_n(word, __ATOMIC_RELAXED);
    if (value == 0)
        violation("spin_lock_not_held", "%s of a lock that nobody holds", function);
    if ((value & ~CONTENDED) != own_tid())
        violation("foreign_spin_lock", "%s of a lock that thread %u holds", function, value & ~CONTENDED);
    value = __atomic_exchange_n(word, 0, __ATOMIC_RELEASE);
    if (value & CONTENDED)
        wake_word(word, 1);
}

static void note_lock(const void *lock, KIRQL level_before)
{
    if (own.spin_lock_count == HELD_MAX)
        violation("too_many_locks", "a thread holds %d spin locks", HELD_MAX);
    own.spin_locks[own.spin_lock_count] = lock;
    own.levels_before[own.spin_lock_count++] = level_before;
}

/* KeAcquireSpinLock(RaiseToDpc). Documentation, Requirements: at most DISPATCH_LEVEL; a lock is not acquired
 * again by its holder, which would wait for itself. */
static NTAPI KIRQL KeAcquireSpinLockRaiseToDpc(KSPIN_LOCK *lock)
{
    KIRQL old = own.level;
    level_at_most(DISPATCH_LEVEL, "KeAcquireSpinLock");
    lock_word(lock, "KeAcquireSpinLock");
    note_lock(lock, old);
    own.level = DISPATCH_LEVEL;
    return old;
}

/* KeReleaseSpinLock. Documentation, Requirements: at DISPATCH_LEVEL; Remarks: NewIrql is the level that
 * KeAcquireSpinLock gave, and locks are released in the reverse order of their acquisition. */
static NTAPI void KeReleaseSpinLock(KSPIN_LOCK *lock, KIRQL level)
{
    unlock_word(lock, "KeReleaseSpinLock");
    if (own.level != DISPATCH_LEVEL)
        violation("wrong_irql", "KeReleaseSpinLock at level %u", own.level);
    if (own.spin_lock_count == 0 || own.spin_locks[own.spin_lock_count - 1] != lock)
        violation("lock_order", "KeReleaseSpinLock of a lock that is not the last one acquired");
    if (own.levels_before[--own.spin_lock_count] != level)
        violation("irql_not_restored", "KeReleaseSpinLock to level %u, acquired at %u", level,
                  own.levels_before[own.spin_lock_count]);
    own.level = level;
}

/* IoAcquireCancelSpinLock, IoReleaseCancelSpinLock. Documentation, Remarks: release takes the level that
 * acquire has given, or in a cancel routine Irp->CancelIrql; the holder completes no request. */
void level_acquire_cancel(KIRQL *old)
{
    level_at_most(DISPATCH_LEVEL, "IoAcquireCancelSpinLock");
    lock_word(&cancel_lock, "IoAcquireCancelSpinLock");
    note_lock(&cancel_lock, own.level);
    *old = own.level;
    own.level = DISPATCH_LEVEL;
}

static NTAPI void IoAcquireCancelSpinLock(KIRQL *old)
{
    level_acquire_cancel(old);
}

void level_release_cancel(KIRQL old)
{
    KeReleaseSpinLock(&cancel_lock, old);
}

static NTAPI void IoReleaseCancelSpinLock(KIRQL level)
{
    level_release_cancel(level);
}

/* ---- Fast mutexes ---- */

static uint32_t *count_word(FAST_MUTEX *mutex)
{
    return (uint32_t *) (void *) &mutex->Count;
}

static void check_fast_mutex(const FAST_MUTEX *mutex, const char *function)
{
    if (pool_is_freed(mutex))
        violation("freed_pool", "%s of a mutex in freed pool", function);
    if (mutex->Event.Header.Type != SynchronizationEvent || mutex->Event.Header.WaitListHead.Flink == NULL)
        violation("uninitialized_event", "%s: the fast mutex at %p has not been initialized", function,
                  (const void *) mutex);
}

/* ExAcquireFastMutex. Documentation, Requirements: at most APC_LEVEL; Remarks: the level is raised to
 * APC_LEVEL, and a thread that acquires a mutex that it holds waits for itself. Count is 1 when it is free, 0
 * when it is held, and -1 when somebody waits too. */
static NTAPI void ExAcquireFastMutex(FAST_MUTEX *mutex)
{
    uint32_t free_count = 1;
    check_fast_mutex(mutex, "ExAcquireFastMutex");
    level_at_most(APC_LEVEL, "ExAcquireFastMutex");
    for (unsigned i = 0; i < own.fast_mutex_count; i++)
        if (own.fast_mutexes[i] == mutex)
            violation("fast_mutex_recursion", "ExAcquireFastMutex of a mutex that the thread holds");
    if (own.fast_mutex_count == HELD_MAX)
        violation("too_many_locks", "a thread holds %d fast mutexes", HELD_MAX);
    if (!__atomic_compare_exchange_n(count_word(mutex), &free_count, 0, false, __ATOMIC_ACQUIRE,
                                     __ATOMIC_RELAXED))
        while (__atomic_exchange_n(count_word(mutex), (uint32_t) -1, __ATOMIC_ACQUIRE) != 1)
            wait_on_word(count_word(mutex), (uint32_t) -1);
    own.fast_mutexes[own.fast_mutex_count++] = mutex;
    mutex->Owner = &own;
    mutex->OldIrql = own.level;
    own.level = APC_LEVEL;
}

/* ExReleaseFastMutex. Documentation, Requirements: at APC_LEVEL; Remarks: by the thread that has acquired
 * it. The level is as before. */
static NTAPI void ExReleaseFastMutex(FAST_MUTEX *mutex)
{
    check_fast_mutex(mutex, "ExReleaseFastMutex");
    if (mutex->Owner != &own || own.fast_mutex_count == 0 ||
        own.fast_mutexes[own.fast_mutex_count - 1] != mutex)
        violation("foreign_fast_mutex", "ExReleaseFastMutex of a mutex that is not the last one acquired");
    if (own.level != APC_LEVEL)
        violation("wrong_irql", "ExReleaseFastMutex at level %u", own.level);
    KIRQL old = (KIRQL) mutex->OldIrql;
    own.fast_mutex_count--;
    mutex->Owner = NULL;
    if ((LONG) __atomic_exchange_n(count_word(mutex), 1, __ATOMIC_RELEASE) < 0)
        wake_word(count_word(mutex), 1);
    own.level = old;
}

/* ---- Critical regions ---- */

/* KeEnterCriticalRegion, KeLeaveCriticalRegion. Documentation, Requirements: at most APC_LEVEL; Remarks: each
 * entry is left by the same thread. */
static NTAPI void KeEnterCriticalRegion(void)
{
    level_at_most(APC_LEVEL, "KeEnterCriticalRegion");
    own.critical_depth++;
}

static NTAPI void KeLeaveCriticalRegion(void)
{
    level_at_most(APC_LEVEL, "KeLeaveCriticalRegion");
    if (--own.critical_depth < 0)
        violation("critical_region_unbalanced", "KeLeaveCriticalRegion outside of a critical region");
}

/* ---- Run-down protection: bit 0 says that it has begun, the rest counts ---- */

static uint32_t *rundown_word(EX_RUNDOWN_REF *protection)
{
    return (uint32_t *) (void *) protection;
}

/* ExInitializeRundownProtection. Documentation, Remarks: before any other use; not while somebody holds it. */
static NTAPI void ExInitializeRundownProtection(EX_RUNDOWN_REF *protection)
{
    *protection = 0;
}

/* ExAcquireRundownProtection. Documentation, Requirements: at most DISPATCH_LEVEL; Return value: FALSE once
 * run-down has begun. */
static NTAPI BOOLEAN ExAcquireRundownProtection(EX_RUNDOWN_REF *protection)
{
    uint32_t value = __atomic_load_n(rundown_word(protection), __ATOMIC_SEQ_CST);
    level_at_most(DISPATCH_LEVEL, "ExAcquireRundownProtection");
    do
        if (value & 1)
            return 0;
    while (!__atomic_compare_exchange_n(rundown_word(protection), &value, value + 2, false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_SEQ_CST));
    own.rundown_count++;
    return 1;
}

/* ExReleaseRundownProtection. Documentation, Requirements: at most DISPATCH_LEVEL; Remarks: once for each
 * acquisition. */
static NTAPI void ExReleaseRundownProtection(EX_RUNDOWN_REF *protection)
{
    level_at_most(DISPATCH_LEVEL, "ExReleaseRundownProtection");
    uint32_t old = __atomic_fetch_sub(rundown_word(protection), 2, __ATOMIC_SEQ_CST);
    if (old < 2)
        violation("rundown_unbalanced", "ExReleaseRundownProtection more often than acquired");
    own.rundown_count--;
    if (old == 3)
        wake_word(rundown_word(protection), INT_MAX);
}

/* ExWaitForRundownProtectionRelease. Documentation, Requirements: at most APC_LEVEL; Remarks: it waits for
 * everybody that holds the protection, so the caller must not. */
static NTAPI void ExWaitForRundownProtectionRelease(EX_RUNDOWN_REF *protection)
{
    level_at_most(APC_LEVEL, "ExWaitForRundownProtectionRelease");
    if (own.fast_mutex_count > 0 || own.rundown_count > 0)
        violation("wait_with_lock", "ExWaitForRundownProtectionRelease with something held");
    uint32_t value = __atomic_or_fetch(rundown_word(protection), 1, __ATOMIC_SEQ_CST);
    while (value != 1) {
        wait_on_word(rundown_word(protection), value);
        value = __atomic_load_n(rundown_word(protection), __ATOMIC_SEQ_CST);
    }
}

const struct export level_exports[] = {EXPORT(KeAcquireSpinLockRaiseToDpc),
                                       EXPORT(KeReleaseSpinLock),
                                       EXPORT(IoAcquireCancelSpinLock),
                                       EXPORT(IoReleaseCancelSpinLock),
                                       EXPORT(ExAcquireFastMutex),
                                       EXPORT(ExReleaseFastMutex),
                                       EXPORT(KeEnterCriticalRegion),
                                       EXPORT(KeLeaveCriticalRegion),
                                       EXPORT(ExInitializeRundownProtection),
                                       EXPORT(ExAcquireRundownProtection),
                                       EXPORT(ExReleaseRundownProtection),
                                       EXPORT(ExWaitForRundownProtectionRelease),
                                       {NULL, NULL}};

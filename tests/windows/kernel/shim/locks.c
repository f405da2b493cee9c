/* Is spin locks, the lock of cancel routines, fast mutexes and critical regions. Knows the owner of each lock. */
#include <pthread.h>
#include <sched.h>

#include "shim.h"
#include "waits.h"

/* ---- Spin locks ---- */

/* Documented: any IRQL. */
void KeInitializeSpinLock(PKSPIN_LOCK lock)
{
    __atomic_store_n(lock, 0, __ATOMIC_SEQ_CST);
}

/* Documented: up to DISPATCH_LEVEL; the caller runs at DISPATCH_LEVEL until it releases the lock; a thread
 * that acquires a lock twice waits for ever. */
KIRQL KeAcquireSpinLockRaiseToDpc(PKSPIN_LOCK lock)
{
    shim_irql_at_most("KeAcquireSpinLockRaiseToDpc", DISPATCH_LEVEL);
    struct shim_thread *self = shim_self();
    if (__atomic_load_n(lock, __ATOMIC_SEQ_CST) == (ULONG_PTR) self)
        shim_breach("spin-lock-twice", "a thread acquires the spin lock that it has");
    if (self->spin_count == SHIM_SPINS_MAX)
        shim_breach("spin-locks", "a thread has %u spin locks", self->spin_count);
    for (ULONG_PTR expected = 0; !__atomic_compare_exchange_n(lock, &expected, (ULONG_PTR) self, false,
                                                              __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
         expected = 0)
        sched_yield();
    KIRQL old = self->irql;
    self->spins[self->spin_count++] = (struct shim_spin){lock, old};
    self->irql = DISPATCH_LEVEL;
    return old;
}

/* Documented: at DISPATCH_LEVEL, by the holder, with the IRQL that acquiring has given. */
void KeReleaseSpinLock(PKSPIN_LOCK lock, KIRQL irql)
{
    struct shim_thread *self = shim_self();
    if (self->irql != DISPATCH_LEVEL)
        shim_breach("irql", "KeReleaseSpinLock is called at IRQL %u", self->irql);
    if (__atomic_load_n(lock, __ATOMIC_SEQ_CST) != (ULONG_PTR) self || self->spin_count == 0)
        shim_breach("lock-owner", "a spin lock is released by a thread that does not have it");
    struct shim_spin *last = &self->spins[self->spin_count - 1];
    if (last->lock != lock)
        shim_breach("lock-order", "spin locks are not released in the reverse of their order");
    if (last->old_irql != irql)
        shim_breach("spin-lock-irql", "a spin lock acquired at IRQL %u is released to %u", last->old_irql,
                    irql);
    self->spin_count--;
    self->irql = irql;
    __atomic_store_n(lock, 0, __ATOMIC_SEQ_CST);
}

static KSPIN_LOCK cancel_lock;

void IoAcquireCancelSpinLock(PKIRQL irql)
{
    *irql = KeAcquireSpinLockRaiseToDpc(&cancel_lock);
}

/* Documented: a cancel routine releases the lock with the request's CancelIrql. */
void IoReleaseCancelSpinLock(KIRQL irql)
{
    KeReleaseSpinLock(&cancel_lock, irql);
}

void shim_cancel_lock_check(void)
{
    if (__atomic_load_n(&cancel_lock, __ATOMIC_SEQ_CST) == (ULONG_PTR) shim_self())
        shim_breach("cancel-lock", "a cancel routine returns with the cancel spin lock");
}

/* ---- Fast mutexes ---- */

/* Documented: up to DISPATCH_LEVEL. */
void ExInitializeFastMutex(PFAST_MUTEX mutex)
{
    *mutex = (FAST_MUTEX){.Count = 1};
    KeInitializeEvent(&mutex->Event, SynchronizationEvent, FALSE);
}

/* Documented: up to APC_LEVEL, not recursive; the caller runs at APC_LEVEL until it releases the mutex. */
void ExAcquireFastMutex(PFAST_MUTEX mutex)
{
    struct shim_thread *self = shim_self();
    shim_irql_at_most("ExAcquireFastMutex", APC_LEVEL);
    shim_dispatcher_lock(mutex);
    if (mutex->Owner == self)
        shim_breach("mutex-twice", "a thread acquires the fast mutex that it has");
    mutex->Contention += mutex->Count <= 0;
    while (mutex->Count <= 0)
        shim_dispatcher_wait(mutex);
    mutex->Count = 0;
    mutex->Owner = self;
    mutex->OldIrql = self->irql;
    self->mutexes++;
    self->irql = APC_LEVEL;
    shim_dispatcher_unlock(mutex);
}

/* Documented: by the owner, at APC_LEVEL. */
void ExReleaseFastMutex(PFAST_MUTEX mutex)
{
    struct shim_thread *self = shim_self();
    shim_dispatcher_lock(mutex);
    if (mutex->Owner != self)
        shim_breach("lock-owner", "ExReleaseFastMutex is called by a thread that does not have the mutex");
    if (self->irql != APC_LEVEL)
        shim_breach("irql", "ExReleaseFastMutex is called at IRQL %u", self->irql);
    self->irql = (KIRQL) mutex->OldIrql;
    mutex->Owner = NULL;
    mutex->Count = 1;
    self->mutexes--;
    shim_dispatcher_wake(mutex);
    shim_dispatcher_unlock(mutex);
}

/* ---- Critical regions ---- */

/* Documented: up to APC_LEVEL. */
void KeEnterCriticalRegion(void)
{
    shim_irql_at_most("KeEnterCriticalRegion", APC_LEVEL);
    shim_self()->critical_regions++;
}

/* Documented: each call is for one of KeEnterCriticalRegion(). */
void KeLeaveCriticalRegion(void)
{
    shim_irql_at_most("KeLeaveCriticalRegion", APC_LEVEL);
    if (shim_self()->critical_regions-- == 0)
        shim_breach("critical-region", "KeLeaveCriticalRegion is called in no critical region");
}

/* Is events, waits, delays and rundown protection. A waiting thread is in its event's list, so that an event
 * whose memory goes while a thread waits for it is seen. */
#include "waits.h"

#include <pthread.h>
#include <time.h>

#include "shim.h"

#define UNITS_PER_MS 10000ull /* of 100 ns */
#define NS_PER_S 1000000000ull

enum { STRIPES = 256 };

static struct stripe {
    pthread_mutex_t lock;
    pthread_cond_t changed;
} stripes[STRIPES];

__attribute__((constructor)) static void init_stripes(void)
{
    for (size_t i = 0; i < STRIPES; i++) {
        pthread_mutex_init(&stripes[i].lock, NULL);
        pthread_cond_init(&stripes[i].changed, NULL);
    }
}

static struct stripe *stripe_of(const void *object)
{
    return &stripes[((uintptr_t) object >> 3) * UINT64_C(0x9e3779b97f4a7c15) >> 56];
}

void shim_dispatcher_lock(const void *object)
{
    pthread_mutex_lock(&stripe_of(object)->lock);
}

void shim_dispatcher_unlock(const void *object)
{
    pthread_mutex_unlock(&stripe_of(object)->lock);
}

void shim_dispatcher_wait(const void *object)
{
    pthread_cond_wait(&stripe_of(object)->changed, &stripe_of(object)->lock);
}

void shim_dispatcher_wake(const void *object)
{
    pthread_cond_broadcast(&stripe_of(object)->changed);
}

/* ---- Events ---- */

/* A thread that waits is in the list of the event, whose lock is held for all that is done with it. */
struct waiter {
    LIST_ENTRY entry;
    pthread_cond_t woken;
    bool is_satisfied;
};

static void check_event(const char *function, const KEVENT *event)
{
    if (!event->Header.WaitListHead.Flink || event->Header.Type > SynchronizationEvent)
        shim_breach("bad-object", "%s is called with an event that was never initialised", function);
}

void KeInitializeEvent(PRKEVENT event, EVENT_TYPE type, BOOLEAN state)
{
    *event = (KEVENT){.Header = {.Type = (UCHAR) type, .Size = sizeof *event / 4, .SignalState = state}};
    InitializeListHead(&event->Header.WaitListHead);
}

/* Wakes the waiters that the event satisfies: all, or of a synchronization event one, which takes the state. */
static void satisfy(PRKEVENT event)
{
    PLIST_ENTRY head = &event->Header.WaitListHead;
    while (event->Header.SignalState != 0 && !IsListEmpty(head)) {
        struct waiter *waiter = CONTAINING_RECORD(RemoveHeadList(head), struct waiter, entry);
        waiter->is_satisfied = true;
        if (event->Header.Type == SynchronizationEvent)
            event->Header.SignalState = 0;
        pthread_cond_signal(&waiter->woken);
    }
}

/* Documented: up to DISPATCH_LEVEL without wait; wait means that a wait follows at once. Gives the old state. */
LONG KeSetEvent(PRKEVENT event, KPRIORITY increment, BOOLEAN wait)
{
    (void) increment;
    shim_irql_at_most("KeSetEvent", wait ? APC_LEVEL : DISPATCH_LEVEL);
    shim_dispatcher_lock(event);
    check_event("KeSetEvent", event);
    LONG old = event->Header.SignalState;
    event->Header.SignalState = 1;
    satisfy(event);
    shim_dispatcher_unlock(event);
    return old;
}

/* ---- Waiting ---- */

/* Gives for how long a timeout lasts, in ns. Documented: negative is relative, positive a system time. */
static uint64_t duration_of(const LARGE_INTEGER *timeout)
{
    if (timeout->QuadPart <= 0)
        return (0 - (uint64_t) timeout->QuadPart) * 100;
    uint64_t now = shim_wall_100ns(), then = (uint64_t) timeout->QuadPart;
    return then > now ? (then - now) * 100 : 0;
}

/* Documented: a thread may wait up to APC_LEVEL, at DISPATCH_LEVEL only for no time. The rules of this project
 * add a bound, and that no fast mutex is held meanwhile. */
static void check_wait(const char *function, const LARGE_INTEGER *timeout)
{
    bool waits = !timeout || timeout->QuadPart != 0;
    shim_irql_at_most(function, waits ? APC_LEVEL : DISPATCH_LEVEL);
    if (shim_wait_max_ms == 0 || !waits)
        return;
    if (!timeout || duration_of(timeout) > shim_wait_max_ms * UNITS_PER_MS * 100)
        shim_breach("unbounded-wait", "%s may wait for more than %u ms", function, shim_wait_max_ms);
    if (shim_self()->mutexes != 0)
        shim_breach("wait-with-lock", "%s waits with a fast mutex held", function);
}

/* Waits for a moment of the machine's time. A test can let time pass at once, so the clock is read often. */
enum { LOOK_NS = 200000 };

static struct timespec moment_in(uint64_t ns)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t end = (uint64_t) now.tv_sec * NS_PER_S + (uint64_t) now.tv_nsec + (ns < LOOK_NS ? ns : LOOK_NS);
    return (struct timespec){.tv_sec = (time_t) (end / NS_PER_S), .tv_nsec = (long) (end % NS_PER_S)};
}

static uint64_t left_until(uint64_t end_ns)
{
    uint64_t now = shim_now_ns();
    return end_ns > now ? end_ns - now : 0;
}

static void init_waiter(struct waiter *waiter)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&waiter->woken, &attributes);
    pthread_condattr_destroy(&attributes);
    waiter->is_satisfied = false;
}

/* Waits until the event satisfies this thread or the time is over. Its lock is held. */
static bool wait_in_list(PRKEVENT event, const LARGE_INTEGER *timeout)
{
    struct waiter waiter;
    uint64_t end_ns = shim_now_ns() + (timeout ? duration_of(timeout) : 0);
    init_waiter(&waiter);
    InsertTailList(&event->Header.WaitListHead, &waiter.entry);
    while (!waiter.is_satisfied && (!timeout || left_until(end_ns) > 0)) {
        struct timespec moment = moment_in(timeout ? left_until(end_ns) : LOOK_NS);
        pthread_cond_timedwait(&waiter.woken, &stripe_of(event)->lock, &moment);
    }
    if (!waiter.is_satisfied)
        RemoveEntryList(&waiter.entry);
    pthread_cond_destroy(&waiter.woken);
    return waiter.is_satisfied;
}

/* Documented: a wait in UserMode lets the stack be paged out, with an event that lies in it. */
NTSTATUS KeWaitForSingleObject(PVOID object, KWAIT_REASON reason, KPROCESSOR_MODE mode, BOOLEAN alertable,
                               PLARGE_INTEGER timeout)
{
    (void) reason;
    PRKEVENT event = object;
    check_wait("KeWaitForSingleObject", timeout);
    if (mode != KernelMode || alertable)
        shim_breach("wait-mode", "a wait in UserMode, or an alertable one, can be ended by the program");
    shim_dispatcher_lock(event);
    check_event("KeWaitForSingleObject", event);
    bool is_satisfied = event->Header.SignalState != 0;
    if (is_satisfied && event->Header.Type == SynchronizationEvent)
        event->Header.SignalState = 0;
    if (!is_satisfied && (!timeout || timeout->QuadPart != 0))
        is_satisfied = wait_in_list(event, timeout);
    shim_dispatcher_unlock(event);
    return is_satisfied ? STATUS_SUCCESS : STATUS_TIMEOUT;
}

/* ---- Rundown protection: bit 0 says that it runs down, the rest counts ---- */

void ExInitializeRundownProtection(PEX_RUNDOWN_REF rundown)
{
    rundown->Count = 0;
}

/* Documented: up to DISPATCH_LEVEL, if it lies in nonpaged memory. FALSE: it runs down, or has. */
BOOLEAN ExAcquireRundownProtection(PEX_RUNDOWN_REF rundown)
{
    shim_irql_at_most("ExAcquireRundownProtection", DISPATCH_LEVEL);
    shim_dispatcher_lock(rundown);
    bool is_open = (rundown->Count & 1) == 0;
    rundown->Count += is_open ? 2 : 0;
    shim_dispatcher_unlock(rundown);
    return is_open;
}

/* Documented: each call is for a successful one of ExAcquireRundownProtection(). */
void ExReleaseRundownProtection(PEX_RUNDOWN_REF rundown)
{
    shim_irql_at_most("ExReleaseRundownProtection", DISPATCH_LEVEL);
    shim_dispatcher_lock(rundown);
    if (rundown->Count < 2)
        shim_breach("rundown", "protection is released more often than it was acquired");
    rundown->Count -= 2;
    shim_dispatcher_wake(rundown);
    shim_dispatcher_unlock(rundown);
}

/* Documented: up to APC_LEVEL; the caller must not have the protection itself. */
void ExWaitForRundownProtectionRelease(PEX_RUNDOWN_REF rundown)
{
    shim_irql_at_most("ExWaitForRundownProtectionRelease", APC_LEVEL);
    shim_dispatcher_lock(rundown);
    rundown->Count |= 1;
    while (rundown->Count != 1)
        shim_dispatcher_wait(rundown);
    shim_dispatcher_unlock(rundown);
}

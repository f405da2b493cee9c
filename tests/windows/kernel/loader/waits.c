/* Is the kernel's events and its time: KEVENT, waiting, sleeping, the performance counter. A wait is refused
 * at a level where the dispatcher cannot run. Knows levels; the driver's memory holds the events themselves. */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "loader.h"

enum {
    NS_PER_S = 1000000000,
    NS_PER_MS = 1000000,
    NS_PER_TICK = 100,
    EVENT_SIZE_IN_LONGS = sizeof(KEVENT) / 4
};

static unsigned scale = 1;
static int64_t slice_limit_ns;
static uint64_t tick_ns; /* of the driver's time */

void time_scale(unsigned factor)
{
    scale = factor;
}

void time_slice_limit_ms(unsigned most)
{
    slice_limit_ns = (int64_t) most * NS_PER_MS;
}

void time_tick_ms(unsigned length)
{
    tick_ns = (uint64_t) length * NS_PER_MS;
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t) now.tv_sec * NS_PER_S + (uint64_t) now.tv_nsec;
}

uint64_t time_now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC) * scale;
}

/* ---- Words that threads of Linux wait for ---- */

bool wait_on_word_for(uint32_t *word, uint32_t value, int64_t ns)
{
    struct timespec limit = {.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};
    return syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, &limit, NULL, 0) == 0 || errno != ETIMEDOUT;
}

void wait_on_word(uint32_t *word, uint32_t value)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

void wake_word(uint32_t *word, int count)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

/* ---- Events ---- */

static uint32_t *signal_word(KEVENT *event)
{
    return (uint32_t *) (void *) &event->Header.SignalState;
}

/* An event is used only after KeInitializeEvent (its remarks). */
static void check_event(const KEVENT *event, const char *function)
{
    const DISPATCHER_HEADER *header = &event->Header;
    if (header->Type > SynchronizationEvent || header->Size != EVENT_SIZE_IN_LONGS ||
        header->WaitListHead.Flink != &header->WaitListHead)
        violation("uninitialized_event", "%s: the event at %p has not been initialized", function,
                  (const void *) event);
}

/* KeInitializeEvent. Documentation, Requirements: any level; the storage is resident. */
static NTAPI void KeInitializeEvent(KEVENT *event, int type, BOOLEAN state)
{
    DISPATCHER_HEADER *header = &event->Header;
    *header = (DISPATCHER_HEADER){.Type = (UCHAR) type, .Size = EVENT_SIZE_IN_LONGS, .SignalState = state};
    header->WaitListHead.Flink = header->WaitListHead.Blink = &header->WaitListHead;
}

/* KeSetEvent. Documentation, Remarks: with Wait TRUE the caller is below DISPATCH_LEVEL and waits next;
 * otherwise at most DISPATCH_LEVEL. The return value is the state before. */
static NTAPI LONG KeSetEvent(KEVENT *event, LONG increment, BOOLEAN wait)
{
    (void) increment;
    check_event(event, "KeSetEvent");
    level_at_most(wait ? APC_LEVEL : DISPATCH_LEVEL, "KeSetEvent");
    uint32_t *word = signal_word(event);
    int waking = event->Header.Type == NotificationEvent ? INT_MAX : 1;
    LONG old = (LONG) __atomic_exchange_n(word, 1, __ATOMIC_SEQ_CST);
    /* From here on a waiter may have gone on, and the event with it. Only its address is used. */
    if (!old)
        wake_word(word, waking);
    return old;
}

/* KeResetEvent, KeClearEvent. Documentation, Requirements: at most DISPATCH_LEVEL. */
static NTAPI LONG KeResetEvent(KEVENT *event)
{
    check_event(event, "KeResetEvent");
    level_at_most(DISPATCH_LEVEL, "KeResetEvent");
    return (LONG) __atomic_exchange_n(signal_word(event), 0, __ATOMIC_SEQ_CST);
}

static NTAPI void KeClearEvent(KEVENT *event)
{
    KeResetEvent(event);
}

/* Takes the signal: a synchronization event is reset by the one wait that it satisfies. */
static bool take_signal(KEVENT *event)
{
    uint32_t *word = signal_word(event), set = 1;
    if (event->Header.Type == NotificationEvent)
        return __atomic_load_n(word, __ATOMIC_SEQ_CST) != 0;
    return __atomic_compare_exchange_n(word, &set, 0, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* Gives how long a timeout is. Negative is relative; positive is a time since 1601, and no driver of ours has
 * a use for that. */
static int64_t timeout_ns(const int64_t *timeout, const char *function)
{
    if (*timeout > 0)
        violation("absolute_timeout", "%s: a wait of bounded length is relative", function);
    return -*timeout * NS_PER_TICK;
}

/* No thread that waits may hold what others need: nothing else bounds their wait. */
static void check_wait(const char *function, const int64_t *timeout)
{
    if (level_spin_locks() > 0)
        violation("wait_at_dispatch", "%s with a spin lock held", function);
    if (level_now() >= DISPATCH_LEVEL)
        violation("wait_at_dispatch", "%s at level %u", function, level_now());
    if (level_fast_mutexes() > 0)
        violation("wait_with_lock", "%s with a fast mutex held", function);
    if (slice_limit_ns == 0)
        return;
    if (!timeout)
        violation("unbounded_wait", "%s without a timeout", function);
    if (timeout_ns(timeout, function) >= slice_limit_ns + NS_PER_MS) /* less is rounding up */
        violation("unbounded_wait", "%s for %lld ms", function,
                  (long long) (timeout_ns(timeout, function) / NS_PER_MS));
}

/* Gives when a wait ends on the clock of Linux. Documentation, KeWaitForSingleObject, Remarks: a timeout is
 * noticed with a tick of the system's clock, so a thread may wait longer, and not shorter. */
static uint64_t end_of(const int64_t *timeout)
{
    uint64_t end = time_now_ns() + (uint64_t) timeout_ns(timeout, "");
    if (tick_ns > 0)
        end = (end + tick_ns - 1) / tick_ns * tick_ns;
    return end / scale;
}

/* KeWaitForSingleObject. Documentation, Remarks: with a timeout of 0 at most DISPATCH_LEVEL, otherwise at most
 * APC_LEVEL and in a thread that may wait. Only events are waited for. */
static NTAPI NTSTATUS KeWaitForSingleObject(void *object, int reason, UCHAR mode, BOOLEAN is_alertable,
                                            const int64_t *timeout)
{
    KEVENT *event = object;
    (void) reason;
    check_event(event, "KeWaitForSingleObject");
    if (mode != KernelMode || is_alertable)
        violation("wait_mode",
                  "a wait in user mode or alertable may let the stack be paged out, or return early");
    if (timeout && *timeout == 0) {
        level_at_most(DISPATCH_LEVEL, "KeWaitForSingleObject");
        return take_signal(event) ? STATUS_SUCCESS : STATUS_TIMEOUT;
    }
    check_wait("KeWaitForSingleObject", timeout);
    uint64_t end = timeout ? end_of(timeout) : 0;
    while (!take_signal(event)) {
        uint64_t now = timeout ? clock_ns(CLOCK_MONOTONIC) : 0;
        if (!timeout)
            wait_on_word(signal_word(event), 0);
        else if (now >= end)
            return STATUS_TIMEOUT;
        else
            wait_on_word_for(signal_word(event), 0, (int64_t) (end - now));
    }
    return STATUS_SUCCESS;
}

/* KeDelayExecutionThread. Documentation, Requirements: at most APC_LEVEL. */
static NTAPI NTSTATUS KeDelayExecutionThread(UCHAR mode, BOOLEAN is_alertable, const int64_t *interval)
{
    if (mode != KernelMode || is_alertable)
        violation("wait_mode", "a sleep in user mode or alertable may return early");
    check_wait("KeDelayExecutionThread", interval);
    int64_t ns = timeout_ns(interval, "KeDelayExecutionThread") / scale;
    struct timespec rest = {.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};
    while (nanosleep(&rest, &rest) != 0)
        ;
    return STATUS_SUCCESS;
}

/* ---- Time ---- */

/* KeQueryPerformanceCounter. Documentation, Requirements: any level; the frequency is optional. */
static NTAPI int64_t KeQueryPerformanceCounter(int64_t *frequency)
{
    if (frequency)
        *frequency = NS_PER_S / NS_PER_TICK;
    return (int64_t) (time_now_ns() / NS_PER_TICK);
}

/* KeQuerySystemTimePrecise. Documentation, Remarks: units of 100 ns since 1601; any level. */
static NTAPI void KeQuerySystemTimePrecise(int64_t *now)
{
    const int64_t ticks_1601_to_1970 = INT64_C(116444736000000000);
    *now = (int64_t) (clock_ns(CLOCK_REALTIME) / NS_PER_TICK) + ticks_1601_to_1970;
}

const struct export wait_exports[] = {EXPORT(KeInitializeEvent),
                                      EXPORT(KeSetEvent),
                                      EXPORT(KeResetEvent),
                                      EXPORT(KeClearEvent),
                                      EXPORT(KeWaitForSingleObject),
                                      EXPORT(KeDelayExecutionThread),
                                      EXPORT(KeQueryPerformanceCounter),
                                      EXPORT(KeQuerySystemTimePrecise),
                                      {"KeQuerySystemTime", (void *) KeQuerySystemTimePrecise},
                                      {NULL, NULL}};

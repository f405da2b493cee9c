/* Has the tracer run soon when something waits for it. While programs start and end, everything that they do
 * next waits for the tracer, so what it waits for itself - a processor, a wake-up - is what tracing costs.
 * Knows no events and no answers.
 *
 * It asks for a short slice: a task with one may take the processor of a task with a long one as soon as it
 * wakes up. And before it sleeps it looks for the next stop or answer for a moment (adaptive spinning), because
 * that mostly comes within microseconds, from another processor; a sleep and a wake-up there take longer. Where
 * spinning does not pay, it becomes rare or ends: with one processor, with programs that compute, and where
 * there are more tasks than processors. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tracer.h"

#define SLICE_NS UINT64_C(100000) /* the shortest that there is */
#define SPIN_NS UINT64_C(50000)
/* A thread that has a processor looks at the clock more often than this. */
#define PREEMPTED_NS UINT64_C(20000)
#define CROWD_CHECK_NS (5 * CBP_NS_PER_MS)

enum {
    LOOKS_BETWEEN_CLOCKS = 4,
    TASKS_MAX = 64,    /* a look for stops takes longer, the more tasks are traced */
    MISSES_MAX = 10,   /* then one in 1,024 sleeps begins with a spin: 0.05 us each */
    CROWDED_PART = 20, /* who waits for a processor for more than this part of the time is in a crowd */
};

static bool has_processors;
static int schedstat_fd = -1;
static uint32_t misses; /* spins in vain, less those that were not */
static uint32_t skips;  /* sleeps that begin without a spin */

/* Is struct sched_attr in its first version. Its header is at odds with <sched.h> in some C libraries. */
struct attributes {
    uint32_t size;
    uint32_t policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns; /* of SCHED_OTHER, since Linux 6.12: the slice; ignored before */
    uint64_t deadline_ns;
    uint64_t period_ns;
};

/* Source: sched_setattr(2). A policy that somebody has chosen stays as it is. */
static void ask_for_short_slice(void)
{
    struct attributes own = {.size = sizeof own};
    if (syscall(SYS_sched_getattr, 0, &own, sizeof own, 0) != 0 || own.policy != SCHED_OTHER)
        return;
    own.runtime_ns = SLICE_NS;
    (void) syscall(SYS_sched_setattr, 0, &own, 0); /* without it the tracer is only slower */
}

void cbpd_prepare_scheduling(void)
{
    cpu_set_t processors;
    CPU_ZERO(&processors);
    /* The call fails where there are more processors than the set has room for. */
    has_processors = sched_getaffinity(0, sizeof processors, &processors) != 0 || CPU_COUNT(&processors) > 1;
    schedstat_fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    ask_for_short_slice();
}

/* Gives the time that this thread has ever waited for a processor; 0: not known. Source: proc(5), schedstat. */
static uint64_t waited_ns(void)
{
    char text[128];
    ssize_t size = schedstat_fd >= 0 ? pread(schedstat_fd, text, sizeof text - 1, 0) : -1;
    text[size > 0 ? size : 0] = '\0';
    const char *second = strchr(text, ' ');
    return second ? strtoull(second, NULL, 10) : 0;
}

/* Says whether there were too few processors lately: then a spin takes one away from a program. */
static bool is_crowded(void)
{
    static uint64_t checked_ns, waited_then_ns;
    static bool is_it;
    uint64_t now = cbpd_now_ns();
    if (now - checked_ns >= CROWD_CHECK_NS) {
        uint64_t waited = waited_ns();
        is_it = (waited - waited_then_ns) * CROWDED_PART > now - checked_ns;
        checked_ns = now;
        waited_then_ns = waited;
    }
    return is_it;
}

static bool spin(struct tracer *self, bool (*has_come)(struct tracer *))
{
    uint64_t begin = cbpd_now_ns(), now = begin, last;
    do {
        for (int i = 0; i < LOOKS_BETWEEN_CLOCKS; i++)
            if (has_come(self))
                return true;
        last = now;
        now = cbpd_now_ns();
    } while (now - last < PREEMPTED_NS && now - begin < SPIN_NS);
    return false;
}

bool cbpd_spin(struct tracer *self, bool (*has_come)(struct tracer *))
{
    if (!has_processors || self->helper.task_count == 0 || self->helper.task_count > TASKS_MAX)
        return false;
    if (skips > 0) {
        skips--;
        return false;
    }
    if (is_crowded())
        return false;
    bool has_come_in_time = spin(self, has_come);
    if (has_come_in_time) {
        misses /= 2;
    } else {
        misses += misses < MISSES_MAX;
        skips = (1u << misses) - 1;
    }
    return has_come_in_time;
}

/* Keeps the tracer awake for a moment before it sleeps (adaptive spinning). While programs start and end, the
 * next stop or answer comes within microseconds, from another processor; a sleep and a wake-up take longer
 * than that. Where spinning does not pay, it becomes rare: with one processor, with programs that compute, and
 * where others want this processor. Knows no events and no answers. */
#define _GNU_SOURCE
#include <sched.h>

#include "tracer.h"

#define SPIN_NS UINT64_C(50000)
/* Who spins alone looks at the clock more often than this. Otherwise another task has had the processor. */
#define PREEMPTED_NS UINT64_C(20000)

enum {
    LOOKS_BETWEEN_CLOCKS = 4,
    TASKS_MAX = 64,  /* a look for stops takes longer, the more tasks are traced */
    MISSES_MAX = 10, /* then one in 1,024 sleeps begins with a spin: 0.05 us each */
};

static bool has_processors;
static uint32_t misses; /* spins in vain, less those that were not */
static uint32_t skips;  /* sleeps that begin without a spin */

void cbpd_prepare_spinning(void)
{
    cpu_set_t processors;
    CPU_ZERO(&processors);
    /* The call fails where there are more processors than the set has room for. */
    has_processors = sched_getaffinity(0, sizeof processors, &processors) != 0 || CPU_COUNT(&processors) > 1;
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
    bool has_come_in_time = spin(self, has_come);
    if (has_come_in_time) {
        misses /= 2;
    } else {
        misses += misses < MISSES_MAX;
        skips = (1u << misses) - 1;
    }
    return has_come_in_time;
}

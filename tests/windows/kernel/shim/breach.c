/* Keeps what the shim knows of each thread, reports broken rules, and makes calls fail when a test wants that.
 * Knows no function of NT. */
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "shim.h"

static _Thread_local struct shim_thread self;
uint32_t shim_wait_max_ms;

struct shim_thread *shim_self(void)
{
    return &self;
}

void shim_become(uint32_t pid, uint32_t tid)
{
    self.pid = pid;
    self.tid = tid;
}

void shim_breach(const char *rule, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "shim: %s: ", rule);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    fflush(NULL);
    abort();
}

void shim_irql_at_most(const char *function, KIRQL irql)
{
    if (self.irql > irql)
        shim_breach("irql", "%s is called at IRQL %u, and may be called at %u at most", function, self.irql,
                    irql);
}

struct shim_thread shim_enter(KIRQL irql, uint32_t critical_regions)
{
    struct shim_thread before = self;
    self.entry_irql = self.irql = irql;
    self.critical_regions += critical_regions;
    return before;
}

/* A driver returns at the IRQL at which it was called, with no lock and in no critical region of its own. */
void shim_leave(const char *what, struct shim_thread before, uint32_t critical_regions)
{
    if (self.spin_count != before.spin_count || self.mutexes != before.mutexes)
        shim_breach("lock-kept", "%s returns with %u spin locks and %u fast mutexes", what, self.spin_count,
                    self.mutexes);
    if (self.irql != self.entry_irql)
        shim_breach("irql", "%s is called at IRQL %u and returns at %u", what, self.entry_irql, self.irql);
    if (self.critical_regions != before.critical_regions + critical_regions)
        shim_breach("critical-region", "%s returns within %u critical regions", what, self.critical_regions);
    self = before;
}

/* ---- Faults ---- */

static pthread_mutex_t fault_lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    uint32_t kinds;
    uint64_t first, count, points, made;
} faults;

void shim_fail_at(uint32_t kinds, uint64_t first, uint64_t count)
{
    pthread_mutex_lock(&fault_lock);
    __atomic_store_n(&faults.kinds, kinds, __ATOMIC_RELAXED);
    faults.first = first;
    faults.count = count;
    faults.points = faults.made = 0;
    pthread_mutex_unlock(&fault_lock);
}

uint64_t shim_fault_points(void)
{
    pthread_mutex_lock(&fault_lock);
    uint64_t points = faults.points;
    pthread_mutex_unlock(&fault_lock);
    return points;
}

uint64_t shim_faults_made(void)
{
    pthread_mutex_lock(&fault_lock);
    uint64_t made = faults.made;
    pthread_mutex_unlock(&fault_lock);
    return made;
}

bool shim_is_to_fail(enum shim_fault kind)
{
    bool fails = false;
    if ((__atomic_load_n(&faults.kinds, __ATOMIC_RELAXED) & kind) == 0)
        return false; /* without the lock, which could hide a race of the driver */
    pthread_mutex_lock(&fault_lock);
    if ((faults.kinds & kind) != 0) {
        uint64_t point = faults.points++;
        fails = point >= faults.first && point - faults.first < faults.count;
        faults.made += fails;
    }
    pthread_mutex_unlock(&fault_lock);
    return fails;
}

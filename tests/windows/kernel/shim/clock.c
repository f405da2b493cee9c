/* Is the time of the machine: that of Linux, and what a test lets pass at once. */
#include <time.h>

#include "shim.h"

#define NS_PER_S 1000000000ull
#define WALL_OFFSET_100NS 116444736000000000ull /* from 1601 to 1970 */

static uint64_t passed_ns;

static uint64_t read_clock(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t) now.tv_sec * NS_PER_S + (uint64_t) now.tv_nsec +
           __atomic_load_n(&passed_ns, __ATOMIC_SEQ_CST);
}

uint64_t shim_now_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

void shim_clock_advance(uint64_t ns)
{
    __atomic_fetch_add(&passed_ns, ns, __ATOMIC_SEQ_CST);
}

uint64_t shim_wall_100ns(void)
{
    return read_clock(CLOCK_REALTIME) / 100 + WALL_OFFSET_100NS;
}

/* Documented: any IRQL; the frequency never changes. 10 MHz is what Windows 10 shows. */
LARGE_INTEGER KeQueryPerformanceCounter(PLARGE_INTEGER frequency)
{
    if (frequency)
        frequency->QuadPart = 10000000;
    return (LARGE_INTEGER){.QuadPart = (LONGLONG) (shim_now_ns() / 100)};
}

/* Documented: any IRQL; 100 ns since 1601. */
void KeQuerySystemTimePrecise(PLARGE_INTEGER time)
{
    time->QuadPart = (LONGLONG) shim_wall_100ns();
}

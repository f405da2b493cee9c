/* Reads the clocks: of deadlines, of events, and of the kernel's start times. Any thread. */
#include <time.h>
#include <unistd.h>

#include "tracer.h"

static uint64_t read_clock(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t) now.tv_sec * CBP_NS_PER_S + (uint64_t) now.tv_nsec;
}

uint64_t cbpd_now_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

uint64_t cbpd_wall_ns(void)
{
    return read_clock(CLOCK_REALTIME);
}

uint64_t cbpd_boot_ns(void)
{
    return read_clock(CLOCK_BOOTTIME);
}

/* Gives a time in the unit of start times. */
uint64_t cbpd_ticks_of(uint64_t time_ns)
{
    static uint64_t tick_ns;
    if (tick_ns == 0)
        tick_ns = CBP_NS_PER_S / (uint64_t) sysconf(_SC_CLK_TCK);
    return time_ns / tick_ns;
}

uint64_t cbpd_boot_ticks(void)
{
    return cbpd_ticks_of(cbpd_boot_ns());
}

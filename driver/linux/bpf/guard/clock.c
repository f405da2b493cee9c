/* Tells the time of deadlines: the one that BPF programs and the core have. */
#include "guard.h"

#include <time.h>

uint64_t cbpd_guard_time_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t) now.tv_sec * CBP_NS_PER_S + (uint64_t) now.tv_nsec;
}

/* Reads the clocks in nanoseconds. */
#include "cbp_time.h"
#include "kernel.h"

enum { NS_PER_UNIT = 100 }; /* of the system's time */

/* From 1601 to 1970, in the system's units. */
static const uint64_t epoch = UINT64_C(116444736000000000);

uint64_t cbpd_now_ns(void)
{
    uint64_t per_second, ticks = cbpd_system_ticks(&per_second);
    return ticks / per_second * CBP_NS_PER_S + ticks % per_second * CBP_NS_PER_S / per_second;
}

uint64_t cbpd_wall_ns(void)
{
    return (cbpd_system_time() - epoch) * NS_PER_UNIT;
}

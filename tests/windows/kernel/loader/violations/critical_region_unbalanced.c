/* Leaves a callback in a critical region of its own.
 * Rule: critical_region_unbalanced. */
#define AT_PROCESS
#include "frame.h"

static void at_process(PEPROCESS process, PPS_CREATE_NOTIFY_INFO info)
{
    (void) process, (void) info;
    KeEnterCriticalRegion();
}

/* Leaves a callback with run-down protection held.
 * Rule: lock_held_on_return. */
#define AT_PROCESS
#include "frame.h"

static EX_RUNDOWN_REF protection;

static void at_process(PEPROCESS process, PPS_CREATE_NOTIFY_INFO info)
{
    (void) process, (void) info;
    ExAcquireRundownProtection(&protection);
}

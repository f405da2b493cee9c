/* Removes its callback while it is in it.
 * Rule: removal_in_callback. */
#define AT_PROCESS
#include "frame.h"

static void at_process(PEPROCESS process, PPS_CREATE_NOTIFY_INFO info)
{
    (void) process, (void) info;
    PsSetCreateProcessNotifyRoutineEx(on_process, TRUE);
}

/* Uses a process that ended, without a reference.
 * Rule: freed_object. */
#define AT_PROCESS
#include "frame.h"

static void at_process(PEPROCESS process, PPS_CREATE_NOTIFY_INFO info)
{
    static PEPROCESS old;
    (void) info;
    if (old && old != process)
        PsGetProcessId(old);
    old = process;
}

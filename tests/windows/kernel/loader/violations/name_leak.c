/* Does not free the name of a process.
 * Rule: pool_leak. */
#define AT_PROCESS
#include "frame.h"

static void at_process(PEPROCESS process, PPS_CREATE_NOTIFY_INFO info)
{
    PUNICODE_STRING name;
    (void) info;
    SeLocateProcessImageName(process, &name);
}

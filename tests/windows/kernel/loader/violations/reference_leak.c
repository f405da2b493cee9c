/* Keeps a reference to a process.
 * Rule: reference_leak. */
#define AT_PROCESS
#include "frame.h"

static void at_process(PEPROCESS process, PPS_CREATE_NOTIFY_INFO info)
{
    (void) info;
    ObfReferenceObject(process);
}

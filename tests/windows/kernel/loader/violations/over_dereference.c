/* Gives back a reference that it does not have.
 * Rule: over_dereference. */
#define AT_PROCESS
#include "frame.h"

static void at_process(PEPROCESS process, PPS_CREATE_NOTIFY_INFO info)
{
    (void) info;
    ObfDereferenceObject(process);
}

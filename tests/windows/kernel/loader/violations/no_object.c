/* Asks for the id of a thread as if it were a process.
 * Rule: no_object. */
#define AT_PROCESS
#include "frame.h"

static void at_process(PEPROCESS process, PPS_CREATE_NOTIFY_INFO info)
{
    (void) info;
    PACCESS_TOKEN token = PsReferencePrimaryToken(process);
    PsGetProcessId((PEPROCESS) token);
    PsDereferencePrimaryToken(token);
}

/* Writes to a request after it has completed it.
 * Rule: completed_request. */
#define AT_CONTROL
#include "frame.h"

static NTSTATUS at_control(PIRP irp, int turn)
{
    (void) turn;
    complete(irp, STATUS_SUCCESS, 0);
    irp->IoStatus.Information = 1;
    return KEPT;
}

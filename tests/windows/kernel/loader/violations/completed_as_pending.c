/* Completes a request with STATUS_PENDING.
 * Rule: completed_as_pending. */
#define AT_CONTROL
#include "frame.h"

static NTSTATUS at_control(PIRP irp, int turn)
{
    (void) turn;
    complete(irp, STATUS_PENDING, 0);
    return KEPT;
}

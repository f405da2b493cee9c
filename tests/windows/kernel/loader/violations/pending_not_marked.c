/* Marks a request pending, completes it and returns success.
 * Rule: pending_not_marked. */
#define AT_CONTROL
#include "frame.h"

static NTSTATUS at_control(PIRP irp, int turn)
{
    (void) turn;
    IoMarkIrpPending(irp);
    return STATUS_SUCCESS;
}

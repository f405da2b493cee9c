/* Keeps a request for ever.
 * Rule: hang. */
#define AT_CONTROL
#include "frame.h"

static NTSTATUS at_control(PIRP irp, int turn)
{
    (void) turn;
    IoMarkIrpPending(irp);
    return KEPT_PENDING;
}

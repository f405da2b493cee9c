/* Does not release the cancel spin lock in its cancel routine.
 * Rule: lock_held_on_return. */
#define AT_CONTROL
#include "frame.h"

static VOID NTAPI cancel(PDEVICE_OBJECT device, PIRP irp)
{
    (void) device, (void) irp;
}

static NTSTATUS at_control(PIRP irp, int turn)
{
    (void) turn;
    IoMarkIrpPending(irp);
    IoSetCancelRoutine(irp, cancel);
    return KEPT_PENDING;
}

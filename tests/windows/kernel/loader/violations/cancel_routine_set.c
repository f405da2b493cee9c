/* Completes a request that can still be cancelled.
 * Rule: cancel_routine_set. */
#define AT_CONTROL
#include "frame.h"

static VOID NTAPI cancel(PDEVICE_OBJECT device, PIRP irp)
{
    (void) device;
    IoReleaseCancelSpinLock(irp->CancelIrql);
}

static NTSTATUS at_control(PIRP irp, int turn)
{
    (void) turn;
    IoSetCancelRoutine(irp, cancel);
    return STATUS_SUCCESS;
}

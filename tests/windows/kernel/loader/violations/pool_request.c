/* Allocates no bytes.
 * Rule: pool_request. */
#define AT_CONTROL
#include "frame.h"

static NTSTATUS at_control(PIRP irp, int turn)
{
    (void) irp, (void) turn;
    ExFreePoolWithTag(ExAllocatePoolWithTag(NonPagedPoolNx, 0, TAG), TAG);
    return STATUS_SUCCESS;
}

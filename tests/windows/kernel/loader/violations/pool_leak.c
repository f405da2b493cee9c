/* Does not free what it has allocated.
 * Rule: pool_leak. */
#define AT_CONTROL
#include "frame.h"

static NTSTATUS at_control(PIRP irp, int turn)
{
    (void) irp, (void) turn;
    ExAllocatePoolWithTag(NonPagedPoolNx, 100, TAG);
    return STATUS_SUCCESS;
}

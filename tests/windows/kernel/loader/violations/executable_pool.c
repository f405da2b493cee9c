/* Allocates memory that code can run in.
 * Rule: executable_pool. */
#define AT_CONTROL
#include "frame.h"

static NTSTATUS at_control(PIRP irp, int turn)
{
    (void) irp, (void) turn;
    ExFreePoolWithTag(ExAllocatePoolWithTag(NonPagedPool, 100, TAG), TAG);
    return STATUS_SUCCESS;
}

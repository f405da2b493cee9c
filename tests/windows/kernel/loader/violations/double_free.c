/* Frees memory twice.
 * Rule: double_free. */
#define AT_CONTROL
#include "frame.h"

static NTSTATUS at_control(PIRP irp, int turn)
{
    (void) irp, (void) turn;
    UCHAR *memory = ExAllocatePoolWithTag(NonPagedPoolNx, 100, TAG);
    ExFreePoolWithTag(memory, TAG);
    ExFreePoolWithTag(memory, TAG);
    return STATUS_SUCCESS;
}

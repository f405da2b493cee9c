/* Frees memory with another tag.
 * Rule: wrong_tag. */
#define AT_CONTROL
#include "frame.h"

static NTSTATUS at_control(PIRP irp, int turn)
{
    (void) irp, (void) turn;
    UCHAR *memory = ExAllocatePoolWithTag(NonPagedPoolNx, 100, TAG);
    ExFreePoolWithTag(memory, TAG + 1);
    return STATUS_SUCCESS;
}

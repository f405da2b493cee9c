/* Writes one byte behind its memory.
 * Rule: pool_overrun. */
#define AT_CONTROL
#include "frame.h"

static NTSTATUS at_control(PIRP irp, int turn)
{
    (void) irp, (void) turn;
    UCHAR *memory = ExAllocatePoolWithTag(NonPagedPoolNx, 100, TAG);
    ((volatile UCHAR *) memory)[100] = 1;
    ExFreePoolWithTag(memory, TAG);
    return STATUS_SUCCESS;
}

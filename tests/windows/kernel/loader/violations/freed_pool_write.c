/* Writes memory after it has freed it.
 * Rule: freed_pool. */
#define AT_CONTROL
#include "frame.h"

static NTSTATUS at_control(PIRP irp, int turn)
{
    (void) irp, (void) turn;
    UCHAR *memory = ExAllocatePoolWithTag(NonPagedPoolNx, 100, TAG);
    ExFreePoolWithTag(memory, TAG);
    ((volatile UCHAR *) memory)[7] = 1;
    return STATUS_SUCCESS;
}

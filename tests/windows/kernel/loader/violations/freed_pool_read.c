/* Reads memory after it has freed it.
 * Rule: freed_pool. */
#define AT_CONTROL
#include "frame.h"

static NTSTATUS at_control(PIRP irp, int turn)
{
    (void) turn;
    UCHAR *memory = ExAllocatePoolWithTag(NonPagedPoolNx, 100, TAG);
    ExFreePoolWithTag(memory, TAG);
    complete(irp, STATUS_SUCCESS, ((volatile UCHAR *) memory)[7] & 0);
    return KEPT;
}

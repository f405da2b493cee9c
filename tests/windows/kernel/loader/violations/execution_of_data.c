/* Calls memory of the pool.
 * Rule: execution_of_data. */
#define AT_CONTROL
#include "frame.h"

static NTSTATUS at_control(PIRP irp, int turn)
{
    (void) irp, (void) turn;
    UCHAR *memory = ExAllocatePoolWithTag(NonPagedPoolNx, 100, TAG);
    memory[0] = 0xc3;
    ((void (*)(void))(ULONG_PTR) memory)();
    ExFreePoolWithTag(memory, TAG);
    return STATUS_SUCCESS;
}

/* Frees memory of its own image.
 * Rule: no_pool. */
#define AT_CONTROL
#include "frame.h"

static UCHAR memory[128];

static NTSTATUS at_control(PIRP irp, int turn)
{
    (void) irp, (void) turn;
    ExFreePoolWithTag(memory + 64, TAG);
    return STATUS_SUCCESS;
}

/* Writes to its own code.
 * Rule: write_to_image. */
#define AT_CONTROL
#include "frame.h"

static NTSTATUS at_control(PIRP irp, int turn)
{
    (void) irp, (void) turn;
    *(volatile UCHAR *) (ULONG_PTR) on_request = 0xc3;
    return STATUS_SUCCESS;
}

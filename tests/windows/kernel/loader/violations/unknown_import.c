/* Imports what the system may not have.
 * Rule: unknown_import. */
#define AT_CONTROL
#include "frame.h"

static NTSTATUS at_control(PIRP irp, int turn)
{
    (void) irp, (void) turn;
    KeBugCheck(0);
    return STATUS_SUCCESS;
}

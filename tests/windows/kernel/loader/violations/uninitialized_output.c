/* Gives the program bytes that nobody has written.
 * Rule: uninitialized_output. */
#define AT_CONTROL
#include "frame.h"

static NTSTATUS at_control(PIRP irp, int turn)
{
    (void) turn;
    complete(irp, STATUS_SUCCESS, 48);
    return KEPT;
}

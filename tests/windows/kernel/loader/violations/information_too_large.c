/* Says that it has written more than there is room for.
 * Rule: information_too_large. */
#define AT_CONTROL
#include "frame.h"

static NTSTATUS at_control(PIRP irp, int turn)
{
    (void) turn;
    complete(irp, STATUS_SUCCESS, 4096);
    return KEPT;
}

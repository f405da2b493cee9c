/* Returns success without completing the request.
 * Rule: not_completed. */
#define AT_CONTROL
#include "frame.h"

static NTSTATUS at_control(PIRP irp, int turn)
{
    (void) irp, (void) turn;
    return KEPT;
}

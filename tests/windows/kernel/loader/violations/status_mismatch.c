/* Returns another status than the one it completed with.
 * Rule: status_mismatch. */
#define AT_CONTROL
#include "frame.h"

static NTSTATUS at_control(PIRP irp, int turn)
{
    (void) turn;
    complete(irp, STATUS_UNSUCCESSFUL, 0);
    return KEPT;
}

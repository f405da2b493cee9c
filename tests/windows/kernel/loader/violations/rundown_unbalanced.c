/* Releases run-down protection that it has not acquired.
 * Rule: rundown_unbalanced. */
#define AT_CONTROL
#include "frame.h"

static NTSTATUS at_control(PIRP irp, int turn)
{
    EX_RUNDOWN_REF protection;
    (void) irp, (void) turn;
    ExInitializeRundownProtection(&protection);
    ExReleaseRundownProtection(&protection);
    return STATUS_SUCCESS;
}

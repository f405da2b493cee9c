/* Reads at no address.
 * Rule: wild_access. */
#define AT_CONTROL
#include "frame.h"

static NTSTATUS at_control(PIRP irp, int turn)
{
    (void) irp, (void) turn;
    return *(const volatile NTSTATUS *) 8;
}

/* Releases a spin lock that nobody holds.
 * Rule: spin_lock_not_held. */
#define AT_CONTROL
#include "frame.h"

static KSPIN_LOCK lock;

static NTSTATUS at_control(PIRP irp, int turn)
{
    (void) irp, (void) turn;
    KeReleaseSpinLock(&lock, PASSIVE_LEVEL);
    return STATUS_SUCCESS;
}

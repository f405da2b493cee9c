/* Completes a request with a spin lock held.
 * Rule: completion_with_spin_lock. */
#define AT_CONTROL
#include "frame.h"

static KSPIN_LOCK lock;

static NTSTATUS at_control(PIRP irp, int turn)
{
    (void) turn;
    KIRQL old;
    KeAcquireSpinLock(&lock, &old);
    complete(irp, STATUS_SUCCESS, 0);
    KeReleaseSpinLock(&lock, old);
    return KEPT;
}

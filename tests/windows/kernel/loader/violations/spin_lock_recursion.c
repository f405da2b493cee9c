/* Acquires a spin lock that it holds.
 * Rule: spin_lock_recursion. */
#define AT_CONTROL
#include "frame.h"

static KSPIN_LOCK lock;

static NTSTATUS at_control(PIRP irp, int turn)
{
    (void) irp, (void) turn;
    KIRQL old, older;
    KeAcquireSpinLock(&lock, &older);
    KeAcquireSpinLock(&lock, &old);
    KeReleaseSpinLock(&lock, old);
    KeReleaseSpinLock(&lock, older);
    return STATUS_SUCCESS;
}

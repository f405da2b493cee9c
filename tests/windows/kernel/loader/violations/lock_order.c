/* Releases two spin locks in the order in which it acquired them.
 * Rule: lock_order. */
#define AT_CONTROL
#include "frame.h"

static KSPIN_LOCK lock, other;

static NTSTATUS at_control(PIRP irp, int turn)
{
    (void) irp, (void) turn;
    KIRQL old, older;
    KeAcquireSpinLock(&lock, &older);
    KeAcquireSpinLock(&other, &old);
    KeReleaseSpinLock(&lock, old);
    KeReleaseSpinLock(&other, older);
    return STATUS_SUCCESS;
}

/* Releases a spin lock to another level than before.
 * Rule: irql_not_restored. */
#define AT_CONTROL
#include "frame.h"

static KSPIN_LOCK lock;

static NTSTATUS at_control(PIRP irp, int turn)
{
    (void) irp, (void) turn;
    KIRQL old;
    KeAcquireSpinLock(&lock, &old);
    KeReleaseSpinLock(&lock, APC_LEVEL);
    return STATUS_SUCCESS;
}

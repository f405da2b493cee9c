/* Acquires a spin lock in freed memory.
 * Rule: freed_pool. */
#define AT_CONTROL
#include "frame.h"

static NTSTATUS at_control(PIRP irp, int turn)
{
    (void) irp, (void) turn;
    KIRQL old;
    PKSPIN_LOCK lock = ExAllocatePoolWithTag(NonPagedPoolNx, sizeof *lock, TAG);
    ExFreePoolWithTag(lock, TAG);
    KeAcquireSpinLock(lock, &old);
    KeReleaseSpinLock(lock, old);
    return STATUS_SUCCESS;
}

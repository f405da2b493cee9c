/* Allocates paged memory with a spin lock held.
 * Rule: wrong_irql. */
#define AT_CONTROL
#include "frame.h"

static KSPIN_LOCK lock;

static NTSTATUS at_control(PIRP irp, int turn)
{
    (void) irp, (void) turn;
    KIRQL old;
    KeAcquireSpinLock(&lock, &old);
    void *memory = ExAllocatePoolWithTag(PagedPool, 100, TAG);
    KeReleaseSpinLock(&lock, old);
    ExFreePoolWithTag(memory, TAG);
    return STATUS_SUCCESS;
}

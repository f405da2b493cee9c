/* Sleeps with a spin lock held.
 * Rule: wait_at_dispatch. */
#define AT_CONTROL
#include "frame.h"

static KSPIN_LOCK lock;

static NTSTATUS at_control(PIRP irp, int turn)
{
    (void) irp, (void) turn;
    KIRQL old;
    LARGE_INTEGER interval = {.QuadPart = -10000};
    KeAcquireSpinLock(&lock, &old);
    KeDelayExecutionThread(KernelMode, FALSE, &interval);
    KeReleaseSpinLock(&lock, old);
    return STATUS_SUCCESS;
}

/* Waits with a spin lock held.
 * Rule: wait_at_dispatch. */
#define AT_CONTROL
#include "frame.h"

static KSPIN_LOCK lock;

static NTSTATUS at_control(PIRP irp, int turn)
{
    (void) irp, (void) turn;
    KIRQL old;
    KEVENT event;
    LARGE_INTEGER timeout = {.QuadPart = -10000};
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    KeAcquireSpinLock(&lock, &old);
    KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, &timeout);
    KeReleaseSpinLock(&lock, old);
    return STATUS_SUCCESS;
}

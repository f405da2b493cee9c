/* Waits with a fast mutex held.
 * Rule: wait_with_lock. */
#define AT_CONTROL
#include "frame.h"

static NTSTATUS at_control(PIRP irp, int turn)
{
    (void) irp, (void) turn;
    FAST_MUTEX mutex;
    KEVENT event;
    LARGE_INTEGER timeout = {.QuadPart = -10000};
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    ExInitializeFastMutex(&mutex);
    ExAcquireFastMutex(&mutex);
    KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, &timeout);
    ExReleaseFastMutex(&mutex);
    return STATUS_SUCCESS;
}

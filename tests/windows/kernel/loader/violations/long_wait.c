/* Waits for longer than a slice.
 * Rule: unbounded_wait. */
#define AT_CONTROL
#include "frame.h"

static NTSTATUS at_control(PIRP irp, int turn)
{
    (void) irp, (void) turn;
    KEVENT event;
    LARGE_INTEGER timeout = {.QuadPart = -30000000};
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, &timeout);
    return STATUS_SUCCESS;
}

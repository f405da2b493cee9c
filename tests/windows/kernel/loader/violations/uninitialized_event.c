/* Sets an event that was never initialised.
 * Rule: uninitialized_event. */
#define AT_CONTROL
#include "frame.h"

static NTSTATUS at_control(PIRP irp, int turn)
{
    (void) irp, (void) turn;
    KEVENT event;
    RtlZeroMemory(&event, sizeof event);
    KeSetEvent(&event, IO_NO_INCREMENT, FALSE);
    return STATUS_SUCCESS;
}

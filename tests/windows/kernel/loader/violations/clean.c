/* Breaks no rule: what the other files add to the frame is what the loader finds.
 * Rule: none. */
#define AT_CONTROL
#define AT_PROCESS
#include "frame.h"

static NTSTATUS at_control(PIRP irp, int turn)
{
    KIRQL old;
    KEVENT event;
    LARGE_INTEGER timeout = {.QuadPart = -10000};
    static KSPIN_LOCK lock;
    UCHAR *memory = ExAllocatePoolWithTag(NonPagedPoolNx, 100, TAG);
    (void) irp, (void) turn;
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    KeAcquireSpinLock(&lock, &old);
    KeSetEvent(&event, IO_NO_INCREMENT, FALSE);
    KeReleaseSpinLock(&lock, old);
    NTSTATUS status = KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, &timeout);
    if (memory)
        ExFreePoolWithTag(memory, TAG);
    return status;
}

static void at_process(PEPROCESS process, PPS_CREATE_NOTIFY_INFO info)
{
    PUNICODE_STRING name;
    PACCESS_TOKEN token = PsReferencePrimaryToken(process);
    (void) info;
    PsDereferencePrimaryToken(token);
    if (NT_SUCCESS(SeLocateProcessImageName(process, &name)))
        ExFreePool(name);
}

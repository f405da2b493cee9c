/* Looks a process up with a spin lock held.
 * Rule: wrong_irql. */
#define AT_PROCESS
#include "frame.h"

static KSPIN_LOCK lock;

static void at_process(PEPROCESS process, PPS_CREATE_NOTIFY_INFO info)
{
    KIRQL old;
    PEPROCESS found;
    (void) info;
    KeAcquireSpinLock(&lock, &old);
    NTSTATUS status = PsLookupProcessByProcessId(PsGetProcessId(process), &found);
    KeReleaseSpinLock(&lock, old);
    if (NT_SUCCESS(status))
        ObfDereferenceObject(found);
}

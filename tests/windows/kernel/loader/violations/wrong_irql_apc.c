/* Asks for the name of a process with a fast mutex held.
 * Rule: wrong_irql. */
#define AT_PROCESS
#include "frame.h"

static void at_process(PEPROCESS process, PPS_CREATE_NOTIFY_INFO info)
{
    FAST_MUTEX mutex;
    PUNICODE_STRING name;
    (void) info;
    ExInitializeFastMutex(&mutex);
    ExAcquireFastMutex(&mutex);
    NTSTATUS status = SeLocateProcessImageName(process, &name);
    ExReleaseFastMutex(&mutex);
    if (NT_SUCCESS(status))
        ExFreePool(name);
}

/* Acquires a fast mutex that it holds.
 * Rule: fast_mutex_recursion. */
#define AT_CONTROL
#include "frame.h"

static NTSTATUS at_control(PIRP irp, int turn)
{
    (void) irp, (void) turn;
    FAST_MUTEX mutex;
    ExInitializeFastMutex(&mutex);
    ExAcquireFastMutex(&mutex);
    ExAcquireFastMutex(&mutex);
    return STATUS_SUCCESS;
}

/* Returns with a fast mutex held.
 * Rule: lock_held_on_return. */
#define AT_CONTROL
#include "frame.h"

static FAST_MUTEX mutex;

static NTSTATUS at_control(PIRP irp, int turn)
{
    (void) irp, (void) turn;
    ExInitializeFastMutex(&mutex);
    ExAcquireFastMutex(&mutex);
    return STATUS_SUCCESS;
}

/* Releases a fast mutex that another thread has acquired.
 * Rule: foreign_fast_mutex. */
#define AT_CONTROL
#include "frame.h"

static FAST_MUTEX mutex;
static volatile BOOLEAN is_locked;

static NTSTATUS at_control(PIRP irp, int turn)
{
    (void) irp;
    if (turn == 0) {
        ExInitializeFastMutex(&mutex);
        ExAcquireFastMutex(&mutex);
        is_locked = TRUE;
        for (;;)
            ;
    }
    while (!is_locked)
        ;
    ExReleaseFastMutex(&mutex);
    return STATUS_SUCCESS;
}

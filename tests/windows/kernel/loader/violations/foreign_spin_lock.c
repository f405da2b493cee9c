/* Releases a spin lock that another thread has acquired.
 * Rule: foreign_spin_lock. */
#define AT_CONTROL
#include "frame.h"

static KSPIN_LOCK lock;
static volatile BOOLEAN is_locked;

static NTSTATUS at_control(PIRP irp, int turn)
{
    KIRQL old = PASSIVE_LEVEL;
    (void) irp;
    if (turn == 0) {
        KeAcquireSpinLock(&lock, &old);
        is_locked = TRUE;
        for (;;)
            ;
    }
    while (!is_locked)
        ;
    KeReleaseSpinLock(&lock, old);
    return STATUS_SUCCESS;
}

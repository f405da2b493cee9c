/* Does not delete its link.
 * Rule: link_left. */
#define AT_UNLOAD
#include "frame.h"

static BOOLEAN at_unload(void)
{
    PsSetCreateProcessNotifyRoutineEx(on_process, TRUE);
    ObUnRegisterCallbacks(the_registration);
    IoDeleteDevice(the_device);
    return FALSE;
}

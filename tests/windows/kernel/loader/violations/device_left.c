/* Does not delete its device.
 * Rule: device_left. */
#define AT_UNLOAD
#include "frame.h"

static BOOLEAN at_unload(void)
{
    PsSetCreateProcessNotifyRoutineEx(on_process, TRUE);
    ObUnRegisterCallbacks(the_registration);
    IoDeleteSymbolicLink(&link_name);
    return FALSE;
}

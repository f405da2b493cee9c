/* Does not remove its callback.
 * Rule: callback_left. */
#define AT_UNLOAD
#include "frame.h"

static BOOLEAN at_unload(void)
{
    ObUnRegisterCallbacks(the_registration);
    IoDeleteSymbolicLink(&link_name);
    IoDeleteDevice(the_device);
    return FALSE;
}

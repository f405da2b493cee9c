/* Removes its callback twice.
 * Rule: not_registered. */
#define AT_UNLOAD
#include "frame.h"

static BOOLEAN at_unload(void)
{
    ObUnRegisterCallbacks(the_registration);
    return TRUE;
}

/* Gives more rights than were asked for.
 * Rule: rights_added. */
#define AT_HANDLE
#include "frame.h"

static void at_handle(POB_PRE_OPERATION_INFORMATION information)
{
    information->Parameters->CreateHandleInformation.DesiredAccess |= 0x1000;
}

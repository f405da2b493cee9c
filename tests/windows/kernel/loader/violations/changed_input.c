/* Changes what the callback may only read.
 * Rule: changed_input. */
#define AT_HANDLE
#include "frame.h"

static void at_handle(POB_PRE_OPERATION_INFORMATION information)
{
    information->Parameters->CreateHandleInformation.OriginalDesiredAccess = 0;
}

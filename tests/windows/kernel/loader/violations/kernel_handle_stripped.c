/* Takes rights out of a handle of the kernel.
 * Rule: kernel_handle_stripped. */
#define AT_HANDLE
#include "frame.h"

static void at_handle(POB_PRE_OPERATION_INFORMATION information)
{
    information->Parameters->CreateHandleInformation.DesiredAccess = 0;
}

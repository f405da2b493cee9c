/* Answers exceptions of debugged programs, so that they go on as if there were no debugger, as far as an
 * answer can do that. Knows no rules.
 *
 * Only under a debugger, closing a wrong or protected handle raises an exception. The system raises it in a
 * function of ntdll, which returns to the closing function once the exception has been handled, and closing
 * then fails as without a debugger. Exceptions that a program raises itself come from elsewhere. */
#include "debugger.h"

#define INVALID_HANDLE_EXCEPTION 0xc0000008u /* STATUS_INVALID_HANDLE */
#define NOT_CLOSABLE_EXCEPTION 0xc0000235u   /* STATUS_HANDLE_NOT_CLOSABLE */

enum { RAISING_FUNCTION_SIZE = 0x100 };

static bool is_of_closing(const EXCEPTION_DEBUG_INFO *info)
{
    const EXCEPTION_RECORD *record = &info->ExceptionRecord;
    uint64_t address = (uint64_t) (uintptr_t) record->ExceptionAddress, function = cbpd_raising_function();
    return info->dwFirstChance != 0 && function != 0 && address >= function &&
           address - function < RAISING_FUNCTION_SIZE &&
           (record->ExceptionCode == INVALID_HANDLE_EXCEPTION ||
            record->ExceptionCode == NOT_CLOSABLE_EXCEPTION);
}

DWORD cbpd_answer_exception(HANDLE process, const EXCEPTION_DEBUG_INFO *info)
{
    /* A process that has asked for exceptions on wrong handles gets them without a debugger, too. */
    return is_of_closing(info) && !cbpd_checks_handles_strictly(process) ? DBG_CONTINUE
                                                                         : DBG_EXCEPTION_NOT_HANDLED;
}

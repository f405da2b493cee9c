/* Asks the system itself to shut the machine down. */
#include "errors.h"
#include "os_error.h"
#include "platform.h"
#include "windows_api.h"

#include <stdlib.h>

static bool enable_privilege(HANDLE token)
{
    TOKEN_PRIVILEGES wanted = {.PrivilegeCount = 1};
    wanted.Privileges[0].Attributes = SE_PRIVILEGE_ENABLED;
    return LookupPrivilegeValueW(NULL, SE_SHUTDOWN_NAME, &wanted.Privileges[0].Luid) &&
           AdjustTokenPrivileges(token, FALSE, &wanted, 0, NULL, NULL) && GetLastError() == ERROR_SUCCESS;
}

uint32_t cbpi_shutdown_ask(const struct cbpi_shutdown *request)
{
    const DWORD reason = SHTDN_REASON_MAJOR_APPLICATION | SHTDN_REASON_FLAG_PLANNED;
    HANDLE token = NULL;
    WCHAR *prompt = NULL;
    uint32_t error = cbpi_wide_text(request->prompt, &prompt);
    if (error != 0)
        goto cleanup;
    error = CBP_ERROR_PRIVILEGE_NOT_HELD;
    if (!OpenProcessToken(GetCurrentProcess(), TOKEN_ADJUST_PRIVILEGES | TOKEN_QUERY, &token) ||
        !enable_privilege(token))
        goto cleanup;
    error = InitiateSystemShutdownExW(NULL, *prompt ? prompt : NULL, request->timeout_s, request->force != 0,
                                      request->reboot != 0, reason)
                ? 0
                : CBP_ERROR_GEN_FAILURE;
cleanup:
    if (token)
        CloseHandle(token);
    free(prompt);
    return error ? cbpi_fail(error, "the system cannot be shut down: %s", cbp_error_message(error)) : 0;
}

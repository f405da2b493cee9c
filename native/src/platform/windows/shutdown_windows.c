/* Windows: asks the system itself to shut the machine down. */
#include "errors.h"
#include "os_error.h"
#include "platform.h"
#include "windows_api.h"

#include <stdlib.h>
#include <string.h>

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
    size_t size = strlen(request->prompt);
    uint32_t error = CBP_ERROR_NOT_ENOUGH_MEMORY;
    uint16_t *prompt = malloc((size + 1) * sizeof *prompt);
    if (!prompt)
        goto cleanup;
    size_t count = cbp_wtf8_decode(request->prompt, size, prompt);
    error = CBP_ERROR_INVALID_PARAMETER;
    if (count == SIZE_MAX)
        goto cleanup;
    prompt[count] = 0;
    error = CBP_ERROR_PRIVILEGE_NOT_HELD;
    if (!OpenProcessToken(GetCurrentProcess(), TOKEN_ADJUST_PRIVILEGES | TOKEN_QUERY, &token) ||
        !enable_privilege(token))
        goto cleanup;
    error = InitiateSystemShutdownExW(NULL, count > 0 ? (WCHAR *) prompt : NULL, request->timeout_s,
                                      request->force != 0, request->reboot != 0, reason)
                ? 0
                : CBP_ERROR_GEN_FAILURE;
cleanup:
    if (token)
        CloseHandle(token);
    free(prompt);
    return error ? cbpi_fail(error, "the system cannot be shut down: %s", cbp_error_message(error)) : 0;
}

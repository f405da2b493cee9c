/* Keeps the machine-wide logging setting in a value of the registry, and writes lines to the event log. */
#include "errors.h"
#include "platform.h"
#include "windows_api.h"

#include <stdlib.h>

#define SETTINGS_KEY L"SOFTWARE\\cbprocess"
#define LOGGING_VALUE L"LoggingEnabled"
#define EVENT_ID 1u

const char *cbpi_log_address = "cbprocess"; /* the event source */

bool cbpi_logging_read(void)
{
    DWORD value = 0, size = sizeof value;
    LSTATUS status =
        RegGetValueW(HKEY_LOCAL_MACHINE, SETTINGS_KEY, LOGGING_VALUE, RRF_RT_REG_DWORD, NULL, &value, &size);
    return status == ERROR_SUCCESS && value == 1;
}

uint32_t cbpi_logging_write(bool is_enabled)
{
    DWORD value = is_enabled;
    LSTATUS status =
        RegSetKeyValueW(HKEY_LOCAL_MACHINE, SETTINGS_KEY, LOGGING_VALUE, REG_DWORD, &value, sizeof value);
    if (status == ERROR_SUCCESS)
        return 0;
    return cbpi_fail(status == ERROR_ACCESS_DENIED ? CBP_ERROR_PRIVILEGE_NOT_HELD : CBP_ERROR_GEN_FAILURE,
                     "HKEY_LOCAL_MACHINE\\SOFTWARE\\cbprocess cannot be written (%u)", (unsigned) status);
}

void cbpi_log_line(const char *text)
{
    WCHAR *line = NULL, *source = NULL;
    if (cbpi_wide_text(text, &line) != 0 || cbpi_wide_text(cbpi_log_address, &source) != 0)
        goto cleanup;
    HANDLE log = RegisterEventSourceW(NULL, source);
    if (!log)
        goto cleanup;
    const WCHAR *lines[] = {line};
    (void) ReportEventW(log, EVENTLOG_INFORMATION_TYPE, 0, EVENT_ID, NULL, 1, 0, lines, NULL);
    (void) DeregisterEventSource(log);
cleanup:
    free(line);
    free(source);
}

/* Implements os_error.h. */
#include "os_error.h"

#include "errors.h"
#include "windows_api.h"

#include <stdio.h>
#include <string.h>

static uint32_t code_of(uint32_t os_error)
{
    switch (os_error) {
    case ERROR_NOT_ENOUGH_MEMORY:
    case ERROR_OUTOFMEMORY:
    case ERROR_COMMITMENT_LIMIT:
        return CBP_ERROR_NOT_ENOUGH_MEMORY;
    case ERROR_NO_SYSTEM_RESOURCES:
    case ERROR_MAX_THRDS_REACHED:
    case ERROR_NOT_ENOUGH_QUOTA:
        return CBP_ERROR_NO_SYSTEM_RESOURCES;
    case ERROR_TOO_MANY_OPEN_FILES:
        return CBP_ERROR_TOO_MANY_OPEN_FILES;
    case ERROR_ACCESS_DENIED:
        return CBP_ERROR_ACCESS_DENIED;
    default:
        return CBP_ERROR_GEN_FAILURE;
    }
}

uint32_t cbpi_fail_os(uint32_t os_error, const char *what)
{
    WCHAR units[256];
    uint16_t copy[256];
    char text[3 * 256 + 1] = "";
    DWORD flags = FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS;
    DWORD count = FormatMessageW(flags, NULL, os_error, 0, units, 256, NULL);
    while (count > 0 && (units[count - 1] == '\r' || units[count - 1] == '\n' || units[count - 1] == '.'))
        count--;
    memcpy(copy, units, count * sizeof copy[0]);
    text[cbpd_wtf8_encode(copy, count, text)] = '\0';
    return cbpi_fail(code_of(os_error), "%s: %s (%u)", what, text, (unsigned) os_error);
}

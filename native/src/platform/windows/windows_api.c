/* Implements windows_api.h. */
#include "windows_api.h"

#include "errors.h"

#include <stdlib.h>
#include <string.h>

/* These are places in the structures of 64-bit processes, which 32-bit ones have, too. */
enum { BASIC_INFORMATION = 0, PARAMETERS_OFFSET = 0x20, COMMAND_LINE_OFFSET = 0x70 };

uint32_t cbpi_wide_text(const char *text, WCHAR **wide)
{
    size_t size = strlen(text);
    uint16_t *units = malloc((size + 1) * sizeof *units);
    if (!units)
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for %.300s", text);
    size_t count = cbp_wtf8_decode(text, size, units);
    if (count == SIZE_MAX) {
        free(units);
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "a text is not UTF-8");
    }
    units[count] = 0;
    *wide = (WCHAR *) units;
    return 0;
}

uint32_t cbpi_copy_wide_text(const WCHAR *units, size_t count, char *buffer, uint64_t size, uint64_t *needed)
{
    char *text = malloc(3 * count + 1);
    if (!text)
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for a path");
    size_t text_size = cbp_wtf8_encode((const uint16_t *) units, count, text);
    uint32_t error = cbpi_copy_text(text, text_size, buffer, size, needed);
    free(text);
    return error;
}

bool cbpi_start_time_of(HANDLE process, uint64_t *start_time)
{
    FILETIME created, ended, kernel, user;
    if (!GetProcessTimes(process, &created, &ended, &kernel, &user))
        return false;
    *start_time = (uint64_t) created.dwHighDateTime << 32 | created.dwLowDateTime;
    return true;
}

bool cbpi_read_memory(HANDLE process, const void *address, void *data, size_t size)
{
    SIZE_T got = 0;
    return ReadProcessMemory(process, address, data, size, &got) && got == size;
}

bool cbpi_find_command_line(HANDLE process, struct cbpi_system_text *found)
{
    struct {
        void *exit_status;
        unsigned char *environment_block;
        void *others[4];
    } basic;
    unsigned char *parameters;
    return NtQueryInformationProcess(process, BASIC_INFORMATION, &basic, sizeof basic, NULL) >= 0 &&
           cbpi_read_memory(process, basic.environment_block + PARAMETERS_OFFSET, &parameters,
                            sizeof parameters) &&
           cbpi_read_memory(process, parameters + COMMAND_LINE_OFFSET, found, sizeof *found);
}

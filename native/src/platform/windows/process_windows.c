/* Implements the part of platform.h that asks the system about processes. */
#include "platform.h"

#include "errors.h"
#include "windows_api.h"

#include <stdlib.h>

uint32_t cbpi_process_start_time(uint32_t process_id, uint64_t *start_time)
{
    uint64_t found = 0;
    HANDLE process = OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION | SYNCHRONIZE, FALSE, process_id);
    /* An id stays openable as long as any process has a handle; a process that has ended does not live. */
    if (process && WaitForSingleObject(process, 0) == WAIT_TIMEOUT)
        found = cbpd_read_start_time(process);
    if (process)
        CloseHandle(process);
    if (found == 0)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER,
                         "no process with the id %u lives, or it cannot be asked", process_id);
    *start_time = found;
    return 0;
}

uint32_t cbpi_process_path(uint32_t process_id, char *buffer, uint64_t size, uint64_t *needed)
{
    uint32_t count = 0;
    uint16_t *path = malloc(CBPI_PATH_UNITS_MAX * sizeof *path);
    if (!path)
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for a path");
    HANDLE process = OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, FALSE, process_id);
    if (process)
        count = cbpd_read_program_path(process, 0, path, CBPI_PATH_UNITS_MAX);
    uint32_t error = cbpi_copy_wide_text((const WCHAR *) path, count, buffer, size, needed);
    free(path);
    if (process)
        CloseHandle(process);
    return error;
}

int64_t cbpi_process_token(uint32_t process_id, uint64_t start_time)
{
    HANDLE token = NULL;
    HANDLE process = OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, FALSE, process_id);
    if (process && (start_time == 0 || cbpd_read_start_time(process) == start_time))
        OpenProcessToken(process, TOKEN_QUERY | TOKEN_DUPLICATE, &token);
    if (process)
        CloseHandle(process);
    return token ? (int64_t) (intptr_t) token : -1;
}

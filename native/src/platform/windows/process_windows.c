/* The part of platform.h that asks the system about processes. */
#include "platform.h"

#include "errors.h"
#include "windows_api.h"

#include <stdlib.h>

#define PATH_UNITS_MAX 32768u

static bool start_time_of(HANDLE process, uint64_t *start_time)
{
    FILETIME created, ended, kernel, user;
    if (!GetProcessTimes(process, &created, &ended, &kernel, &user))
        return false;
    *start_time = (uint64_t) created.dwHighDateTime << 32 | created.dwLowDateTime;
    return true;
}

uint32_t cbpi_process_start_time(uint32_t process_id, uint64_t *start_time)
{
    uint64_t found = 0;
    HANDLE process = OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION | SYNCHRONIZE, FALSE, process_id);
    /* An id stays openable as long as anybody has a handle; a process that has ended does not live. */
    int lives = process && WaitForSingleObject(process, 0) == WAIT_TIMEOUT && start_time_of(process, &found);
    if (process)
        CloseHandle(process);
    if (!lives)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER,
                         "no process with the id %u lives, or it cannot be asked", process_id);
    *start_time = found;
    return 0;
}

uint32_t cbpi_process_path(uint32_t process_id, char *buffer, uint64_t size, uint64_t *needed)
{
    size_t text_size = 0;
    DWORD count = PATH_UNITS_MAX;
    HANDLE process = OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, FALSE, process_id);
    WCHAR *path = malloc(PATH_UNITS_MAX * sizeof *path);
    char *text = malloc(3 * (size_t) PATH_UNITS_MAX);
    if (path && text && process && QueryFullProcessImageNameW(process, 0, path, &count))
        text_size = cbp_wtf8_encode((const uint16_t *) path, count, text);
    uint32_t error = path && text ? cbpi_copy_text(text, text_size, buffer, size, needed)
                                  : cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for a path");
    free(text);
    free(path);
    if (process)
        CloseHandle(process);
    return error;
}

int64_t cbpi_process_token(uint32_t process_id, uint64_t start_time)
{
    uint64_t found;
    HANDLE token = NULL;
    HANDLE process = OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, FALSE, process_id);
    if (process && (start_time == 0 || (start_time_of(process, &found) && found == start_time)))
        OpenProcessToken(process, TOKEN_QUERY | TOKEN_DUPLICATE, &token);
    if (process)
        CloseHandle(process);
    return token ? (int64_t) (intptr_t) token : -1;
}

/* Implements the part of platform.h that reads and writes files. */
#include "platform.h"

#include "errors.h"
#include "os_error.h"
#include "windows_api.h"

#include <stdlib.h>

#define PART_SIZE_MAX (16u * 1024u * 1024u) /* at a time */

static uint32_t fail_open(const char *path, DWORD os_error)
{
    switch (os_error) {
    case ERROR_FILE_NOT_FOUND:
        return cbpi_fail(CBP_ERROR_FILE_NOT_FOUND, "%.300s: there is no such file", path);
    case ERROR_PATH_NOT_FOUND:
    case ERROR_INVALID_NAME:
    case ERROR_BAD_PATHNAME:
    case ERROR_FILENAME_EXCED_RANGE:
        return cbpi_fail(CBP_ERROR_PATH_NOT_FOUND,
                         "%.300s: there is no such folder, or the name is not possible", path);
    default:
        return cbpi_fail_os(os_error, path);
    }
}

/* Opens a file; access is GENERIC_READ or GENERIC_WRITE. */
static uint32_t open_file(const char *path, DWORD access, DWORD disposition, HANDLE *file)
{
    WCHAR *wide;
    uint32_t error = cbpi_wide_text(path, &wide);
    if (error != 0)
        return error == CBP_ERROR_INVALID_PARAMETER ? CBP_ERROR_PATH_NOT_FOUND : error;
    *file = CreateFileW(wide, access, FILE_SHARE_READ, NULL, disposition, FILE_ATTRIBUTE_NORMAL, NULL);
    if (*file == INVALID_HANDLE_VALUE)
        error = fail_open(path, GetLastError());
    free(wide);
    return error;
}

uint32_t cbpi_file_create(const char *path, struct cbpi_file *file)
{
    return open_file(path, GENERIC_WRITE, CREATE_ALWAYS, &file->handle);
}

uint32_t cbpi_file_write(struct cbpi_file *file, const void *bytes, size_t size)
{
    const char *at = bytes;
    while (size > 0) {
        DWORD part = size < PART_SIZE_MAX ? (DWORD) size : PART_SIZE_MAX, written = 0;
        if (!WriteFile(file->handle, at, part, &written, NULL) || written == 0)
            return cbpi_fail(CBP_ERROR_GEN_FAILURE, "a file could not be written (%u)",
                             (unsigned) GetLastError());
        at += written;
        size -= written;
    }
    return 0;
}

void cbpi_file_close(struct cbpi_file *file)
{
    CloseHandle(file->handle);
}

uint32_t cbpi_file_open(const char *path, struct cbpi_file *file)
{
    return open_file(path, GENERIC_READ, OPEN_EXISTING, &file->handle);
}

uint32_t cbpi_file_read(struct cbpi_file *file, const char *path, void *bytes, size_t *size)
{
    DWORD got = 0, wanted = *size < PART_SIZE_MAX ? (DWORD) *size : PART_SIZE_MAX;
    bool is_read = ReadFile(file->handle, bytes, wanted, &got, NULL) || GetLastError() == ERROR_BROKEN_PIPE;
    *size = got;
    return is_read ? 0 : fail_open(path, GetLastError());
}

/* Implements the part of platform.h that reads and writes files. */
#include "platform.h"

#include "errors.h"
#include "memory.h"
#include "os_error.h"
#include "windows_api.h"

#include <stdlib.h>

#define READ_SIZE (64u * 1024u)
#define WRITE_SIZE_MAX (16u * 1024u * 1024u) /* at a time */

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
        DWORD part = size < WRITE_SIZE_MAX ? (DWORD) size : WRITE_SIZE_MAX, written = 0;
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

uint32_t cbpi_file_read(const char *path, void **bytes, size_t *size)
{
    char *read_bytes = NULL;
    size_t used = 0;
    uint64_t capacity = 0;
    HANDLE file;
    uint32_t error = open_file(path, GENERIC_READ, OPEN_EXISTING, &file);
    if (error != 0)
        return error;
    for (;;) {
        DWORD got = 0;
        char *grown = cbpi_grow(read_bytes, 1, used + READ_SIZE, &capacity);
        if (!grown) {
            error = cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for %.300s", path);
            goto cleanup;
        }
        read_bytes = grown;
        if (!ReadFile(file, read_bytes + used, READ_SIZE, &got, NULL) &&
            GetLastError() != ERROR_BROKEN_PIPE) {
            error = fail_open(path, GetLastError());
            goto cleanup;
        }
        if (got == 0)
            break;
        used += got;
    }
    *bytes = read_bytes;
    *size = used;
cleanup:
    CloseHandle(file);
    if (error != 0)
        free(read_bytes);
    return error;
}

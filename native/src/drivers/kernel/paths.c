/* Implements paths.h. */
#include "paths.h"

#include "cbprocess.h"
#include "errors.h"
#include "os_error.h"

#include <stdlib.h>
#include <wchar.h>

bool cbpi_path_join(struct cbpi_path *path, const WCHAR *folder, const WCHAR *name)
{
    size_t folder_size = wcslen(folder), name_size = wcslen(name);
    bool has_end = folder_size > 0 && (folder[folder_size - 1] == L'\\' || folder[folder_size - 1] == L'/');
    if (folder_size + !has_end + name_size >= MAX_PATH)
        return false;
    wmemmove(path->text, folder, folder_size);
    if (!has_end)
        path->text[folder_size++] = L'\\';
    wmemmove(path->text + folder_size, name, name_size + 1);
    return true;
}

bool cbpi_path_of_drivers(struct cbpi_path *path)
{
    WCHAR system[MAX_PATH];
    UINT size = GetSystemDirectoryW(system, MAX_PATH);
    return size > 0 && size < MAX_PATH && cbpi_path_join(path, system, L"drivers");
}

bool cbpi_path_exists(const struct cbpi_path *path)
{
    return GetFileAttributesW(path->text) != INVALID_FILE_ATTRIBUTES;
}

uint32_t cbpi_fail_file(uint32_t os_error, const char *what)
{
    switch (os_error) {
    case ERROR_FILE_NOT_FOUND:
        return cbpi_fail(CBP_ERROR_FILE_NOT_FOUND, "%s: there is no such file", what);
    case ERROR_PATH_NOT_FOUND:
    case ERROR_INVALID_NAME:
    case ERROR_BAD_PATHNAME:
    case ERROR_BAD_NETPATH:
    case ERROR_FILENAME_EXCED_RANGE:
    case ERROR_DIRECTORY:
        return cbpi_fail(CBP_ERROR_PATH_NOT_FOUND, "%s: there is no such folder", what);
    default:
        return cbpi_fail_os(os_error, what);
    }
}

static uint32_t read_open(HANDLE file, size_t size_max, uint8_t **bytes, size_t *size)
{
    LARGE_INTEGER length;
    DWORD got = 0;
    if (!GetFileSizeEx(file, &length))
        return cbpi_fail_file(GetLastError(), "a file of the driver");
    if (length.QuadPart < 0 || (uint64_t) length.QuadPart > size_max)
        return cbpi_fail(CBP_ERROR_INVALID_DATA, "a file of the driver is larger than such files are");
    uint8_t *read = malloc((size_t) length.QuadPart + 1);
    if (!read)
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for a file of the driver");
    if (!ReadFile(file, read, (DWORD) length.QuadPart, &got, NULL)) {
        uint32_t error = cbpi_fail_file(GetLastError(), "a file of the driver");
        free(read);
        return error;
    }
    *bytes = read;
    *size = got;
    return 0;
}

uint32_t cbpi_path_read(const WCHAR *path, size_t size_max, uint8_t **bytes, size_t *size)
{
    HANDLE file = CreateFileW(path, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_DELETE, NULL, OPEN_EXISTING,
                              FILE_ATTRIBUTE_NORMAL, NULL);
    if (file == INVALID_HANDLE_VALUE)
        return cbpi_fail_file(GetLastError(), "a file of the driver");
    uint32_t error = read_open(file, size_max, bytes, size);
    CloseHandle(file);
    return error;
}

/* Implements state.h. Calls the system itself: nothing fails here on purpose. */
#define WIN32_LEAN_AND_MEAN
#include "state.h"

#include <windows.h>

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#define TEXT_SIZE (256u * 1024u)
#define SERVICE_KEY L"SYSTEM\\CurrentControlSet\\Services\\cbprocess"
#define DRIVERS L"C:\\windows\\system32\\drivers"
#define CATALOGS L"C:\\windows\\system32\\catroot\\{F750E6C3-38EE-11D1-85E5-00C04FC295EE}"

struct text {
    char *bytes;
    size_t size;
};

static void add(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text->bytes + text->size, TEXT_SIZE - text->size, format, arguments);
    va_end(arguments);
    if (size < 0 || text->size + (size_t) size >= TEXT_SIZE)
        abort();
    text->size += (size_t) size;
}

static uint64_t hash_file(const WCHAR *path)
{
    uint64_t hash = 0xcbf29ce484222325u;
    int byte;
    FILE *file = _wfopen(path, L"rb");
    if (!file)
        return 0;
    while ((byte = fgetc(file)) != EOF)
        hash = (hash ^ (uint64_t) (unsigned) byte) * 0x100000001b3u;
    fclose(file);
    return hash;
}

static int compare(const void *a, const void *b)
{
    return wcscmp(a, b);
}

/* Adds the files of a folder whose names begin so, by name. */
static void add_files(struct text *text, const WCHAR *folder, const WCHAR *beginning)
{
    static WCHAR names[256][MAX_PATH];
    WCHAR path[2 * MAX_PATH];
    WIN32_FIND_DATAW found;
    size_t count = 0;
    swprintf(path, 2 * MAX_PATH, L"%ls\\%ls*", folder, beginning);
    HANDLE search = FindFirstFileW(path, &found);
    if (search == INVALID_HANDLE_VALUE)
        return;
    do {
        if (count < 256)
            wcscpy(names[count++], found.cFileName);
    } while (FindNextFileW(search, &found));
    FindClose(search);
    qsort(names, count, sizeof names[0], compare);
    for (size_t i = 0; i < count; i++) {
        swprintf(path, 2 * MAX_PATH, L"%ls\\%ls", folder, names[i]);
        add(text, "file %ls %016llx\n", names[i], (unsigned long long) hash_file(path));
    }
}

static void add_values(struct text *text, HKEY key)
{
    WCHAR name[256];
    BYTE data[1024];
    for (DWORD i = 0;; i++) {
        DWORD name_size = 256, type, size = sizeof data;
        if (RegEnumValueW(key, i, name, &name_size, NULL, &type, data, &size) != ERROR_SUCCESS)
            return;
        add(text, "  %ls %lu ", name, type);
        for (DWORD at = 0; at < size; at++)
            add(text, "%02x", data[at]);
        add(text, "\n");
    }
}

static void add_key(struct text *text, const WCHAR *path)
{
    HKEY key;
    WCHAR name[256], below[1024];
    if (RegOpenKeyExW(HKEY_LOCAL_MACHINE, path, 0, KEY_READ, &key) != ERROR_SUCCESS)
        return;
    add(text, "key %ls\n", path);
    add_values(text, key);
    for (DWORD i = 0;; i++) {
        DWORD size = 256;
        if (RegEnumKeyExW(key, i, name, &size, NULL, NULL, NULL, NULL) != ERROR_SUCCESS)
            break;
        swprintf(below, 1024, L"%ls\\%ls", path, name);
        add_key(text, below);
    }
    RegCloseKey(key);
}

static void add_service(struct text *text)
{
    SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT);
    SC_HANDLE service = OpenServiceW(manager, L"cbprocess", SERVICE_QUERY_STATUS);
    SERVICE_STATUS status = {0};
    if (service && QueryServiceStatus(service, &status))
        add(text, "service %lu\n", status.dwCurrentState);
    if (service)
        CloseServiceHandle(service);
    CloseServiceHandle(manager);
}

char *state_read(void)
{
    struct text text = {calloc(1, TEXT_SIZE), 0};
    if (!text.bytes)
        abort();
    add_files(&text, DRIVERS, L"cbprocess");
    add_files(&text, CATALOGS, L"cbprocess");
    add_key(&text, SERVICE_KEY);
    add_service(&text);
    return text.bytes;
}

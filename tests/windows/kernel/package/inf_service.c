/* Lets the system's own functions install the driver by its .inf, and compares the service with the one that the
 * library makes:
 *
 *     inf_service FOLDER            the parts of a package, and its cabinet
 *
 * Runs under Wine, whose functions read the .inf independently of us. */
#define WIN32_LEAN_AND_MEAN
#include "cbprocess.h"

#include <windows.h>

#include <setupapi.h>
#include <stdbool.h>
#include <stdio.h>
#include <wchar.h>

#define GUID "{0F5D9C5B-6B8F-4B9C-9E59-0B8C8A3B6B10}"

void WINAPI InstallHinfSectionA(HWND window, HINSTANCE instance, const char *command, int show);

struct service {
    DWORD type, start_type, error_control;
    WCHAR group[64], name[128], file[MAX_PATH];
};

static bool read_service(struct service *service)
{
    BYTE bytes[8192];
    QUERY_SERVICE_CONFIGW *config = (QUERY_SERVICE_CONFIGW *) bytes;
    DWORD size;
    SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT);
    SC_HANDLE found = OpenServiceW(manager, L"cbprocess", SERVICE_QUERY_CONFIG);
    bool is_read = found && QueryServiceConfigW(found, config, sizeof bytes, &size);
    if (is_read) {
        const WCHAR *file = wcsrchr(config->lpBinaryPathName, L'\\');
        *service = (struct service){
            config->dwServiceType, config->dwStartType, config->dwErrorControl, {0}, {0}, {0}};
        wcsncpy(service->group, config->lpLoadOrderGroup, 63);
        wcsncpy(service->name, config->lpDisplayName, 127);
        wcsncpy(service->file, file ? file : L"", MAX_PATH - 1);
    }
    CloseServiceHandle(found);
    CloseServiceHandle(manager);
    return is_read;
}

static bool is_equal(const struct service *a, const struct service *b)
{
    return a->type == b->type && a->start_type == b->start_type && a->error_control == b->error_control &&
           wcscmp(a->group, b->group) == 0 && wcscmp(a->name, b->name) == 0 &&
           _wcsicmp(a->file, b->file) == 0;
}

int main(int count, char **arguments)
{
    char command[2 * MAX_PATH], cabinet[MAX_PATH];
    struct service by_inf, by_library;
    uint32_t restart;
    if (count != 2)
        return 2;
    snprintf(command, sizeof command, "DefaultInstall 128 %s\\cbprocess.inf", arguments[1]);
    snprintf(cabinet, sizeof cabinet, "%s\\cbprocess.cab", arguments[1]);
    InstallHinfSectionA(NULL, NULL, command, 0);
    bool is_copied =
        GetFileAttributesW(L"C:\\windows\\system32\\drivers\\cbprocess.sys") != INVALID_FILE_ATTRIBUTES;
    bool is_there = read_service(&by_inf);
    /* The library takes the service over, and what it sets is what was there. */
    uint32_t error = cbp_driver_install(GUID, "kernel", cabinet, "", CBP_INSTALL_KEEP_START_TYPE, &restart);
    bool is_ours = error == 0 && read_service(&by_library);
    bool is_removed = cbp_driver_uninstall(GUID, "kernel", "", "", CBP_UNINSTALL_VERSION_ALL, &restart) == 0;
    printf("by the .inf: file %d, service %d, equal to the library's %d (error %u, removed %d)\n", is_copied,
           is_there, is_there && is_ours && is_equal(&by_inf, &by_library), (unsigned) error, is_removed);
    return !(is_copied && is_there && is_ours && is_removed && is_equal(&by_inf, &by_library));
}

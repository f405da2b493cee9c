/* Implements driver_service.h. */
#include "driver_service.h"

#include "cbprocess.h"
#include "errors.h"
#include "os_error.h"

#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#define DISPLAY_NAME L"cbprocess: processes and threads under control"
#define STOP_LIMIT_MS 5000u
#define STOP_LOOK_MS 50u
#define CONFIG_SIZE 8192u /* the largest that the system gives */

#define LOOK_ACCESS (SERVICE_QUERY_STATUS | SERVICE_QUERY_CONFIG)
#define CHANGE_ACCESS (LOOK_ACCESS | SERVICE_CHANGE_CONFIG | SERVICE_START | SERVICE_STOP | DELETE)

/* ---- Opening ---- */

/* Says whether the path ends with the driver's own file. */
static bool is_own_file(const WCHAR *binary)
{
    static const WCHAR name[] = L"\\cbprocess.sys";
    size_t size = wcslen(binary), name_size = wcslen(name);
    return size >= name_size && _wcsicmp(binary + size - name_size, name) == 0;
}

/* Reads what the service is. A service of that name with another file is not ours. */
static uint32_t read_config(struct cbpi_driver_service *service)
{
    union {
        QUERY_SERVICE_CONFIGW config;
        BYTE bytes[CONFIG_SIZE];
    } read;
    DWORD needed;
    if (!QueryServiceConfigW(service->service, &read.config, sizeof read, &needed))
        return cbpi_fail_os(GetLastError(), "the service cbprocess cannot be asked");
    const WCHAR *binary = read.config.lpBinaryPathName ? read.config.lpBinaryPathName : L"";
    if (read.config.dwServiceType != SERVICE_KERNEL_DRIVER || wcslen(binary) >= MAX_PATH ||
        !is_own_file(binary))
        return cbpi_fail(CBP_ERROR_ALREADY_EXISTS, "another product has a service cbprocess");
    service->start_type = read.config.dwStartType;
    wcscpy(service->binary, binary);
    return 0;
}

static uint32_t open_service(struct cbpi_driver_service *service, DWORD manager_access, DWORD access)
{
    memset(service, 0, sizeof *service);
    service->manager = OpenSCManagerW(NULL, NULL, manager_access);
    if (!service->manager)
        return GetLastError() == ERROR_ACCESS_DENIED
                   ? cbpi_fail(CBP_ERROR_PRIVILEGE_NOT_HELD, "that takes an administrator")
                   : cbpi_fail_os(GetLastError(), "the service manager cannot be reached");
    service->service = OpenServiceW(service->manager, CBPI_DRIVER_SERVICE, access);
    if (service->service)
        return read_config(service);
    switch (GetLastError()) {
    case ERROR_SERVICE_DOES_NOT_EXIST:
        return 0;
    case ERROR_ACCESS_DENIED:
        return cbpi_fail(CBP_ERROR_PRIVILEGE_NOT_HELD, "that takes an administrator");
    default:
        return cbpi_fail_os(GetLastError(), "the service cbprocess cannot be opened");
    }
}

uint32_t cbpi_driver_service_open(struct cbpi_driver_service *service)
{
    return open_service(service, SC_MANAGER_CONNECT | SC_MANAGER_CREATE_SERVICE, CHANGE_ACCESS);
}

uint32_t cbpi_driver_service_look(struct cbpi_driver_service *service)
{
    return open_service(service, SC_MANAGER_CONNECT, LOOK_ACCESS);
}

uint32_t cbpi_driver_service_open_to_start(struct cbpi_driver_service *service)
{
    uint32_t error = open_service(service, SC_MANAGER_CONNECT, LOOK_ACCESS | SERVICE_START);
    return error != CBP_ERROR_PRIVILEGE_NOT_HELD
               ? error
               : cbpi_fail(CBP_ERROR_ACCESS_DENIED,
                           "the kernel driver is not loaded, and loading it takes an "
                           "administrator");
}

void cbpi_driver_service_close(struct cbpi_driver_service *service)
{
    if (service->service)
        CloseServiceHandle(service->service);
    if (service->manager)
        CloseServiceHandle(service->manager);
    service->service = service->manager = NULL;
}

/* ---- Questions ---- */

DWORD cbpi_driver_service_state(const struct cbpi_driver_service *service)
{
    SERVICE_STATUS status;
    if (!service->service || !QueryServiceStatus(service->service, &status))
        return 0;
    return status.dwCurrentState;
}

/* The manager keeps a driver's path in one of several forms. */
bool cbpi_driver_service_file(const struct cbpi_driver_service *service, struct cbpi_path *path)
{
    static const WCHAR root[] = L"\\SystemRoot\\", native[] = L"\\??\\", relative[] = L"System32\\";
    const WCHAR *binary = service->binary;
    WCHAR windows[MAX_PATH];
    UINT size = GetWindowsDirectoryW(windows, MAX_PATH);
    if (!service->service || !*binary || size == 0 || size >= MAX_PATH)
        return false;
    if (_wcsnicmp(binary, root, wcslen(root)) == 0)
        return cbpi_path_join(path, windows, binary + wcslen(root));
    if (_wcsnicmp(binary, relative, wcslen(relative)) == 0)
        return cbpi_path_join(path, windows, binary);
    wcscpy(path->text, _wcsnicmp(binary, native, wcslen(native)) == 0 ? binary + wcslen(native) : binary);
    return true;
}

/* ---- Changes ---- */

static uint32_t create(struct cbpi_driver_service *service, const WCHAR *file)
{
    service->service = CreateServiceW(service->manager, CBPI_DRIVER_SERVICE, DISPLAY_NAME, CHANGE_ACCESS,
                                      SERVICE_KERNEL_DRIVER, SERVICE_DEMAND_START, SERVICE_ERROR_NORMAL, file,
                                      CBPI_DRIVER_GROUP, NULL, NULL, NULL, NULL);
    service->is_created = service->service != NULL;
    if (service->service)
        return 0;
    if (GetLastError() == ERROR_SERVICE_MARKED_FOR_DELETE || GetLastError() == ERROR_SERVICE_EXISTS)
        return cbpi_fail(CBP_ERROR_BUSY, "restart the machine first: the driver was uninstalled while it "
                                         "was in use");
    return cbpi_fail_os(GetLastError(), "the service cbprocess cannot be created");
}

uint32_t cbpi_driver_service_set(struct cbpi_driver_service *service, const WCHAR *file,
                                 bool keeps_start_type)
{
    if (!service->service)
        return create(service, file);
    DWORD start_type = keeps_start_type ? SERVICE_NO_CHANGE : SERVICE_DEMAND_START;
    service->is_changed = true;
    if (ChangeServiceConfigW(service->service, SERVICE_KERNEL_DRIVER, start_type, SERVICE_ERROR_NORMAL, file,
                             CBPI_DRIVER_GROUP, NULL, NULL, NULL, NULL, DISPLAY_NAME))
        return 0;
    if (GetLastError() == ERROR_SERVICE_MARKED_FOR_DELETE)
        return cbpi_fail(CBP_ERROR_BUSY, "restart the machine first: the driver was uninstalled while it "
                                         "was in use");
    return cbpi_fail_os(GetLastError(), "the service cbprocess cannot be changed");
}

void cbpi_driver_service_undo(struct cbpi_driver_service *service)
{
    if (service->is_created) {
        DeleteService(service->service);
        CloseServiceHandle(service->service);
        service->service = NULL;
    } else if (service->is_changed) {
        ChangeServiceConfigW(service->service, SERVICE_NO_CHANGE, service->start_type, SERVICE_NO_CHANGE,
                             service->binary, NULL, NULL, NULL, NULL, NULL, NULL);
    }
    service->is_created = service->is_changed = false;
}

uint32_t cbpi_driver_service_start(const struct cbpi_driver_service *service)
{
    if (StartServiceW(service->service, 0, NULL))
        return 0;
    switch (GetLastError()) {
    case ERROR_SERVICE_ALREADY_RUNNING:
    case ERROR_SERVICE_DISABLED:
        return 0;
    case CBP_ERROR_INVALID_IMAGE_HASH:
    case ERROR_DRIVER_BLOCKED:
        return cbpi_fail(CBP_ERROR_INVALID_IMAGE_HASH, "the system refuses the driver's signature (%u)",
                         (unsigned) GetLastError());
    default:
        return cbpi_fail_os(GetLastError(), "the driver cannot be loaded");
    }
}

bool cbpi_driver_service_stop(const struct cbpi_driver_service *service)
{
    SERVICE_STATUS status;
    if (!service->service || cbpi_driver_service_state(service) == SERVICE_STOPPED)
        return true;
    if (!ControlService(service->service, SERVICE_CONTROL_STOP, &status) &&
        cbpi_driver_service_state(service) != SERVICE_STOP_PENDING)
        return cbpi_driver_service_state(service) == SERVICE_STOPPED;
    for (uint32_t waited_ms = 0; waited_ms < STOP_LIMIT_MS; waited_ms += STOP_LOOK_MS) {
        if (cbpi_driver_service_state(service) == SERVICE_STOPPED)
            return true;
        Sleep(STOP_LOOK_MS);
    }
    return false;
}

uint32_t cbpi_driver_service_delete(struct cbpi_driver_service *service, bool *is_pending)
{
    if (!DeleteService(service->service) && GetLastError() != ERROR_SERVICE_MARKED_FOR_DELETE)
        return cbpi_fail_os(GetLastError(), "the service cbprocess cannot be deleted");
    *is_pending = cbpi_driver_service_state(service) != SERVICE_STOPPED;
    CloseServiceHandle(service->service); /* the manager keeps it until the last handle is closed */
    service->service = NULL;
    return 0;
}

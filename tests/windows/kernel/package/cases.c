/* Installs and uninstalls with cbprocess.dll, as programs do, and looks at what the machine has after each call:
 *
 *     cases FOLDER            a folder with packages (variants.py)
 *
 * What is expected stands in the class's reference, and in docs/windows.md. Runs under Wine, in a prefix of its
 * own. Ends with status 1 if something is not as it should be. */
#define WIN32_LEAN_AND_MEAN
#include "state.h"

#include "cbprocess.h"

#include <windows.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#define GUID_A "{0F5D9C5B-6B8F-4B9C-9E59-0B8C8A3B6B10}"
#define GUID_A_IN_SMALL "{0f5d9c5b-6b8f-4b9c-9e59-0b8c8a3b6b10}"
#define GUID_B "{713CC6CE-B3E2-4fd9-838D-E28F558F6866}"
#define DRIVERS L"C:\\windows\\system32\\drivers\\"
#define VERSION_1_0 0x0001000000000000ull
#define VERSION_1_1 0x0001000100000000ull

static const char *packages;
static int checks, failures;

#define CHECK(expression) check((expression), #expression, __LINE__)

static void check(bool is_right, const char *what, int line)
{
    checks++;
    if (is_right)
        return;
    failures++;
    printf("cases.c:%d: FAILED: %s (%s)\n", line, what, cbp_error_detail());
}

/* ---- Calls ---- */

static uint32_t must_restart;

static uint32_t install_at(const char *guid, const char *name, const char *folder, uint32_t flags)
{
    char path[MAX_PATH];
    snprintf(path, sizeof path, "%s\\%s\\cbprocess.cab", packages, name);
    must_restart = 9;
    return cbp_driver_install(guid, "kernel", path, folder, flags, &must_restart);
}

static uint32_t install(const char *guid, const char *name)
{
    return install_at(guid, name, "", 0);
}

static uint32_t uninstall(const char *guid, uint32_t flags)
{
    must_restart = 9;
    return cbp_driver_uninstall(guid, "kernel", "C:\\no such.cab", "C:\\no such folder", flags,
                                &must_restart);
}

static uint32_t status_of(const char *guid)
{
    uint32_t status = 99;
    CHECK(cbp_driver_status(guid, "kernel", &status) == 0);
    return status;
}

static uint64_t version_of(const char *guid)
{
    uint64_t version = 99;
    CHECK(cbp_driver_version(guid, "kernel", &version) == 0);
    return version;
}

static void CBP_CALL handle_event(struct cbp_event *event)
{
    (void) event;
}

/* Gives what a start of a filter of that product ends with; the device of this driver is never there. */
static uint32_t start_filter(const char *guid)
{
    struct cbp_session *session;
    struct cbp_callbacks callbacks = {.size = sizeof callbacks, .event = handle_event};
    CHECK(cbp_session_create(guid, &session) == 0);
    CHECK(cbp_session_set_callbacks(session, &callbacks) == 0);
    CHECK(cbp_session_set_config(session, "Driver", "kernel") == 0);
    uint32_t error = cbp_session_start(session, 5000);
    cbp_session_destroy(session);
    return error;
}

/* ---- The service ---- */

static SC_HANDLE open_service(void)
{
    SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_ALL_ACCESS);
    SC_HANDLE service = OpenServiceW(manager, L"cbprocess", SERVICE_ALL_ACCESS);
    CloseServiceHandle(manager);
    return service;
}

static void read_config(QUERY_SERVICE_CONFIGW *config, DWORD size)
{
    SC_HANDLE service = open_service();
    CHECK(QueryServiceConfigW(service, config, size, &size));
    CloseServiceHandle(service);
}

static DWORD start_type(void)
{
    BYTE bytes[8192];
    read_config((QUERY_SERVICE_CONFIGW *) bytes, sizeof bytes);
    return ((QUERY_SERVICE_CONFIGW *) bytes)->dwStartType;
}

static bool loads(const WCHAR *file)
{
    BYTE bytes[8192];
    QUERY_SERVICE_CONFIGW *config = (QUERY_SERVICE_CONFIGW *) bytes;
    read_config(config, sizeof bytes);
    return _wcsicmp(config->lpBinaryPathName, file) == 0;
}

static void set_start_type(DWORD type)
{
    SC_HANDLE service = open_service();
    CHECK(ChangeServiceConfigW(service, SERVICE_NO_CHANGE, type, SERVICE_NO_CHANGE, NULL, NULL, NULL, NULL,
                               NULL, NULL, NULL));
    CloseServiceHandle(service);
}

static void stop_service(void)
{
    SERVICE_STATUS status;
    SC_HANDLE service = open_service();
    CHECK(ControlService(service, SERVICE_CONTROL_STOP, &status));
    CloseServiceHandle(service);
}

static void make_service(DWORD type, const WCHAR *file)
{
    SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_ALL_ACCESS);
    SC_HANDLE service =
        CreateServiceW(manager, L"cbprocess", NULL, SERVICE_ALL_ACCESS, type, SERVICE_DEMAND_START,
                       SERVICE_ERROR_NORMAL, file, NULL, NULL, NULL, NULL, NULL);
    CHECK(service != NULL);
    CloseServiceHandle(service);
    CloseServiceHandle(manager);
}

static void delete_service(void)
{
    SC_HANDLE service = open_service();
    CHECK(DeleteService(service));
    CloseServiceHandle(service);
}

static bool exists(const WCHAR *path)
{
    return GetFileAttributesW(path) != INVALID_FILE_ATTRIBUTES;
}

/* ---- Cases ---- */

/* Nothing may be left of an installation that is gone, or that has failed. */
static void check_clean(int line)
{
    char *state = state_read();
    check(*state == 0, "nothing is left", line);
    if (*state)
        printf("%s", state);
    free(state);
}

/* Says whether the driver could filter here now. */
static bool can_run(void)
{
    uint32_t capabilities;
    char reason[256];
    CHECK(cbp_driver_probe("kernel", &capabilities, reason, sizeof reason) == 0);
    return capabilities != 0;
}

static void nothing_installed(void)
{
    CHECK(!can_run());
    CHECK(status_of(GUID_A) == CBP_MODULE_STATUS_NOT_PRESENT);
    CHECK(version_of(GUID_A) == 0);
    CHECK(start_filter(GUID_A) == CBP_ERROR_FILE_NOT_FOUND);
    CHECK(uninstall(GUID_A, CBP_UNINSTALL_VERSION_ALL) == CBP_ERROR_FILE_NOT_FOUND);
    CHECK(uninstall(GUID_A, CBP_UNINSTALL_VERSION_CURRENT) == CBP_ERROR_FILE_NOT_FOUND);
    CHECK(uninstall(GUID_A, 0) == CBP_ERROR_INVALID_PARAMETER && must_restart == 9);
    CHECK(uninstall(GUID_A, 4) == CBP_ERROR_INVALID_PARAMETER);
    CHECK(uninstall(GUID_A, CBP_UNINSTALL_VERSION_PREVIOUS) == 0 && must_restart == 0);
    CHECK(uninstall("0F5D9C5B-6B8F-4B9C-9E59-0B8C8A3B6B10", 3) == CBP_ERROR_INVALID_PARAMETER);
    CHECK(cbp_driver_install(GUID_A, "kernel", "", "", 0, &must_restart) == CBP_ERROR_INVALID_PARAMETER);
    CHECK(cbp_driver_install(GUID_A, "kernel", NULL, NULL, 0, &must_restart) == CBP_ERROR_INVALID_PARAMETER);
    CHECK(install_at(GUID_A, "first", "", 8) == CBP_ERROR_INVALID_PARAMETER);
    check_clean(__LINE__);
}

/* Installs that package, which has to fail and to leave everything as it was. */
static void refuse(const char *guid, const char *name, uint32_t expected)
{
    char *before = state_read();
    uint32_t error = install(guid, name);
    char *after = state_read();
    if (error != expected || strcmp(before, after) != 0)
        printf("%s: error %u: %s\n--- before\n%s--- after\n%s", name, (unsigned) error, cbp_error_detail(),
               before, after);
    CHECK(error == expected);
    CHECK(strcmp(before, after) == 0);
    CHECK(must_restart == 9 && *cbp_error_detail());
    free(before);
    free(after);
}

static void wrong_packages(const char *guid)
{
    static const struct {
        const char *name;
        uint32_t error;
    } wrong[] = {
        {"no such folder", CBP_ERROR_PATH_NOT_FOUND},
        {"empty", CBP_ERROR_BAD_FORMAT},
        {"no_cabinet", CBP_ERROR_BAD_FORMAT},
        {"other_machine", CBP_ERROR_BAD_FORMAT},
        {"no_program", CBP_ERROR_BAD_FORMAT},
        {"truncated", CBP_ERROR_INVALID_DATA},
        {"continued", CBP_ERROR_INVALID_DATA},
        {"no_version", CBP_ERROR_INVALID_DATA},
        {"wrong_checksum", CBP_ERROR_INVALID_DATA},
        {"without_sys", CBP_ERROR_INVALID_DATA},
        {"without_inf", CBP_ERROR_INVALID_DATA},
        {"without_cat", CBP_ERROR_INVALID_DATA},
        {"twice", CBP_ERROR_INVALID_DATA},
        {"unsigned", CBP_ERROR_INVALID_IMAGE_HASH},
        {"changed", CBP_ERROR_INVALID_IMAGE_HASH},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        refuse(guid, wrong[i].name, wrong[i].error);
    CHECK(cbp_driver_install(guid, "kernel", "C:\\windows\\no such.cab", "", 0, &must_restart) ==
          CBP_ERROR_FILE_NOT_FOUND);
}

static void first_product(void)
{
    BYTE bytes[8192];
    QUERY_SERVICE_CONFIGW *config = (QUERY_SERVICE_CONFIGW *) bytes;
    CHECK(install(GUID_A, "first") == 0 && must_restart == 0);
    CHECK(status_of(GUID_A) == CBP_MODULE_STATUS_RUNNING && version_of(GUID_A) == VERSION_1_0);
    CHECK(status_of(GUID_A_IN_SMALL) == CBP_MODULE_STATUS_RUNNING);
    CHECK(status_of(GUID_B) == CBP_MODULE_STATUS_NOT_PRESENT && version_of(GUID_B) == 0);
    read_config(config, sizeof bytes);
    CHECK(config->dwServiceType == SERVICE_KERNEL_DRIVER && config->dwStartType == SERVICE_DEMAND_START);
    CHECK(config->dwErrorControl == SERVICE_ERROR_NORMAL);
    CHECK(wcscmp(config->lpLoadOrderGroup, L"FSFilter Activity Monitor") == 0);
    CHECK(loads(DRIVERS L"cbprocess.sys") && exists(DRIVERS L"cbprocess.sys"));
    CHECK(start_filter(GUID_B) == CBP_ERROR_FILE_NOT_FOUND);
    char *before = state_read();
    CHECK(install(GUID_A_IN_SMALL, "first") == 0 && must_restart == 0);
    char *after = state_read();
    CHECK(strcmp(before, after) == 0);
    free(before);
    free(after);
}

/* Other files in a package are nothing to us, nor are their names. A catalog without a signature does no harm to a
 * driver with one of its own. */
static void odd_packages(void)
{
    CHECK(install(GUID_A, "escaping") == 0 && version_of(GUID_A) == VERSION_1_0);
    CHECK(!exists(L"C:\\windows\\system32\\escaped.txt") && !exists(L"C:\\windows\\escaped.txt"));
    CHECK(install(GUID_A, "other_catalog") == 0);
}

static void start_types(void)
{
    set_start_type(SERVICE_SYSTEM_START);
    CHECK(install_at(GUID_A, "first", "", CBP_INSTALL_KEEP_START_TYPE) == 0);
    CHECK(start_type() == SERVICE_SYSTEM_START);
    CHECK(install(GUID_A, "first") == 0);
    CHECK(start_type() == SERVICE_DEMAND_START);
    stop_service();
    CHECK(status_of(GUID_A) == CBP_MODULE_STATUS_STOPPED && version_of(GUID_A) == VERSION_1_0);
    CHECK(can_run()); /* it is loaded when a filter starts */
    set_start_type(SERVICE_DISABLED);
    CHECK(install_at(GUID_A, "first", "", CBP_INSTALL_KEEP_START_TYPE) == 0);
    CHECK(status_of(GUID_A) == CBP_MODULE_STATUS_STOPPED);
    CHECK(install_at(GUID_A, "first", NULL,
                     CBP_INSTALL_ALWAYS_PREPARE_FILES | CBP_INSTALL_FORCE_SECURITY_CHECKS |
                         CBP_INSTALL_REQUESTS_VIA_DRIVER_STACK | CBP_INSTALL_FORCE_APP_PERMISSION_CHECK) ==
          0);
    CHECK(status_of(GUID_A) == CBP_MODULE_STATUS_RUNNING);
    /* The first filter loads a driver that is not loaded. This one has no device, and so no filter starts. */
    stop_service();
    CHECK(start_filter(GUID_A) == CBP_ERROR_FS_DRIVER_REQUIRED);
    CHECK(status_of(GUID_A) == CBP_MODULE_STATUS_RUNNING);
}

static void two_products(void)
{
    CHECK(install_at(GUID_B, "newer", "", CBP_INSTALL_REMOVE_OLD_VERSIONS) == 0 && must_restart == 0);
    CHECK(version_of(GUID_A) == VERSION_1_1 && version_of(GUID_B) == VERSION_1_1);
    CHECK(status_of(GUID_A) == CBP_MODULE_STATUS_RUNNING);
    CHECK(!exists(DRIVERS L"cbprocess.sys.old0") && !exists(DRIVERS L"cbprocess.sys.new"));
    CHECK(install(GUID_A, "first") == 0);
    CHECK(version_of(GUID_A) == VERSION_1_1); /* an older driver replaces none */
    CHECK(uninstall(GUID_A, CBP_UNINSTALL_VERSION_CURRENT) == 0 && must_restart == 0);
    CHECK(status_of(GUID_A) == CBP_MODULE_STATUS_NOT_PRESENT && version_of(GUID_A) == 0);
    CHECK(status_of(GUID_B) == CBP_MODULE_STATUS_RUNNING);
    CHECK(uninstall(GUID_A, CBP_UNINSTALL_VERSION_CURRENT) == CBP_ERROR_FILE_NOT_FOUND);
    CHECK(uninstall(GUID_B, CBP_UNINSTALL_VERSION_PREVIOUS) == 0);
    CHECK(status_of(GUID_B) == CBP_MODULE_STATUS_RUNNING);
    CHECK(uninstall(GUID_B, CBP_UNINSTALL_VERSION_ALL) == 0 && must_restart == 0);
    CHECK(status_of(GUID_B) == CBP_MODULE_STATUS_NOT_PRESENT);
    check_clean(__LINE__);
}

static void folders(void)
{
    char long_folder[400] = "C:\\";
    memset(long_folder + 3, 'x', 300);
    CreateDirectoryW(L"C:\\gr\u00fcn folder", NULL);
    CreateDirectoryW(L"C:\\other", NULL);
    CHECK(install_at(GUID_A, "first", "C:\\no such folder", 0) == CBP_ERROR_PATH_NOT_FOUND);
    CHECK(install_at(GUID_A, "first", "C:\\windows\\win.ini", 0) == CBP_ERROR_PATH_NOT_FOUND);
    CHECK(install_at(GUID_A, "first", long_folder, 0) == CBP_ERROR_PATH_NOT_FOUND);
    CHECK(install_at(GUID_A, "first", "\\\\server\\share", 0) == CBP_ERROR_INVALID_PARAMETER);
    check_clean(__LINE__);
    CHECK(install_at(GUID_A, "first", "C:\\gr\xc3\xbcn folder\\", 0) == 0);
    CHECK(loads(L"C:\\gr\u00fcn folder\\cbprocess.sys") && status_of(GUID_A) == CBP_MODULE_STATUS_RUNNING);
    CHECK(install(GUID_A, "newer") == 0); /* in its place */
    CHECK(loads(L"C:\\gr\u00fcn folder\\cbprocess.sys") && version_of(GUID_A) == VERSION_1_1);
    CHECK(install_at(GUID_A, "newer", "C:\\other", 0) == 0);
    CHECK(loads(L"C:\\other\\cbprocess.sys") && !exists(L"C:\\gr\u00fcn folder\\cbprocess.sys"));
    CHECK(uninstall(GUID_A, CBP_UNINSTALL_VERSION_ALL) == 0);
    CHECK(RemoveDirectoryW(L"C:\\gr\u00fcn folder") && RemoveDirectoryW(L"C:\\other"));
    check_clean(__LINE__);
}

static void services_of_others(void)
{
    make_service(SERVICE_WIN32_OWN_PROCESS, L"C:\\windows\\system32\\other.exe");
    char *before = state_read();
    CHECK(install(GUID_A, "first") == CBP_ERROR_ALREADY_EXISTS);
    CHECK(uninstall(GUID_A, CBP_UNINSTALL_VERSION_ALL) == CBP_ERROR_ALREADY_EXISTS);
    CHECK(status_of(GUID_A) == CBP_MODULE_STATUS_NOT_PRESENT);
    char *after = state_read();
    CHECK(strcmp(before, after) == 0);
    free(before);
    free(after);
    delete_service();
    make_service(SERVICE_KERNEL_DRIVER, L"C:\\windows\\system32\\drivers\\other.sys");
    CHECK(install(GUID_A, "first") == CBP_ERROR_ALREADY_EXISTS);
    delete_service();
    /* What somebody has made by hand for this driver is taken over, in each form of its path. */
    make_service(SERVICE_KERNEL_DRIVER, L"\\SystemRoot\\System32\\drivers\\cbprocess.sys");
    CHECK(install(GUID_A, "first") == 0 && status_of(GUID_A) == CBP_MODULE_STATUS_RUNNING);
    CHECK(uninstall(GUID_A, CBP_UNINSTALL_VERSION_ALL) == 0);
    check_clean(__LINE__);
}

static void write_garbage(const WCHAR *path)
{
    FILE *file = _wfopen(path, L"wb");
    CHECK(file && fputs("garbage", file) >= 0);
    fclose(file);
}

static void damaged_driver(void)
{
    CHECK(install(GUID_A, "first") == 0);
    stop_service();
    write_garbage(DRIVERS L"cbprocess.sys");
    CHECK(version_of(GUID_A) == 0 && start_filter(GUID_A) == CBP_ERROR_FS_DRIVER_REQUIRED);
    CHECK(install(GUID_A, "first") == 0 && version_of(GUID_A) == VERSION_1_0);
    CHECK(status_of(GUID_A) == CBP_MODULE_STATUS_RUNNING);
    stop_service();
    CHECK(DeleteFileW(DRIVERS L"cbprocess.sys") && start_filter(GUID_A) == CBP_ERROR_FS_DRIVER_REQUIRED);
    CHECK(uninstall(GUID_A, CBP_UNINSTALL_VERSION_ALL) == 0 && must_restart == 0);
    check_clean(__LINE__);
}

/* A thread of an administrator's process that acts with the rights of anybody else. */
static void without_rights(void)
{
    BYTE sid[SECURITY_MAX_SID_SIZE];
    DWORD size = sizeof sid;
    SID_AND_ATTRIBUTES without = {sid, 0};
    HANDLE own, restricted, copy;
    CHECK(CreateWellKnownSid(WinBuiltinAdministratorsSid, NULL, sid, &size));
    CHECK(OpenProcessToken(GetCurrentProcess(), TOKEN_ALL_ACCESS, &own));
    CHECK(CreateRestrictedToken(own, 0, 1, &without, 0, NULL, 0, NULL, &restricted));
    CHECK(DuplicateTokenEx(restricted, TOKEN_ALL_ACCESS, NULL, SecurityImpersonation, TokenImpersonation,
                           &copy));
    CHECK(install(GUID_A, "first") == 0);
    char *before = state_read();
    CHECK(SetThreadToken(NULL, copy));
    CHECK(install(GUID_B, "newer") == CBP_ERROR_PRIVILEGE_NOT_HELD);
    CHECK(install(GUID_B, "no such package") == CBP_ERROR_PRIVILEGE_NOT_HELD);
    CHECK(uninstall(GUID_A, CBP_UNINSTALL_VERSION_ALL) == CBP_ERROR_PRIVILEGE_NOT_HELD);
    CHECK(status_of(GUID_A) == CBP_MODULE_STATUS_RUNNING && version_of(GUID_A) == VERSION_1_0);
    CHECK(SetThreadToken(NULL, NULL));
    char *after = state_read();
    CHECK(strcmp(before, after) == 0);
    free(before);
    free(after);
    CHECK(uninstall(GUID_A, CBP_UNINSTALL_VERSION_ALL) == 0);
    CloseHandle(own);
    CloseHandle(restricted);
    CloseHandle(copy);
}

static DWORD WINAPI install_for_b(void *unused)
{
    (void) unused;
    char path[MAX_PATH];
    uint32_t restart;
    snprintf(path, sizeof path, "%s\\newer\\cbprocess.cab", packages);
    return cbp_driver_install(GUID_B, "kernel", path, "", 0, &restart);
}

/* Two programs install at once: one of them waits for the other. */
static void at_once(void)
{
    for (int round = 0; round < 10; round++) {
        DWORD error = 99;
        HANDLE thread = CreateThread(NULL, 0, install_for_b, NULL, 0, NULL);
        CHECK(install(GUID_A, "first") == 0);
        WaitForSingleObject(thread, INFINITE);
        CHECK(GetExitCodeThread(thread, &error) && error == 0);
        CloseHandle(thread);
        CHECK(version_of(GUID_A) == VERSION_1_1 && status_of(GUID_B) == CBP_MODULE_STATUS_RUNNING);
        CHECK(uninstall(GUID_A, CBP_UNINSTALL_VERSION_ALL) == 0);
        CHECK(uninstall(GUID_B, CBP_UNINSTALL_VERSION_ALL) == 0);
    }
    check_clean(__LINE__);
}

/* The system has loaded the driver already when it fails. */
static void driver_that_does_not_start(void)
{
    refuse(GUID_A, "refusing", CBP_ERROR_NO_SYSTEM_RESOURCES);
    check_clean(__LINE__);
    CHECK(install(GUID_A, "first") == 0);
    refuse(GUID_B, "refusing", CBP_ERROR_NO_SYSTEM_RESOURCES);
    CHECK(status_of(GUID_A) == CBP_MODULE_STATUS_RUNNING && version_of(GUID_A) == VERSION_1_0);
    CHECK(uninstall(GUID_A, CBP_UNINSTALL_VERSION_ALL) == 0);
    check_clean(__LINE__);
}

/* This one leaves a driver behind that only a restart of the system removes. */
static void in_use(void)
{
    CHECK(install(GUID_A, "stuck") == 0 && must_restart == 0);
    CHECK(install(GUID_A, "newer") == 0 && must_restart == 1);
    CHECK(version_of(GUID_A) == VERSION_1_1 && status_of(GUID_A) == CBP_MODULE_STATUS_RUNNING);
    CHECK(start_filter(GUID_A) == CBP_ERROR_FILE_NOT_FOUND);
    CHECK(install(GUID_B, "newer") == 0 && must_restart == 1);
    CHECK(start_filter(GUID_B) == CBP_ERROR_FILE_NOT_FOUND);
    CHECK(uninstall(GUID_A, CBP_UNINSTALL_VERSION_ALL) == 0 &&
          must_restart == 0); /* the other product's stays */
    CHECK(uninstall(GUID_B, CBP_UNINSTALL_VERSION_ALL) == 0 && must_restart == 1);
    CHECK(status_of(GUID_B) == CBP_MODULE_STATUS_NOT_PRESENT && version_of(GUID_B) == 0);
    CHECK(!exists(DRIVERS L"cbprocess.sys"));
    CHECK(install(GUID_A, "first") == CBP_ERROR_BUSY);
    CHECK(status_of(GUID_A) == CBP_MODULE_STATUS_NOT_PRESENT && !exists(DRIVERS L"cbprocess.sys"));
}

int main(int count, char **arguments)
{
    if (count != 2)
        return 2;
    setvbuf(stdout, NULL, _IONBF, 0);
    packages = arguments[1];
    nothing_installed();
    wrong_packages(GUID_A);
    check_clean(__LINE__);
    first_product();
    wrong_packages(GUID_B);
    odd_packages();
    start_types();
    two_products();
    folders();
    services_of_others();
    damaged_driver();
    without_rights();
    at_once();
    driver_that_does_not_start();
    in_use();
    printf("%d checks, %d failures\n", checks, failures);
    return failures != 0;
}

/* Lets the Nth call of the system fail in the sources of installing, which are compiled with this header before
 * everything else. Each call that installing makes and whose failure matters is here. */
#ifndef PACKAGE_FAULTS_H
#define PACKAGE_FAULTS_H

#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>

#include <stdbool.h>
#include <stdlib.h>

#include <setupapi.h>
#include <wintrust.h>

#include <mscat.h>

/* Counts a call, and says whether it is the one that has to fail. The error is the thread's then. */
bool package_fault(const char *name, DWORD os_error);

#define FAILS(name, os_error, failure, call) (package_fault(name, os_error) ? failure : call)
#define NO_FILE INVALID_HANDLE_VALUE

#define malloc(size) FAILS("malloc", 0, NULL, (malloc) (size))
#define CheckTokenMembership(...)                                                                            \
    FAILS("CheckTokenMembership", ERROR_ACCESS_DENIED, FALSE, (CheckTokenMembership) (__VA_ARGS__))
#define CreateFileW(...) FAILS("CreateFileW", ERROR_TOO_MANY_OPEN_FILES, NO_FILE, (CreateFileW) (__VA_ARGS__))
#define CreateDirectoryW(...)                                                                                \
    FAILS("CreateDirectoryW", ERROR_DISK_FULL, FALSE, (CreateDirectoryW) (__VA_ARGS__))
#define CopyFileW(...) FAILS("CopyFileW", ERROR_DISK_FULL, FALSE, (CopyFileW) (__VA_ARGS__))
#define MoveFileExW(...) FAILS("MoveFileExW", ERROR_SHARING_VIOLATION, FALSE, (MoveFileExW) (__VA_ARGS__))
#define ReadFile(...) FAILS("ReadFile", ERROR_CRC, FALSE, (ReadFile) (__VA_ARGS__))
#define GetFileSizeEx(...) FAILS("GetFileSizeEx", ERROR_GEN_FAILURE, FALSE, (GetFileSizeEx) (__VA_ARGS__))
#define FlushFileBuffers(...)                                                                                \
    FAILS("FlushFileBuffers", ERROR_DISK_FULL, FALSE, (FlushFileBuffers) (__VA_ARGS__))
#define GetFullPathNameW(...)                                                                                \
    FAILS("GetFullPathNameW", ERROR_INVALID_NAME, 0, (GetFullPathNameW) (__VA_ARGS__))
#define SetupIterateCabinetW(...)                                                                            \
    FAILS("SetupIterateCabinetW", ERROR_DISK_FULL, FALSE, (SetupIterateCabinetW) (__VA_ARGS__))
/* What closes a check gives nothing back whose failure could matter. */
#define WinVerifyTrust(window, action, data)                                                                 \
    ((data)->dwStateAction == WTD_STATEACTION_VERIFY && package_fault("WinVerifyTrust", 0)                   \
         ? TRUST_E_BAD_DIGEST                                                                                \
         : (WinVerifyTrust) (window, action, data))
#define CryptCATAdminAcquireContext(...)                                                                     \
    FAILS("CryptCATAdminAcquireContext", ERROR_DATABASE_FAILURE, FALSE,                                      \
          (CryptCATAdminAcquireContext) (__VA_ARGS__))
#define CryptCATAdminAddCatalog(...)                                                                         \
    FAILS("CryptCATAdminAddCatalog", ERROR_DATABASE_FAILURE, NULL, (CryptCATAdminAddCatalog) (__VA_ARGS__))
#define OpenSCManagerW(...) FAILS("OpenSCManagerW", ERROR_ACCESS_DENIED, NULL, (OpenSCManagerW) (__VA_ARGS__))
#define OpenServiceW(...) FAILS("OpenServiceW", ERROR_ACCESS_DENIED, NULL, (OpenServiceW) (__VA_ARGS__))
#define QueryServiceConfigW(...)                                                                             \
    FAILS("QueryServiceConfigW", ERROR_ACCESS_DENIED, FALSE, (QueryServiceConfigW) (__VA_ARGS__))
#define CreateServiceW(...) FAILS("CreateServiceW", ERROR_ACCESS_DENIED, NULL, (CreateServiceW) (__VA_ARGS__))
#define ChangeServiceConfigW(...)                                                                            \
    FAILS("ChangeServiceConfigW", ERROR_ACCESS_DENIED, FALSE, (ChangeServiceConfigW) (__VA_ARGS__))
#define StartServiceW(...) FAILS("StartServiceW", CBP_TEST_START_ERROR, FALSE, (StartServiceW) (__VA_ARGS__))
#define ControlService(...)                                                                                  \
    FAILS("ControlService", ERROR_INVALID_SERVICE_CONTROL, FALSE, (ControlService) (__VA_ARGS__))
#define DeleteService(...) FAILS("DeleteService", ERROR_ACCESS_DENIED, FALSE, (DeleteService) (__VA_ARGS__))
#define RegCreateKeyExW(...) FAILS("RegCreateKeyExW", 0, ERROR_ACCESS_DENIED, (RegCreateKeyExW) (__VA_ARGS__))
#define RegSetValueExW(...) FAILS("RegSetValueExW", 0, ERROR_ACCESS_DENIED, (RegSetValueExW) (__VA_ARGS__))
#define RegSetKeyValueW(...) FAILS("RegSetKeyValueW", 0, ERROR_ACCESS_DENIED, (RegSetKeyValueW) (__VA_ARGS__))
#define RegDeleteTreeW(...) FAILS("RegDeleteTreeW", 0, ERROR_ACCESS_DENIED, (RegDeleteTreeW) (__VA_ARGS__))
#define RegQueryInfoKeyW(...)                                                                                \
    FAILS("RegQueryInfoKeyW", 0, ERROR_ACCESS_DENIED, (RegQueryInfoKeyW) (__VA_ARGS__))

#define CBP_TEST_START_ERROR 577 /* the system refuses the signature */

#endif

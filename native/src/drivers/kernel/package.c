/* Implements package.h with the functions of SetupAPI, which read cabinets. */
#include "package.h"

#include "cabinet.h"
#include "cbprocess.h"
#include "errors.h"
#include "os_error.h"
#include "signature.h"

#include <setupapi.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#define FOLDER_NAME L"cbprocess.new"
#define LOCK_NAME L"cbprocess.lock"
#define CABINET_NAME L"package.cab"
#define DER_SEQUENCE 0x30u
#define DER_LONG 0x80u /* with the number of bytes that the length has */
#define LOCK_LIMIT_MS 30000u
#define LOCK_LOOK_MS 50u

/* These are the parts of a package; each is in it once. */
enum { PART_DRIVER, PART_INF, PART_CATALOG, PART_COUNT };
static const WCHAR *const part_names[PART_COUNT] = {CBPI_DRIVER_FILE, L"cbprocess.inf", L"cbprocess.cat"};

uint16_t cbpi_native_machine(void)
{
    USHORT process = 0, native = 0;
    return IsWow64Process2(GetCurrentProcess(), &process, &native) ? native : 0;
}

/* ---- The folder ---- */

static bool part_path(const struct cbpi_package *package, const WCHAR *name, struct cbpi_path *path)
{
    return cbpi_path_join(path, package->folder.text, name);
}

/* Removes what an installation has left that did not come to its end. */
static void empty_folder(const struct cbpi_package *package)
{
    struct cbpi_path path;
    for (unsigned i = 0; i < PART_COUNT; i++)
        if (part_path(package, part_names[i], &path))
            DeleteFileW(path.text);
    if (part_path(package, CABINET_NAME, &path))
        DeleteFileW(path.text);
}

uint32_t cbpi_package_lock(struct cbpi_package *package)
{
    struct cbpi_path drivers, path;
    if (!cbpi_path_of_drivers(&drivers) || !cbpi_path_join(&path, drivers.text, LOCK_NAME) ||
        !cbpi_path_join(&package->folder, drivers.text, FOLDER_NAME))
        return cbpi_fail(CBP_ERROR_GEN_FAILURE, "the system's folder has no usable name");
    for (uint32_t waited_ms = 0;; waited_ms += LOCK_LOOK_MS) {
        /* The system removes the file with the last handle, however this process ends. */
        HANDLE file = CreateFileW(path.text, GENERIC_WRITE | DELETE, 0, NULL, CREATE_ALWAYS,
                                  FILE_ATTRIBUTE_HIDDEN | FILE_FLAG_DELETE_ON_CLOSE, NULL);
        if (file != INVALID_HANDLE_VALUE) {
            package->lock = file;
            return 0;
        }
        DWORD os_error = GetLastError();
        /* A file that is just being removed cannot be opened either. */
        if (os_error != ERROR_SHARING_VIOLATION && os_error != ERROR_ACCESS_DENIED)
            return cbpi_fail_file(os_error, "the system's folder of drivers cannot be written");
        if (waited_ms >= LOCK_LIMIT_MS ||
            (os_error == ERROR_ACCESS_DENIED && waited_ms >= LOCK_LIMIT_MS / 30))
            return os_error == ERROR_ACCESS_DENIED
                       ? cbpi_fail_os(os_error, "the system's folder of drivers cannot be written")
                       : cbpi_fail(CBP_ERROR_BUSY, "another program is installing the driver");
        Sleep(LOCK_LOOK_MS);
    }
}

/* ---- The cabinet ---- */

struct extraction {
    const struct cbpi_package *package;
    unsigned counts[PART_COUNT];
    bool is_malformed;
};

static UINT begin_file(struct extraction *extraction, FILE_IN_CABINET_INFO_W *file)
{
    struct cbpi_path path;
    for (unsigned i = 0; i < PART_COUNT; i++) {
        if (_wcsicmp(file->NameInCabinet, part_names[i]) != 0)
            continue;
        if (extraction->counts[i]++ != 0 || file->FileSize > CBPI_DRIVER_IMAGE_SIZE_MAX ||
            !part_path(extraction->package, part_names[i], &path)) {
            extraction->is_malformed = true;
            return FILEOP_ABORT;
        }
        memcpy(file->FullTargetName, path.text, sizeof path.text);
        return FILEOP_DOIT;
    }
    return FILEOP_SKIP; /* other files are nothing to us, whatever they are called */
}

static UINT CALLBACK visit_cabinet(void *context, UINT notification, UINT_PTR parameter, UINT_PTR unused)
{
    struct extraction *extraction = context;
    (void) unused;
    switch (notification) {
    case SPFILENOTIFY_FILEINCABINET:
        return begin_file(extraction, (FILE_IN_CABINET_INFO_W *) parameter);
    case SPFILENOTIFY_FILEEXTRACTED:
        return ((const FILEPATHS_W *) parameter)->Win32Error;
    case SPFILENOTIFY_NEEDNEWCABINET:
        extraction->is_malformed = true; /* a package is one cabinet */
        return ERROR_INVALID_DATA;
    default:
        return NO_ERROR;
    }
}

/* The functions of the system trust a cabinet more than one may that anybody can have written. */
static uint32_t check_cabinet(const WCHAR *path)
{
    uint8_t *bytes;
    size_t size;
    uint32_t error = cbpi_path_read(path, CBPI_CABINET_SIZE_MAX, &bytes, &size);
    if (error != 0)
        return error;
    error = cbpi_cabinet_check(bytes, size);
    free(bytes);
    return error;
}

/* Says what an error of the reading means: the package's fault, or the machine's. */
static uint32_t fail_extraction(DWORD os_error)
{
    switch (os_error) {
    case ERROR_DISK_FULL:
    case ERROR_HANDLE_DISK_FULL:
    case ERROR_NOT_ENOUGH_MEMORY:
    case ERROR_OUTOFMEMORY:
    case ERROR_ACCESS_DENIED:
    case ERROR_NO_SYSTEM_RESOURCES:
        return cbpi_fail_os(os_error, "the package cannot be unpacked");
    default:
        return cbpi_fail(CBP_ERROR_INVALID_DATA, "the package is damaged (%u)", (unsigned) os_error);
    }
}

static uint32_t extract(const struct cbpi_package *package, const WCHAR *cabinet)
{
    struct extraction extraction = {.package = package};
    bool is_read = SetupIterateCabinetW(cabinet, 0, visit_cabinet, &extraction);
    DWORD os_error = GetLastError();
    if (extraction.is_malformed)
        return cbpi_fail(CBP_ERROR_INVALID_DATA, "the package is damaged");
    if (!is_read)
        return fail_extraction(os_error);
    for (unsigned i = 0; i < PART_COUNT; i++)
        if (extraction.counts[i] != 1)
            return cbpi_fail(CBP_ERROR_INVALID_DATA, "the package lacks a file");
    return 0;
}

/* ---- The package ---- */

/* Makes the folder, and a copy of the package that nobody else changes any more. */
static uint32_t copy_package(struct cbpi_package *package, const char *path, struct cbpi_path *copy)
{
    WCHAR *wide;
    uint32_t error = cbpi_wide_text(path, &wide);
    if (error != 0)
        return error == CBP_ERROR_INVALID_PARAMETER ? CBP_ERROR_PATH_NOT_FOUND : error;
    empty_folder(package);
    if (!CreateDirectoryW(package->folder.text, NULL) && GetLastError() != ERROR_ALREADY_EXISTS)
        error = cbpi_fail_file(GetLastError(), "the system's folder of drivers");
    else if (!part_path(package, CABINET_NAME, copy) || !CopyFileW(wide, copy->text, TRUE))
        error = cbpi_fail_file(GetLastError(), path);
    free(wide);
    return error;
}

static uint32_t check_driver(struct cbpi_package *package)
{
    uint8_t *bytes;
    size_t size;
    uint32_t error = cbpi_path_read(package->driver.text, CBPI_DRIVER_IMAGE_SIZE_MAX, &bytes, &size);
    if (error != 0)
        return error;
    error = cbpi_driver_image_check(bytes, size, cbpi_native_machine(), &package->image);
    free(bytes);
    return error;
}

/* A catalog is one DER sequence. The system calls one that is cut a file without a signature, which a package
 * may have. */
static uint32_t check_catalog(const struct cbpi_package *package)
{
    uint8_t *bytes;
    size_t size;
    uint32_t error = cbpi_path_read(package->catalog.text, CBPI_CABINET_SIZE_MAX, &bytes, &size);
    if (error != 0)
        return error;
    size_t digits = size > 2 && bytes[0] == DER_SEQUENCE && bytes[1] > DER_LONG ? bytes[1] - DER_LONG : 0;
    uint64_t length = 0;
    for (size_t i = 0; i < digits && digits <= 4 && 2 + i < size; i++)
        length = length << 8 | bytes[2 + i];
    if (length == 0 || length + 2 + digits != size)
        error = cbpi_fail(CBP_ERROR_INVALID_DATA, "the package's catalog is damaged");
    free(bytes);
    return error;
}

uint32_t cbpi_package_open(struct cbpi_package *package, const char *path)
{
    struct cbpi_path cabinet;
    if (!*path)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "the package's path is missing");
    uint32_t error = copy_package(package, path, &cabinet);
    if (error == 0)
        error = check_cabinet(cabinet.text);
    if (error == 0)
        error = extract(package, cabinet.text);
    if (error == 0 && (!part_path(package, part_names[PART_DRIVER], &package->driver) ||
                       !part_path(package, part_names[PART_CATALOG], &package->catalog)))
        error = cbpi_fail(CBP_ERROR_GEN_FAILURE, "the system's folder has no usable name");
    if (error == 0)
        error = check_driver(package);
    if (error == 0)
        error = check_catalog(package);
    if (error == 0)
        error =
            cbpi_signature_check(package->driver.text, package->catalog.text, &package->is_catalog_signed);
    return error;
}

void cbpi_package_close(struct cbpi_package *package)
{
    if (!package->lock)
        return;
    empty_folder(package);
    RemoveDirectoryW(package->folder.text);
    CloseHandle(package->lock);
    package->lock = NULL;
}

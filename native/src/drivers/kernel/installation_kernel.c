/* Implements installation_kernel.h. An installation is a row of steps, each of which can be taken back: what
 * fails leaves the machine as it was. The steps themselves are in package.c, driver_file.c, driver_service.c,
 * product_guids.c and signature.c. */
#include "installation_kernel.h"

#include "driver_file.h"
#include "driver_service.h"
#include "errors.h"
#include "package.h"
#include "product_guids.h"
#include "rights.h"
#include "signature.h"

#include <stdlib.h>
#include <string.h>
#include <wchar.h>

struct change {
    const struct cbpi_installation_request *request;
    struct cbpi_package package;
    struct cbpi_driver_service service;
    struct cbpi_driver_file file;
    struct cbpi_path folder;               /* for the driver */
    struct cbpi_path installed;            /* the service's file; "" without one */
    struct cbpi_path catalog, old_catalog; /* names; "" for none */
    bool needs_file;
    bool was_running, is_stopped; /* the driver that was there */
    bool has_catalog, has_catalog_name, has_product;
};

/* Checks the rights, keeps other installations out, and finds what is installed. */
static uint32_t begin(struct change *change)
{
    /* Nothing is touched before this is known. */
    if (!cbpi_kernel_is_administrator())
        return cbpi_fail(CBP_ERROR_PRIVILEGE_NOT_HELD, "that takes an administrator");
    uint32_t error = cbpi_package_lock(&change->package);
    if (error == 0)
        error = cbpi_driver_service_open(&change->service);
    if (error == 0 && !cbpi_driver_service_file(&change->service, &change->installed))
        change->installed.text[0] = 0;
    if (error == 0)
        cbpi_product_catalog(&change->old_catalog);
    return error;
}

static void end(struct change *change)
{
    cbpi_driver_service_close(&change->service);
    cbpi_package_close(&change->package);
}

static void cut_name(struct cbpi_path *path)
{
    WCHAR *end = wcsrchr(path->text, L'\\');
    if (end)
        *end = 0;
}

/* ---- Installing: where to, and whether at all ---- */

static uint32_t choose_given_folder(struct change *change)
{
    WCHAR *given;
    uint32_t error = cbpi_wide_text(change->request->target_folder, &given);
    if (error != 0)
        return error;
    DWORD size = GetFullPathNameW(given, MAX_PATH, change->folder.text, NULL);
    free(given);
    if (size == 0 || size >= MAX_PATH)
        return cbpi_fail(CBP_ERROR_PATH_NOT_FOUND, "the path of the driver's folder is too long");
    if (wcsncmp(change->folder.text, L"\\\\", 2) == 0)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER,
                         "the system loads no driver from another machine: give a folder of this one");
    DWORD attributes = GetFileAttributesW(change->folder.text);
    if (attributes == INVALID_FILE_ATTRIBUTES || !(attributes & FILE_ATTRIBUTE_DIRECTORY))
        return cbpi_fail(CBP_ERROR_PATH_NOT_FOUND, "%.300s: there is no such folder",
                         change->request->target_folder);
    return 0;
}

/* Without a folder of the caller's the driver stays where it is. */
static uint32_t choose_folder(struct change *change)
{
    if (*change->request->target_folder)
        return choose_given_folder(change);
    change->folder = change->installed;
    cut_name(&change->folder);
    if (*change->folder.text && cbpi_path_exists(&change->folder))
        return 0;
    return cbpi_path_of_drivers(&change->folder)
               ? 0
               : cbpi_fail(CBP_ERROR_GEN_FAILURE, "the system's folder has no usable name");
}

static bool has_same_bytes(const struct cbpi_path *a, const struct cbpi_path *b)
{
    uint8_t *bytes_a = NULL, *bytes_b = NULL;
    size_t size_a, size_b;
    bool is_same = cbpi_path_read(a->text, CBPI_DRIVER_IMAGE_SIZE_MAX, &bytes_a, &size_a) == 0 &&
                   cbpi_path_read(b->text, CBPI_DRIVER_IMAGE_SIZE_MAX, &bytes_b, &size_b) == 0 &&
                   size_a == size_b && memcmp(bytes_a, bytes_b, size_a) == 0;
    free(bytes_a);
    free(bytes_b);
    return is_same;
}

static uint32_t look_at_driver(const struct cbpi_path *path, struct cbpi_driver_image *image)
{
    uint8_t *bytes;
    size_t size;
    uint32_t error = cbpi_path_read(path->text, CBPI_DRIVER_IMAGE_SIZE_MAX, &bytes, &size);
    if (error != 0)
        return error;
    error = cbpi_driver_image_check(bytes, size, cbpi_native_machine(), image);
    free(bytes);
    return error;
}

/* A newer driver stays: it serves older products, too. An equal one that is damaged, signed in another way or
 * in another place is replaced. */
static bool needs_file(const struct change *change)
{
    struct cbpi_driver_image image;
    struct cbpi_path target;
    if (!*change->installed.text || look_at_driver(&change->installed, &image) != 0)
        return true;
    if (image.version != change->package.image.version)
        return image.version < change->package.image.version;
    return !cbpi_path_join(&target, change->folder.text, CBPI_DRIVER_FILE) ||
           _wcsicmp(target.text, change->installed.text) != 0 ||
           !has_same_bytes(&change->installed, &change->package.driver);
}

/* ---- Installing: the steps ---- */

/* A catalog's name says which driver it is of, so that two versions are there at once. */
static void name_catalog(struct change *change)
{
    swprintf(change->catalog.text, MAX_PATH, L"cbprocess-%08x%08x-%08x.cat",
             (unsigned) (change->package.image.version >> 32), (unsigned) change->package.image.version,
             (unsigned) change->package.image.checksum);
}

static uint32_t put_file(struct change *change)
{
    uint32_t error = cbpi_driver_file_write(&change->file, change->package.driver.text, change->folder.text);
    if (error == 0 && change->package.is_catalog_signed) {
        name_catalog(change);
        error = cbpi_catalog_add(change->package.catalog.text, change->catalog.text, &change->has_catalog);
    }
    if (error != 0)
        return error;
    change->was_running = cbpi_driver_service_state(&change->service) == SERVICE_RUNNING;
    change->is_stopped = cbpi_driver_service_stop(&change->service);
    return cbpi_driver_file_place(&change->file);
}

static uint32_t register_product(struct change *change)
{
    if (change->needs_file) {
        change->has_catalog_name = true;
        uint32_t error = cbpi_product_set_catalog(change->catalog.text);
        if (error != 0)
            return error;
    }
    return cbpi_product_register(change->request->product_guid, &change->has_product);
}

/* Loads the driver, which proves that the system takes it; or notes that it has to wait for a restart. */
static uint32_t load(const struct change *change)
{
    if (change->needs_file && !change->is_stopped)
        return cbpi_product_await_restart();
    if (!change->needs_file && cbpi_product_awaits_restart())
        return 0;
    uint32_t error = cbpi_driver_service_start(&change->service);
    if (error == 0)
        cbpi_product_forget_restart();
    return error;
}

static uint32_t apply(struct change *change)
{
    const struct cbpi_path *driver = &change->installed;
    uint32_t error = 0;
    change->needs_file = needs_file(change);
    if (change->needs_file) {
        error = put_file(change);
        driver = &change->file.target;
    }
    if (error == 0)
        error = cbpi_driver_service_set(&change->service, driver->text,
                                        change->request->flags & CBP_INSTALL_KEEP_START_TYPE);
    if (error == 0)
        error = register_product(change);
    return error ? error : load(change);
}

static void undo(struct change *change)
{
    if (change->has_product)
        cbpi_product_unregister(change->request->product_guid);
    if (change->has_catalog_name)
        cbpi_product_set_catalog(change->old_catalog.text);
    cbpi_driver_service_undo(&change->service);
    cbpi_driver_file_undo(&change->file);
    if (change->has_catalog)
        cbpi_catalog_remove(change->catalog.text);
    if (change->was_running && change->is_stopped)
        cbpi_driver_service_start(&change->service);
}

static void commit(struct change *change)
{
    if (change->needs_file) {
        cbpi_driver_file_commit(&change->file);
        if (*change->installed.text && _wcsicmp(change->installed.text, change->file.target.text) != 0)
            cbpi_driver_file_remove(&change->installed);
        if (*change->old_catalog.text && _wcsicmp(change->old_catalog.text, change->catalog.text) != 0)
            cbpi_catalog_remove(change->old_catalog.text);
    }
    if (change->request->flags & CBP_INSTALL_REMOVE_OLD_VERSIONS)
        cbpi_driver_file_remove_old(change->folder.text);
}

static uint32_t install(const struct cbpi_installation_request *request, bool *must_reboot)
{
    struct change change = {.request = request};
    uint32_t error = begin(&change);
    if (error == 0)
        error = cbpi_package_open(&change.package, request->package_path);
    if (error == 0)
        error = choose_folder(&change);
    if (error == 0) {
        error = apply(&change);
        if (error == 0)
            commit(&change);
        else
            undo(&change);
    }
    if (error == 0)
        *must_reboot = cbpi_product_awaits_restart();
    end(&change);
    return error;
}

/* ---- Uninstalling ---- */

static uint32_t remove_driver(struct change *change, bool *must_reboot)
{
    bool is_pending = false;
    if (change->service.service) {
        change->was_running = cbpi_driver_service_state(&change->service) == SERVICE_RUNNING;
        change->is_stopped = cbpi_driver_service_stop(&change->service);
        uint32_t error = cbpi_driver_service_delete(&change->service, &is_pending);
        if (error != 0) {
            if (change->was_running && change->is_stopped)
                cbpi_driver_service_start(&change->service);
            return error;
        }
    }
    cbpi_product_forget_all();
    if (*change->old_catalog.text)
        cbpi_catalog_remove(change->old_catalog.text);
    if (*change->installed.text)
        cbpi_driver_file_remove(&change->installed);
    *must_reboot = is_pending;
    return 0;
}

static uint32_t remove_product(struct change *change, bool *must_reboot)
{
    uint32_t count;
    if (!cbpi_product_is_registered(change->request->product_guid))
        return cbpi_fail(CBP_ERROR_FILE_NOT_FOUND, "this product has not installed the driver");
    uint32_t error = cbpi_product_count(&count);
    if (error != 0)
        return error;
    return count > 1 ? cbpi_product_unregister(change->request->product_guid)
                     : remove_driver(change, must_reboot);
}

static uint32_t uninstall(const struct cbpi_installation_request *request, bool *must_reboot)
{
    struct change change = {.request = request};
    if (request->flags == 0)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "the flags say no version that is to be uninstalled");
    *must_reboot = false;
    uint32_t error = begin(&change);
    if (error == 0) {
        change.folder = change.installed;
        cut_name(&change.folder);
        if (request->flags & CBP_UNINSTALL_VERSION_CURRENT)
            error = remove_product(&change, must_reboot);
        if (error == 0 && (request->flags & CBP_UNINSTALL_VERSION_PREVIOUS) && *change.folder.text)
            cbpi_driver_file_remove_old(change.folder.text);
    }
    end(&change);
    return error;
}

/* ---- Questions ---- */

static uint32_t status(const char *product_guid, uint32_t *status)
{
    struct cbpi_driver_service service = {.service = NULL};
    DWORD state = 0;
    if (cbpi_product_is_registered(product_guid) && cbpi_driver_service_look(&service) == 0)
        state = cbpi_driver_service_state(&service);
    cbpi_driver_service_close(&service);
    *status = state == 0                 ? CBP_MODULE_STATUS_NOT_PRESENT
              : state == SERVICE_RUNNING ? CBP_MODULE_STATUS_RUNNING
                                         : CBP_MODULE_STATUS_STOPPED;
    return 0;
}

/* Looks at the installed driver. CBP_ERROR_FS_DRIVER_REQUIRED if it is missing or damaged. */
static uint32_t look_at_installed(struct cbpi_driver_image *image)
{
    struct cbpi_driver_service service;
    struct cbpi_path path;
    bool has_file = cbpi_driver_service_look(&service) == 0 && cbpi_driver_service_file(&service, &path);
    cbpi_driver_service_close(&service);
    if (!has_file || look_at_driver(&path, image) != 0)
        return cbpi_fail(CBP_ERROR_FS_DRIVER_REQUIRED,
                         "the driver is missing or damaged: install it once more");
    return 0;
}

bool cbpi_kernel_is_installed(void)
{
    struct cbpi_driver_image image;
    return look_at_installed(&image) == 0;
}

static uint32_t version(const char *product_guid, uint64_t *version)
{
    struct cbpi_driver_image image;
    bool is_there = cbpi_product_is_registered(product_guid) && look_at_installed(&image) == 0;
    *version = is_there ? image.version : 0;
    return 0;
}

/* A driver with the default start type is loaded by the first filter after a start of the system. */
static uint32_t load_if_stopped(void)
{
    struct cbpi_driver_service service;
    uint32_t error = cbpi_driver_service_look(&service);
    DWORD state = error ? 0 : cbpi_driver_service_state(&service);
    cbpi_driver_service_close(&service);
    if (error != 0 || state == SERVICE_RUNNING)
        return error;
    error = cbpi_driver_service_open_to_start(&service);
    if (error == 0)
        error = cbpi_driver_service_start(&service);
    cbpi_driver_service_close(&service);
    return error;
}

static uint32_t prepare(const char *product_guid)
{
    struct cbpi_driver_image image;
    if (!cbpi_product_is_registered(product_guid))
        return cbpi_fail(CBP_ERROR_FILE_NOT_FOUND,
                         "this product has not installed the kernel driver: call install(), or run "
                         "cbprocess install --product with its GUID");
    if (cbpi_product_awaits_restart())
        return cbpi_fail(CBP_ERROR_FILE_NOT_FOUND, "the driver was installed, but the machine has to be "
                                                   "restarted first");
    uint32_t error = look_at_installed(&image);
    return error ? error : load_if_stopped();
}

const struct cbpi_installation_ops cbpi_kernel_installation_ops = {
    .status = status, .version = version, .prepare = prepare, .install = install, .uninstall = uninstall};

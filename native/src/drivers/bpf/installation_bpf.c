/* Implements installation_bpf.h. An installation copies the files beside their place, puts them there, and
 * writes the product's record last. Nothing after that can fail, and what fails before is taken back. */
#define _GNU_SOURCE
#include "installation_bpf.h"

#include "driver_folder.h"
#include "errors.h"
#include "platform.h"
#include "version.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LIBRARIES_FOLDER "/usr/lib"
#define USUAL_NAME "cbprocess"
#define LIBBPF_NAME "libbpf.so.1"

/* This is nobody's GUID: a filter with it uses the driver that lies beside the library. */
#define NO_PRODUCT "{00000000-0000-0000-0000-000000000000}"

/* These are numbered as in the kernel's interface, and younger than the headers that this is built with. */
enum { PERFMON_NUMBER = 38, BPF_NUMBER = 39 };

struct change {
    const struct cbpi_installation_request *request;
    struct cbpi_product_records records;
    struct cbpi_product product;
    bool is_damaged; /* the product's record */
    struct cbpi_driver_package package;
    struct cbpi_trusted_folder base;
    struct cbpi_driver_folder folder;
    struct cbpi_product removed; /* versions that the product has no more */
};

static CBP_THREAD_LOCAL char guard_folder[CBPI_TRUSTED_PATH_SIZE];

/* ---- Capabilities ---- */

/* CAP_SYS_ADMIN, which fanotify and mounts take, includes the two others for the kernel. */
const char *cbpi_bpf_missing_capability(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0, 0, 0}};
    if (syscall(SYS_capget, &header, data) == 0 && data[0].effective & 1u << CAP_SYS_ADMIN)
        return NULL;
    if (!(data[1].effective & 1u << (BPF_NUMBER - 32)))
        return "CAP_BPF";
    return data[1].effective & 1u << (PERFMON_NUMBER - 32) ? "CAP_SYS_ADMIN" : "CAP_PERFMON";
}

/* ---- What they have in common ---- */

static uint32_t begin(struct change *change)
{
    change->base.fd = -1;
    change->package.fd = -1;
    change->records = (struct cbpi_product_records){.own.fd = -1, .products.fd = -1, .lock = -1};
    if (strcmp(change->request->product_guid, NO_PRODUCT) == 0)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "this GUID is no product's, and installs nothing");
    /* Nothing is touched before this is known. */
    if (geteuid() != 0)
        return cbpi_fail(CBP_ERROR_PRIVILEGE_NOT_HELD, "that takes root");
    return cbpi_product_records_lock(&change->records);
}

/* Removes from a base folder what no product has, which a program that was killed can have left. */
static void remove_unused(const struct cbpi_product_records *records, const struct cbpi_trusted_folder *base)
{
    char folder[CBPI_TRUSTED_PATH_SIZE];
    DIR *entries = opendir(base->path);
    struct dirent *entry;
    while (entries && (entry = readdir(entries)) != NULL) {
        bool is_ours =
            cbpi_product_is_version(entry->d_name) || strcmp(entry->d_name, CBPI_DRIVER_FOLDER_INCOMING) == 0;
        int size = snprintf(folder, sizeof folder, "%s/%s", base->path, entry->d_name);
        if (is_ours && size < (int) sizeof folder && !cbpi_product_folder_is_used(records, folder))
            cbpi_driver_folder_remove(folder);
    }
    if (entries)
        closedir(entries);
}

/* Tidies the usual base folder up, and removes it if nothing is left in it. */
static void tidy(const struct cbpi_product_records *records)
{
    struct cbpi_trusted_folder base;
    char path[CBPI_TRUSTED_PATH_SIZE];
    if (cbpi_product_root(LIBRARIES_FOLDER "/" USUAL_NAME, path, sizeof path) != 0 ||
        cbpi_trusted_open(path, &base) != 0)
        return;
    remove_unused(records, &base);
    cbpi_trusted_close(&base);
    (void) rmdir(path);
}

/* Gives the error of the change, whose sentence outlives what is tried here. */
static uint32_t end(struct change *change, uint32_t error)
{
    char sentence[512];
    snprintf(sentence, sizeof sentence, "%s", cbp_error_detail());
    cbpi_driver_package_close(&change->package);
    cbpi_trusted_close(&change->base);
    if (change->records.lock >= 0)
        tidy(&change->records);
    cbpi_product_records_close(&change->records);
    return error ? cbpi_fail(error, "%s", sentence) : 0;
}

/* Reads the product's record. A damaged one counts as one without versions: it is replaced, or removed. */
static uint32_t read_product(struct change *change)
{
    uint32_t error = cbpi_product_read(&change->records, change->request->product_guid, &change->product);
    change->is_damaged = error == CBP_ERROR_FS_DRIVER_REQUIRED;
    return change->is_damaged ? 0 : error;
}

static void remove_folders(const struct change *change)
{
    for (uint32_t i = 0; i < change->removed.count; i++)
        if (!cbpi_product_folder_is_used(&change->records, change->removed.versions[i].folder))
            cbpi_driver_folder_remove(change->removed.versions[i].folder);
}

/* Notes a version that is in `before` and not in the product any more. */
static void note_removed(struct change *change, const struct cbpi_product *before)
{
    for (uint32_t i = 0; i < before->count; i++) {
        bool is_kept = false;
        for (uint32_t k = 0; k < change->product.count; k++)
            is_kept |= strcmp(before->versions[i].folder, change->product.versions[k].folder) == 0;
        if (!is_kept)
            change->removed.versions[change->removed.count++] = before->versions[i];
    }
}

/* ---- Installing ---- */

static uint32_t open_usual_base(struct change *change)
{
    struct cbpi_trusted_folder libraries;
    uint32_t error = cbpi_product_open_system(LIBRARIES_FOLDER, &libraries);
    if (error != 0)
        return error;
    error = cbpi_trusted_make(&libraries, USUAL_NAME, &change->base);
    cbpi_trusted_close(&libraries);
    return error;
}

/* Without a folder of the caller's a driver stays where it is, if it can. */
static uint32_t open_base(struct change *change)
{
    const char *target = change->request->target_folder;
    char path[CBPI_TRUSTED_PATH_SIZE];
    if (strchr(target, '\n'))
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "the folder's path has more than one line");
    if (*target)
        return cbpi_trusted_open(target, &change->base);
    if (change->product.count > 0) {
        memcpy(path, change->product.versions[0].folder, sizeof path);
        *strrchr(path, '/') = 0;
        if (*path && cbpi_trusted_open(path, &change->base) == 0)
            return 0;
    }
    return open_usual_base(change);
}

static void enter_version(struct change *change)
{
    struct cbpi_product before = change->product;
    struct cbpi_product_version version;
    memcpy(version.text, change->package.version, sizeof version.text);
    memcpy(version.folder, change->folder.path, sizeof version.folder);
    cbpi_product_enter(&change->product, &version);
    if (change->request->flags & CBP_INSTALL_REMOVE_OLD_VERSIONS)
        while (strcmp(change->product.versions[change->product.count - 1].text, version.text) != 0)
            change->product.count--;
    note_removed(change, &before);
}

static uint32_t apply(struct change *change)
{
    uint32_t error = cbpi_driver_package_open(&change->package, change->request->package_path);
    if (error == 0)
        error = open_base(change);
    if (error == 0)
        error = cbpi_driver_folder_write(&change->folder, &change->base, &change->package);
    if (error == 0)
        error = cbpi_driver_folder_place(&change->folder);
    if (error == 0) {
        enter_version(change);
        error = cbpi_product_write(&change->records, change->request->product_guid, &change->product);
    }
    return error;
}

static uint32_t install(const struct cbpi_installation_request *request, bool *must_reboot)
{
    struct change change = {.request = request};
    uint32_t error = begin(&change);
    if (error == 0)
        error = read_product(&change);
    if (error == 0) {
        error = apply(&change);
        if (error == 0) {
            cbpi_driver_folder_commit(&change.folder);
            remove_folders(&change);
        } else
            cbpi_driver_folder_undo(&change.folder);
    }
    error = end(&change, error);
    if (error == 0)
        *must_reboot = false;
    return error;
}

/* ---- Uninstalling ---- */

/* The newest version is the current one, and the others are previous ones. */
static uint32_t remove_versions(struct change *change)
{
    struct cbpi_product before;
    uint32_t flags = change->request->flags;
    uint32_t error = read_product(change);
    if (error != 0)
        return error;
    before = change->product;
    if (before.count == 0 && !change->is_damaged)
        return flags & CBP_UNINSTALL_VERSION_CURRENT
                   ? cbpi_fail(CBP_ERROR_FILE_NOT_FOUND, "this product has not installed the driver")
                   : 0;
    if (flags & CBP_UNINSTALL_VERSION_PREVIOUS && before.count > 0)
        change->product.count = 1;
    if (flags & CBP_UNINSTALL_VERSION_CURRENT && before.count > 0) {
        change->product.count--;
        memmove(&change->product.versions[0], &change->product.versions[1],
                change->product.count * sizeof change->product.versions[0]);
    }
    note_removed(change, &before);
    error = cbpi_product_write(&change->records, change->request->product_guid, &change->product);
    if (error == 0)
        remove_folders(change);
    return error;
}

static uint32_t uninstall(const struct cbpi_installation_request *request, bool *must_reboot)
{
    struct change change = {.request = request};
    if (request->flags == 0)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "the flags say no version that is to be uninstalled");
    uint32_t error = begin(&change);
    if (error == 0)
        error = remove_versions(&change);
    error = end(&change, error);
    if (error == 0)
        *must_reboot = false;
    return error;
}

/* ---- Questions ---- */

static uint32_t read_installed(const char *product_guid, struct cbpi_product *product)
{
    struct cbpi_product_records records;
    uint32_t error = cbpi_product_records_open(&records);
    if (error == 0)
        error = cbpi_product_read(&records, product_guid, product);
    cbpi_product_records_close(&records);
    return error;
}

/* Gives the version that a filter of this library uses: its own, or else the newest. */
static const struct cbpi_product_version *choose(const struct cbpi_product *product)
{
    for (uint32_t i = 0; i < product->count; i++)
        if (strcmp(product->versions[i].text, CBP_VERSION) == 0)
            return &product->versions[i];
    return &product->versions[0];
}

/* A guard of root's has a read lock on its program as long as it lives. */
static bool has_running_guard(const char *path)
{
    char process[32];
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    struct stat facts;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool is_locked = fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
    close(fd);
    snprintf(process, sizeof process, "/proc/%ld", (long) lock.l_pid);
    return is_locked && stat(process, &facts) == 0 && facts.st_uid == 0;
}

/* Gives the path of the guard that filters of this product use; false: there is none. */
static bool find_guard(const char *product_guid, char path[PATH_MAX])
{
    struct cbpi_product product;
    if (strcmp(product_guid, NO_PRODUCT) == 0)
        return cbpi_helper_path(CBPI_BPF_GUARD_FILE, path, PATH_MAX) == 0;
    if (read_installed(product_guid, &product) != 0 || product.count == 0)
        return false;
    snprintf(path, PATH_MAX, "%s/%s", choose(&product)->folder, CBPI_BPF_GUARD_FILE);
    return true;
}

static uint32_t status(const char *product_guid, uint32_t *status)
{
    char path[PATH_MAX];
    *status = !find_guard(product_guid, path) ? CBP_MODULE_STATUS_NOT_PRESENT
              : has_running_guard(path)       ? CBP_MODULE_STATUS_RUNNING
                                              : CBP_MODULE_STATUS_STOPPED;
    return 0;
}

static uint32_t version(const char *product_guid, uint64_t *version)
{
    struct cbpi_product product;
    uint64_t found = 0;
    if (strcmp(product_guid, NO_PRODUCT) == 0)
        found = cbpi_version_words(CBP_VERSION);
    else if (read_installed(product_guid, &product) == 0 && product.count > 0 &&
             cbpi_driver_folder_check(choose(&product)->folder) == 0)
        found = cbpi_version_words(choose(&product)->text);
    *version = found;
    return 0;
}

bool cbpi_bpf_is_automatic(const char *product_guid)
{
    struct cbpi_product product;
    return *product_guid && !cbpi_bpf_missing_capability() && read_installed(product_guid, &product) == 0 &&
           product.count > 0;
}

const char *cbpi_bpf_guard_folder(void)
{
    return guard_folder;
}

/* The guard takes a carried libbpf, or else the system's. */
const char *cbpi_bpf_missing_file(void)
{
    struct cbpi_driver_package package;
    if (cbpi_driver_package_open(&package, guard_folder) != 0)
        return cbp_error_detail();
    bool has_libbpf = faccessat(package.fd, LIBBPF_NAME, F_OK, 0) == 0;
    cbpi_driver_package_close(&package);
    void *library = has_libbpf ? NULL : dlopen(LIBBPF_NAME, RTLD_LAZY | RTLD_LOCAL);
    if (library)
        dlclose(library);
    return has_libbpf || library ? NULL
                                 : "this machine has no " LIBBPF_NAME
                                   ": install the package libbpf1 (Debian, "
                                   "Ubuntu) or libbpf (others), or a wheel of cbprocess that carries it";
}

static uint32_t prepare_own(void)
{
    struct cbpi_driver_package package;
    uint32_t error = cbpi_driver_package_open(&package, "");
    if (error != 0)
        return CBP_ERROR_FS_DRIVER_REQUIRED;
    memcpy(guard_folder, package.path, strlen(package.path) + 1);
    cbpi_driver_package_close(&package);
    return 0;
}

static uint32_t prepare(const char *product_guid)
{
    struct cbpi_product product;
    if (strcmp(product_guid, NO_PRODUCT) == 0)
        return prepare_own();
    uint32_t error = read_installed(product_guid, &product);
    if (error != 0)
        return error;
    if (product.count == 0)
        return cbpi_fail(CBP_ERROR_FILE_NOT_FOUND,
                         "this product has not installed the bpf driver: call install(), or run sudo "
                         "cbprocess install --product with its GUID");
    const struct cbpi_product_version *chosen = choose(&product);
    if (cbpi_version_words(chosen->text) < cbpi_version_words(CBP_VERSION))
        return cbpi_fail(CBP_ERROR_INVALID_KERNEL_INFO_VERSION,
                         "the installed bpf driver %s is older than this library %s: install it once more",
                         chosen->text, CBP_VERSION);
    error = cbpi_driver_folder_check(chosen->folder);
    if (error == 0)
        memcpy(guard_folder, chosen->folder, strlen(chosen->folder) + 1);
    return error;
}

const struct cbpi_installation_ops cbpi_bpf_installation_ops = {
    .status = status, .version = version, .prepare = prepare, .install = install, .uninstall = uninstall};

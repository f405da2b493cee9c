/* Implements driver_package.h. Root may install from a folder of another user, whose files can be links: that
 * is root's decision, as it is to run the library from there. */
#define _GNU_SOURCE
#include "driver_package.h"

#include "errors.h"
#include "platform.h"

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define VERSION_FILE "cbprocess-driver.version"
#define OBJECT_ENDING ".bpf.o"
#define LICENCE_BEGINNING "LICENSE."
#define OWN_LIBRARY "libcbprocess."

#if defined(__x86_64__)
#define NATIVE_MACHINE EM_X86_64
#elif defined(__aarch64__)
#define NATIVE_MACHINE EM_AARCH64
#else
#define NATIVE_MACHINE EM_NONE
#endif

static bool begins_with(const char *text, const char *beginning)
{
    return strncmp(text, beginning, strlen(beginning)) == 0;
}

static bool is_object(const char *name)
{
    size_t size = strlen(name), ending_size = sizeof OBJECT_ENDING - 1;
    return size > ending_size && strcmp(name + size - ending_size, OBJECT_ENDING) == 0;
}

/* The library itself can lie beside the driver, and is no part of it. */
static bool is_carried_library(const char *name)
{
    return begins_with(name, "lib") && strstr(name, ".so.") && !begins_with(name, OWN_LIBRARY);
}

bool cbpi_driver_package_has(const char *name)
{
    return strlen(name) < CBPI_DRIVER_FILE_NAME_SIZE &&
           (strcmp(name, CBPI_BPF_GUARD_FILE) == 0 || strcmp(name, VERSION_FILE) == 0 || is_object(name) ||
            is_carried_library(name) || begins_with(name, LICENCE_BEGINNING));
}

uint32_t cbpi_driver_package_open_file(const struct cbpi_driver_package *package, const char *name, int *fd)
{
    struct stat facts;
    int file = openat(package->fd, name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (file < 0)
        return cbpi_fail_path(errno, package->path, name);
    if (fstat(file, &facts) == 0 && S_ISREG(facts.st_mode) && facts.st_size <= CBPI_DRIVER_FILE_SIZE_MAX) {
        *fd = file;
        return 0;
    }
    close(file);
    return cbpi_fail(CBP_ERROR_INVALID_DATA, "the package's %.64s is no file, or too large", name);
}

/* Fills at most size bytes. */
static uint32_t read_beginning(const struct cbpi_driver_package *package, const char *name, void *bytes,
                               size_t size, size_t *used)
{
    int fd;
    uint32_t error = cbpi_driver_package_open_file(package, name, &fd);
    if (error != 0)
        return error;
    ssize_t got = read(fd, bytes, size);
    if (got < 0)
        error = cbpi_fail_path(errno, package->path, name);
    else
        *used = (size_t) got;
    close(fd);
    return error;
}

static uint32_t read_version(struct cbpi_driver_package *package)
{
    char text[CBPI_PRODUCT_VERSION_SIZE];
    size_t size;
    uint32_t error = read_beginning(package, VERSION_FILE, text, sizeof text - 1, &size);
    if (error != 0)
        return error == CBP_ERROR_FILE_NOT_FOUND
                   ? cbpi_fail(CBP_ERROR_INVALID_DATA, "the package lacks its %s", VERSION_FILE)
                   : error;
    text[size] = 0;
    text[strcspn(text, "\n")] = 0;
    if (!cbpi_product_is_version(text))
        return cbpi_fail(CBP_ERROR_INVALID_DATA, "the package's %s is damaged", VERSION_FILE);
    memcpy(package->version, text, sizeof text);
    return 0;
}

/* The beginning of a program and of an object is alike. */
static uint32_t check_program(const struct cbpi_driver_package *package, const char *name, unsigned machine)
{
    Elf64_Ehdr header;
    size_t size;
    uint32_t error = read_beginning(package, name, &header, sizeof header, &size);
    if (error != 0)
        return error;
    if (size != sizeof header || memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
        return cbpi_fail(CBP_ERROR_INVALID_DATA, "the package's %.64s is damaged", name);
    return header.e_machine == machine
               ? 0
               : cbpi_fail(CBP_ERROR_BAD_FORMAT, "the package's %.64s is for another machine", name);
}

static uint32_t check_programs(const struct cbpi_driver_package *package)
{
    uint32_t object_count = 0, guard_count = 0, error = 0;
    for (uint32_t i = 0; error == 0 && i < package->count; i++) {
        const char *name = package->names[i];
        if (is_object(name)) {
            object_count++;
            error = check_program(package, name, EM_BPF);
        } else if (strcmp(name, CBPI_BPF_GUARD_FILE) == 0) {
            guard_count++;
            error = check_program(package, name, NATIVE_MACHINE);
        }
    }
    if (error == 0 && (object_count == 0 || guard_count == 0))
        error = cbpi_fail(CBP_ERROR_INVALID_DATA,
                          "the package lacks a file: %s and objects whose names end with %s",
                          CBPI_BPF_GUARD_FILE, OBJECT_ENDING);
    return error;
}

/* An order that does not depend on the folder makes two copies of one package equal. */
static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

static uint32_t list_files(struct cbpi_driver_package *package)
{
    int fd = openat(package->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = fd < 0 ? NULL : fdopendir(fd);
    if (!entries) {
        uint32_t error = cbpi_fail_path(errno, package->path, "");
        if (fd >= 0)
            close(fd);
        return error;
    }
    uint32_t error = 0;
    struct dirent *entry;
    while (error == 0 && (entry = readdir(entries)) != NULL) {
        if (!cbpi_driver_package_has(entry->d_name))
            continue;
        if (package->count == CBPI_DRIVER_FILES_MAX)
            error = cbpi_fail(CBP_ERROR_INVALID_DATA, "the package has too many files");
        else
            memcpy(package->names[package->count++], entry->d_name, strlen(entry->d_name) + 1);
    }
    closedir(entries);
    qsort(package->names, package->count, sizeof package->names[0], compare_names);
    return error;
}

/* The library's own package lies around its guard. */
static uint32_t find_own(struct cbpi_driver_package *package)
{
    uint32_t error = cbpi_helper_path(CBPI_BPF_GUARD_FILE, package->own_path, sizeof package->own_path);
    if (error != 0)
        return cbpi_fail(CBP_ERROR_FILE_NOT_FOUND,
                         "this library came without the driver: %s is not beside it", CBPI_BPF_GUARD_FILE);
    *strrchr(package->own_path, '/') = 0;
    package->path = package->own_path;
    return 0;
}

uint32_t cbpi_driver_package_open(struct cbpi_driver_package *package, const char *path)
{
    uint32_t error = 0;
    package->fd = -1;
    package->count = 0;
    package->path = path;
    if (!*path)
        error = find_own(package);
    if (error != 0)
        return error;
    package->fd = open(package->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (package->fd < 0) {
        if (errno == ENOTDIR && access(path, F_OK) == 0)
            return cbpi_fail(CBP_ERROR_BAD_FORMAT, "%.300s is no folder, as the bpf driver's package is",
                             path);
        return errno == ENOENT ? cbpi_fail(CBP_ERROR_FILE_NOT_FOUND, "%.300s: there is no such package", path)
                               : cbpi_fail_path(errno, path, "");
    }
    error = list_files(package);
    if (error == 0)
        error = read_version(package);
    if (error == 0)
        error = check_programs(package);
    if (error != 0)
        cbpi_driver_package_close(package);
    return error;
}

void cbpi_driver_package_close(struct cbpi_driver_package *package)
{
    if (package->fd >= 0)
        close(package->fd);
    package->fd = -1;
}

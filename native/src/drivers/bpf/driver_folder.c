/* Implements driver_folder.h. */
#define _GNU_SOURCE
#include "driver_folder.h"

#include "errors.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LIST_NAME "files.list"
#define LINE_SIZE (CBPI_DRIVER_FILE_NAME_SIZE + 48u)
#define LIST_SIZE ((CBPI_DRIVER_FILES_MAX + 1) * LINE_SIZE)
#define CHUNK_SIZE 16384u
#define EXCHANGE 2u /* RENAME_EXCHANGE */

/* FNV-1a, by Fowler, Noll and Vo, of 64 bits. */
#define SUM_BASIS 0xcbf29ce484222325u
#define SUM_PRIME 0x100000001b3u

struct content {
    uint64_t sum, size;
};

/* ---- Contents ---- */

static void add_content(struct content *content, const void *bytes, size_t size)
{
    const unsigned char *at = bytes;
    for (size_t i = 0; i < size; i++)
        content->sum = (content->sum ^ at[i]) * SUM_PRIME;
    content->size += size;
}

/* Reads the rest of the file, and writes it to target if that is not -1. */
static uint32_t read_content(int fd, int target, const char *name, struct content *content)
{
    unsigned char chunk[CHUNK_SIZE];
    *content = (struct content){.sum = SUM_BASIS};
    for (;;) {
        ssize_t got = read(fd, chunk, sizeof chunk);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got == 0 ? 0 : cbpi_fail_path(errno, name, "");
        add_content(content, chunk, (size_t) got);
        uint32_t error = target < 0 ? 0 : cbpi_trusted_write(target, name, chunk, (size_t) got);
        if (error != 0)
            return error;
    }
}

static int make_line(const struct content *content, const char *name, char line[LINE_SIZE])
{
    return snprintf(line, LINE_SIZE, "%016" PRIx64 " %" PRIu64 " %s\n", content->sum, content->size, name);
}

/* ---- Writing ---- */

static uint32_t copy_file(const struct cbpi_driver_package *package, const char *name,
                          const struct cbpi_trusted_folder *target, struct content *content)
{
    bool is_program = strcmp(name, CBPI_BPF_GUARD_FILE) == 0;
    int source, copy;
    uint32_t error = cbpi_driver_package_open_file(package, name, &source);
    if (error != 0)
        return error;
    error = cbpi_trusted_create(target, name, is_program ? 0755 : 0644, &copy);
    if (error == 0) {
        error = read_content(source, copy, name, content);
        uint32_t end_error = cbpi_trusted_finish(copy, name);
        error = error ? error : end_error;
    }
    close(source);
    if (error == 0 && is_program && faccessat(target->fd, name, X_OK, 0) != 0)
        error = cbpi_fail(CBP_ERROR_ACCESS_DENIED, "programs in %.300s cannot be executed: %s", target->path,
                          strerror(errno));
    return error;
}

/* The list's last line is about the list itself. */
static int make_last_line(const char *list, size_t size, char line[LINE_SIZE])
{
    struct content content = {.sum = SUM_BASIS};
    add_content(&content, list, size);
    return make_line(&content, LIST_NAME, line);
}

static uint32_t write_list(const struct cbpi_trusted_folder *target, char list[LIST_SIZE], size_t size)
{
    int fd;
    size += (size_t) make_last_line(list, size, list + size);
    uint32_t error = cbpi_trusted_create(target, LIST_NAME, 0644, &fd);
    if (error != 0)
        return error;
    error = cbpi_trusted_write(fd, target->path, list, size);
    uint32_t end_error = cbpi_trusted_finish(fd, target->path);
    return error ? error : end_error;
}

static uint32_t fill(const struct cbpi_driver_package *package, const struct cbpi_trusted_folder *target)
{
    char list[LIST_SIZE];
    size_t size = 0;
    for (uint32_t i = 0; i < package->count; i++) {
        struct content content;
        uint32_t error = copy_file(package, package->names[i], target, &content);
        if (error != 0)
            return error;
        size += (size_t) make_line(&content, package->names[i], list + size);
    }
    return write_list(target, list, size);
}

/* Removes the driver's files and the folder of them. False: there are others' files in it. */
static bool remove_folder(const struct cbpi_trusted_folder *base, const char *name)
{
    int fd = openat(base->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *entries = fd < 0 ? NULL : fdopendir(fd);
    if (!entries) {
        if (fd >= 0)
            close(fd);
        return errno == ENOENT;
    }
    struct dirent *entry;
    while ((entry = readdir(entries)) != NULL)
        if (cbpi_driver_package_has(entry->d_name) || strcmp(entry->d_name, LIST_NAME) == 0)
            (void) unlinkat(fd, entry->d_name, 0);
    closedir(entries);
    return unlinkat(base->fd, name, AT_REMOVEDIR) == 0;
}

uint32_t cbpi_driver_folder_write(struct cbpi_driver_folder *folder, const struct cbpi_trusted_folder *base,
                                  const struct cbpi_driver_package *package)
{
    struct cbpi_trusted_folder target;
    folder->base = base;
    memcpy(folder->name, package->version, sizeof folder->name);
    int used = snprintf(folder->path, sizeof folder->path, "%s/%s", base->path, folder->name);
    if (used < 0 || (size_t) used >= sizeof folder->path)
        return cbpi_fail_path(ENAMETOOLONG, base->path, "");
    /* An installation that did not come to its end can have left one. */
    if (!remove_folder(base, CBPI_DRIVER_FOLDER_INCOMING))
        return cbpi_fail(CBP_ERROR_ALREADY_EXISTS, "%.300s/%s is in the way: remove it", base->path,
                         CBPI_DRIVER_FOLDER_INCOMING);
    uint32_t error = cbpi_trusted_make(base, CBPI_DRIVER_FOLDER_INCOMING, &target);
    if (error != 0)
        return error;
    folder->has_incoming = true;
    error = fill(package, &target);
    if (error == 0 && fsync(target.fd) != 0)
        error = cbpi_fail_path(errno, target.path, "");
    cbpi_trusted_close(&target);
    return error;
}

/* ---- Checking ---- */

static uint32_t fail_damaged(const char *path, const char *name, const char *what)
{
    return cbpi_fail(CBP_ERROR_FS_DRIVER_REQUIRED, "%.300s%s%.64s %s: install the driver once more", path,
                     *name ? "/" : "", name, what);
}

/* Checks the file that a line of the list names. */
static uint32_t check_file(const struct cbpi_trusted_folder *folder, const char *line, size_t line_size)
{
    char expected[LINE_SIZE], name[CBPI_DRIVER_FILE_NAME_SIZE];
    struct content content;
    int fd;
    uint64_t size;
    const char *last = memrchr(line, ' ', line_size);
    size_t name_size = last ? (size_t) (line + line_size - last) - 2 : 0;
    if (name_size == 0 || name_size >= sizeof name)
        return fail_damaged(folder->path, LIST_NAME, "is damaged");
    memcpy(name, last + 1, name_size);
    name[name_size] = 0;
    if (!cbpi_driver_package_has(name))
        return fail_damaged(folder->path, LIST_NAME, "is damaged");
    uint32_t error = cbpi_trusted_open_file(folder, name, &fd, &size);
    if (error != 0)
        return fail_damaged(folder->path, name,
                            error == CBP_ERROR_FILE_NOT_FOUND ? "is missing" : "cannot be trusted");
    error = read_content(fd, -1, name, &content);
    close(fd);
    if (error != 0)
        return error;
    size_t expected_size = (size_t) make_line(&content, name, expected);
    return expected_size == line_size && memcmp(expected, line, line_size) == 0
               ? 0
               : fail_damaged(folder->path, name, "is damaged");
}

static uint32_t read_list(const struct cbpi_trusted_folder *folder, char list[LIST_SIZE])
{
    uint32_t error = cbpi_trusted_read(folder, LIST_NAME, list, LIST_SIZE);
    if (error == CBP_ERROR_FILE_NOT_FOUND)
        return fail_damaged(folder->path, LIST_NAME, "is missing");
    return error ? fail_damaged(folder->path, LIST_NAME, "cannot be read") : 0;
}

static uint32_t check(const struct cbpi_trusted_folder *folder, const char *list)
{
    char last[LINE_SIZE];
    const char *end, *line = list;
    uint32_t error = 0;
    while (error == 0 && (end = strchr(line, '\n')) != NULL && end[1]) {
        error = check_file(folder, line, (size_t) (end + 1 - line));
        line = end + 1;
    }
    if (error != 0)
        return error;
    make_last_line(list, (size_t) (line - list), last);
    return strcmp(last, line) == 0 ? 0 : fail_damaged(folder->path, LIST_NAME, "is damaged");
}

uint32_t cbpi_driver_folder_check(const char *path)
{
    struct cbpi_trusted_folder folder;
    char list[LIST_SIZE];
    uint32_t error = cbpi_trusted_open(path, &folder);
    if (error == CBP_ERROR_PATH_NOT_FOUND)
        return fail_damaged(path, "", "is missing");
    if (error != 0)
        return CBP_ERROR_FS_DRIVER_REQUIRED;
    error = read_list(&folder, list);
    if (error == 0)
        error = check(&folder, list);
    cbpi_trusted_close(&folder);
    return error;
}

/* ---- Into its place ---- */

/* Says whether nothing but the driver's files is in a folder; also for one that is not there. */
static bool is_the_drivers(const struct cbpi_trusted_folder *base, const char *name)
{
    int fd = openat(base->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *entries = fd < 0 ? NULL : fdopendir(fd);
    if (!entries) {
        if (fd >= 0)
            close(fd);
        return errno == ENOENT;
    }
    bool is_ours = true;
    struct dirent *entry;
    while (is_ours && (entry = readdir(entries)) != NULL)
        is_ours = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
                  strcmp(entry->d_name, LIST_NAME) == 0 || cbpi_driver_package_has(entry->d_name);
    closedir(entries);
    return is_ours;
}

static bool has_same_list(const struct cbpi_driver_folder *folder)
{
    struct cbpi_trusted_folder incoming, placed;
    char incoming_list[LIST_SIZE], placed_list[LIST_SIZE];
    char path[CBPI_TRUSTED_PATH_SIZE + sizeof CBPI_DRIVER_FOLDER_INCOMING];
    snprintf(path, sizeof path, "%s/%s", folder->base->path, CBPI_DRIVER_FOLDER_INCOMING);
    bool is_same = cbpi_trusted_open(path, &incoming) == 0;
    placed.fd = -1;
    is_same = is_same && cbpi_trusted_open(folder->path, &placed) == 0 &&
              read_list(&incoming, incoming_list) == 0 && read_list(&placed, placed_list) == 0 &&
              strcmp(incoming_list, placed_list) == 0;
    cbpi_trusted_close(&incoming);
    cbpi_trusted_close(&placed);
    return is_same && cbpi_driver_folder_check(folder->path) == 0;
}

static bool exchange(const struct cbpi_driver_folder *folder)
{
    return syscall(SYS_renameat2, folder->base->fd, CBPI_DRIVER_FOLDER_INCOMING, folder->base->fd,
                   folder->name, EXCHANGE) == 0;
}

uint32_t cbpi_driver_folder_place(struct cbpi_driver_folder *folder)
{
    int base = folder->base->fd;
    if (faccessat(base, folder->name, F_OK, AT_SYMLINK_NOFOLLOW) != 0) {
        if (renameat(base, CBPI_DRIVER_FOLDER_INCOMING, base, folder->name) != 0)
            return cbpi_fail_path(errno, folder->path, "");
        folder->is_placed = true;
        folder->has_incoming = false;
    } else {
        if (!is_the_drivers(folder->base, folder->name))
            return cbpi_fail(CBP_ERROR_ALREADY_EXISTS, "%.300s has files that are not the driver's",
                             folder->path);
        if (has_same_list(folder))
            return 0;
        if (!exchange(folder))
            return cbpi_fail_path(errno, folder->path, "");
        folder->is_placed = folder->is_exchanged = true;
    }
    return fsync(base) == 0 ? 0 : cbpi_fail_path(errno, folder->base->path, "");
}

void cbpi_driver_folder_undo(struct cbpi_driver_folder *folder)
{
    if (folder->is_exchanged)
        (void) exchange(folder);
    else if (folder->is_placed)
        remove_folder(folder->base, folder->name);
    if (folder->has_incoming)
        remove_folder(folder->base, CBPI_DRIVER_FOLDER_INCOMING);
}

void cbpi_driver_folder_commit(struct cbpi_driver_folder *folder)
{
    if (folder->has_incoming)
        remove_folder(folder->base, CBPI_DRIVER_FOLDER_INCOMING);
}

void cbpi_driver_folder_remove(const char *path)
{
    struct cbpi_trusted_folder base;
    char parent[CBPI_TRUSTED_PATH_SIZE];
    memcpy(parent, path, strlen(path) + 1);
    char *name = strrchr(parent, '/');
    if (!name || name == parent)
        return;
    *name++ = 0;
    if (cbpi_trusted_open(parent, &base) != 0)
        return;
    remove_folder(&base, name);
    cbpi_trusted_close(&base);
}

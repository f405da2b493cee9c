/* Implements trusted_files.h. */
#define _GNU_SOURCE
#include "trusted_files.h"

#include "errors.h"
#include "os_error.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER_MODE 0755

uint32_t cbpi_fail_path(int os_error, const char *folder, const char *name)
{
    char path[PATH_MAX];
    uint32_t code;
    snprintf(path, sizeof path, "%.300s%s%.100s", folder, *name ? "/" : "", name);
    switch (os_error) {
    case ENOENT:
        code = *name ? CBP_ERROR_FILE_NOT_FOUND : CBP_ERROR_PATH_NOT_FOUND;
        break;
    case ENOTDIR:
    case ENAMETOOLONG:
        code = CBP_ERROR_PATH_NOT_FOUND;
        break;
    case EACCES:
    case EPERM:
    case EROFS:
    case ELOOP:
        code = CBP_ERROR_ACCESS_DENIED;
        break;
    default:
        return cbpi_fail_os(os_error, path);
    }
    return cbpi_fail(code, "%s: %s", path, strerror(os_error));
}

static bool is_roots(const struct stat *facts)
{
    return facts->st_uid == 0 && !(facts->st_mode & (S_IWGRP | S_IWOTH));
}

/* In a folder with the sticky bit others may make entries of their own, but cannot touch root's: that will do
 * for a parent. */
static uint32_t check_folder(int fd, const char *path, bool is_parent)
{
    struct stat facts;
    if (fstat(fd, &facts) != 0)
        return cbpi_fail_path(errno, path, "");
    return is_roots(&facts) || (is_parent && facts.st_uid == 0 && facts.st_mode & S_ISVTX)
               ? 0
               : cbpi_fail(CBP_ERROR_ACCESS_DENIED,
                           "%.300s can be changed by others than root, who would then decide what root "
                           "executes",
                           path);
}

/* Steps from a folder into one of its entries, and closes the former. */
static uint32_t step(int *at, const char *name, int flags, const char *path)
{
    bool is_parent = flags & O_PATH;
    int next = openat(*at, name, flags | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int os_error = errno;
    close(*at);
    *at = next;
    return next < 0 ? cbpi_fail_path(os_error, path, "") : check_folder(next, path, is_parent);
}

static uint32_t walk(const char *path, int *fd)
{
    char done[PATH_MAX] = "";
    int at = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    uint32_t error = at < 0 ? cbpi_fail_path(errno, "/", "") : check_folder(at, "/", true);
    for (const char *name = path + 1; error == 0 && *name;) {
        const char *end = strchrnul(name, '/');
        memcpy(done, path, (size_t) (end - path));
        done[end - path] = 0;
        error = step(&at, done + (name - path), O_PATH, done);
        name = *end ? end + 1 : end;
    }
    if (error == 0)
        error = step(&at, ".", O_RDONLY, path);
    if (error == 0)
        *fd = at;
    else if (at >= 0)
        close(at);
    return error;
}

uint32_t cbpi_trusted_open(const char *path, struct cbpi_trusted_folder *folder)
{
    char real[PATH_MAX];
    folder->fd = -1;
    if (!realpath(path, real))
        return cbpi_fail_path(errno, path, "");
    if (strlen(real) >= sizeof folder->path)
        return cbpi_fail_path(ENAMETOOLONG, path, "");
    uint32_t error = walk(real, &folder->fd);
    memcpy(folder->path, real, strlen(real) + 1);
    return error;
}

uint32_t cbpi_trusted_make(const struct cbpi_trusted_folder *parent, const char *name,
                           struct cbpi_trusted_folder *folder)
{
    folder->fd = -1;
    int used = snprintf(folder->path, sizeof folder->path, "%s/%s", parent->path, name);
    if (used < 0 || (size_t) used >= sizeof folder->path)
        return cbpi_fail_path(ENAMETOOLONG, parent->path, name);
    bool is_new = mkdirat(parent->fd, name, FOLDER_MODE) == 0;
    if (!is_new && errno != EEXIST)
        return cbpi_fail_path(errno, parent->path, name);
    int fd = openat(parent->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    uint32_t error =
        fd < 0 ? cbpi_fail_path(errno, parent->path, name) : check_folder(fd, folder->path, false);
    /* The caller's umask is no reason for a folder that programs cannot look into. */
    if (error == 0 && is_new && fchmod(fd, FOLDER_MODE) != 0)
        error = cbpi_fail_path(errno, parent->path, name);
    if (error == 0) {
        folder->fd = fd;
        return 0;
    }
    if (fd >= 0)
        close(fd);
    if (is_new)
        (void) unlinkat(parent->fd, name, AT_REMOVEDIR);
    return error;
}

void cbpi_trusted_close(struct cbpi_trusted_folder *folder)
{
    if (folder->fd >= 0)
        close(folder->fd);
    folder->fd = -1;
}

uint32_t cbpi_trusted_open_file(const struct cbpi_trusted_folder *folder, const char *name, int *fd,
                                uint64_t *size)
{
    struct stat facts;
    int file = openat(folder->fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (file < 0 || fstat(file, &facts) != 0) {
        uint32_t error = cbpi_fail_path(errno, folder->path, name);
        if (file >= 0)
            close(file);
        return error;
    }
    if (!S_ISREG(facts.st_mode) || !is_roots(&facts)) {
        close(file);
        return cbpi_fail(CBP_ERROR_ACCESS_DENIED, "%.300s/%.100s is no file of root's alone", folder->path,
                         name);
    }
    *fd = file;
    *size = (uint64_t) facts.st_size;
    return 0;
}

uint32_t cbpi_trusted_read(const struct cbpi_trusted_folder *folder, const char *name, char *text,
                           size_t size)
{
    int fd;
    uint64_t file_size;
    uint32_t error = cbpi_trusted_open_file(folder, name, &fd, &file_size);
    if (error != 0)
        return error;
    size_t used = 0;
    ssize_t got = 1;
    while (got > 0 && used < size) {
        got = read(fd, text + used, size - used);
        used += got > 0 ? (size_t) got : 0;
    }
    if (got < 0)
        error = cbpi_fail_path(errno, folder->path, name);
    else if (used == size)
        error = cbpi_fail(CBP_ERROR_INVALID_DATA, "%.300s/%.100s is too large", folder->path, name);
    else
        text[used] = 0;
    close(fd);
    return error;
}

uint32_t cbpi_trusted_create(const struct cbpi_trusted_folder *folder, const char *name, mode_t mode, int *fd)
{
    if (unlinkat(folder->fd, name, 0) != 0 && errno != ENOENT)
        return cbpi_fail_path(errno, folder->path, name);
    int file = openat(folder->fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (file < 0 || fchmod(file, mode) != 0) {
        uint32_t error = cbpi_fail_path(errno, folder->path, name);
        if (file >= 0)
            close(file);
        return error;
    }
    *fd = file;
    return 0;
}

uint32_t cbpi_trusted_write(int fd, const char *path, const void *bytes, size_t size)
{
    const char *at = bytes;
    while (size > 0) {
        ssize_t done = write(fd, at, size);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return cbpi_fail_path(done < 0 ? errno : EIO, path, "");
        at += done;
        size -= (size_t) done;
    }
    return 0;
}

uint32_t cbpi_trusted_finish(int fd, const char *path)
{
    int os_error = fsync(fd) == 0 ? 0 : errno;
    if (close(fd) != 0 && os_error == 0)
        os_error = errno;
    return os_error ? cbpi_fail_path(os_error, path, "") : 0;
}

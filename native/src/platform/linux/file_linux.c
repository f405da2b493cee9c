/* Implements the part of platform.h that reads and writes files. */
#define _GNU_SOURCE
#include "platform.h"

#include "errors.h"
#include "os_error.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static uint32_t fail_open(const char *path, int os_error)
{
    switch (os_error) {
    case ENOENT:
        return cbpi_fail(CBP_ERROR_FILE_NOT_FOUND, "%.300s: %s", path, strerror(os_error));
    case ENOTDIR:
    case ENAMETOOLONG:
        return cbpi_fail(CBP_ERROR_PATH_NOT_FOUND, "%.300s: %s", path, strerror(os_error));
    case EACCES:
    case EPERM:
    case EROFS:
    case EISDIR:
        return cbpi_fail(CBP_ERROR_ACCESS_DENIED, "%.300s: %s", path, strerror(os_error));
    default:
        return cbpi_fail_os(os_error, path);
    }
}

uint32_t cbpi_file_create(const char *path, struct cbpi_file *file)
{
    file->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0600);
    return file->fd < 0 ? fail_open(path, errno) : 0;
}

/* Writes once. A file that has reached RLIMIT_FSIZE is an error here, not the end of the program by SIGXFSZ.
 */
static ssize_t write_some(int fd, const void *bytes, size_t size)
{
    static const struct timespec at_once = {0, 0};
    sigset_t limit, before;
    sigemptyset(&limit);
    sigaddset(&limit, SIGXFSZ);
    pthread_sigmask(SIG_BLOCK, &limit, &before);
    ssize_t written = write(fd, bytes, size);
    int os_error = errno;
    if (written < 0 && os_error == EFBIG && !sigismember(&before, SIGXFSZ))
        (void) sigtimedwait(&limit, NULL, &at_once);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = os_error;
    return written;
}

uint32_t cbpi_file_write(struct cbpi_file *file, const void *bytes, size_t size)
{
    const char *at = bytes;
    while (size > 0) {
        ssize_t written = write_some(file->fd, at, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return cbpi_fail_os(errno, "a file could not be written");
        at += written;
        size -= (size_t) written;
    }
    return 0;
}

void cbpi_file_close(struct cbpi_file *file)
{
    close(file->fd);
}

uint32_t cbpi_file_open(const char *path, struct cbpi_file *file)
{
    file->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    return file->fd < 0 ? fail_open(path, errno) : 0;
}

uint32_t cbpi_file_read(struct cbpi_file *file, const char *path, void *bytes, size_t *size)
{
    ssize_t got;
    do {
        got = read(file->fd, bytes, *size);
    } while (got < 0 && errno == EINTR);
    *size = got > 0 ? (size_t) got : 0;
    return got < 0 ? fail_open(path, errno) : 0;
}

/* Implements the part of platform.h that reads and writes files. */
#define _GNU_SOURCE
#include "platform.h"

#include "errors.h"
#include "os_error.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define READ_SIZE (64u * 1024u) /* what is read at a time of a file that does not tell its size */

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
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0600);
    if (fd < 0)
        return fail_open(path, errno);
    file->fd = fd;
    return 0;
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

uint32_t cbpi_file_read(const char *path, void **bytes, size_t *size)
{
    char *read_bytes = NULL;
    size_t used = 0, capacity = 0;
    uint32_t error = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return fail_open(path, errno);
    struct stat status;
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode))
        capacity = (size_t) status.st_size + 1; /* one more, so that the next read shows the file's end */
    for (;;) {
        char *grown = read_bytes;
        if (!grown || used == capacity) {
            capacity = capacity > used ? capacity : used + used / 2 + READ_SIZE;
            grown = realloc(read_bytes, capacity);
        }
        if (!grown) {
            error = cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for %.300s", path);
            goto cleanup;
        }
        read_bytes = grown;
        ssize_t got = read(fd, read_bytes + used, capacity - used);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            error = fail_open(path, errno);
            goto cleanup;
        }
        if (got == 0)
            break;
        used += (size_t) got;
    }
    *bytes = read_bytes;
    *size = used;
cleanup:
    close(fd);
    if (error != 0)
        free(read_bytes);
    return error;
}

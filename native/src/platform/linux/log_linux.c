/* Keeps the machine-wide logging setting in a file, and writes lines to the socket that the journal and every
 * syslog daemon listen on. Keeps no descriptor: programs that close all of theirs do no harm. */
#include "errors.h"
#include "platform.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#define DEFAULT_FOLDER "/etc/cbprocess"
#define FOLDER_VARIABLE "CBPROCESS_CONFIG_DIR"

const char *cbpi_log_address = "/dev/log";

static const char *settings_folder(void)
{
    /* The variable does not count for a program that has more rights than its user. */
    const char *folder = secure_getenv(FOLDER_VARIABLE);
    return folder && *folder ? folder : DEFAULT_FOLDER;
}

static bool make_path(const char *suffix, char *path, size_t size)
{
    int used = snprintf(path, size, "%s/logging%s", settings_folder(), suffix);
    return used > 0 && (size_t) used < size;
}

bool cbpi_logging_read(void)
{
    char path[PATH_MAX], value = '0';
    if (!make_path("", path, sizeof path))
        return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return false;
    if (read(fd, &value, 1) != 1)
        value = '0';
    close(fd);
    return value == '1';
}

static uint32_t fail_errno(int error, const char *path)
{
    uint32_t code = error == EACCES || error == EPERM || error == EROFS ? CBP_ERROR_PRIVILEGE_NOT_HELD
                                                                        : CBP_ERROR_GEN_FAILURE;
    return cbpi_fail(code, "%.300s: %s", path, strerror(error));
}

uint32_t cbpi_logging_write(bool is_enabled)
{
    char path[PATH_MAX], temporary[PATH_MAX], suffix[32];
    snprintf(suffix, sizeof suffix, ".%ld.%u", (long) getpid(), (unsigned) cbpi_thread_id());
    if (!make_path("", path, sizeof path) || !make_path(suffix, temporary, sizeof temporary))
        return fail_errno(ENAMETOOLONG, settings_folder());
    if (mkdir(settings_folder(), 0755) != 0 && errno != EEXIST)
        return fail_errno(errno, settings_folder());
    /* A whole new file replaces the old one, so that no reader sees half of it. */
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0)
        return fail_errno(errno, temporary);
    int error = 0;
    if (fchmod(fd, 0644) != 0 || write(fd, is_enabled ? "1\n" : "0\n", 2) != 2)
        error = errno ? errno : EIO;
    if (close(fd) != 0 && error == 0)
        error = errno;
    if (error == 0 && rename(temporary, path) != 0)
        error = errno;
    if (error == 0)
        return 0;
    unlink(temporary);
    return fail_errno(error, path);
}

void cbpi_log_line(const char *text)
{
    char line[1024];
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int used =
        snprintf(line, sizeof line, "<%d>cbprocess[%ld]: %s", LOG_USER | LOG_INFO, (long) getpid(), text);
    size_t size = used < 0 ? 0 : (size_t) used < sizeof line ? (size_t) used : sizeof line - 1;
    snprintf(address.sun_path, sizeof address.sun_path, "%s", cbpi_log_address);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return;
    (void) !sendto(fd, line, size, MSG_NOSIGNAL | MSG_DONTWAIT, (const struct sockaddr *) &address,
                   sizeof address);
    close(fd);
}

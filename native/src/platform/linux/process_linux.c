/* The part of platform.h that asks the system about processes, from /proc. */
#define _GNU_SOURCE
#include "platform.h"

#include "deleted.h"
#include "errors.h"
#include "new_syscalls.h"
#include "proc_state.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STAT_START_TIME 22 /* fields of /proc/PID/stat, counted from 1 */
#define STAT_THREAD_COUNT 20

/* Reads a small file whole, NUL-terminated; 0 bytes if it cannot be read. */
static size_t read_file(const char *path, char *buffer, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t count = 0;
    if (fd >= 0) {
        ssize_t got = read(fd, buffer, size - 1);
        count = got > 0 ? (size_t) got : 0;
        close(fd);
    }
    buffer[count] = '\0';
    return count;
}

/* A thread's id opens /proc/ID too; only a process is its own thread group. */
static int is_process(uint32_t process_id)
{
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/%u/status", process_id);
    read_file(path, text, sizeof text);
    const char *line = strstr(text, "\nTgid:");
    return line && strtoul(line + 6, NULL, 10) == process_id;
}

/* The number in a field of a stat line, which comes after the name in parentheses; the name may hold
 * anything. */
static uint64_t stat_number(const char *after_name, int field)
{
    const char *at = after_name;
    for (int i = 2; i < field && at; i++)
        at = strchr(at + 1, ' ');
    return at ? strtoull(at, NULL, 10) : 0;
}

uint32_t cbpi_process_start_time(uint32_t process_id, uint64_t *start_time)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%u/stat", process_id);
    const char *after_name = read_file(path, text, sizeof text) > 0 ? strrchr(text, ')') : NULL;
    int living = process_id != 0 && after_name && strlen(after_name) > 2 && is_process(process_id);
    if (living && strchr("ZX", after_name[2]))
        living = stat_number(after_name, STAT_THREAD_COUNT) > 1; /* only the first thread has ended */
    if (!living)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "no process with the id %u lives", process_id);
    *start_time = stat_number(after_name, STAT_START_TIME);
    return 0;
}

uint32_t cbpi_process_path(uint32_t process_id, char *buffer, uint64_t size, uint64_t *needed)
{
    char path[64], target[PATH_MAX];
    snprintf(path, sizeof path, "/proc/%u/exe", process_id);
    ssize_t got = readlink(path, target, sizeof target);
    uint32_t thread_id = got < 0 && errno == ENOENT ? cbpi_proc_living_thread(process_id) : 0;
    if (thread_id != 0) {
        snprintf(path, sizeof path, "/proc/%u/task/%u/exe", (unsigned) process_id, (unsigned) thread_id);
        got = readlink(path, target, sizeof target);
    }
    size_t target_size = got > 0 ? (size_t) got : 0;
    if (target_size < sizeof target)
        cbp_take_off_deleted(path, thread_id != 0 ? thread_id : process_id, target, &target_size);
    return cbpi_copy_text(target, target_size, buffer, size, needed);
}

int64_t cbpi_process_token(uint32_t process_id, uint64_t start_time)
{
    uint64_t found;
    int fd = process_id != 0 ? (int) syscall(SYS_pidfd_open, process_id, 0) : -1;
    if (fd < 0 || start_time == 0)
        return fd;
    /* Looked at once the descriptor holds on to whichever process it is. */
    if (cbpi_process_start_time(process_id, &found) == 0 && found == start_time)
        return fd;
    close(fd);
    return -1;
}

/* Implements the part of platform.h that asks the system about processes, from /proc. */
#define _GNU_SOURCE
#include "platform.h"

#include "deleted.h"
#include "errors.h"
#include "new_syscalls.h"
#include "proc_files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

uint32_t cbpi_process_start_time(uint32_t process_id, uint64_t *start_time)
{
    char line[STAT_SIZE_MAX];
    struct stat_facts stat;
    struct status_facts status;
    /* A thread's id opens /proc/ID, too; only a process is its own thread group. */
    int living = process_id != 0 && cbpd_read_proc_file(process_id, "stat", line, sizeof line) > 0 &&
                 cbpd_parse_stat(line, &stat) && cbpd_read_status_file(process_id, &status) &&
                 status.group == process_id;
    if (living && strchr("ZX", stat.state))
        living = stat.thread_count > 1; /* only the first thread has ended */
    if (!living)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "no process with the id %u lives", process_id);
    *start_time = stat.start_time;
    return 0;
}

uint32_t cbpi_process_path(uint32_t process_id, char *buffer, uint64_t size, uint64_t *needed)
{
    char path[64], target[PATH_MAX];
    snprintf(path, sizeof path, "/proc/%u/exe", process_id);
    ssize_t got = readlink(path, target, sizeof target);
    uint32_t thread_id = got < 0 && errno == ENOENT ? cbpd_living_thread(process_id) : process_id;
    if (thread_id != process_id) {
        snprintf(path, sizeof path, "/proc/%u/task/%u/exe", (unsigned) process_id, (unsigned) thread_id);
        got = readlink(path, target, sizeof target);
    }
    size_t target_size = got > 0 ? (size_t) got : 0;
    if (target_size < sizeof target)
        cbpd_take_off_deleted(path, thread_id, target, &target_size);
    return cbpi_copy_text(target, target_size, buffer, size, needed);
}

int64_t cbpi_process_token(uint32_t process_id, uint64_t start_time)
{
    uint64_t found;
    int fd = process_id != 0 ? (int) syscall(SYS_pidfd_open, process_id, 0) : -1;
    if (fd < 0 || start_time == 0)
        return fd;
    /* The start time is read once the descriptor holds on to the process. */
    if (cbpi_process_start_time(process_id, &found) == 0 && found == start_time)
        return fd;
    close(fd);
    return -1;
}

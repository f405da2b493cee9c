/* Implements the part of platform.h that asks the system about processes, from /proc. */
#define _GNU_SOURCE
#include "platform.h"

#include "errors.h"
#include "new_syscalls.h"
#include "proc_files.h"

#include <limits.h>
#include <string.h>
#include <unistd.h>

uint32_t cbpi_process_start_time(uint32_t process_id, uint64_t *start_time)
{
    char line[STAT_SIZE_MAX];
    struct stat_facts stat;
    struct status_facts status;
    /* A thread's id opens /proc/ID, too; only a process is its own thread group. */
    int living = process_id != 0 && cbpd_read_stat_file(process_id, "stat", line, &stat) &&
                 cbpd_read_status_file(process_id, &status) && status.group == process_id;
    if (living && strchr("ZX", stat.state))
        living = stat.thread_count > 1; /* only the first thread has ended */
    if (!living)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "no process with the id %u lives", process_id);
    *start_time = stat.start_time;
    return 0;
}

uint32_t cbpi_process_path(uint32_t process_id, char *buffer, uint64_t size, uint64_t *needed)
{
    char path[PATH_MAX];
    uint32_t thread_id;
    bool is_gone;
    size_t path_size = cbpd_read_program_path(process_id, path, sizeof path, &thread_id, &is_gone);
    return cbpi_copy_text(path, path_size, buffer, size, needed);
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

/* Facts that only /proc tells, and the clocks. Every function answers for a task that is gone. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "supervisor.h"

static uint64_t read_clock(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t) now.tv_sec * 1000000000u + (uint64_t) now.tv_nsec;
}

uint64_t now_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

uint64_t wall_ns(void)
{
    return read_clock(CLOCK_REALTIME);
}

static size_t read_proc_file(uint32_t id, const char *name, char *buffer, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%u/%s", id, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t length = read(fd, buffer, size - 1);
    close(fd);
    buffer[length > 0 ? length : 0] = 0;
    return length > 0 ? (size_t) length : 0;
}

/* Field 22 of /proc/PID/stat, counted behind the name, which may hold anything, parentheses too. */
uint64_t read_start_time(uint32_t pid)
{
    char stat[1024];
    if (read_proc_file(pid, "stat", stat, sizeof stat) == 0)
        return 0;
    char *field = strrchr(stat, ')');
    for (int number = 2; field != NULL && number < 22; number++)
        field = strchr(field + 1, ' ');
    return field != NULL ? strtoull(field + 1, NULL, 10) : 0;
}

uint64_t boot_ns(void)
{
    return read_clock(CLOCK_BOOTTIME);
}

/* The unit of start times. */
static uint64_t ticks_of(uint64_t time_ns)
{
    static uint64_t tick_ns;
    if (tick_ns == 0)
        tick_ns = 1000000000u / (uint64_t) sysconf(_SC_CLK_TCK);
    return time_ns / tick_ns;
}

uint64_t boot_ticks(void)
{
    return ticks_of(boot_ns());
}

/* Without a look into /proc where the process can only have started in the tick that still lasts: the kernel
 * takes the time from the same clock and rounds it down. */
uint64_t start_time_since(uint32_t pid, uint64_t earliest_ns)
{
    uint64_t tick = boot_ticks();
    return earliest_ns != 0 && ticks_of(earliest_ns) == tick ? tick : read_start_time(pid);
}

/* The first number on the line with this label. */
static uint32_t status_number(const char *status, const char *label, int base)
{
    const char *line = strstr(status, label);
    return line != NULL ? (uint32_t) strtoul(line + strlen(label), NULL, base) : 0;
}

/* The line's numbers: a task's id in each PID namespace, from the one of /proc to its own. */
static uint32_t status_ids(const char *status, const char *label, uint32_t ids[NAMESPACE_DEPTH_MAX])
{
    const char *at = strstr(status, label);
    uint32_t count = 0;
    at = at != NULL ? at + strlen(label) : "";
    while (count < NAMESPACE_DEPTH_MAX && (*at == '\t' || (*at >= '0' && *at <= '9'))) {
        char *end;
        ids[count++] = (uint32_t) strtoul(at, &end, 10);
        at = end;
    }
    return count;
}

bool read_status(uint32_t tid, struct status_facts *facts)
{
    char status[4096];
    if (read_proc_file(tid, "status", status, sizeof status) == 0)
        return false;
    const char *state = strstr(status, "\nState:\t");
    facts->state = state != NULL ? state[strlen("\nState:\t")] : '?';
    facts->group = status_number(status, "\nTgid:\t", 10);
    facts->parent_pid = status_number(status, "\nPPid:\t", 10);
    facts->tracer_pid = status_number(status, "\nTracerPid:\t", 10);
    const char *user_ids = strstr(status, "\nUid:\t");
    facts->user_id = facts->effective_user_id = facts->saved_user_id = UINT32_MAX;
    if (user_ids != NULL)
        (void) sscanf(user_ids, " Uid: %" SCNu32 " %" SCNu32 " %" SCNu32, &facts->user_id,
                      &facts->effective_user_id, &facts->saved_user_id);
    facts->has_filter = strstr(status, "\nSeccomp:\t0\n") == NULL;
    facts->filter_count = strstr(status, "\nSeccomp_filters:\t") == NULL
                              ? UINT32_MAX
                              : status_number(status, "\nSeccomp_filters:\t", 10);
    facts->depth = status_ids(status, "\nNSpid:", facts->ids);
    (void) status_ids(status, "\nNSpgid:", facts->group_ids);
    return true;
}

uint32_t read_executable(uint32_t tid, char *path, uint32_t size)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/%u/exe", tid);
    ssize_t length = readlink(link, path, size);
    return length > 0 ? (uint32_t) length : 0;
}

/* Nothing is waited for: the file has just been executed, so that a path which leads to it is in the kernel's
 * memory, and what answers for another file may be the tree's own, a FUSE server that keeps us waiting. */
static int open_known_path(const char *path)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_CACHED};
    int fd = (int) syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
    if (fd < 0 && (errno == ENOSYS || errno == EINVAL)) /* before Linux 5.12 */
        fd = open(path, O_PATH | O_CLOEXEC);
    return fd;
}

bool path_leads_to_file(const struct image_file *file)
{
    struct statx status;
    int fd = file->inode != 0 ? open_known_path(file->path) : -1;
    if (fd < 0)
        return false;
    bool known = statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, &status) == 0;
    close(fd);
    return known && makedev(status.stx_dev_major, status.stx_dev_minor) == file->device &&
           status.stx_ino == file->inode;
}

uint64_t read_pid_namespace(uint32_t tid)
{
    char path[64];
    struct stat status;
    snprintf(path, sizeof path, "/proc/%u/ns/pid", tid);
    return stat(path, &status) == 0 ? status.st_ino : 0;
}

bool read_descriptor(uint32_t tid, int fd, struct descriptor_facts *facts)
{
    char name[64], text[1024];
    snprintf(name, sizeof name, "fdinfo/%d", fd);
    memset(facts, 0, sizeof *facts);
    if (read_proc_file(tid, name, text, sizeof text) == 0)
        return false;
    facts->is_pidfd = strstr(text, "\nPid:\t") != NULL;
    facts->pid = status_number(text, "\nPid:\t", 10);
    facts->flags = status_number(text, "\nflags:\t", 8);
    return true;
}

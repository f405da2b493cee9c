/* Facts that only /proc tells, and the clocks. Every function answers for a task that is gone. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

/* Without a look into /proc where the process can only have started in the tick that still lasts: the kernel
 * takes the time from the same clock and rounds it down. */
uint64_t start_time_since(uint32_t pid, uint64_t earliest_ns)
{
    static uint64_t tick_ns;
    if (tick_ns == 0)
        tick_ns = 1000000000u / (uint64_t) sysconf(_SC_CLK_TCK);
    uint64_t tick = boot_ns() / tick_ns;
    return earliest_ns != 0 && earliest_ns / tick_ns == tick ? tick : read_start_time(pid);
}

static uint32_t status_number(const char *status, const char *label)
{
    const char *line = strstr(status, label);
    return line != NULL ? (uint32_t) strtoul(line + strlen(label), NULL, 10) : 0;
}

uint32_t read_thread_group(uint32_t tid, uint32_t *parent_pid)
{
    char status[4096];
    if (read_proc_file(tid, "status", status, sizeof status) == 0)
        return 0;
    *parent_pid = status_number(status, "\nPPid:\t");
    return status_number(status, "\nTgid:\t");
}

uint32_t read_executable(uint32_t tid, char *path, uint32_t size)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/%u/exe", tid);
    ssize_t length = readlink(link, path, size);
    return length > 0 ? (uint32_t) length : 0;
}

/* Walks over all processes (platform.h), through /proc. */
#define _GNU_SOURCE
#include "platform.h"

#include "deleted.h"
#include "errors.h"
#include "memory.h"
#include "os_error.h"
#include "proc_files.h"
#include "proc_state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FLAG_KERNEL_THREAD 0x00200000u /* the kernel's PF_KTHREAD */
#define ARGUMENTS_STEP 4096u           /* the least room for a read */
#define ID_SIZE_MAX 16u

/* An id does not come round to another process within this time: the kernel gives out all others first. */
#define ID_REUSE_NS CBP_NS_PER_MS

struct walk {
    uint32_t with_arguments;
    int proc; /* the folder /proc */
    /* This is "PID/", or for a moment "PID/task/TID/", and then the name of a file; file_size is without that
     * name. */
    char file[2u * ID_SIZE_MAX + 16u];
    size_t file_size;
    char path[PATH_MAX];
    char stat[STAT_SIZE_MAX];
    char *arguments;
    uint64_t arguments_capacity;
};

/* Says what an errno means for one process: CBP_ERROR_NOT_FOUND if it has gone, 0 if this caller may not see
 * it, or why the walk has to end. */
static uint32_t judge(int error)
{
    switch (error) {
    case ENOENT:
    case ESRCH:
        return CBP_ERROR_NOT_FOUND;
    case EACCES:
    case EPERM:
        return 0;
    default:
        return cbpi_fail_os(error, "cannot list the processes");
    }
}

/* Gives the path of a file: a descriptor of the process's folder, to open its files from, costs more than it
 * saves. */
static const char *file_of_process(struct walk *walk, const char *name)
{
    strcpy(walk->file + walk->file_size, name);
    return walk->file;
}

static uint32_t read_arguments(struct walk *walk, struct cbpi_process_facts *facts)
{
    size_t size = 0;
    ssize_t got = 0;
    int fd = openat(walk->proc, file_of_process(walk, "cmdline"), O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return judge(errno);
    uint32_t error = 0;
    do {
        /* There is room for a NUL behind them, too. */
        char *arguments = cbpi_grow(walk->arguments, 1, size + ARGUMENTS_STEP, &walk->arguments_capacity);
        if (arguments) {
            walk->arguments = arguments;
            got = read(fd, arguments + size, walk->arguments_capacity - size - 1);
        }
        if (!arguments || got < 0)
            error = judge(arguments ? errno : ENOMEM);
        else
            size += (size_t) got;
    } while (error == 0 && got > 0 && size + 1 == walk->arguments_capacity);
    close(fd);
    /* A program that has written over its arguments need not have left a NUL at the end. */
    if (size > 0 && walk->arguments[size - 1] != '\0')
        walk->arguments[size++] = '\0';
    facts->arguments = walk->arguments;
    facts->arguments_size = size;
    return error;
}

/* Reads the file; line has STAT_SIZE_MAX bytes. */
static uint32_t read_stat(struct walk *walk, char *line, struct cbpi_process_facts *facts, uint32_t *flags)
{
    int fd = openat(walk->proc, file_of_process(walk, "stat"), O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return judge(errno);
    ssize_t got = read(fd, line, STAT_SIZE_MAX - 1);
    int error = errno;
    close(fd);
    if (got <= 0)
        return got < 0 ? judge(error) : CBP_ERROR_NOT_FOUND;
    line[got] = '\0';
    struct stat_facts stat;
    if (cbpd_parse_stat(line, &stat)) {
        facts->name = stat.name;
        facts->name_size = stat.name_size;
        facts->parent_process_id = stat.parent_pid;
        facts->thread_count = stat.thread_count;
        facts->start_time = stat.start_time;
        *flags = stat.flags;
    }
    return 0;
}

/* Looks whether the program's file is still there. */
static void look_at_file(struct walk *walk, struct cbpi_process_facts *facts)
{
    char link[64];
    if (facts->name_size == sizeof walk->path || walk->path[facts->name_size - 1] != ')')
        return; /* nearly always */
    snprintf(link, sizeof link, "/proc/%s", file_of_process(walk, "exe"));
    if (cbpd_take_off_deleted(link, facts->process_id, walk->path, &facts->name_size))
        facts->flags |= CBP_SNAPSHOT_FLAG_IMAGE_DELETED;
}

static ssize_t read_executable(struct walk *walk)
{
    return readlinkat(walk->proc, file_of_process(walk, "exe"), walk->path, sizeof walk->path);
}

/* Goes to another thread where the first one has ended, since only the files of living threads can be read.
 */
static void go_to_living_thread(struct walk *walk, uint32_t process_id)
{
    uint32_t thread_id = cbpd_living_thread(process_id);
    if (thread_id != process_id)
        walk->file_size +=
            (size_t) snprintf(walk->file + walk->file_size, sizeof walk->file - walk->file_size, "task/%u/",
                              (unsigned) thread_id);
}

static uint32_t read_program(struct walk *walk, struct cbpi_process_facts *facts)
{
    ssize_t size = read_executable(walk);
    if (size < 0 && errno == ENOENT && facts->thread_count > 1) {
        go_to_living_thread(walk, facts->process_id);
        size = read_executable(walk);
    }
    if (size > 0) { /* else the name in stat stands for it */
        facts->name = walk->path;
        facts->name_size = (size_t) size;
        look_at_file(walk, facts);
    }
    return walk->with_arguments ? read_arguments(walk, facts) : 0;
}

static uint32_t read_files(struct walk *walk, struct cbpi_process_facts *facts)
{
    uint32_t flags = 0;
    size_t file_size = walk->file_size;
    uint32_t error = read_stat(walk, walk->stat, facts, &flags);
    if (error != 0 || (flags & FLAG_KERNEL_THREAD) != 0)
        return error; /* a kernel thread has neither executable nor arguments */
    error = read_program(walk, facts);
    walk->file_size = file_size;
    return error;
}

/* Reads a process as one: if its id belongs to another one by the end, it is read again. */
static uint32_t read_process(struct walk *walk, struct cbpi_process_facts *facts)
{
    for (;;) {
        struct cbpi_process_facts again = {.name = ""};
        char line[STAT_SIZE_MAX];
        uint32_t flags;
        uint64_t begin_ns = cbpi_now_ns();
        *facts = (struct cbpi_process_facts){.process_id = facts->process_id, .name = "", .arguments = ""};
        uint32_t error = read_files(walk, facts);
        if (error != 0 || cbpi_now_ns() - begin_ns < ID_REUSE_NS)
            return error;
        error = read_stat(walk, line, &again, &flags);
        if (error != 0 || again.start_time == facts->start_time)
            return error;
    }
}

static bool is_process_id(const char *name)
{
    return name[0] >= '1' && name[0] <= '9' && strlen(name) < ID_SIZE_MAX;
}

static uint32_t visit_entry(struct walk *walk, const char *name,
                            uint32_t (*visit)(void *, const struct cbpi_process_facts *), void *context)
{
    struct cbpi_process_facts facts = {.process_id = (uint32_t) strtoul(name, NULL, 10)};
    walk->file_size = strlen(name) + 1;
    memcpy(walk->file, name, walk->file_size - 1);
    walk->file[walk->file_size - 1] = '/';
    uint32_t error = read_process(walk, &facts);
    if (error == CBP_ERROR_NOT_FOUND)
        return 0;
    return error ? error : visit(context, &facts);
}

uint32_t cbpi_processes_visit(uint32_t with_arguments,
                              uint32_t (*visit)(void *context, const struct cbpi_process_facts *facts),
                              void *context)
{
    uint32_t error = 0;
    const char *obstacle = cbpi_proc_obstacle();
    if (obstacle)
        return cbpi_fail(CBP_ERROR_GEN_FAILURE, "cannot list the processes: %s", obstacle);
    struct walk *walk = calloc(1, sizeof *walk);
    DIR *proc = walk ? opendir("/proc") : NULL;
    if (!proc) {
        error = cbpi_fail_os(walk ? errno : ENOMEM, "cannot list the processes");
        goto cleanup;
    }
    walk->with_arguments = with_arguments;
    walk->proc = dirfd(proc);
    const struct dirent *entry;
    errno = 0;
    while (error == 0 && (entry = readdir(proc))) {
        if (is_process_id(entry->d_name))
            error = visit_entry(walk, entry->d_name, visit, context);
        errno = 0;
    }
    if (error == 0 && errno != 0)
        error = cbpi_fail_os(errno, "cannot list the processes");

cleanup:
    if (proc)
        closedir(proc);
    if (walk)
        free(walk->arguments);
    free(walk);
    return error;
}

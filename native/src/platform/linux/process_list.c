/* Walks over all processes (platform.h), or reads one of them, through /proc. */
#define _GNU_SOURCE
#include "process_list.h"

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
#include <sys/stat.h>
#include <unistd.h>

#define FLAG_EXITING 0x00000004u       /* the kernel's PF_EXITING */
#define FLAG_KERNEL_THREAD 0x00200000u /* the kernel's PF_KTHREAD */
#define ARGUMENTS_STEP 4096u           /* the least room for a read */
#define ID_SIZE_MAX 16u

/* An id does not come round to another process within this time: the kernel gives out all others first. */
#define ID_REUSE_NS CBP_NS_PER_MS

struct walk {
    uint32_t with_arguments;
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

/* Reads the arguments that a living thread shows: they are empty in the folder of one that has ended. */
static uint32_t read_arguments(struct walk *walk, struct cbpi_process_facts *facts, uint32_t thread_id)
{
    size_t size = 0;
    ssize_t got = 0;
    char name[ID_SIZE_MAX + 16u] = "cmdline";
    if (thread_id != facts->process_id)
        snprintf(name, sizeof name, "task/%u/cmdline", (unsigned) thread_id);
    int fd = cbpd_open_proc(facts->process_id, name, O_RDONLY);
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

/* The folder belongs to the user whose rights the process has, in any case (Linux: task_dump_owner()). */
static void read_user(struct cbpi_process_facts *facts)
{
    char room[PROC_NAME_SIZE];
    struct stat folder;
    if (stat(cbpd_proc_name(room, facts->process_id, ""), &folder) == 0)
        facts->user_id = folder.st_uid;
}

/* Says whether a thread of the process goes on, whose first one ends. */
static bool has_other_thread(uint32_t process_id)
{
    char line[STAT_SIZE_MAX], name[ID_SIZE_MAX + 16u];
    struct stat_facts thread;
    bool found = false;
    int fd = cbpd_open_proc(process_id, "task", O_RDONLY | O_DIRECTORY);
    DIR *threads = fd >= 0 ? fdopendir(fd) : NULL;
    if (!threads) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    const struct dirent *entry;
    while (!found && (entry = readdir(threads))) {
        snprintf(name, sizeof name, "task/%u/stat", (unsigned) strtoul(entry->d_name, NULL, 10));
        found = entry->d_name[0] != '.' && cbpd_read_stat_file(process_id, name, line, &thread) &&
                !(thread.flags & FLAG_EXITING);
    }
    closedir(threads);
    return found;
}

/* Reads the file. facts->name points into the line. */
static uint32_t read_stat(char line[STAT_SIZE_MAX], struct cbpi_process_facts *facts, uint32_t *flags)
{
    struct stat_facts stat;
    if (!cbpd_read_stat_file(facts->process_id, "stat", line, &stat))
        return judge(errno);
    facts->name = stat.name;
    facts->name_size = stat.name_size;
    facts->parent_process_id = stat.parent_pid;
    facts->thread_count = stat.thread_count;
    facts->start_time = stat.start_time;
    *flags = stat.flags;
    facts->flags = CBP_SNAPSHOT_FLAG_SHORT_NAME;
    if ((stat.flags & FLAG_EXITING) && (stat.thread_count <= 1 || !has_other_thread(facts->process_id)))
        facts->flags |= CBP_SNAPSHOT_FLAG_ENDED;
    return 0;
}

static uint32_t read_program(struct walk *walk, struct cbpi_process_facts *facts)
{
    uint32_t thread_id;
    bool is_gone;
    size_t size =
        cbpd_read_program_path(facts->process_id, walk->path, sizeof walk->path, &thread_id, &is_gone);
    if (size > 0) { /* else the name in stat stands for it */
        facts->name = walk->path;
        facts->name_size = size;
        facts->flags &= ~(uint32_t) CBP_SNAPSHOT_FLAG_SHORT_NAME;
    }
    if (is_gone)
        facts->flags |= CBP_SNAPSHOT_FLAG_IMAGE_DELETED;
    return walk->with_arguments ? read_arguments(walk, facts, thread_id) : 0;
}

static uint32_t read_files(struct walk *walk, struct cbpi_process_facts *facts)
{
    uint32_t flags = 0;
    uint32_t error = read_stat(walk->stat, facts, &flags);
    read_user(facts);
    if (error != 0 || (flags & FLAG_KERNEL_THREAD) != 0)
        return error; /* a kernel thread has neither executable nor arguments */
    return read_program(walk, facts);
}

/* Reads a process as one: if its id belongs to another one by the end, it is read again. */
static uint32_t read_process(struct walk *walk, struct cbpi_process_facts *facts)
{
    for (;;) {
        struct cbpi_process_facts again = {.process_id = facts->process_id};
        char line[STAT_SIZE_MAX];
        uint32_t flags;
        uint64_t begin_ns = cbpi_now_ns();
        *facts = (struct cbpi_process_facts){.process_id = facts->process_id, .name = "", .arguments = ""};
        uint32_t error = read_files(walk, facts);
        if (error != 0 || cbpi_now_ns() - begin_ns < ID_REUSE_NS)
            return error;
        error = read_stat(line, &again, &flags);
        if (error != 0 || again.start_time == facts->start_time)
            return error;
    }
}

static bool is_process_id(const char *name)
{
    return name[0] >= '1' && name[0] <= '9' && strlen(name) < ID_SIZE_MAX;
}

static uint32_t visit_process(struct walk *walk, uint32_t process_id, cbpi_process_visitor *visit,
                              void *context)
{
    struct cbpi_process_facts facts = {.process_id = process_id};
    uint32_t error = read_process(walk, &facts);
    if (error == CBP_ERROR_NOT_FOUND)
        return 0;
    return error ? error : visit(context, &facts);
}

uint32_t cbpi_process_visit(uint32_t process_id, uint32_t with_arguments, cbpi_process_visitor *visit,
                            void *context)
{
    struct walk *walk = calloc(1, sizeof *walk);
    if (!walk)
        return cbpi_fail_os(ENOMEM, "cannot list the processes");
    walk->with_arguments = with_arguments;
    uint32_t error = visit_process(walk, process_id, visit, context);
    free(walk->arguments);
    free(walk);
    return error;
}

uint32_t cbpi_processes_visit(uint32_t with_arguments, cbpi_process_visitor *visit, void *context)
{
    uint32_t error = 0;
    const char *obstacle = cbpd_proc_obstacle();
    if (obstacle)
        return cbpi_fail(CBP_ERROR_GEN_FAILURE, "cannot list the processes: %s", obstacle);
    struct walk *walk = calloc(1, sizeof *walk);
    DIR *proc = walk ? opendir("/proc") : NULL;
    if (!proc) {
        error = cbpi_fail_os(walk ? errno : ENOMEM, "cannot list the processes");
        goto cleanup;
    }
    walk->with_arguments = with_arguments;
    const struct dirent *entry;
    errno = 0;
    while (error == 0 && (entry = readdir(proc))) {
        if (is_process_id(entry->d_name))
            error = visit_process(walk, (uint32_t) strtoul(entry->d_name, NULL, 10), visit, context);
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

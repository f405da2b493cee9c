/* Reads processes through /proc, one at a time; process_walk.c goes over all. */
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

/* Names a file of a process for calls that get reader->proc, too. */
static const char *name_of(const struct cbpi_process_reader *reader, char room[PROC_NAME_SIZE], uint32_t id,
                           const char *rest)
{
    const char *name = cbpd_proc_name(room, id, rest);
    return reader->proc == AT_FDCWD ? name : name + sizeof "/proc/" - 1;
}

static int open_file(const struct cbpi_process_reader *reader, uint32_t id, const char *rest)
{
    char room[PROC_NAME_SIZE];
    return openat(reader->proc, name_of(reader, room, id, rest), O_RDONLY | O_CLOEXEC);
}

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
static uint32_t read_arguments(struct cbpi_process_reader *reader, struct cbpi_process_facts *facts,
                               uint32_t thread_id)
{
    size_t size = 0;
    ssize_t got = 0;
    char rest[ID_SIZE_MAX + 16u] = "/cmdline";
    if (thread_id != facts->process_id)
        snprintf(rest, sizeof rest, "/task/%u/cmdline", (unsigned) thread_id);
    int fd = open_file(reader, facts->process_id, rest);
    if (fd < 0)
        return judge(errno);
    uint32_t error = 0;
    do {
        /* There is room for a NUL behind them, too. */
        char *arguments = cbpi_grow(reader->arguments, 1, size + ARGUMENTS_STEP, &reader->arguments_capacity);
        if (arguments) {
            reader->arguments = arguments;
            got = read(fd, arguments + size, reader->arguments_capacity - size - 1);
        }
        if (!arguments || got < 0)
            error = judge(arguments ? errno : ENOMEM);
        else
            size += (size_t) got;
    } while (error == 0 && got > 0 && size + 1 == reader->arguments_capacity);
    close(fd);
    /* A program that has written over its arguments need not have left a NUL at the end. */
    if (size > 0 && reader->arguments[size - 1] != '\0')
        reader->arguments[size++] = '\0';
    facts->arguments = reader->arguments;
    facts->arguments_size = size;
    return error;
}

/* The folder belongs to the user whose rights the process has, in any case (Linux: task_dump_owner()). */
static void read_user(const struct cbpi_process_reader *reader, struct cbpi_process_facts *facts)
{
    char room[PROC_NAME_SIZE];
    struct stat folder;
    if (fstatat(reader->proc, name_of(reader, room, facts->process_id, ""), &folder, 0) == 0)
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
static uint32_t read_stat(const struct cbpi_process_reader *reader, char line[STAT_SIZE_MAX],
                          struct cbpi_process_facts *facts, uint32_t *flags)
{
    struct stat_facts stat;
    int fd = open_file(reader, facts->process_id, "/stat");
    if (fd < 0)
        return judge(errno);
    ssize_t size = read(fd, line, STAT_SIZE_MAX - 1);
    int error = size < 0 ? errno : ESRCH;
    close(fd);
    line[size > 0 ? size : 0] = '\0';
    if (!cbpd_parse_stat(line, &stat))
        return judge(error);
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

/* Reads the path of the executable into reader->path, and gives its size; 0: the system does not tell it.
 * *thread_id is a thread that shows what belongs to the process. */
static size_t read_path(struct cbpi_process_reader *reader, uint32_t process_id, uint32_t *thread_id,
                        bool *is_gone)
{
    char room[PROC_NAME_SIZE];
    const char *link = name_of(reader, room, process_id, "/exe");
    ssize_t size = readlinkat(reader->proc, link, reader->path, sizeof reader->path);
    *thread_id = process_id;
    *is_gone = false;
    if (size < 0 && errno == EACCES)
        return 0;
    /* Most paths are whole, and of a file that is there: "PATH (deleted)" is not. */
    if (size > 0 && (size_t) size < sizeof reader->path && reader->path[size - 1] != ')')
        return (size_t) size;
    return cbpd_read_program_path(process_id, reader->path, sizeof reader->path, thread_id, is_gone);
}

static uint32_t read_program(struct cbpi_process_reader *reader, struct cbpi_process_facts *facts)
{
    uint32_t thread_id;
    bool is_gone;
    size_t size = read_path(reader, facts->process_id, &thread_id, &is_gone);
    if (size > 0) { /* else the name in stat stands for it */
        facts->name = reader->path;
        facts->name_size = size;
        facts->flags &= ~(uint32_t) CBP_SNAPSHOT_FLAG_SHORT_NAME;
    }
    if (is_gone)
        facts->flags |= CBP_SNAPSHOT_FLAG_IMAGE_DELETED;
    return reader->with_arguments ? read_arguments(reader, facts, thread_id) : 0;
}

static uint32_t read_files(struct cbpi_process_reader *reader, struct cbpi_process_facts *facts)
{
    uint32_t flags = 0;
    uint32_t error = read_stat(reader, reader->stat, facts, &flags);
    read_user(reader, facts);
    if (error != 0 || (flags & FLAG_KERNEL_THREAD) != 0)
        return error; /* a kernel thread has neither executable nor arguments */
    return read_program(reader, facts);
}

uint32_t cbpi_process_read(struct cbpi_process_reader *reader, struct cbpi_process_facts *facts)
{
    for (;;) {
        struct cbpi_process_facts again = {.process_id = facts->process_id};
        char line[STAT_SIZE_MAX];
        uint32_t flags;
        uint64_t begin_ns = cbpi_now_ns();
        *facts = (struct cbpi_process_facts){.process_id = facts->process_id, .name = "", .arguments = ""};
        uint32_t error = read_files(reader, facts);
        if (error != 0 || cbpi_now_ns() - begin_ns < ID_REUSE_NS)
            return error;
        error = read_stat(reader, line, &again, &flags);
        if (error != 0 || again.start_time == facts->start_time)
            return error;
    }
}

uint32_t cbpi_process_visit(uint32_t process_id, uint32_t with_arguments, cbpi_process_visitor *visit,
                            void *context)
{
    struct cbpi_process_facts facts = {.process_id = process_id};
    struct cbpi_process_reader *reader = calloc(1, sizeof *reader);
    if (!reader)
        return cbpi_fail_os(ENOMEM, "cannot list the processes");
    reader->proc = AT_FDCWD;
    reader->with_arguments = with_arguments;
    uint32_t error = cbpi_process_read(reader, &facts);
    if (error == 0)
        error = visit(context, &facts);
    else if (error == CBP_ERROR_NOT_FOUND)
        error = 0;
    free(reader->arguments);
    free(reader);
    return error;
}

/* Facts that only /proc tells. Every function answers for a task that is gone. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "beside.h"
#include "proc_name.h"
#include "tracer.h"

enum { STAT_PARENT = 4, STAT_THREAD_COUNT = 20, STAT_START_TIME = 22, DIGITS_MAX = 10 };

const char *cbpd_proc_name(char room[PROC_NAME_SIZE], uint32_t id, const char *rest)
{
    static const char folder[] = "/proc/";
    char *start = room + sizeof folder - 1 + DIGITS_MAX;
    memcpy(start, rest, strlen(rest) + 1);
    do
        *--start = (char) ('0' + id % 10);
    while ((id /= 10) != 0);
    start -= sizeof folder - 1;
    memcpy(start, folder, sizeof folder - 1);
    return start;
}

bool cbpd_read_program_identity(uint32_t tid, struct file_identity *identity)
{
    struct statx facts;
    char room[PROC_NAME_SIZE];
    if (statx(AT_FDCWD, cbpd_proc_name(room, tid, "/exe"), AT_STATX_DONT_SYNC, STATX_INO, &facts) != 0)
        return false;
    identity->device = makedev(facts.stx_dev_major, facts.stx_dev_minor);
    identity->inode = facts.stx_ino;
    return true;
}

size_t cbpd_read_proc_file(uint32_t id, const char *name, char *buffer, size_t size)
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

/* What is looked up in the folder of a task by cbpd_look_now(): the task can make that last. */
struct stat_look {
    uint32_t pid;
    int wanted;
    bool is_of_thread; /* the first thread's own file, which does not add up the times of all threads */
    bool is_known;
    uint64_t value;
};

static void look_for_stat_number(void *block)
{
    struct stat_look *look = block;
    char stat[2048]; /* 52 numbers of up to 20 digits and a name of up to 64 bytes */
    char name[32] = "stat";
    if (look->is_of_thread)
        snprintf(name, sizeof name, "task/%u/stat", look->pid);
    if (cbpd_read_proc_file(look->pid, name, stat, sizeof stat) == 0)
        return;
    char *field = strrchr(stat, ')');
    for (int number = 2; field != NULL && number < look->wanted; number++)
        field = strchr(field + 1, ' ');
    look->is_known = field != NULL;
    look->value = field != NULL ? strtoull(field + 1, NULL, 10) : 0;
}

/* A field of /proc/PID/stat, counted behind the name, which may hold anything, parentheses too. 0: gone. */
static uint64_t stat_number(struct tracer *self, uint32_t pid, int wanted)
{
    struct stat_look look = {.pid = pid, .wanted = wanted};
    return cbpd_look_now(served_tree(self), look_for_stat_number, &look, sizeof look) ? look.value : 0;
}

uint64_t cbpd_read_start_time(struct tracer *self, uint32_t pid)
{
    return stat_number(self, pid, STAT_START_TIME);
}

bool cbpd_read_parent(struct tracer *self, uint32_t pid, uint32_t *parent_pid)
{
    struct stat_look look = {.pid = pid, .wanted = STAT_PARENT, .is_of_thread = true};
    bool is_done = cbpd_look_now(served_tree(self), look_for_stat_number, &look, sizeof look);
    *parent_pid = (uint32_t) look.value;
    return is_done && look.is_known;
}

/* Without a look into /proc where the process can only have started in the tick that still lasts: the kernel
 * takes the time from the same clock and rounds it down. */
uint64_t cbpd_start_time_since(struct tracer *self, uint32_t pid, uint64_t earliest_ns)
{
    uint64_t tick = cbpd_boot_ticks();
    return earliest_ns != 0 && cbpd_ticks_of(earliest_ns) == tick ? tick : cbpd_read_start_time(self, pid);
}

/* ---- Files of labelled lines ---- */

/* Reads a file line by line, however long a line or the file is: the groups of a user and the locks of a
 * descriptor can fill pages, and what is asked for may stand behind them. */
struct line_reader {
    int fd;
    size_t start, size; /* of what has been read and not given yet */
    size_t budget;      /* bytes that may still be read */
    bool is_cut;        /* its end was not reached */
    char bytes[4096];
};

enum { STATUS_SIZE_MAX = 1 << 20, DESCRIPTOR_SIZE_MAX = 1 << 16, MOUNTS_SIZE_MAX = 1 << 20 };

static bool open_lines(struct line_reader *reader, uint32_t id, const char *name, size_t size_max)
{
    char path[96];
    snprintf(path, sizeof path, "/proc/%u/%s", id, name);
    reader->fd = open(path, O_RDONLY | O_CLOEXEC);
    reader->start = reader->size = 0;
    reader->budget = size_max;
    reader->is_cut = false;
    return reader->fd >= 0;
}

static bool read_more(struct line_reader *reader)
{
    memmove(reader->bytes, reader->bytes + reader->start, reader->size);
    reader->start = 0;
    size_t room = sizeof reader->bytes - reader->size;
    ssize_t got = room < reader->budget ? read(reader->fd, reader->bytes + reader->size, room) : -1;
    reader->is_cut = got < 0;
    if (got <= 0)
        return false;
    reader->size += (size_t) got;
    reader->budget -= (size_t) got;
    return true;
}

/* The next line, without its end; valid until the next call. Of one that is longer than the buffer only the
 * last part is given, which begins with no label. NULL: there is none, or the file is too long. */
static char *next_line(struct line_reader *reader)
{
    for (;;) {
        char *line = reader->bytes + reader->start;
        char *end = memchr(line, '\n', reader->size);
        if (end != NULL) {
            size_t length = (size_t) (end - line) + 1;
            *end = 0;
            reader->start += length;
            reader->size -= length;
            return line;
        }
        if (reader->size == sizeof reader->bytes) {
            reader->bytes[sizeof reader->bytes - 1] = ' ';
            reader->start = sizeof reader->bytes - 1;
            reader->size = 1;
        }
        if (!read_more(reader))
            return NULL;
    }
}

/* The text behind a label, or NULL if the line has another one. */
static const char *labelled(const char *line, const char *label)
{
    size_t size = strlen(label);
    return strncmp(line, label, size) == 0 ? line + size : NULL;
}

/* ---- Tasks ---- */

/* Numbers with tabs before them: a task's id in each PID namespace, from the one of /proc to its own. */
static uint32_t take_ids(const char *at, uint32_t ids[NAMESPACE_DEPTH_MAX])
{
    uint32_t count = 0;
    while (count < NAMESPACE_DEPTH_MAX && *at == '\t') {
        char *end;
        ids[count++] = (uint32_t) strtoul(at, &end, 10);
        at = end;
    }
    return count;
}

static void take_user_ids(const char *text, struct status_facts *facts)
{
    if (sscanf(text, "%" SCNu32 " %" SCNu32 " %" SCNu32, &facts->user_id, &facts->effective_user_id,
               &facts->saved_user_id) != 3)
        facts->user_id = UINT32_MAX;
}

/* Source: proc_pid_status(5); the number of filters is the last line that is needed. */
static void take_status_line(const char *line, struct status_facts *facts)
{
    const char *text;
    if ((text = labelled(line, "State:\t")) != NULL)
        facts->state = *text;
    else if ((text = labelled(line, "Tgid:\t")) != NULL)
        facts->group = (uint32_t) strtoul(text, NULL, 10);
    else if ((text = labelled(line, "PPid:\t")) != NULL)
        facts->parent_pid = (uint32_t) strtoul(text, NULL, 10);
    else if ((text = labelled(line, "TracerPid:\t")) != NULL)
        facts->tracer_pid = (uint32_t) strtoul(text, NULL, 10);
    else if ((text = labelled(line, "Uid:\t")) != NULL)
        take_user_ids(text, facts);
    else if ((text = labelled(line, "NSpid:")) != NULL)
        facts->depth = take_ids(text, facts->ids);
    else if ((text = labelled(line, "NSpgid:")) != NULL)
        facts->group_depth = take_ids(text, facts->group_ids);
    else if ((text = labelled(line, "Seccomp:\t")) != NULL)
        facts->has_filter = *text != '0';
    else if ((text = labelled(line, "Seccomp_filters:\t")) != NULL)
        facts->filter_count = (uint32_t) strtoul(text, NULL, 10);
}

/* A kernel without PID namespaces does not tell of them. */
static void assume_one_namespace(uint32_t tid, struct status_facts *facts)
{
    facts->depth = facts->group_depth = 1;
    facts->ids[0] = tid;
    facts->group_ids[0] = cbpd_process_group_of(tid);
}

static bool read_status_file(uint32_t tid, struct status_facts *facts)
{
    struct line_reader reader;
    const char *line;
    if (!open_lines(&reader, tid, "status", STATUS_SIZE_MAX))
        return false;
    while (facts->filter_count == UINT32_MAX && (line = next_line(&reader)) != NULL)
        take_status_line(line, facts);
    close(reader.fd);
    if (!reader.is_cut && facts->group != 0 && facts->depth == 0)
        assume_one_namespace(tid, facts);
    return facts->group != 0 && facts->user_id != UINT32_MAX && facts->group_depth != 0;
}

struct status_look {
    uint32_t tid;
    bool is_known;
    struct status_facts facts;
};

static void look_for_status(void *block)
{
    struct status_look *look = block;
    look->is_known = read_status_file(look->tid, &look->facts);
}

bool cbpd_read_status(struct tracer *self, uint32_t tid, struct status_facts *facts)
{
    struct status_look look = {.tid = tid};
    look.facts.state = '?';
    look.facts.has_filter = true;
    look.facts.filter_count = UINT32_MAX;
    look.facts.user_id = look.facts.effective_user_id = look.facts.saved_user_id = UINT32_MAX;
    bool is_done = cbpd_look_now(served_tree(self), look_for_status, &look, sizeof look);
    *facts = look.facts;
    return is_done && look.is_known;
}

bool cbpd_is_there(uint32_t tid)
{
    return tid != 0 && (kill((pid_t) tid, 0) == 0 || errno != ESRCH);
}

uint32_t cbpd_process_group_of(uint32_t tid)
{
    pid_t group = getpgid((pid_t) tid);
    return group > 0 ? (uint32_t) group : 0;
}

uint32_t cbpd_count_threads(struct tracer *self, uint32_t pid)
{
    return (uint32_t) stat_number(self, pid, STAT_THREAD_COUNT);
}

/* Nothing is waited for: the file has just been executed, so that a path which leads to it is in the kernel's
 * memory, and what answers for another file may be the tree's own, a FUSE server that keeps us waiting. */
static int open_known_path(const char *path)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_CACHED};
    int fd = (int) syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
    if (fd < 0 && (errno == ENOSYS || errno == EINVAL) && !cbpd_anything_may_block()) /* before Linux 5.12 */
        fd = open(path, O_PATH | O_CLOEXEC);
    return fd;
}

bool cbpd_path_leads_to_file(const struct cbpd_image_file *file)
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

struct namespace_look {
    uint32_t tid;
    uint64_t inode;
};

static void look_for_namespace(void *block)
{
    struct namespace_look *look = block;
    char path[64];
    struct stat status;
    snprintf(path, sizeof path, "/proc/%u/ns/pid", look->tid);
    look->inode = stat(path, &status) == 0 ? status.st_ino : 0;
}

uint64_t cbpd_read_pid_namespace(struct tracer *self, uint32_t tid)
{
    struct namespace_look look = {.tid = tid};
    return cbpd_look_now(served_tree(self), look_for_namespace, &look, sizeof look) ? look.inode : 0;
}

/* ---- Descriptors ---- */

/* Whether a task's descriptors can be looked at at all; then one that is not found is not there. */
static bool descriptors_are_shown(uint32_t tid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%u/fdinfo", tid);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool is_shown = fd >= 0 && faccessat(fd, ".", R_OK | X_OK, AT_EACCESS) == 0;
    if (fd >= 0)
        close(fd);
    return is_shown;
}

static enum knowledge read_descriptor_file(uint32_t tid, int fd, struct descriptor_facts *facts)
{
    char name[64];
    const char *line, *text;
    struct line_reader reader;
    memset(facts, 0, sizeof *facts);
    snprintf(name, sizeof name, "fdinfo/%d", fd);
    if (!open_lines(&reader, tid, name, DESCRIPTOR_SIZE_MAX))
        return errno == ENOENT && descriptors_are_shown(tid) ? ABSENT : NOT_KNOWN;
    bool has_flags = false;
    while (!facts->is_pidfd && (line = next_line(&reader)) != NULL) {
        if ((text = labelled(line, "flags:\t")) != NULL) {
            facts->flags = (uint32_t) strtoul(text, NULL, 8);
            has_flags = true;
        } else if ((text = labelled(line, "mnt_id:\t")) != NULL) {
            facts->mount_id = (uint32_t) strtoul(text, NULL, 10);
        } else if ((text = labelled(line, "Pid:\t")) != NULL) {
            facts->pid = (uint32_t) strtol(text, NULL, 10);
            facts->is_pidfd = true;
        }
    }
    close(reader.fd);
    return has_flags && !reader.is_cut ? KNOWN : NOT_KNOWN;
}

struct descriptor_look {
    uint32_t tid;
    int fd;
    enum knowledge knowledge;
    struct descriptor_facts facts;
};

static void look_for_descriptor(void *block)
{
    struct descriptor_look *look = block;
    look->knowledge = read_descriptor_file(look->tid, look->fd, &look->facts);
}

enum knowledge cbpd_read_descriptor(struct tracer *self, uint32_t tid, int fd, struct descriptor_facts *facts)
{
    struct descriptor_look look = {.tid = tid, .fd = fd};
    bool is_done = cbpd_look_now(served_tree(self), look_for_descriptor, &look, sizeof look);
    *facts = look.facts;
    return is_done ? look.knowledge : NOT_KNOWN;
}

/* Whether a mount that a task sees is one of procfs. By the list of mounts: to ask the file system itself
 * could take for ever, if the task has made it. Source: proc_pid_mountinfo(5). */
static enum knowledge is_proc_mount(uint32_t tid, uint32_t mount_id)
{
    struct line_reader reader;
    const char *line;
    enum knowledge found = NOT_KNOWN;
    if (!open_lines(&reader, tid, "mountinfo", MOUNTS_SIZE_MAX))
        return NOT_KNOWN;
    while (found == NOT_KNOWN && (line = next_line(&reader)) != NULL)
        if (strtoul(line, NULL, 10) == mount_id)
            found = strstr(line, " - proc ") != NULL ? KNOWN : ABSENT;
    close(reader.fd);
    return found;
}

/* The folder's own entries tell whose it is; what its path says anybody can make up with a mount. Only the
 * folder of a process has one for its threads. */
static enum knowledge read_folder(uint32_t tid, int fd, const struct descriptor_facts *facts, uint32_t *id,
                                  bool *is_ours)
{
    char folder[64], name[80];
    struct stat status, ours;
    struct line_reader reader;
    const char *line, *text;
    snprintf(folder, sizeof folder, "/proc/%u/fd/%d", tid, fd);
    ssize_t size = readlink(folder, name, sizeof name);
    if (size > 0 && name[0] != '/')
        return ABSENT; /* a pipe, a socket */
    enum knowledge is_proc = is_proc_mount(tid, facts->mount_id);
    if (is_proc != KNOWN)
        return is_proc;
    snprintf(name, sizeof name, "%s/task", folder);
    if (access(name, F_OK) != 0)
        return errno == ENOENT || errno == ENOTDIR ? ABSENT : NOT_KNOWN;
    if (stat(folder, &status) != 0 || stat("/proc", &ours) != 0)
        return NOT_KNOWN;
    *is_ours = status.st_dev == ours.st_dev;
    snprintf(name, sizeof name, "fd/%d/status", fd);
    if (!open_lines(&reader, tid, name, STATUS_SIZE_MAX))
        return NOT_KNOWN;
    *id = 0;
    while (*id == 0 && (line = next_line(&reader)) != NULL)
        if ((text = labelled(line, "Pid:\t")) != NULL)
            *id = (uint32_t) strtoul(text, NULL, 10);
    close(reader.fd);
    return *id != 0 ? KNOWN : NOT_KNOWN;
}

struct folder_look {
    uint32_t tid;
    int fd;
    struct descriptor_facts facts;
    uint32_t id;
    bool is_ours;
    enum knowledge knowledge;
};

static void look_for_folder(void *block)
{
    struct folder_look *look = block;
    look->knowledge = read_folder(look->tid, look->fd, &look->facts, &look->id, &look->is_ours);
}

enum knowledge cbpd_read_process_folder(struct tracer *self, uint32_t tid, int fd,
                                        const struct descriptor_facts *facts, uint32_t *id, bool *is_ours)
{
    struct folder_look look = {.tid = tid, .fd = fd, .facts = *facts};
    bool is_done = cbpd_look_now(served_tree(self), look_for_folder, &look, sizeof look);
    *id = look.id;
    *is_ours = look.is_ours;
    return is_done ? look.knowledge : NOT_KNOWN;
}

/* Reads facts that only /proc has. Every function also answers for a task that is gone. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "tracer.h"

/* cbpd_look_now() looks up a process's times like this, because the task can make that last. */
struct stat_look {
    uint32_t pid;
    bool is_of_thread; /* of the first thread only, whose file does not add up the times of all threads */
    struct stat_facts facts;
};

static enum knowledge look_for_stat(void *block)
{
    struct stat_look *look = block;
    char line[STAT_SIZE_MAX];
    char name[32] = "stat";
    if (look->is_of_thread)
        snprintf(name, sizeof name, "task/%u/stat", look->pid);
    if (!cbpd_read_stat_file(look->pid, name, line, &look->facts))
        return NOT_KNOWN;
    look->facts.name = NULL;
    return KNOWN;
}

/* Reads a process's facts. All 0: it is gone or hidden. */
static struct stat_facts read_stat(struct tracer *self, uint32_t pid)
{
    struct stat_look look = {.pid = pid};
    (void) look_now(self, look_for_stat, &look, sizeof look);
    return look.facts;
}

uint64_t cbpd_read_start_time(struct tracer *self, uint32_t pid)
{
    return read_stat(self, pid).start_time;
}

bool cbpd_read_parent(struct tracer *self, uint32_t pid, uint32_t *parent_pid)
{
    struct stat_look look = {.pid = pid, .is_of_thread = true};
    enum knowledge knowledge = look_now(self, look_for_stat, &look, sizeof look);
    *parent_pid = look.facts.parent_pid;
    return knowledge == KNOWN;
}

/* Reads no file if the process can only have started in the current tick, by the kernel's own clock. */
uint64_t cbpd_start_time_since(struct tracer *self, uint32_t pid, uint64_t earliest_ns)
{
    uint64_t tick = cbpd_boot_ticks();
    return earliest_ns != 0 && cbpd_ticks_of(earliest_ns) == tick ? tick : cbpd_read_start_time(self, pid);
}

enum { DESCRIPTOR_SIZE_MAX = 1 << 16, MOUNTS_SIZE_MAX = 1 << 20 };

struct status_look {
    uint32_t tid;
    struct status_facts facts;
};

static enum knowledge look_for_status(void *block)
{
    struct status_look *look = block;
    return cbpd_read_status_file(look->tid, &look->facts) ? KNOWN : NOT_KNOWN;
}

bool cbpd_read_status(struct tracer *self, uint32_t tid, struct status_facts *facts)
{
    struct status_look look = {.tid = tid};
    enum knowledge knowledge = look_now(self, look_for_status, &look, sizeof look);
    *facts = look.facts;
    return knowledge == KNOWN;
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
    return read_stat(self, pid).thread_count;
}

/* Opens a file that has just been executed, without waiting: its path is in the kernel's memory. Another
 * file's look-up may wait for a server that belongs to the tree (FUSE). */
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

static enum knowledge look_for_namespace(void *block)
{
    struct namespace_look *look = block;
    char room[PROC_NAME_SIZE];
    struct stat status;
    if (stat(cbpd_proc_name(room, look->tid, "/ns/pid"), &status) != 0)
        return NOT_KNOWN;
    look->inode = status.st_ino;
    return KNOWN;
}

uint64_t cbpd_read_pid_namespace(struct tracer *self, uint32_t tid)
{
    struct namespace_look look = {.tid = tid};
    (void) look_now(self, look_for_namespace, &look, sizeof look);
    return look.inode;
}

/* ---- Descriptors ---- */

/* Says whether a task's descriptors can be read at all: then a missing one does not exist. */
static bool descriptors_are_shown(uint32_t tid)
{
    int fd = cbpd_open_proc(tid, "fdinfo", O_RDONLY | O_DIRECTORY);
    bool is_shown = fd >= 0 && faccessat(fd, ".", R_OK | X_OK, AT_EACCESS) == 0;
    if (fd >= 0)
        close(fd);
    return is_shown;
}

struct descriptor_look {
    uint32_t tid;
    int fd;
    struct descriptor_facts facts;
};

static enum knowledge look_for_descriptor(void *block)
{
    struct descriptor_look *look = block;
    struct descriptor_facts *facts = &look->facts;
    char name[64];
    const char *line, *text;
    struct cbpd_lines reader;
    bool has_flags = false;
    snprintf(name, sizeof name, "fdinfo/%d", look->fd);
    if (!cbpd_open_lines(&reader, look->tid, name, DESCRIPTOR_SIZE_MAX))
        return errno == ENOENT && descriptors_are_shown(look->tid) ? ABSENT : NOT_KNOWN;
    while (!facts->is_pidfd && (line = cbpd_next_line(&reader))) {
        if (cbpd_has_label(line, "flags:\t", &text)) {
            facts->flags = (uint32_t) strtoul(text, NULL, 8);
            has_flags = true;
        } else if (cbpd_has_label(line, "mnt_id:\t", &text)) {
            facts->mount_id = (uint32_t) strtoul(text, NULL, 10);
        } else if (cbpd_has_label(line, "Pid:\t", &text)) {
            facts->pid = (uint32_t) strtol(text, NULL, 10);
            facts->is_pidfd = true;
        }
    }
    close(reader.fd);
    return has_flags && !reader.is_cut ? KNOWN : NOT_KNOWN;
}

enum knowledge cbpd_read_descriptor(struct tracer *self, uint32_t tid, int fd, struct descriptor_facts *facts)
{
    struct descriptor_look look = {.tid = tid, .fd = fd};
    enum knowledge knowledge = look_now(self, look_for_descriptor, &look, sizeof look);
    *facts = look.facts;
    return knowledge;
}

/* Says whether a mount that a task sees is procfs, by the list of mounts. To ask the file system itself could
 * last for ever if the task has made it. Source: proc_pid_mountinfo(5). */
static enum knowledge is_proc_mount(uint32_t tid, uint32_t mount_id)
{
    struct cbpd_lines reader;
    const char *line;
    enum knowledge found = NOT_KNOWN;
    if (!cbpd_open_lines(&reader, tid, "mountinfo", MOUNTS_SIZE_MAX))
        return NOT_KNOWN;
    while (found == NOT_KNOWN && (line = cbpd_next_line(&reader)))
        if (strtoul(line, NULL, 10) == mount_id)
            found = strstr(line, " - proc ") ? KNOWN : ABSENT;
    close(reader.fd);
    return found;
}

/* Finds the process of a folder by its entries, because a mount can make up its path. Only the folder of a
 * process has one for threads. */
static enum knowledge look_for_folder(void *block)
{
    struct descriptor_look *look = block;
    struct descriptor_facts *facts = &look->facts;
    char folder[64], name[80];
    struct stat status, ours;
    struct cbpd_lines reader;
    const char *line, *text;
    snprintf(folder, sizeof folder, "/proc/%u/fd/%d", look->tid, look->fd);
    ssize_t size = readlink(folder, name, sizeof name);
    if (size > 0 && name[0] != '/')
        return ABSENT; /* a pipe or a socket */
    enum knowledge is_proc = is_proc_mount(look->tid, facts->mount_id);
    if (is_proc != KNOWN)
        return is_proc;
    snprintf(name, sizeof name, "%s/task", folder);
    if (access(name, F_OK) != 0)
        return errno == ENOENT || errno == ENOTDIR ? ABSENT : NOT_KNOWN;
    if (stat(folder, &status) != 0 || stat("/proc", &ours) != 0)
        return NOT_KNOWN;
    facts->is_our_folder = status.st_dev == ours.st_dev;
    snprintf(name, sizeof name, "fd/%d/status", look->fd);
    if (!cbpd_open_lines(&reader, look->tid, name, STATUS_SIZE_MAX))
        return NOT_KNOWN;
    while (facts->pid == 0 && (line = cbpd_next_line(&reader)))
        if (cbpd_has_label(line, "Pid:\t", &text))
            facts->pid = (uint32_t) strtoul(text, NULL, 10);
    close(reader.fd);
    return facts->pid != 0 ? KNOWN : NOT_KNOWN;
}

enum knowledge cbpd_read_process_folder(struct tracer *self, uint32_t tid, int fd,
                                        struct descriptor_facts *facts)
{
    struct descriptor_look look = {.tid = tid, .fd = fd, .facts = *facts};
    enum knowledge knowledge = look_now(self, look_for_folder, &look, sizeof look);
    *facts = look.facts;
    return knowledge;
}

/* Finds out whether anything that a tree can reach may fail to answer: a file system that a program or
 * another machine serves, or memory whose faults a program handles (userfaultfd). Without such a thing every
 * look at a path, a file or a task's memory ends by itself, and is made at once. Else beside.h applies.
 *
 * A program without privileges can make such a file system only by opening /dev/fuse. Before the kernel
 * returns to that program, it queues a note and sends the tracer a signal (SIGIO). So the tracer has the
 * signal before it learns of anything that the program did afterwards. A thread looks for everything else:
 * the administrator's mounts, and what is older than the helper. Knows no tasks, no rules and no jobs. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "beside.h"
#include "cbp_atomic.h"
#include "tracer.h"

static uint32_t is_at_risk = 1; /* atomic; true until the first look */
static uint32_t is_noted;       /* atomic; a device has been opened since; never reset */
static int notes = -1;          /* an inotify descriptor */

/* The kernel itself has the files of these systems, or reads them from a disk of this machine. */
static const char *const local_systems[] = {
    "autofs",  "bcachefs",   "binfmt_misc", "bpf",       "btrfs",     "cgroup",   "cgroup2", "configfs",
    "cramfs",  "debugfs",    "devpts",      "devtmpfs",  "efivarfs",  "erofs",    "exfat",   "ext2",
    "ext3",    "ext4",       "f2fs",        "fusectl",   "hugetlbfs", "iso9660",  "jfs",     "mqueue",
    "msdos",   "nilfs2",     "nsfs",        "ntfs3",     "overlay",   "proc",     "pstore",  "ramfs",
    "rootfs",  "rpc_pipefs", "securityfs",  "selinuxfs", "smackfs",   "squashfs", "sysfs",   "tmpfs",
    "tracefs", "udf",        "vfat",        "xfs",       "zfs",
};

static bool is_local(const char *type, const char *mount_point)
{
    if (strcmp(type, "autofs") == 0) /* a look-up waits for a daemon; this one's is the init system */
        return strcmp(mount_point, "/proc/sys/fs/binfmt_misc") == 0;
    for (size_t i = 0; i < sizeof local_systems / sizeof local_systems[0]; i++)
        if (strcmp(type, local_systems[i]) == 0)
            return true;
    return false;
}

/* Reads a line of mountinfo: the fifth field is the mount point, and the type follows " - ". */
static bool is_local_line(char *line)
{
    char *separator = strstr(line, " - "), *point = line, *rest = NULL;
    if (!separator)
        return true;
    *separator = 0;
    char *type = strtok_r(separator + 3, " \n", &rest);
    for (int field = 1; field < 5 && point; field++) {
        point = strchr(point, ' ');
        point += point ? 1 : 0;
    }
    if (point)
        point[strcspn(point, " ")] = 0;
    return type && is_local(type, point ? point : "");
}

static bool has_local_mounts_only(const char *path)
{
    char *line = NULL;
    size_t capacity = 0;
    bool all = true;
    FILE *list = fopen(path, "re");
    if (!list)
        return false;
    while (all && getline(&line, &capacity, list) > 0)
        all = is_local_line(line);
    all = all && feof(list) != 0; /* else memory was lacking, or reading failed before the end */
    free(line);
    fclose(list);
    return all;
}

/* ---- What is older than the helper or out of its sight ---- */

static bool is_registered(const char *type)
{
    char line[128];
    bool found = false;
    FILE *list = fopen("/proc/filesystems", "re");
    if (!list)
        return true;
    while (!found && fgets(line, sizeof line, list))
        found = strncmp(line + strcspn(line, "\t") + 1, type, strlen(type)) == 0;
    fclose(list);
    return found;
}

/* Says whether a process in another mount namespace has risky mounts. Neither the helper nor its trees can
 * enter the namespaces of processes that the helper must not read. */
static bool has_far_mounts(const char *id, const char *own_namespace)
{
    char path[64], name[64] = "";
    snprintf(path, sizeof path, "/proc/%.20s/ns/mnt", id);
    if (readlink(path, name, sizeof name - 1) <= 0 || strcmp(name, own_namespace) == 0)
        return false;
    snprintf(path, sizeof path, "/proc/%.20s/mountinfo", id);
    return access(path, R_OK) == 0 && !has_local_mounts_only(path);
}

static bool has_mounts_elsewhere(void)
{
    char own_namespace[64] = "";
    bool found = false;
    struct dirent *entry;
    DIR *folder = opendir("/proc");
    if (!folder || readlink("/proc/self/ns/mnt", own_namespace, sizeof own_namespace - 1) <= 0)
        found = true;
    while (!found && (errno = 0, entry = readdir(folder)))
        found = isdigit((unsigned char) entry->d_name[0]) && has_far_mounts(entry->d_name, own_namespace);
    found |= errno != 0;
    if (folder)
        closedir(folder);
    return found;
}

/* Kernels before 5.11 let every program handle the kernel's faults, too, unless told otherwise. */
static bool everybody_may_handle_faults(void)
{
    char value = '0';
    int fd = open("/proc/sys/vm/unprivileged_userfaultfd", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false; /* this kernel has no such thing */
    bool may = read(fd, &value, 1) != 1 || value != '0';
    close(fd);
    return may;
}

/* ---- What comes later ---- */

/* Watches a device. One that the helper may not open is closed to its trees, too. The kernel makes a missing
 * one when it is first needed, so the watch is then on the folder. */
static bool watch_device(const char *path)
{
    if (inotify_add_watch(notes, path, IN_OPEN) >= 0 || errno == EACCES)
        return true;
    return errno == ENOENT && inotify_add_watch(notes, "/dev", IN_CREATE | IN_MOVED_TO) >= 0;
}

static void look_for_risk(bool is_first)
{
    if (!has_local_mounts_only("/proc/self/mountinfo"))
        cbp_store_u32(&is_at_risk, 1);
    else if (is_first && !everybody_may_handle_faults() &&
             (!is_registered("fuse") || !has_mounts_elsewhere()))
        cbp_store_u32(&is_at_risk, 0);
}

static void *watch_mounts(void *unused)
{
    (void) unused;
    cbpd_leave_descriptors(); /* a process's folder may keep this thread waiting */
    struct pollfd mounts = {.fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC), .events = POLLPRI};
    look_for_risk(mounts.fd >= 0);
    while (mounts.fd >= 0)
        if (poll(&mounts, 1, -1) > 0)
            look_for_risk(false);
    return NULL;
}

static void take_note(int number)
{
    (void) number;
    cbp_store_u32(&is_noted, 1);
}

/* Sends notes as a signal to the calling thread, the tracer. */
static bool listen_for_notes(void)
{
    struct sigaction action = {.sa_handler = take_note, .sa_flags = SA_RESTART};
    struct f_owner_ex owner = {.type = F_OWNER_TID, .pid = (pid_t) syscall(SYS_gettid)};
    notes = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    return notes >= 0 && sigaction(SIGIO, &action, NULL) == 0 && fcntl(notes, F_SETOWN_EX, &owner) == 0 &&
           fcntl(notes, F_SETFL, O_NONBLOCK | O_ASYNC) == 0 && watch_device("/dev/fuse") &&
           watch_device("/dev/userfaultfd");
}

void cbpd_watch_for_risk(void)
{
    pthread_t thread;
    sigset_t all, before;
    if (!listen_for_notes())
        return;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&thread, NULL, watch_mounts, NULL) == 0)
        pthread_detach(thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

bool cbpd_anything_may_block(void)
{
    return cbp_load_u32(&is_at_risk) != 0 || cbp_load_u32(&is_noted) != 0;
}

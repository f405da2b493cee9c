/* Whether anything that a tree can reach may fail to answer: a file system that a program or another machine
 * serves, or memory whose faults a program handles (userfaultfd). Without such a thing every look at a path,
 * a file or a task's memory ends by itself, and is done at once; see beside.h for what is done otherwise.
 *
 * A program without privileges can make such a file system only by opening /dev/fuse. The kernel puts a note
 * of that into our queue, and sends the tracer a signal (SIGIO), before it returns to the program: so the
 * tracer has taken the signal when it learns from the kernel of anything that the program did afterwards.
 * Everything else - mounts of the administrator's, what was there before us - a thread of its
 * own looks for. Knows Linux; nothing of tasks, rules or jobs. */
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

static uint32_t is_at_risk = 1; /* atomic: until the first look */
static uint32_t is_noted;       /* atomic: a device has been opened since; never taken back */
static int notes = -1;          /* an inotify descriptor */

/* Those whose files the kernel has, or reads from a disk of this machine. */
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
    if (strcmp(type, "autofs") == 0) /* a look-up waits for a daemon; that of this one is the init system */
        return strcmp(mount_point, "/proc/sys/fs/binfmt_misc") == 0;
    for (size_t i = 0; i < sizeof local_systems / sizeof local_systems[0]; i++)
        if (strcmp(type, local_systems[i]) == 0)
            return true;
    return false;
}

/* One line of mountinfo: the mount point is its fifth field, the type follows " - ". */
static bool is_local_line(char *line)
{
    char *separator = strstr(line, " - "), *point = line, *rest = NULL;
    if (!separator)
        return true;
    *separator = 0;
    char *type = strtok_r(separator + 3, " \n", &rest);
    for (int field = 1; field < 5 && point; field++)
        point = (point = strchr(point, ' ')) != NULL ? point + 1 : NULL;
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
    all = all && feof(list) != 0; /* else memory was lacking, or it could not be read to its end */
    free(line);
    fclose(list);
    return all;
}

/* ---- What was there before us, out of our sight ---- */

static bool is_registered(const char *type)
{
    char line[128];
    bool found = false;
    FILE *list = fopen("/proc/filesystems", "re");
    if (!list)
        return true;
    while (!found && fgets(line, sizeof line, list) != NULL)
        found = strncmp(line + strcspn(line, "\t") + 1, type, strlen(type)) == 0;
    fclose(list);
    return found;
}

/* Whether a process of ours lives in another mount namespace that has something. Others' are not to be
 * entered by us, nor by a tree that we trace. */
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
    if (folder == NULL || readlink("/proc/self/ns/mnt", own_namespace, sizeof own_namespace - 1) <= 0)
        found = true;
    while (!found && (errno = 0, entry = readdir(folder)) != NULL)
        found = isdigit((unsigned char) entry->d_name[0]) && has_far_mounts(entry->d_name, own_namespace);
    found |= errno != 0;
    if (folder)
        closedir(folder);
    return found;
}

/* Kernels before 5.11 let everybody handle faults of the kernel, too, unless told otherwise. */
static bool everybody_may_handle_faults(void)
{
    char value = '0';
    int fd = open("/proc/sys/vm/unprivileged_userfaultfd", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false; /* no such thing in this kernel */
    bool may = read(fd, &value, 1) != 1 || value != '0';
    close(fd);
    return may;
}

/* ---- What comes while we are there ---- */

/* What we may not open, nobody in a tree of ours may. What is missing is made by the kernel when it is first
 * needed; that there is something new in the folder is told as well. */
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

static void *watch(void *unused)
{
    (void) unused;
    cbpd_leave_descriptors(); /* a process's folder may keep it waiting, too */
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

/* Notes come to the calling thread, the tracer, as a signal. */
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
    if (pthread_create(&thread, NULL, watch, NULL) == 0)
        pthread_detach(thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

bool cbpd_anything_may_block(void)
{
    return cbp_load_u32(&is_at_risk) != 0 || cbp_load_u32(&is_noted) != 0;
}

/* Marks every file system that programs can be executed from, of this mount namespace and of all others. A
 * mark is the file system's, so one mount of it is enough, and a container's copy of a mount needs none.
 *
 * Left out are pseudo file systems without files of their own, and those whose server may refuse or delay the
 * controller's own opening of a file: FUSE, where a user's server could stop the whole machine and where root
 * has no access as a rule, and network file systems, where root is nobody. Fanotify opens each file for the
 * controller, and an opening that fails refuses the execution. Executions from there are told by the BPF
 * programs, and the gate can hold them. */
#include "guard.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_SIZE = 4096 + 32, TEXT_SIZE_MAX = 64 << 20 };

struct numbers {
    uint64_t *all;
    size_t count, room;
};

struct mount_line {
    unsigned id;
    uint64_t device; /* major << 32 | minor */
    char *path;
    const char *type;
};

/* Adds a number that is not there. False: it is there, or there is no memory. */
static bool add_number(struct numbers *numbers, uint64_t number)
{
    for (size_t i = 0; i < numbers->count; i++)
        if (numbers->all[i] == number)
            return false;
    if (numbers->count == numbers->room) {
        size_t room = numbers->room ? numbers->room * 2 : 64;
        uint64_t *all = realloc(numbers->all, room * sizeof *all);
        if (!all)
            return false;
        numbers->all = all;
        numbers->room = room;
    }
    numbers->all[numbers->count++] = number;
    return true;
}

static bool has_prefix(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static bool can_be_marked(const char *type)
{
    static const char *const without[] = {
        "proc",       "sysfs",       "cgroup",  "cgroup2", "devpts",  "debugfs",  "tracefs",
        "securityfs", "selinuxfs",   "smackfs", "bpf",     "pstore",  "mqueue",   "configfs",
        "efivarfs",   "binfmt_misc", "fusectl", "autofs",  "nsfs",    "nfsd",     "rpc_pipefs",
        "resctrl",    "sockfs",      "pipefs",  "fuse",    "fuseblk", "nfs",      "nfs4",
        "cifs",       "smb3",        "ceph",    "afs",     "coda",    "orangefs", "lustre",
    };
    for (size_t i = 0; i < sizeof without / sizeof without[0]; i++)
        if (strcmp(type, without[i]) == 0)
            return false;
    return !has_prefix(type, "fuse.");
}

static char *read_whole(const char *path)
{
    size_t room = 1 << 16, used = 0;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    char *text = file < 0 ? NULL : malloc(room);
    while (text) {
        ssize_t got = read(file, text + used, room - used - 1);
        if (got <= 0)
            break;
        used += (size_t) got;
        if (room - used > 1)
            continue;
        char *larger = room < TEXT_SIZE_MAX ? realloc(text, room * 2) : NULL;
        if (!larger)
            break; /* the rest is looked for in the next round */
        text = larger;
        room *= 2;
    }
    if (text)
        text[used] = 0;
    if (file >= 0)
        close(file);
    return text;
}

/* The kernel writes blanks and the like of a path as a backslash and three octal digits. */
static void unescape(char *path)
{
    char *to = path;
    for (const char *from = path; *from; to++) {
        bool is_code = from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' &&
                       from[2] <= '7' && from[3] >= '0' && from[3] <= '7';
        int code = is_code ? (from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0') : *from;
        *to = (char) code;
        from += is_code ? 4 : 1;
    }
    *to = 0;
}

/* "36 35 98:0 /root /mnt rw,noatime master:1 - ext3 /dev/root rw": see proc_pid_mountinfo(5). */
static bool parse_line(char *line, struct mount_line *mount)
{
    unsigned parent, major_number, minor_number;
    int used = 0;
    if (sscanf(line, "%u %u %u:%u %n", &mount->id, &parent, &major_number, &minor_number, &used) < 4 ||
        used == 0)
        return false;
    char *end = strstr(line, " - ");
    char *root_end = strchr(line + used, ' ');
    char *path_end = root_end ? strchr(root_end + 1, ' ') : NULL;
    if (!path_end || !end)
        return false;
    *path_end = 0;
    mount->path = root_end + 1;
    mount->type = end + strlen(" - ");
    end[strlen(" - ") + strcspn(mount->type, " ")] = 0;
    mount->device = (uint64_t) major_number << 32 | minor_number;
    unescape(mount->path);
    return true;
}

/* Says whether the descriptor is of that mount, and not of one that covers it. */
static bool is_of_mount(int file, unsigned id)
{
    char path[64], text[512];
    const char *label = "mnt_id:";
    (void) snprintf(path, sizeof path, "/proc/self/fdinfo/%d", file);
    int info = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = info < 0 ? -1 : read(info, text, sizeof text - 1);
    if (info >= 0)
        close(info);
    if (size <= 0)
        return false;
    text[size] = 0;
    const char *found = strstr(text, label);
    return found && strtoul(found + strlen(label), NULL, 10) == id;
}

static bool mark_mount(const struct mount_round *round, const char *root, const struct mount_line *mount)
{
    char path[PATH_SIZE];
    int length = snprintf(path, sizeof path, "%s%s", root, mount->path);
    if (length < 0 || (size_t) length >= sizeof path)
        return false;
    int file = open(path, O_PATH | O_CLOEXEC);
    if (file < 0)
        return false;
    (void) snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    bool marked =
        is_of_mount(file, mount->id) &&
        fanotify_mark(round->group, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, FILE_EVENTS, AT_FDCWD, path) == 0;
    close(file);
    return marked;
}

/* A file system counts as lost if none of its mounts can be reached. */
static void mark_namespace(struct mount_round *round, const char *root, const char *list,
                           struct numbers *marked, struct numbers *lost)
{
    char *text = read_whole(list);
    for (char *rest = text, *line; rest && (line = strsep(&rest, "\n"));) {
        struct mount_line mount;
        if (!parse_line(line, &mount) || !can_be_marked(mount.type))
            continue;
        bool is_known = false;
        for (size_t i = 0; i < marked->count && !is_known; i++)
            is_known = marked->all[i] == mount.device;
        if (is_known)
            continue;
        (void) add_number(mark_mount(round, root, &mount) ? marked : lost, mount.device);
    }
    free(text);
}

static void mark_other_namespaces(struct mount_round *round, struct numbers *marked, struct numbers *lost)
{
    struct numbers namespaces = {NULL, 0, 0};
    struct stat status;
    char path[64], root[64];
    DIR *folder = opendir("/proc");
    if (stat("/proc/self/ns/mnt", &status) == 0)
        (void) add_number(&namespaces, status.st_ino);
    for (const struct dirent *entry; folder && (entry = readdir(folder));) {
        if (entry->d_name[0] < '1' || entry->d_name[0] > '9')
            continue;
        (void) snprintf(path, sizeof path, "/proc/%.20s/ns/mnt", entry->d_name);
        if (stat(path, &status) != 0 || !add_number(&namespaces, status.st_ino))
            continue;
        (void) snprintf(path, sizeof path, "/proc/%.20s/mountinfo", entry->d_name);
        (void) snprintf(root, sizeof root, "/proc/%.20s/root", entry->d_name);
        mark_namespace(round, root, path, marked, lost);
    }
    if (folder)
        closedir(folder);
    free(namespaces.all);
}

void cbpd_mark_mounts(struct mount_round *round)
{
    struct numbers marked = {NULL, 0, 0}, lost = {NULL, 0, 0};
    mark_namespace(round, "", "/proc/self/mountinfo", &marked, &lost);
    if (round->all_namespaces)
        mark_other_namespaces(round, &marked, &lost);
    round->marked_count = (uint32_t) marked.count;
    for (size_t i = 0; i < lost.count; i++)
        round->lost_count += add_number(&marked, lost.all[i]);
    free(marked.all);
    free(lost.all);
}

/* Opens what a task means by a path: in its root, from its working directory or one of its descriptors, with
 * its own /proc/self. Any thread. Knows no rules and no events.
 *
 * Most paths take one call: the kernel's look-up, bound to the task's root. It is told to fail at links of
 * /proc to open files, because they would lead to the helper's files instead of the task's. Such a path is
 * walked here, name by name. */
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "look_up.h"
#include "proc_files.h"

enum { LINKS_MAX = 40, PROC_ROOT_INODE = 1 };

static _Thread_local const char *own_descriptors = "/proc/self/fd";
static _Thread_local int own_folder = -1; /* an open descriptor of it; -1: none is kept */

/* This errno stands for what the helper must not look at: nothing can be said about it. */
enum { NOT_TO_BE_HAD = EPERM };

/* Closes a descriptor after a call that may have failed. */
static void close_quietly(int fd)
{
    int error = errno;
    close(fd);
    errno = error;
}

static int open_own(uint32_t tid, const char *name)
{
    int fd = cbpd_open_proc(tid, name, O_PATH);
    if (fd < 0)
        errno = errno == ENOENT ? EBADF : NOT_TO_BE_HAD;
    return fd;
}

static int open_folder(uint32_t tid, int folder_fd)
{
    char name[32] = "cwd";
    if (folder_fd != AT_FDCWD)
        snprintf(name, sizeof name, "fd/%d", folder_fd);
    return open_own(tid, name);
}

/* ---- Name by name ---- */

struct walk {
    const struct place *place;
    int root, at; /* descriptors: the task's root, and where the walk is */
    bool no_follow;
    uint32_t link_count;
    char rest[2 * PATH_MAX]; /* the rest of the path */
};

static bool go_to(struct walk *walk, int fd)
{
    if (fd < 0)
        return false;
    close(walk->at);
    walk->at = fd;
    return true;
}

static bool is_at_root(const struct walk *walk)
{
    struct stat here, root;
    return fstat(walk->at, &here) == 0 && fstat(walk->root, &root) == 0 && here.st_dev == root.st_dev &&
           here.st_ino == root.st_ino;
}

static bool is_in_proc(int fd, bool *is_its_root)
{
    struct statfs system;
    struct stat status;
    if (fstatfs(fd, &system) != 0 || system.f_type != PROC_SUPER_MAGIC || fstat(fd, &status) != 0)
        return false;
    *is_its_root = status.st_ino == PROC_ROOT_INODE;
    return true;
}

/* Follows a link in the present folder, opened as link. */
static bool follow(struct walk *walk, int link, const char *name)
{
    char text[2 * PATH_MAX];
    bool is_proc_root = false;
    if (++walk->link_count > LINKS_MAX) {
        errno = ELOOP;
        return false;
    }
    if (is_in_proc(walk->at, &is_proc_root) && !is_proc_root) {
        if (go_to(walk, openat(walk->at, name, O_PATH | O_CLOEXEC)))
            return true;
        errno = errno == ENOENT ? ENOENT : NOT_TO_BE_HAD;
        return false;
    }
    if (is_proc_root && strcmp(name, "self") == 0)
        return go_to(walk, cbpd_open_proc(walk->place->pid, "", O_PATH));
    if (is_proc_root && strcmp(name, "thread-self") == 0) {
        snprintf(text, sizeof text, "task/%u", walk->place->tid);
        return go_to(walk, cbpd_open_proc(walk->place->pid, text, O_PATH));
    }
    ssize_t size = readlinkat(link, "", text, PATH_MAX);
    if (size <= 0 || size == PATH_MAX || (size_t) size + strlen(walk->rest) + 2 > sizeof text) {
        errno = ENAMETOOLONG;
        return false;
    }
    snprintf(text + size, sizeof text - (size_t) size, "/%s", walk->rest);
    memcpy(walk->rest, text, strlen(text) + 1);
    return text[0] != '/' || go_to(walk, fcntl(walk->root, F_DUPFD_CLOEXEC, 0));
}

/* Cuts off the next name. False: there is none left. */
static bool next_name(struct walk *walk, char *name, size_t size, bool *is_last)
{
    const char *start = walk->rest + strspn(walk->rest, "/");
    size_t length = strcspn(start, "/");
    const char *behind = start + length + strspn(start + length, "/");
    if (length == 0)
        return false;
    snprintf(name, size, "%.*s", (int) length, start);
    *is_last = *behind == 0;
    memmove(walk->rest, behind, strlen(behind) + 1);
    return true;
}

static bool step(struct walk *walk, const char *name, bool is_last)
{
    struct stat status;
    if (strcmp(name, ".") == 0)
        return true;
    if (strcmp(name, "..") == 0)
        return is_at_root(walk) || go_to(walk, openat(walk->at, "..", O_PATH | O_CLOEXEC));
    int fd = openat(walk->at, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return false;
    if (fstat(fd, &status) != 0 || !S_ISLNK(status.st_mode) || (is_last && walk->no_follow))
        return go_to(walk, fd);
    bool done = follow(walk, fd, name);
    close_quietly(fd);
    return done;
}

/* Walks a path and takes over the descriptor at which it starts. */
static int walk_path(const struct place *place, int root, int start, const char *path, bool no_follow)
{
    struct walk walk = {.place = place, .root = root, .at = start, .no_follow = no_follow};
    char name[PATH_MAX];
    bool is_last = false, done = true;
    snprintf(walk.rest, sizeof walk.rest, "%s", path);
    while (done && next_name(&walk, name, sizeof name, &is_last))
        done = step(&walk, name, is_last);
    if (done)
        return walk.at;
    close_quietly(walk.at);
    return -1;
}

/* ---- In one call, if that suffices ---- */

/* An absolute path whose folder is AT_FDCWD starts from the helper's root. */
static int look_up_from(const struct place *place, int folder, const char *path, bool no_follow)
{
    bool is_from_root = path[0] == '/', is_from_ours = folder == AT_FDCWD;
    uint64_t bound = is_from_ours ? 0 : is_from_root ? RESOLVE_IN_ROOT : RESOLVE_BENEATH;
    struct open_how how = {.flags = (uint64_t) (O_PATH | O_CLOEXEC | (no_follow ? O_NOFOLLOW : 0)),
                           .resolve = RESOLVE_NO_MAGICLINKS | bound};
    int fd = (int) syscall(SYS_openat2, folder, path, &how, sizeof how);
    if (fd < 0 && errno == ENOENT) {
        /* Through a link like /proc/self, a missing file may be missing only for the helper. */
        how.resolve |= RESOLVE_NO_SYMLINKS;
        fd = (int) syscall(SYS_openat2, folder, path, &how, sizeof how);
    }
    bool may_be_walked = errno == ELOOP || errno == EXDEV || errno == EAGAIN || errno == ENOSYS ||
                         errno == EPERM /* a container's profile does not know the call */;
    if (fd >= 0 || !may_be_walked)
        return fd;
    int root =
        is_from_root && !is_from_ours ? fcntl(folder, F_DUPFD_CLOEXEC, 0) : open_own(place->tid, "root");
    if (root < 0)
        return -1;
    int start = fcntl(is_from_root ? root : folder, F_DUPFD_CLOEXEC, 0);
    fd = start >= 0 ? walk_path(place, root, start, path, no_follow) : -1;
    close_quietly(root);
    return fd;
}

int cbpd_look_up(const struct place *place, int folder_fd, const char *path, int at_flags)
{
    if (path[0] == 0 && !(at_flags & AT_EMPTY_PATH)) {
        errno = ENOENT;
        return -1;
    }
    if (path[0] == '/' && place->has_our_root)
        return look_up_from(place, AT_FDCWD, path, (at_flags & AT_SYMLINK_NOFOLLOW) != 0);
    int folder = path[0] == '/' ? open_own(place->tid, "root") : open_folder(place->tid, folder_fd);
    if (folder < 0 || path[0] == 0)
        return folder;
    int fd = look_up_from(place, folder, path, (at_flags & AT_SYMLINK_NOFOLLOW) != 0);
    close_quietly(folder);
    return fd;
}

void cbpd_name_own(int fd, struct own_link *link)
{
    snprintf(link->path, sizeof link->path, "%s/%d", own_descriptors, fd);
    link->folder = own_folder < 0 ? AT_FDCWD : own_folder;
    link->name = own_folder < 0 ? link->path : strrchr(link->path, '/') + 1;
}

void cbpd_keep_own_descriptors(void)
{
    own_folder = open(own_descriptors, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

void cbpd_leave_descriptors(void)
{
    own_descriptors = "/proc/thread-self/fd";
    if (syscall(SYS_close_range, 0u, ~0u, CLOSE_RANGE_UNSHARE) != 0 && unshare(CLONE_FILES) == 0)
        (void) syscall(SYS_close_range, 0u, ~0u, 0);
    cbpd_keep_own_descriptors();
}

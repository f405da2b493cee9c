/* Takes off the ending of a deleted file's path; see deleted.h. Every call answers for an ended process. */
#define _GNU_SOURCE
#include "deleted.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A look at a path finds the file, finds another file or none, or says nothing. */
enum finding { IS_THERE, IS_NOT_THERE, CANNOT_SAY };

static enum finding compare(int fd, const struct statx *file)
{
    struct statx found;
    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, &found) != 0)
        return CANNOT_SAY;
    return found.stx_ino == file->stx_ino && found.stx_dev_major == file->stx_dev_major &&
                   found.stx_dev_minor == file->stx_dev_minor
               ? IS_THERE
               : IS_NOT_THERE;
}

/* Looks without waiting: the kernel has the path of a running program's file in memory, link by link, and a
 * path that it would have to look up does not lead there. If a file system has every look-up checked, a name
 * with that ending counts as the kernel's. Before Linux 5.12 the kernel cannot say. */
static enum finding look_from(int folder, const char *path, const struct statx *file)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_CACHED};
    int fd = (int) syscall(SYS_openat2, folder, path, &how, sizeof how);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR || errno == EAGAIN ? IS_NOT_THERE : CANNOT_SAY;
    enum finding finding = compare(fd, file);
    close(fd);
    return finding;
}

/* Looks from the process's root: it may have another root, or another namespace of mounts. */
static enum finding look_from_root_of(uint32_t id, const char *path, const struct statx *file)
{
    char root[64];
    snprintf(root, sizeof root, "/proc/%u/root", (unsigned) id);
    int folder = open(root, O_PATH | O_CLOEXEC);
    if (folder < 0)
        return CANNOT_SAY;
    enum finding finding = look_from(folder, path + strspn(path, "/"), file);
    close(folder);
    return finding;
}

static bool is_gone(const char *link, uint32_t id, const char *path)
{
    struct statx file;
    if (statx(AT_FDCWD, link, AT_STATX_DONT_SYNC, STATX_INO | STATX_NLINK, &file) != 0 || file.stx_nlink == 0)
        return true;
    /* The file has a name: this one, or another one from an earlier link. */
    enum finding here = look_from(AT_FDCWD, path, &file);
    enum finding there = here == IS_THERE ? IS_THERE : look_from_root_of(id, path, &file);
    return there == IS_NOT_THERE || (there == CANNOT_SAY && here == IS_NOT_THERE);
}

bool cbpd_take_off_deleted(const char *link, uint32_t id, char *path, size_t *size)
{
    static const char ending[] = " (deleted)";
    const size_t ending_size = sizeof ending - 1;
    if (*size <= ending_size || memcmp(path + *size - ending_size, ending, ending_size) != 0)
        return false;
    path[*size] = 0;
    if (!is_gone(link, id, path))
        return false;
    *size -= ending_size;
    path[*size] = 0;
    return true;
}

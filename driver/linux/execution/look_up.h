/* Opens paths as a task means them; see look_up.c. */
#ifndef CBP_LOOK_UP_H
#define CBP_LOOK_UP_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

/* A place is the thread that uses a path, and its process, which is /proc/self. */
struct place {
    uint32_t pid, tid;
    bool has_our_root; /* an absolute path starts where it does for the calling thread; false: not known */
};

/* The kernel shows what one of this thread's own descriptors is open for under this name in that folder, and
 * under that path. A reader has a table of its own. */
struct own_link {
    int folder;
    const char *name;
    char path[48];
};
void cbpd_name_own(int fd, struct own_link *link);

/* Keeps the folder of this thread's own descriptors open, because a walk to it costs as much as what is done
 * there. Only for a program that never forks: a child would look at its parent's descriptors. */
void cbpd_keep_own_descriptors(void);

/* From now on this thread keeps nothing open: a stuck one outlives all others, and must not keep sockets,
 * files or pipes of the helper open. */
void cbpd_leave_descriptors(void);

/* Opens (O_PATH) what the task means by a path, from one of its descriptors or AT_FDCWD. Of the flags,
 * AT_EMPTY_PATH and AT_SYMLINK_NOFOLLOW count. -1: errno is the task's, or EPERM if that is not known. */
int cbpd_look_up(const struct place *place, int folder_fd, const char *path, int at_flags);

#endif

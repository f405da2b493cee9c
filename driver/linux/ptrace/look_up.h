/* Paths as a task means them; see look_up.c. */
#ifndef CBP_LOOK_UP_H
#define CBP_LOOK_UP_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

/* Whose paths: the thread that uses them, and its process, which /proc/self is. */
struct place {
    uint32_t pid, tid;
};

/* The folder of this thread's own descriptors: a thread beside the tracer has a table of its own. */
extern _Thread_local const char *cbpd_own_descriptors;

/* This thread keeps nothing open from now on: one that is stuck outlives everybody else here, and nobody
 * shall see a socket, a file or a pipe of ours that it keeps open. */
void cbpd_leave_descriptors(void);

/* Opens (O_PATH) what the task means by a path, from a descriptor of its or AT_FDCWD. Of the flags
 * AT_EMPTY_PATH and AT_SYMLINK_NOFOLLOW count. -1 with errno: what the task would get, or EPERM where that
 * cannot be told. */
int cbpd_look_up(const struct place *place, int folder_fd, const char *path, int at_flags);

#endif

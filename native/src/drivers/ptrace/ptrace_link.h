/* Offers the link to the ptrace driver's helper, and the start of that process. Knows nothing of requests and
 * deliveries. */
#ifndef CBPI_PTRACE_LINK_H
#define CBPI_PTRACE_LINK_H

#include "link.h"

#define CBPI_PTRACE_HELPER_NAME "cbprocess-ptrace"
#define CBPI_PTRACE_DESCRIPTORS_MAX 2u

/* A parcel has descriptors, which stay the caller's. */
struct cbpi_link_parcel {
    int fds[CBPI_PTRACE_DESCRIPTORS_MAX];
    uint32_t count;
};

extern const struct cbpi_link_ops cbpi_ptrace_link_ops;

/* Starts the helper with the three descriptors as a child of no process: the caller's process gets no SIGCHLD
 * and no status for it, unless orphans come to it. CBP_ERROR_FS_DRIVER_REQUIRED if the program cannot be
 * executed; CBP_ERROR_NO_SYSTEM_RESOURCES, TOO_MANY_OPEN_FILES and NOT_ENOUGH_MEMORY where a limit is
 * reached. */
uint32_t cbpi_ptrace_helper_start(int channel_fd, int control_fd, int controller_fd, uint32_t *process_id);

/* Leaves the helper when its link is shut; takes its pidfd (-1: none) and closes it. A helper that has come
 * to us as an orphan is waited for: for half a second, and if a tree needs it for longer, whenever another
 * one is left. */
void cbpi_ptrace_helper_leave(int process_fd);

#endif

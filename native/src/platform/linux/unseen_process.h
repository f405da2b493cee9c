/* Starts programs so that the controller does not notice a child: no SIGCHLD, and no status for it. Knows
 * neither the programs nor what is said to them. */
#ifndef CBPI_UNSEEN_PROCESS_H
#define CBPI_UNSEEN_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

enum { CBPI_UNSEEN_FD_FIRST = 3, CBPI_UNSEEN_FD_MAX = 4 };

struct cbpi_unseen_program {
    const char *path;
    char *const *environment;
    int fds[CBPI_UNSEEN_FD_MAX]; /* it finds them from CBPI_UNSEEN_FD_FIRST on, and /dev/null below */
    int fd_count;
};

/* Starts the program as a child of no process; if orphans come to the caller's process, it is one of them.
 * CBP_ERROR_FS_DRIVER_REQUIRED if the program cannot be executed; CBP_ERROR_NO_SYSTEM_RESOURCES,
 * TOO_MANY_OPEN_FILES and NOT_ENOUGH_MEMORY where a limit is reached. */
uint32_t cbpi_start_unseen(const struct cbpi_unseen_program *program, uint32_t *process_id);

/* Says whether the process is a child of ours that runs, by its pidfd. One that has ended is waited for. */
bool cbpi_is_running_child(int process_fd);

#endif

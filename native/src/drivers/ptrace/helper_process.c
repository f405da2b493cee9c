/* Starts the helper of the ptrace driver, and leaves it. One that has come to us as an orphan is waited for
 * here: an application that waits for no child would keep a zombie of each. */
#define _GNU_SOURCE
#include "ptrace_link.h"

#include "cbp_atomic.h"
#include "platform.h"
#include "unseen_process.h"

#include <limits.h>
#include <poll.h>
#include <unistd.h>

#define END_LIMIT_MS 500 /* until a helper that nobody needs has ended */
#define LEFT_MAX 16

extern char **environ;

/* These helpers ran on when they were left, because a tree needs them: descriptors plus 1; 0: none. */
static uint32_t left_fds[LEFT_MAX];

static void look_at_left(void)
{
    for (size_t i = 0; i < LEFT_MAX; i++) {
        uint32_t none = 0, taken = cbp_swap_u32(&left_fds[i], 0);
        if (taken == 0)
            continue;
        if (!cbpi_is_running_child((int) (taken - 1)) || !cbp_compare_swap_u32(&left_fds[i], &none, taken))
            close((int) (taken - 1));
    }
}

void cbpi_ptrace_helper_leave(int process_fd)
{
    look_at_left();
    if (process_fd < 0)
        return;
    uint64_t limit_ns = cbpi_now_ns() + END_LIMIT_MS * CBP_NS_PER_MS;
    while (cbpi_is_running_child(process_fd)) {
        uint64_t now_ns = cbpi_now_ns();
        struct pollfd end = {.fd = process_fd, .events = POLLIN};
        if (now_ns < limit_ns) {
            (void) poll(&end, 1, (int) ((limit_ns - now_ns) / CBP_NS_PER_MS + 1));
            continue;
        }
        for (size_t i = 0; i < LEFT_MAX; i++) {
            uint32_t none = 0;
            if (cbp_compare_swap_u32(&left_fds[i], &none, (uint32_t) process_fd + 1))
                return;
        }
        break;
    }
    close(process_fd);
}

uint32_t cbpi_ptrace_helper_start(int channel_fd, int control_fd, int controller_fd, uint32_t *process_id)
{
    char path[PATH_MAX];
    uint32_t result = cbpi_helper_path(CBPI_PTRACE_HELPER_NAME, path, sizeof path);
    if (result != 0)
        return result;
    const struct cbpi_unseen_program program = {
        .path = path, .environment = environ, .fds = {channel_fd, control_fd, controller_fd}, .fd_count = 3};
    return cbpi_start_unseen(&program, process_id);
}

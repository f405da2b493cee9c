/* Starts the helper so that the controller does not notice a child.
 *
 * A task between without an exit signal is cloned, of which neither SIGCHLD nor wait() tells. It clones the
 * helper and ends, so that the helper passes to the system's reaper. If the controller is that reaper itself
 * - process 1 of a container, or a subreaper - the helper is waited for here: an application that waits for
 * no child would keep a zombie of each. Both tasks share the controller's memory, as after vfork, and each
 * parent waits until its child has ended or executed, so nothing here may allocate, lock or run the caller's
 * signal handlers. */
#define _GNU_SOURCE
#include "ptrace_link.h"

#include "cbp_atomic.h"
#include "errors.h"
#include "new_syscalls.h"
#include "os_error.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define STACK_SIZE (64u * 1024u) /* of each of the two tasks */
#define FIRST_FD 3               /* where the helper finds its descriptors */
#define FD_COUNT 3
#define END_LIMIT_MS 500 /* until a helper that nobody needs has ended */
#define LEFT_MAX 16
#define ID_IS_PIDFD ((idtype_t) 3) /* P_PIDFD of Linux 5.4 */

extern char **environ;

struct start {
    const char *path;
    int fds[FD_COUNT + 1]; /* numbered above those that they become; the last one is /dev/null */
    unsigned char *stacks;
    pid_t helper;
    int error; /* errno of what failed */
};

/* Resets the signals by system calls of its own: the library's and a sanitizer's notes about signals are the
 * controller's. */
static void reset_signals(void)
{
    static const unsigned long default_action[16]; /* the kernel's structure and its mask: all 0 */
    for (int number = 1; number < _NSIG; number++)
        syscall(SYS_rt_sigaction, number, default_action, NULL, _NSIG / 8);
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, default_action, NULL, _NSIG / 8);
}

static void close_others(void)
{
    if (syscall(SYS_close_range, FIRST_FD + FD_COUNT, UINT_MAX, 0) == 0)
        return;
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        for (rlim_t fd = FIRST_FD + FD_COUNT; fd < limit.rlim_cur; fd++)
            close((int) fd);
}

/* Raises the limits that the helper needs to be loaded at all; it raises the rest by itself. */
static void raise_memory_limits(void)
{
    static const int limits[] = {RLIMIT_AS, RLIMIT_DATA, RLIMIT_STACK};
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        struct rlimit limit;
        if (syscall(SYS_prlimit64, 0, limits[i], NULL, &limit) != 0)
            continue;
        limit.rlim_cur = limit.rlim_max;
        syscall(SYS_prlimit64, 0, limits[i], &limit, NULL);
    }
}

/* Becomes the helper. This task has descriptors and signal dispositions of its own. */
__attribute__((no_sanitize("thread"))) static int become_helper(void *argument)
{
    struct start *start = argument;
    char *const arguments[] = {(char *) (uintptr_t) start->path, NULL};
    bool has_stderr = fcntl(STDERR_FILENO, F_GETFD) == 0; /* and passes it on */
    for (int fd = STDIN_FILENO; fd < (has_stderr ? STDERR_FILENO : FIRST_FD); fd++)
        dup2(start->fds[FD_COUNT], fd);
    for (int i = 0; i < FD_COUNT; i++)
        if (dup2(start->fds[i], FIRST_FD + i) < 0) {
            start->error = errno;
            return 127;
        }
    close_others();
    reset_signals();
    raise_memory_limits();
    execve(start->path, arguments, environ);
    start->error = errno;
    return 127;
}

__attribute__((no_sanitize("thread"))) static int clone_helper(void *argument)
{
    struct start *start = argument;
    start->helper =
        clone(become_helper, start->stacks + 2 * (size_t) STACK_SIZE, CLONE_VM | CLONE_VFORK, start);
    if (start->helper < 0)
        start->error = errno;
    return 0;
}

/* Copies the descriptors, and /dev/null, out of the way of the numbers that they get. */
static int copy_fds(struct start *start, const int *fds)
{
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC), error = null_fd < 0 ? errno : 0;
    for (int i = 0; error == 0 && i <= FD_COUNT; i++) {
        start->fds[i] = fcntl(i < FD_COUNT ? fds[i] : null_fd, F_DUPFD_CLOEXEC, FIRST_FD + FD_COUNT);
        if (start->fds[i] < 0)
            error = errno == EINVAL ? EMFILE : errno; /* no number as high is allowed */
    }
    if (null_fd >= 0)
        close(null_fd);
    return error;
}

static void close_fds(const struct start *start)
{
    for (int i = 0; i <= FD_COUNT; i++)
        if (start->fds[i] >= 0)
            close(start->fds[i]);
}

static int run_between(struct start *start)
{
    sigset_t all, before;
    size_t size = 2 * (size_t) STACK_SIZE;
    void *stacks = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stacks == MAP_FAILED)
        return errno;
    start->stacks = stacks;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t between = clone(clone_helper, start->stacks + STACK_SIZE, CLONE_VM | CLONE_VFORK, start);
    int error = between < 0 ? errno : 0;
    if (between > 0)
        while (waitpid(between, NULL, __WALL) < 0 && errno == EINTR)
            continue;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    munmap(stacks, size);
    return error;
}

/* Says whether the process is a child of ours that runs. One that has ended is waited for. */
static bool is_running_child(int process_fd)
{
    siginfo_t end;
    int result;
    do {
        end.si_pid = 0;
        result = waitid(ID_IS_PIDFD, (id_t) process_fd, &end, WEXITED | WNOHANG | __WALL);
    } while (result != 0 && errno == EINTR);
    return result == 0 && end.si_pid == 0;
}

/* These helpers ran on when they were left, because a tree needs them: descriptors plus 1; 0: none. */
static uint32_t left_fds[LEFT_MAX];

static void look_at_left(void)
{
    for (size_t i = 0; i < LEFT_MAX; i++) {
        uint32_t none = 0, taken = cbp_swap_u32(&left_fds[i], 0);
        if (taken == 0)
            continue;
        if (!is_running_child((int) (taken - 1)) || !cbp_compare_swap_u32(&left_fds[i], &none, taken))
            close((int) (taken - 1));
    }
}

void cbpi_ptrace_helper_leave(int process_fd)
{
    look_at_left();
    if (process_fd < 0)
        return;
    uint64_t limit_ns = cbpi_now_ns() + END_LIMIT_MS * CBP_NS_PER_MS;
    while (is_running_child(process_fd)) {
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

static bool is_a_limit(int error)
{
    return error == EAGAIN || error == ENOMEM || error == EMFILE || error == ENFILE;
}

uint32_t cbpi_ptrace_helper_start(int channel_fd, int control_fd, int controller_fd, uint32_t *process_id)
{
    char path[PATH_MAX];
    struct start start = {.path = path, .fds = {-1, -1, -1, -1}};
    const int fds[FD_COUNT] = {channel_fd, control_fd, controller_fd};
    uint32_t result = cbpi_helper_path(CBPI_PTRACE_HELPER_NAME, path, sizeof path);
    if (result != 0)
        return result;
    int error = copy_fds(&start, fds);
    if (error == 0)
        error = run_between(&start);
    close_fds(&start);
    if (error == 0)
        error = start.error;
    if (error != 0 && start.helper > 0)
        (void) waitpid(start.helper, NULL, __WALL); /* it has ended; mostly it is nobody's child */
    if (error != 0 && (start.helper <= 0 || is_a_limit(error)))
        return cbpi_fail_os(error, "cannot start the helper");
    if (error != 0)
        return cbpi_fail(CBP_ERROR_FS_DRIVER_REQUIRED, "cannot execute %s: %s", path, strerror(error));
    *process_id = (uint32_t) start.helper;
    return 0;
}

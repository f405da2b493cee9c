/* Starts a program so that the controller does not notice a child: see unseen_process.h.
 *
 * A task between without an exit signal is cloned, of which neither SIGCHLD nor wait() tells. It clones the
 * program and ends, so that the program passes to the system's reaper. If the controller is that reaper itself
 * - process 1 of a container, or a subreaper - the program has to be waited for (cbpi_is_running_child): an
 * application that waits for no child would keep a zombie of each. Both tasks share the controller's memory,
 * as after vfork, and each parent waits until its child has ended or executed, so nothing here may allocate,
 * lock or run the caller's signal handlers. */
#define _GNU_SOURCE
#include "unseen_process.h"

#include "cbprocess.h"
#include "errors.h"
#include "new_syscalls.h"
#include "os_error.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define STACK_SIZE (64u * 1024u)   /* of each of the two tasks */
#define ID_IS_PIDFD ((idtype_t) 3) /* P_PIDFD of Linux 5.4 */

struct start {
    const struct cbpi_unseen_program *program;
    int fds[CBPI_UNSEEN_FD_MAX]; /* numbered above those that they become */
    int null_fd;
    unsigned char *stacks;
    pid_t started;
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

static int first_free_number(const struct start *start)
{
    return CBPI_UNSEEN_FD_FIRST + start->program->fd_count;
}

static void close_others(const struct start *start)
{
    int first = first_free_number(start);
    if (syscall(SYS_close_range, first, UINT_MAX, 0) == 0)
        return;
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        for (rlim_t fd = (rlim_t) first; fd < limit.rlim_cur; fd++)
            close((int) fd);
}

/* Raises the limits that the program needs to be loaded at all; it raises the rest by itself. */
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

/* Becomes the program. This task has descriptors and signal dispositions of its own. */
__attribute__((no_sanitize("thread"))) static int become_program(void *argument)
{
    struct start *start = argument;
    const struct cbpi_unseen_program *program = start->program;
    char *const arguments[] = {(char *) (uintptr_t) program->path, NULL};
    bool has_stderr = fcntl(STDERR_FILENO, F_GETFD) == 0; /* and passes it on */
    for (int fd = STDIN_FILENO; fd < (has_stderr ? STDERR_FILENO : CBPI_UNSEEN_FD_FIRST); fd++)
        dup2(start->null_fd, fd);
    for (int i = 0; i < program->fd_count; i++)
        if (dup2(start->fds[i], CBPI_UNSEEN_FD_FIRST + i) < 0) {
            start->error = errno;
            return 127;
        }
    close_others(start);
    reset_signals();
    raise_memory_limits();
    execve(program->path, arguments, program->environment);
    start->error = errno;
    return 127;
}

__attribute__((no_sanitize("thread"))) static int clone_program(void *argument)
{
    struct start *start = argument;
    start->started =
        clone(become_program, start->stacks + 2 * (size_t) STACK_SIZE, CLONE_VM | CLONE_VFORK, start);
    if (start->started < 0)
        start->error = errno;
    return 0;
}

static int copy_above(const struct start *start, int fd, int *copy)
{
    *copy = fcntl(fd, F_DUPFD_CLOEXEC, first_free_number(start));
    if (*copy >= 0)
        return 0;
    return errno == EINVAL ? EMFILE : errno; /* no number as high is allowed */
}

/* Copies the descriptors, and /dev/null, out of the way of the numbers that they get. */
static int copy_fds(struct start *start)
{
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    int error = null_fd < 0 ? errno : copy_above(start, null_fd, &start->null_fd);
    for (int i = 0; error == 0 && i < start->program->fd_count; i++)
        error = copy_above(start, start->program->fds[i], &start->fds[i]);
    if (null_fd >= 0)
        close(null_fd);
    return error;
}

static void close_fds(const struct start *start)
{
    for (int i = 0; i < start->program->fd_count; i++)
        if (start->fds[i] >= 0)
            close(start->fds[i]);
    if (start->null_fd >= 0)
        close(start->null_fd);
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
    pid_t between = clone(clone_program, start->stacks + STACK_SIZE, CLONE_VM | CLONE_VFORK, start);
    int error = between < 0 ? errno : 0;
    if (between > 0)
        while (waitpid(between, NULL, __WALL) < 0 && errno == EINTR)
            continue;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    munmap(stacks, size);
    return error;
}

bool cbpi_is_running_child(int process_fd)
{
    siginfo_t end;
    int result;
    do {
        end.si_pid = 0;
        result = waitid(ID_IS_PIDFD, (id_t) process_fd, &end, WEXITED | WNOHANG | __WALL);
    } while (result != 0 && errno == EINTR);
    return result == 0 && end.si_pid == 0;
}

static bool is_a_limit(int error)
{
    return error == EAGAIN || error == ENOMEM || error == EMFILE || error == ENFILE;
}

uint32_t cbpi_start_unseen(const struct cbpi_unseen_program *program, uint32_t *process_id)
{
    struct start start = {.program = program, .fds = {-1, -1, -1, -1}, .null_fd = -1};
    int error = copy_fds(&start);
    if (error == 0)
        error = run_between(&start);
    close_fds(&start);
    if (error == 0)
        error = start.error;
    if (error != 0 && start.started > 0)
        (void) waitpid(start.started, NULL, __WALL); /* it has ended; mostly it is nobody's child */
    if (error != 0 && (start.started <= 0 || is_a_limit(error)))
        return cbpi_fail_os(error, "cannot start the helper");
    if (error != 0)
        return cbpi_fail(CBP_ERROR_FS_DRIVER_REQUIRED, "cannot execute %s: %s", program->path,
                         strerror(error));
    *process_id = (uint32_t) start.started;
    return 0;
}

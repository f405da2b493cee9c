/* Protects the guard before it serves: from its terminal, from the system's shortage of memory, and from
 * programs that would read or trace it. Limits that the controller was started with do not bind it. */
#include "guard.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define OOM_SCORE                                                                                            \
    "-900" /* everything else goes first; not -1000, which would never free the guard's memory */

enum { DESCRIPTORS_MAX = 1 << 20 }; /* the kernel allows this many by default */

/* Sets a limit by its own system call, because the C library has its own type for resources. */
static void raise_limit(int resource)
{
    const rlim_t most = resource == RLIMIT_NOFILE ? DESCRIPTORS_MAX : RLIM_INFINITY;
    struct rlimit limit, higher = {most, most};
    if (syscall(SYS_prlimit64, 0, resource, NULL, &limit) != 0)
        return;
    struct rlimit allowed = {limit.rlim_max, limit.rlim_max};
    if (limit.rlim_max >= most || syscall(SYS_prlimit64, 0, resource, &higher, NULL) != 0)
        (void) syscall(SYS_prlimit64, 0, resource, &allowed, NULL);
}

static void write_file(const char *path, const char *text)
{
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0)
        return;
    (void) !write(file, text, strlen(text));
    close(file);
}

/* A reader of the controller's standard error must not wait for the guard's end. */
static void let_go_of_stderr(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0)
        return;
    (void) dup2(null, STDERR_FILENO);
    close(null);
}

void cbpd_harden_guard(void)
{
    static const int ignored[] = {SIGINT,  SIGQUIT, SIGHUP,  SIGTERM, SIGPIPE, SIGTSTP,
                                  SIGTTIN, SIGTTOU, SIGXCPU, SIGXFSZ, SIGUSR1, SIGUSR2};
    /* Kernels before 5.11 count the memory of BPF as locked memory. */
    static const int limits[] = {RLIMIT_AS,     RLIMIT_CPU,     RLIMIT_DATA, RLIMIT_FSIZE,
                                 RLIMIT_NOFILE, RLIMIT_MEMLOCK, RLIMIT_STACK};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    (void) prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    (void) prctl(PR_SET_NAME, GUARD_NAME, 0, 0, 0);
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++)
        raise_limit(limits[i]);
    for (size_t i = 0; i < sizeof ignored / sizeof ignored[0]; i++)
        sigaction(ignored[i], &ignore, NULL);
    let_go_of_stderr();
    (void) setsid();
    (void) !chdir("/");
    write_file("/proc/self/oom_score_adj", OOM_SCORE);
}

void cbpd_lock_executable(void)
{
    struct flock whole = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (file >= 0)
        (void) fcntl(file, F_SETLK, &whole); /* the lock goes with the process */
}

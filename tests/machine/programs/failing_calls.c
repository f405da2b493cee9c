/* Is preloaded, and makes one system call of this process fail, or ends the process in its place: the Nth one
 * after fail_arm(N, ...) that is about files. For tests of steps that are taken back. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int countdown; /* 0: nothing fails */
static bool ends, has_fired;

void fail_arm(int number, int kills);
int fail_disarm(void);

void fail_arm(int number, int kills)
{
    has_fired = false;
    ends = kills != 0;
    countdown = number;
}

/* Says whether there were as many calls. */
int fail_disarm(void)
{
    countdown = 0;
    return has_fired;
}

static bool is_due(void)
{
    if (countdown == 0 || --countdown != 0)
        return false;
    has_fired = true;
    if (ends)
        kill(getpid(), SIGKILL);
    errno = EIO;
    return true;
}

static void *next(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (!found)
        abort();
    return found;
}

#define FAILING(type, name, failure, parameters, arguments)                                                  \
    type name parameters;                                                                                    \
    type name parameters                                                                                     \
    {                                                                                                        \
        static type(*real) parameters;                                                                       \
        if (!real) {                                                                                         \
            void *found = next(#name);                                                                       \
            memcpy(&real, &found, sizeof found);                                                             \
        }                                                                                                    \
        return is_due() ? failure : real arguments;                                                          \
    }

FAILING(int, mkdirat, -1, (int at, const char *path, mode_t mode), (at, path, mode))
FAILING(int, fchmod, -1, (int fd, mode_t mode), (fd, mode))
FAILING(ssize_t, write, -1, (int fd, const void *bytes, size_t size), (fd, bytes, size))
FAILING(ssize_t, read, -1, (int fd, void *bytes, size_t size), (fd, bytes, size))
FAILING(int, fsync, -1, (int fd), (fd))
FAILING(int, renameat, -1, (int a, const char *b, int c, const char *d), (a, b, c, d))
FAILING(int, unlinkat, -1, (int at, const char *path, int flags), (at, path, flags))
FAILING(int, fstat, -1, (int fd, struct stat *facts), (fd, facts))
FAILING(int, flock, -1, (int fd, int operation), (fd, operation))
FAILING(int, faccessat, -1, (int at, const char *path, int mode, int flags), (at, path, mode, flags))
FAILING(char *, realpath, NULL, (const char *restrict path, char *restrict room), (path, room))
FAILING(DIR *, fdopendir, NULL, (int fd), (fd))

int openat(int at, const char *path, int flags, ...)
{
    static int (*real)(int, const char *, int, ...);
    va_list more;
    va_start(more, flags);
    mode_t mode = va_arg(more, mode_t);
    va_end(more);
    if (!real) {
        void *found = next("openat");
        memcpy(&real, &found, sizeof found);
    }
    return is_due() ? -1 : real(at, path, flags, mode);
}

/* Of the calls that have no function of their own this is about renameat2. */
long syscall(long number, ...)
{
    static long (*real)(long, ...);
    long a[6];
    va_list more;
    va_start(more, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(more, long);
    va_end(more);
    if (!real) {
        void *found = next("syscall");
        memcpy(&real, &found, sizeof found);
    }
    return number == SYS_renameat2 && is_due() ? -1 : real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

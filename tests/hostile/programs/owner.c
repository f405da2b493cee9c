/* Tries to end a protected server, or the helper, by a signal that a descriptor sends: to its owner, which is
 * set, when it can be read, with a number of the setter's choice.
 *
 *     owner WAY SERVER     WAY: setown, typed, ioctl, swapped (another thread changes what "typed" reads),
 *                          thread (the first thread alone is named), helper (the victim is our tracer);
 *                          own-thread is no attack: its own thread shall get signals, and there will be none;
 *                          own-socket neither: it gets one by each of the two calls that ask for them */
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "guarded.h"

struct owner {
    volatile int type, id;
};

static struct owner owner;
static pid_t victim;

static void *swap(void *unused)
{
    for (;;) {
        owner.id = victim;
        owner.id = getpid();
    }
    return unused;
}

static int set_owner(const char *way, int fd)
{
    owner.type = strcmp(way, "thread") == 0 || strcmp(way, "own-thread") == 0 ? 0 : 1;
    owner.id = victim;
    if (strcmp(way, "ioctl") == 0)
        return ioctl(fd, FIOSETOWN, &owner.id);
    if (strcmp(way, "setown") == 0 || strcmp(way, "helper") == 0)
        return fcntl(fd, F_SETOWN, victim);
    return fcntl(fd, F_SETOWN_EX, &owner);
}

static bool gets_signal(int from, int to)
{
    const struct timespec limit = {.tv_sec = 60};
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGIO);
    CHECK(sigprocmask(SIG_BLOCK, &signals, NULL) == 0 && write(from, "x", 1) == 1);
    return sigtimedwait(&signals, NULL, &limit) == SIGIO && read(to, &(char){0}, 1) == 1;
}

static int use_own_socket(const int *ends)
{
    int on = 1, off = 0;
    CHECK(fcntl(ends[0], F_SETOWN, getpid()) == 0);
    bool got = fcntl(ends[0], F_SETFL, O_ASYNC) == 0 && gets_signal(ends[1], ends[0]);
    got = got && ioctl(ends[0], FIOASYNC, &off) == 0 && ioctl(ends[0], FIOASYNC, &on) == 0 &&
          gets_signal(ends[1], ends[0]);
    tell(got ? 0 : errno, got);
    return 0;
}

int main(int count, char **arguments)
{
    int ends[2], error = 0;
    pthread_t thread;
    CHECK(count == 3);
    if (strcmp(arguments[1], "serve") == 0)
        serve(arguments[2]);
    start_server(arguments[2], "");
    bool is_swapped = strcmp(arguments[1], "swapped") == 0;
    victim = strcmp(arguments[1], "helper") == 0 ? tracer() : server.process;
    if (victim == 0)
        return UNSUPPORTED;
    if (strcmp(arguments[1], "own-thread") == 0)
        victim = gettid();
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    if (strcmp(arguments[1], "own-socket") == 0)
        return use_own_socket(ends);
    CHECK(fcntl(ends[0], F_SETSIG, is_swapped || victim == gettid() ? SIGWINCH : SIGKILL) == 0);
    if (is_swapped)
        CHECK(pthread_create(&thread, NULL, swap, NULL) == 0);
    bool got = false;
    for (int i = 0; i < (is_swapped ? 20000 : 1) && !got; i++) {
        error = set_owner(arguments[1], ends[0]) != 0 ? errno : error;
        got = fcntl(ends[0], F_GETOWN) == victim;
    }
    if (got && victim != gettid())
        CHECK(fcntl(ends[0], F_SETSIG, SIGKILL) == 0);
    if (!is_swapped || got)
        CHECK(fcntl(ends[0], F_SETFL, O_ASYNC) == 0 && write(ends[1], "x", 1) == 1);
    tell(error, got);
    exit(0);
}

/* A random mix of attacks on the supervision of its own tree, for a number of seconds.
 *
 *     mix SECONDS SEED FORBIDDEN CONTROLLER HELPER
 *
 * Each attack runs in a child of its own, which is ended after a moment. FORBIDDEN is a program that a deny
 * rule refuses; every attack that can tries to execute it. CONTROLLER and HELPER are process ids; 0: they are
 * left alone, because nothing protects them where there is no filter. Prints how often each attack ran. */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ATTACK_LIMIT_MS = 300, LARGE_SIZE = 100 * 1024, LARGE_COUNT = 20 };

static const char *forbidden;
static pid_t controller, helper;

/* Ends a child, if there is one: -1 would be everybody. */
static void end_child(pid_t child)
{
    if (child <= 0)
        return;
    (void) kill(child, SIGKILL);
    (void) waitpid(child, NULL, __WALL);
}

static void run_forbidden(void)
{
    char *arguments[] = {"forbidden", NULL}, *nothing[] = {NULL};
    execve(forbidden, arguments, nothing);
}

static void *flip_paths(void *path)
{
    for (;;) {
        memcpy(path, "/bin/true", sizeof "/bin/true");
        memcpy(path, forbidden, strlen(forbidden) + 1);
    }
    return NULL;
}

static void swap_path(void)
{
    static char path[4096];
    pthread_t thread;
    char *arguments[] = {"forbidden", NULL}, *nothing[] = {NULL};
    memcpy(path, "/bin/true", sizeof "/bin/true");
    pthread_create(&thread, NULL, flip_paths, path);
    for (;;) {
        pid_t child = fork();
        if (child == 0) {
            pthread_create(&thread, NULL, flip_paths, path);
            execve(path, arguments, nothing);
            _exit(1);
        }
        waitpid(child, NULL, 0);
    }
}

static void *fork_and_run(void *unused)
{
    (void) unused;
    if (fork() == 0) {
        run_forbidden();
        _exit(1);
    }
    return NULL;
}

/* One thread forks while the other ends the process: the child has no creator that could tell. */
static void end_while_forking(void)
{
    for (;;) {
        pid_t child = fork();
        if (child == 0) {
            pthread_t thread;
            pthread_create(&thread, NULL, fork_and_run, NULL);
            for (volatile int i = 0; i < rand() % 20000; i++) {
            }
            _exit(0);
        }
        waitpid(child, NULL, 0);
    }
}

/* Only a filter can see the flag in time: without one this is not held, and not tried. */
static void hide_from_tracer(void)
{
    if (controller == 0)
        return;
    struct clone_args arguments = {.flags = CLONE_UNTRACED, .exit_signal = SIGCHLD};
    pid_t child = (pid_t) syscall(SYS_clone3, &arguments, sizeof arguments);
    if (child < 0)
        child = (pid_t) syscall(SYS_clone, CLONE_UNTRACED | SIGCHLD, NULL, NULL, NULL, NULL);
    if (child == 0) {
        (void) ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
        run_forbidden();
        _exit(1);
    }
    if (child < 0)
        return;
    (void) ptrace(PTRACE_SEIZE, child, NULL, NULL);
    (void) kill(child, SIGCONT);
    for (int i = 0; i < 20; i++) {
        int status;
        pid_t stopped = waitpid(child, &status, __WALL | WNOHANG);
        if (stopped == child)
            (void) ptrace(PTRACE_CONT, child, NULL, NULL);
        usleep(1000);
    }
    end_child(child);
}

static void flood_with_arguments(void)
{
    static char text[LARGE_SIZE];
    static char *arguments[LARGE_COUNT + 1], *nothing[] = {NULL};
    memset(text, 'x', sizeof text - 1);
    for (int i = 0; i < LARGE_COUNT; i++)
        arguments[i] = text;
    for (;;) {
        pid_t child = fork();
        if (child == 0) {
            execve("/bin/true", arguments, nothing);
            _exit(1);
        }
        waitpid(child, NULL, 0);
    }
}

static void attack_one(pid_t target)
{
    struct rlimit limit = {3, 3};
    char byte = 0, path[64];
    struct iovec local = {&byte, 1}, remote = {(void *) (uintptr_t) 0x400000, 1}; // NOLINT: any address
    (void) kill(target, SIGSTOP);
    (void) kill(target, SIGKILL);
    (void) syscall(SYS_tkill, target, SIGKILL);
    (void) syscall(SYS_tgkill, target, target, SIGSTOP);
    int fd = (int) syscall(SYS_pidfd_open, target, 0);
    (void) syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0);
    (void) syscall(SYS_pidfd_getfd, fd, 3, 0);
    (void) syscall(SYS_prlimit64, target, RLIMIT_NOFILE, &limit, NULL);
    (void) ptrace(PTRACE_SEIZE, target, NULL, NULL);
    (void) syscall(SYS_process_vm_writev, target, &local, 1, &remote, 1, 0);
    for (int number = 3; number < 8; number++) {
        snprintf(path, sizeof path, "/proc/%d/fd/%d", target, number);
        int opened = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
        if (opened >= 0 && target == helper)
            (void) !ftruncate(opened, 0);
        close(opened);
    }
    close(fd);
}

static void attack_supervision(void)
{
    for (int i = 0; i < 20 && controller != 0; i++) {
        attack_one(helper);
        attack_one(controller);
    }
}

static void storm_of_threads(void)
{
    for (;;) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, fork_and_run, NULL) == 0)
            pthread_join(thread, NULL);
        while (waitpid(-1, NULL, WNOHANG) > 0) {
        }
    }
}

static void change_leader(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, fork_and_run, NULL);
    char *arguments[] = {"true", NULL}, *nothing[] = {NULL};
    execve("/bin/true", arguments, nothing);
}

static void kill_while_forking(void)
{
    for (;;) {
        pid_t child = fork();
        if (child == 0) {
            fork_and_run(NULL);
            for (;;)
                fork_and_run(NULL);
        }
        usleep((useconds_t) (rand() % 2000));
        end_child(child);
    }
}

static void hop(void)
{
    for (int i = 0; i < 2000; i++)
        if (fork() != 0)
            _exit(0);
    run_forbidden();
}

static void unshare_and_run(void)
{
    (void) unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS);
    (void) fork_and_run(NULL);
    while (wait(NULL) > 0) {
    }
}

static void stop_all(void)
{
    pid_t child = fork();
    if (child == 0)
        for (;;) {
            (void) raise(SIGSTOP);
            run_forbidden();
        }
    for (int i = 0; i < 50 && child > 0; i++) {
        (void) kill(child, SIGCONT);
        usleep(1000);
        (void) kill(child, SIGSTOP);
    }
    end_child(child);
}

static const struct {
    const char *name;
    void (*function)(void);
} attacks[] = {{"run_forbidden", run_forbidden},
               {"swap_path", swap_path},
               {"end_while_forking", end_while_forking},
               {"hide_from_tracer", hide_from_tracer},
               {"flood_with_arguments", flood_with_arguments},
               {"attack_supervision", attack_supervision},
               {"storm_of_threads", storm_of_threads},
               {"change_leader", change_leader},
               {"kill_while_forking", kill_while_forking},
               {"hop", hop},
               {"unshare_and_run", unshare_and_run},
               {"stop_all", stop_all}};
enum { ATTACK_COUNT = sizeof attacks / sizeof attacks[0] };

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

/* Everything that the attack has started is in its process group; what has left it ends by itself. */
static void run_attack(int number, unsigned seed)
{
    pid_t child = fork();
    if (child == 0) {
        (void) setpgid(0, 0);
        alarm(5);
        srand(seed);
        attacks[number].function();
        _exit(0);
    }
    if (child < 0)
        return;
    for (int waited = 0; waited < ATTACK_LIMIT_MS; waited += 5) {
        if (waitpid(child, NULL, WNOHANG) == child)
            break;
        usleep(5000);
    }
    (void) kill(-child, SIGKILL);
    end_child(child);
}

int main(int count, char **arguments)
{
    unsigned runs[ATTACK_COUNT] = {0};
    if (count != 6)
        return 2;
    double end = now_s() + atof(arguments[1]);
    unsigned seed = (unsigned) strtoul(arguments[2], NULL, 10);
    forbidden = arguments[3];
    controller = (pid_t) atoi(arguments[4]);
    helper = (pid_t) atoi(arguments[5]);
    for (unsigned round = 0; now_s() < end; round++) {
        int number = (int) (rand_r(&seed) % ATTACK_COUNT);
        run_attack(number, seed + round);
        runs[number]++;
    }
    for (int i = 0; i < ATTACK_COUNT; i++)
        printf("%s %u\n", attacks[i].name, runs[i]);
    return 0;
}

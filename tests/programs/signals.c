/* Checks that signals, stops and continuations work for a program as without a tracer: signals MODE
 * ARGUMENTS, exit status 0 if they do, else 99 and a line about what did not. Knows nothing of cbprocess. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

#define FAILED 99
#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "signals: line %d: %s (errno %d)\n", __LINE__, #condition, errno);               \
            exit(FAILED);                                                                                    \
        }                                                                                                    \
    } while (0)

static volatile sig_atomic_t queued_count, alarm_count;
static volatile sig_atomic_t next_value;

static void on_queued(int number, siginfo_t *information, void *context)
{
    (void) number;
    (void) context;
    if (information->si_value.sival_int == next_value)
        next_value++;
    queued_count++;
}

static void on_alarm(int number)
{
    (void) number;
    alarm_count++;
}

static void send_all(pid_t target, int count)
{
    for (int i = 0; i < count; i++) {
        union sigval value = {.sival_int = i};
        while (sigqueue(target, SIGRTMIN, value) < 0) {
            CHECK(errno == EAGAIN);
            usleep(1000);
        }
        usleep(100);
    }
}

static void spawn_once(char *program)
{
    int status;
    char *list[] = {(char *) "amid-signals", NULL};
    pid_t process = vfork();
    if (process == 0) {
        execve(program, list, environ);
        _exit(FAILED);
    }
    CHECK(process > 0);
    while (waitpid(process, &status, 0) < 0)
        CHECK(errno == EINTR);
    CHECK(status == 0);
}

/* during COUNT PROGRAM: COUNT queued signals arrive, each once and in order, and a timer keeps firing, while
 * this process starts PROGRAM again and again. */
static int mode_during(char **arguments)
{
    int count = atoi(arguments[0]), status;
    struct sigaction queued = {.sa_sigaction = on_queued, .sa_flags = SA_SIGINFO | SA_RESTART};
    struct sigaction alarms = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    struct itimerval every = {{0, 1000}, {0, 1000}}, never = {{0, 0}, {0, 0}};
    CHECK(sigaction(SIGRTMIN, &queued, NULL) == 0 && sigaction(SIGALRM, &alarms, NULL) == 0);
    pid_t self = getpid(), sender = fork();
    CHECK(sender >= 0);
    if (sender == 0) {
        send_all(self, count);
        _exit(0);
    }
    CHECK(setitimer(ITIMER_REAL, &every, NULL) == 0);
    while (queued_count < count)
        spawn_once(arguments[1]);
    CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
    CHECK(waitpid(sender, &status, 0) == sender && status == 0);
    CHECK(queued_count == count && next_value == count && alarm_count > 0);
    return 0;
}

static volatile unsigned long *counter; /* in memory that a fork shares */

static void *count_up(void *argument)
{
    for (;;) {
        __atomic_add_fetch(counter, 1, __ATOMIC_RELAXED);
        usleep(1000);
    }
    return argument;
}

static _Noreturn void be_stopped(int thread_count, int signal_number)
{
    pthread_t thread;
    for (int i = 0; i < thread_count; i++)
        CHECK(pthread_create(&thread, NULL, count_up, NULL) == 0);
    usleep(20000);
    raise(signal_number);
    usleep(50000); /* so that the parent sees the continuation before the end */
    _exit(7);
}

/* stops THREADS: a child with so many more threads is stopped, stays stopped, is continued, and ends, and its
 * parent is told each time. */
static int mode_stops(char **arguments)
{
    static const int numbers[] = {SIGSTOP, SIGTSTP, SIGTTIN};
    counter = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(counter != MAP_FAILED);
    CHECK(setpgid(0, 0) == 0 || errno == EPERM);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        int status;
        pid_t process = fork();
        CHECK(process >= 0);
        if (process == 0) {
            CHECK(setpgid(0, 0) == 0); /* its parent is in another group of the session: not an orphan's */
            be_stopped(atoi(arguments[0]), numbers[i]);
        }
        CHECK(waitpid(process, &status, WUNTRACED) == process);
        CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == numbers[i]);
        usleep(20000);
        unsigned long before = *counter;
        usleep(100000);
        CHECK(*counter == before);
        CHECK(waitpid(process, &status, WNOHANG | WUNTRACED) == 0);
        CHECK(kill(process, SIGCONT) == 0);
        CHECK(waitpid(process, &status, WCONTINUED) == process && WIFCONTINUED(status));
        CHECK(waitpid(process, &status, 0) == process);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    }
    return 0;
}

/* kill-stopped: SIGKILL ends a stopped child. */
static int mode_kill_stopped(char **arguments)
{
    int status;
    (void) arguments;
    pid_t process = fork();
    CHECK(process >= 0);
    if (process == 0) {
        raise(SIGSTOP);
        _exit(FAILED);
    }
    CHECK(waitpid(process, &status, WUNTRACED) == process && WIFSTOPPED(status));
    CHECK(kill(process, SIGKILL) == 0);
    CHECK(waitpid(process, &status, 0) == process && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    return 0;
}

/* interrupted: a signal interrupts a system call as it does without a tracer. */
static int mode_interrupted(char **arguments)
{
    struct sigaction alarms = {.sa_handler = on_alarm};
    struct itimerval once = {{0, 0}, {0, 50000}};
    (void) arguments;
    CHECK(sigaction(SIGALRM, &alarms, NULL) == 0 && setitimer(ITIMER_REAL, &once, NULL) == 0);
    CHECK(usleep(5000000) == -1 && errno == EINTR && alarm_count == 1);
    return 0;
}

struct mode {
    const char *name;
    int argument_count;
    int (*run)(char **arguments);
};

static const struct mode modes[] = {
    {"during", 2, mode_during},
    {"stops", 1, mode_stops},
    {"kill-stopped", 0, mode_kill_stopped},
    {"interrupted", 0, mode_interrupted},
};

int main(int count, char **arguments)
{
    for (size_t i = 0; count > 1 && i < sizeof modes / sizeof *modes; i++)
        if (strcmp(modes[i].name, arguments[1]) == 0 && count - 2 == modes[i].argument_count)
            return modes[i].run(arguments + 2);
    fprintf(stderr, "signals: unknown mode or wrong number of arguments\n");
    return FAILED;
}

/* Programs that put themselves in a sandbox and then do what it concerns: sandbox MODE [PROGRAM]. Says how
 * that went. Knows nothing of cbprocess. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define FAILED 99
#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "sandbox: line %d: %s (errno %d)\n", __LINE__, #condition, errno);               \
            exit(FAILED);                                                                                    \
        }                                                                                                    \
    } while (0)

/* Installs a filter that gives action for one system call; a listener's descriptor if flags ask for one. */
static int install(unsigned call, uint32_t action, unsigned flags)
{
    struct sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, action),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof steps / sizeof *steps, steps};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    return (int) syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

static pid_t sleeper(void)
{
    pid_t parent = getpid(), process = fork();
    CHECK(process >= 0);
    if (process == 0) {
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
            _exit(FAILED);
        for (;;)
            pause();
    }
    return process;
}

static void end(pid_t process)
{
    int status;
    /* Not by kill(), which the sandbox may not allow. */
    siginfo_t information = {.si_signo = SIGKILL, .si_code = SI_QUEUE};
    CHECK(syscall(SYS_rt_sigqueueinfo, process, SIGKILL, &information) == 0);
    CHECK(waitpid(process, &status, 0) == process);
    printf("it ended by %d\n", WTERMSIG(status));
}

/* strict: reading, writing and leaving is all that is possible; anything else is fatal. */
static int mode_strict(void)
{
    static const char text[] = "in strict mode\n";
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0);
    (void) !write(1, text, sizeof text - 1);
    syscall(SYS_exit, 4);
    return FAILED;
}

/* strict-kill: a signal to a child, from strict mode. */
static int mode_strict_kill(void)
{
    pid_t process = sleeper();
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0);
    syscall(SYS_kill, process, SIGKILL);
    return FAILED;
}

/* errno: the sandbox makes kill() fail; other signals work. */
static int mode_errno(void)
{
    pid_t process = sleeper();
    CHECK(install(SYS_kill, SECCOMP_RET_ERRNO | ENOANO, 0) == 0);
    int result = kill(process, SIGTERM);
    printf("%d errno %d\n", result, errno);
    end(process);
    return 0;
}

/* kill: the sandbox ends whoever calls kill(). */
static int mode_kill(void)
{
    pid_t process = sleeper();
    CHECK(install(SYS_kill, SECCOMP_RET_KILL_PROCESS, 0) == 0);
    kill(process, SIGTERM);
    return FAILED;
}

static void on_trap(int number, siginfo_t *information, void *context)
{
    static const char text[] = "trapped\n";
    (void) context;
    if (number == SIGSYS && information->si_syscall == SYS_kill)
        (void) !write(1, text, sizeof text - 1);
}

/* trap: a signal handler stands for kill(). */
static int mode_trap(void)
{
    struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
    pid_t process = sleeper();
    CHECK(sigaction(SIGSYS, &action, NULL) == 0 && install(SYS_kill, SECCOMP_RET_TRAP, 0) == 0);
    kill(process, SIGTERM);
    end(process);
    return 0;
}

/* trace: kill() and another call are for a tracer that there is not. */
static int mode_trace(void)
{
    pid_t process = sleeper();
    CHECK(install(SYS_kill, SECCOMP_RET_TRACE, 0) == 0 && install(SYS_getppid, SECCOMP_RET_TRACE, 0) == 0);
    int result = kill(process, SIGTERM);
    printf("%d errno %d\n", result, errno);
    result = (int) syscall(SYS_getppid);
    printf("%d errno %d\n", result, errno);
    end(process);
    return 0;
}

static void *let_pass(void *argument)
{
    int listener = *(int *) argument;
    for (;;) {
        struct seccomp_notif asked = {0};
        struct seccomp_notif_resp answer = {.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked) != 0)
            continue;
        answer.id = asked.id;
        (void) ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
    }
    return NULL;
}

/* notify: a thread of its own is asked about each kill() and lets it pass. */
static int mode_notify(void)
{
    static int listener;
    pthread_t thread;
    int status;
    pid_t process = sleeper();
    listener = install(SYS_kill, SECCOMP_RET_USER_NOTIF, SECCOMP_FILTER_FLAG_NEW_LISTENER);
    if (listener < 0) {
        printf("no listener: errno %d\n", errno);
        end(process);
        return 0;
    }
    CHECK(pthread_create(&thread, NULL, let_pass, &listener) == 0);
    int result = kill(process, SIGTERM);
    printf("%d errno %d\n", result, result ? errno : 0);
    usleep(100000);
    if (waitpid(process, &status, WNOHANG) == process)
        printf("ended by %d\n", WTERMSIG(status));
    else
        end(process);
    return 0;
}

extern char **environ;
static char *executed;

/* notify-execution PROGRAM: the same for execve(), of a child. */
static int mode_notify_execution(void)
{
    static int listener;
    char *list[] = {executed, NULL};
    pthread_t thread;
    int status;
    listener = install(SYS_execve, SECCOMP_RET_USER_NOTIF, SECCOMP_FILTER_FLAG_NEW_LISTENER);
    if (listener < 0) {
        printf("no listener: errno %d\n", errno);
        return 0;
    }
    CHECK(pthread_create(&thread, NULL, let_pass, &listener) == 0);
    pid_t process = fork();
    CHECK(process >= 0);
    if (process == 0) {
        execve(executed, list, environ);
        printf("errno %d\n", errno);
        _exit(FAILED);
    }
    CHECK(waitpid(process, &status, 0) == process);
    printf(WIFSIGNALED(status) ? "signal %d\n" : "status %d\n",
           WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    return 0;
}

struct mode {
    const char *name;
    int (*run)(void);
};

static const struct mode modes[] = {
    {"strict", mode_strict}, {"strict-kill", mode_strict_kill},
    {"errno", mode_errno},   {"kill", mode_kill},
    {"trap", mode_trap},     {"trace", mode_trace},
    {"notify", mode_notify}, {"notify-execution", mode_notify_execution},
};

int main(int count, char **arguments)
{
    setvbuf(stdout, NULL, _IONBF, 0);
    executed = count == 3 ? arguments[2] : NULL;
    for (size_t i = 0; count >= 2 && i < sizeof modes / sizeof *modes; i++)
        if (strcmp(modes[i].name, arguments[1]) == 0)
            return modes[i].run();
    fprintf(stderr, "sandbox: unknown mode\n");
    return FAILED;
}

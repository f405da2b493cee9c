/* Makes processes in one particular way each, for the tests: processes MODE ARGUMENTS.
 * Knows nothing of cbprocess; every mode waits for all that it started and says with its exit status whether
 * the system behaved as it does without a tracer. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

#define FAILED 99 /* the mode itself did not work; no program of the tests exits with it */

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "processes: %s: %s\n", what, strerror(errno));
    exit(FAILED);
}

/* The exit code of a child, 128 + N for a signal. */
static int reap(pid_t process)
{
    int status;
    while (waitpid(process, &status, 0) < 0)
        if (errno != EINTR)
            fail("waitpid");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static pid_t fork_or_fail(void)
{
    pid_t process = fork();
    if (process < 0)
        fail("fork");
    return process;
}

/* Executes program in the child of a vfork; whether it ended with 0. */
static int vfork_once(char *program)
{
    char *list[] = {(char *) "vforked", NULL};
    pid_t process = vfork();
    if (process == 0) {
        execve(program, list, environ);
        _exit(FAILED);
    }
    return process > 0 && reap(process) == 0;
}

/* vfork COUNT PROGRAM: executes PROGRAM COUNT times after a vfork. */
static int mode_vfork(char **arguments)
{
    for (int left = atoi(arguments[0]); left > 0; left--)
        if (!vfork_once(arguments[1]))
            return FAILED;
    return 0;
}

/* vfork-exit: a vfork whose child ends without executing anything. */
static int mode_vfork_exit(char **arguments)
{
    (void) arguments;
    pid_t process = vfork();
    if (process == 0)
        _exit(41);
    return process > 0 && reap(process) == 41 ? 0 : FAILED;
}

/* vfork-nested PROGRAM: the child of a vfork vforks in turn; its child executes PROGRAM, itself nothing. */
static int mode_vfork_nested(char **arguments)
{
    pid_t process = vfork();
    if (process == 0)
        _exit(vfork_once(arguments[0]) ? 42 : FAILED);
    return process > 0 && reap(process) == 42 ? 0 : FAILED;
}

/* spawn PROGRAM NAME: posix_spawn of a path, posix_spawnp of a name that PATH leads to. */
static int mode_spawn(char **arguments)
{
    char *by_path[] = {(char *) "by-path", (char *) "3", NULL};
    char *by_name[] = {(char *) "by-name", (char *) "4", NULL};
    pid_t process;
    if (posix_spawn(&process, arguments[0], NULL, NULL, by_path, environ) != 0 || reap(process) != 3)
        return FAILED;
    if (posix_spawnp(&process, arguments[1], NULL, NULL, by_name, environ) != 0 || reap(process) != 4)
        return FAILED;
    return 0;
}

/* forks COUNT: COUNT children that execute nothing and end with different statuses, two by a signal. */
static int mode_forks(char **arguments)
{
    int count = atoi(arguments[0]);
    for (int i = 0; i < count; i++) {
        pid_t process = fork_or_fail();
        if (process == 0) {
            if (i < 2)
                raise(i == 0 ? SIGKILL : SIGTERM);
            _exit(i % 64);
        }
        if (reap(process) != (i == 0 ? 128 + SIGKILL : i == 1 ? 128 + SIGTERM : i % 64))
            return FAILED;
    }
    return 0;
}

/* search NAME: execvp through PATH, whose first folders do not have NAME. */
static int mode_search(char **arguments)
{
    char *list[] = {arguments[0], (char *) "5", NULL};
    pid_t process = fork_or_fail();
    if (process == 0) {
        execvp(list[0], list);
        _exit(FAILED);
    }
    return reap(process) == 5 ? 0 : FAILED;
}

/* chain COUNT SELF: the same process executes itself COUNT times more. */
static int mode_chain(char **arguments)
{
    int left = atoi(arguments[0]);
    char number[16];
    snprintf(number, sizeof number, "%d", left - 1);
    if (left > 0)
        execl(arguments[1], "chain", "chain", number, arguments[1], (char *) NULL);
    return left == 0 ? 6 : FAILED;
}

/* daemon PROGRAM: an orphan in a session of its own executes PROGRAM; the end of the orphan is awaited
 * through a pipe. */
static int mode_daemon(char **arguments)
{
    int ends[2];
    char byte;
    if (pipe(ends) < 0)
        fail("pipe");
    pid_t process = fork_or_fail();
    if (process == 0) {
        if (setsid() < 0)
            _exit(FAILED);
        if (fork_or_fail() != 0)
            _exit(0);
        close(ends[0]);
        while (getppid() == getpgrp())
            sched_yield();
        execl(arguments[0], "daemon", "7", (char *) NULL);
        _exit(FAILED);
    }
    close(ends[1]);
    if (reap(process) != 0 || read(ends[0], &byte, 1) != 0)
        return FAILED;
    return 0;
}

/* A fork with flags of clone; the parent gets SIGCHLD at its end. */
static pid_t clone_with(unsigned long flags)
{
    return (pid_t) syscall(SYS_clone, flags | SIGCHLD, NULL, NULL, NULL, 0UL);
}

/* clone-parent PROGRAM: a child makes its own sibling, which executes PROGRAM. */
static int mode_clone_parent(char **arguments)
{
    int ends[2];
    pid_t sibling = 0;
    if (pipe(ends) < 0)
        fail("pipe");
    pid_t process = fork_or_fail();
    if (process == 0) {
        sibling = clone_with(CLONE_PARENT);
        if (sibling == 0) {
            execl(arguments[0], "sibling", "8", (char *) NULL);
            _exit(FAILED);
        }
        _exit(write(ends[1], &sibling, sizeof sibling) == sizeof sibling ? 0 : FAILED);
    }
    if (read(ends[0], &sibling, sizeof sibling) != sizeof sibling || sibling <= 0)
        return FAILED;
    return reap(process) == 0 && reap(sibling) == 8 ? 0 : FAILED;
}

/* Clones by clone3, whose flags stand in memory. */
static pid_t clone3_with(uint64_t flags)
{
    uint64_t arguments[11] = {flags, 0, 0, 0, SIGCHLD};
    return (pid_t) syscall(SYS_clone3, arguments, sizeof arguments);
}

/* clone-untraced CALL PROGRAM: says what became of the execution in a child that was made by CALL (clone or
 * clone3) and asked not to be traced: its exit status, or "errno N"; or that there is none. */
static int mode_clone_untraced(char **arguments)
{
    int ends[2], error = 0;
    if (pipe2(ends, O_CLOEXEC) < 0)
        fail("pipe");
    int old_call = strcmp(arguments[0], "clone") == 0;
    pid_t process = old_call ? clone_with(CLONE_UNTRACED) : clone3_with(CLONE_UNTRACED);
    if (process < 0) {
        printf("no child: errno %d\n", errno);
        return 0;
    }
    if (process == 0) {
        execl(arguments[1], "untraced", "9", (char *) NULL);
        error = errno;
        _exit(write(ends[1], &error, sizeof error) == sizeof error ? 1 : FAILED);
    }
    close(ends[1]);
    if (read(ends[0], &error, sizeof error) == sizeof error)
        printf("errno %d\n", error);
    else
        printf("executed\n");
    printf("status %d\n", reap(process));
    return 0;
}

/* alive COUNT PROGRAM: executes PROGRAM while COUNT forked children are alive, then ends them all. */
static int mode_alive(char **arguments)
{
    int count = atoi(arguments[0]), result = 0;
    pid_t *children = calloc((size_t) count, sizeof *children);
    if (!children)
        fail("calloc");
    for (int i = 0; i < count; i++) {
        children[i] = fork_or_fail();
        if (children[i] == 0)
            for (;;)
                pause();
    }
    char *list[] = {(char *) "20", arguments[1], NULL};
    result = mode_vfork(list);
    for (int i = 0; i < count; i++)
        kill(children[i], SIGKILL);
    for (int i = 0; i < count; i++)
        if (reap(children[i]) != 128 + SIGKILL)
            result = FAILED;
    free(children);
    return result;
}

/* empty PROGRAM: an argument list whose only argument is empty, and a list with nothing in it. */
static int mode_empty(char **arguments)
{
    char *empty[] = {(char *) "", NULL}, *nothing[] = {NULL};
    char **lists[] = {empty, nothing};
    for (int i = 0; i < 2; i++) {
        pid_t process = fork_or_fail();
        if (process == 0) {
            execve(arguments[0], lists[i], environ);
            _exit(FAILED);
        }
        if (reap(process) != 0)
            return FAILED;
    }
    return 0;
}

/* long COUNT SIZE PROGRAM: executes PROGRAM with COUNT arguments of SIZE bytes each. */
static int mode_long(char **arguments)
{
    size_t count = strtoul(arguments[0], NULL, 10), size = strtoul(arguments[1], NULL, 10);
    char **list = calloc(count + 3, sizeof *list), *text = malloc(size + 1);
    if (!list || !text)
        fail("malloc");
    memset(text, 'a', size);
    text[size] = 0;
    list[0] = (char *) "long";
    list[1] = (char *) "0";
    for (size_t i = 0; i < count; i++)
        list[i + 2] = text;
    execve(arguments[2], list, environ);
    fail("execve");
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t) now.tv_sec * 1000000000u + (uint64_t) now.tv_nsec;
}

/* storm WIDTH COUNT PROGRAM: WIDTH children, each of which forks and executes PROGRAM COUNT times and writes
 * the time after each to standard output, as "monotonic-nanoseconds exit-status". */
static int mode_storm(char **arguments)
{
    int width = atoi(arguments[0]), count = atoi(arguments[1]), result = 0;
    pid_t *children = calloc((size_t) width, sizeof *children);
    if (!children)
        fail("calloc");
    for (int i = 0; i < width; i++) {
        children[i] = fork_or_fail();
        for (int j = 0; children[i] == 0 && j < count; j++) {
            pid_t process = fork_or_fail();
            if (process == 0) {
                execl(arguments[2], "storm", "0", (char *) NULL);
                _exit(errno == ENOSYS ? 38 : FAILED);
            }
            dprintf(STDOUT_FILENO, "%llu %d\n", (unsigned long long) now_ns(), reap(process));
        }
        if (children[i] == 0)
            _exit(0);
    }
    for (int i = 0; i < width; i++)
        if (reap(children[i]) != 0)
            result = FAILED;
    free(children);
    dprintf(STDOUT_FILENO, "end\n");
    return result;
}

struct mode {
    const char *name;
    int argument_count;
    int (*run)(char **arguments);
};

static const struct mode modes[] = {
    {"vfork", 2, mode_vfork},
    {"vfork-exit", 0, mode_vfork_exit},
    {"vfork-nested", 1, mode_vfork_nested},
    {"spawn", 2, mode_spawn},
    {"forks", 1, mode_forks},
    {"search", 1, mode_search},
    {"chain", 2, mode_chain},
    {"daemon", 1, mode_daemon},
    {"clone-parent", 1, mode_clone_parent},
    {"alive", 2, mode_alive},
    {"clone-untraced", 2, mode_clone_untraced},
    {"empty", 1, mode_empty},
    {"long", 3, mode_long},
    {"storm", 3, mode_storm},
};

int main(int count, char **arguments)
{
    for (size_t i = 0; count > 1 && i < sizeof modes / sizeof *modes; i++)
        if (strcmp(modes[i].name, arguments[1]) == 0 && count - 2 == modes[i].argument_count)
            return modes[i].run(arguments + 2);
    fprintf(stderr, "processes: unknown mode or wrong number of arguments\n");
    return FAILED;
}

/* Does whatever a helper is told of: every_operation PROGRAM ARGUMENT WIDTH DENIED ARGUMENT SCRIPT. Says
 * nothing of what fails. PROGRAM, which a handler refuses, is tried each time that something is executed;
 * WIDTH children live at the same time. They end when their pipe does: a signal may be refused. DENIED and
 * SCRIPT are what rules deny. */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ORPHAN_ROUNDS = 10 };

static char **refused;

static void *do_nothing(void *unused)
{
    return unused;
}

static void make_thread(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, do_nothing, NULL) == 0)
        pthread_join(thread, NULL);
}

static void execute(char **program, int by_vfork)
{
    pid_t child = by_vfork ? vfork() : fork();
    if (child == 0) {
        execv(program[0], program);
        _exit(1);
    }
    if (child > 0)
        waitpid(child, NULL, 0);
}

static pid_t make_child(const int pipe_ends[2])
{
    char byte;
    pid_t child = fork();
    if (child == 0) {
        close(pipe_ends[1]);
        execv(refused[0], refused);
        _exit((int) read(pipe_ends[0], &byte, 1));
    }
    return child;
}

static void live_together(int width)
{
    int ends[2];
    if (pipe(ends) != 0)
        return;
    for (int i = 0; i < width; i++)
        (void) make_child(ends);
    close(ends[0]);
    close(ends[1]);
    while (wait(NULL) > 0) {
    }
}

static void use_handles(void)
{
    int ends[2];
    if (pipe(ends) != 0)
        return;
    pid_t child = make_child(ends);
    int handle = (int) syscall(SYS_pidfd_open, child, 0);
    (void) setpriority(PRIO_PROCESS, (id_t) child, 5);
    if (child > 0)
        (void) kill(child, SIGKILL);
    close(ends[0]);
    close(ends[1]);
    if (child > 0)
        waitpid(child, NULL, 0);
    close(handle);
}

static void *create_one(void *unused)
{
    if (fork() == 0) {
        execv(refused[0], refused);
        _exit(1);
    }
    return unused;
}

/* Creators that end while they create. */
static void leave_orphans(void)
{
    pthread_t thread;
    for (int round = 0; round < ORPHAN_ROUNDS; round++) {
        pid_t child = fork();
        if (child == 0) {
            (void) pthread_create(&thread, NULL, create_one, NULL);
            usleep((useconds_t) (100 + 40 * round));
            _exit(0);
        }
        if (child > 0)
            waitpid(child, NULL, 0);
    }
}

/* By the ids of a namespace of its own, where it may make one. */
static void use_other_ids(void)
{
    pid_t child = fork();
    if (child == 0) {
        if (unshare(CLONE_NEWUSER | CLONE_NEWPID) == 0 && fork() == 0 && getpid() == 1) {
            if (fork() == 0)
                _exit(0);
            (void) setpriority(PRIO_PROCESS, 2, 5);
            (void) setpriority(PRIO_PROCESS, 3, 5); /* nobody */
            (void) getpriority(PRIO_USER, getuid());
        }
        while (wait(NULL) > 0) {
        }
        _exit(0);
    }
    if (child > 0)
        waitpid(child, NULL, 0);
}

int main(int count, char **arguments)
{
    char *nothing[] = {"/bin/true", NULL};
    if (count != 7)
        return 2;
    char *denied[] = {arguments[4], arguments[5], NULL}, *script[] = {arguments[6], NULL};
    int width = atoi(arguments[3]);
    arguments[3] = NULL;
    refused = arguments + 1;
    for (int round = 0; round < 2; round++) {
        make_thread();
        execute(nothing, 0);
        execute(refused, 0);
        execute(nothing, 1);
        execute(refused, 1);
        execute(denied, round);
        execute(script, round);
        use_handles();
        (void) kill(0, SIGURG);
        use_other_ids();
    }
    leave_orphans();
    live_together(width);
    execv(nothing[0], nothing);
    return 1;
}

/* Tries to execute a program in one particular way and says what the system answered, "errno N", going on
 * afterwards: refused MODE ARGUMENTS. Knows nothing of cbprocess. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

#define FAILED 99
#define REFUSED 77

static void report(int error)
{
    printf("errno %d\n", error);
    fflush(stdout);
}

/* execve PATH */
static int mode_execve(char **arguments)
{
    char *list[] = {arguments[0], NULL};
    execve(arguments[0], list, environ);
    report(errno);
    return 0;
}

/* execvp NAME */
static int mode_execvp(char **arguments)
{
    char *list[] = {arguments[0], NULL};
    execvp(arguments[0], list);
    report(errno);
    return 0;
}

/* execveat PATH: by descriptor, with an empty path. */
static int mode_execveat(char **arguments)
{
    char *list[] = {arguments[0], NULL};
    int descriptor = open(arguments[0], O_PATH | O_CLOEXEC);
    syscall(SYS_execveat, descriptor, "", list, environ, AT_EMPTY_PATH);
    report(errno);
    return descriptor < 0 ? FAILED : 0;
}

/* vfork PATH: the child of a vfork; the parent goes on. */
static int mode_vfork(char **arguments)
{
    char *list[] = {arguments[0], NULL};
    volatile int error = 0;
    int status;
    pid_t process = vfork();
    if (process == 0) {
        execve(arguments[0], list, environ);
        error = errno;
        _exit(REFUSED);
    }
    if (process < 0 || waitpid(process, &status, 0) != process)
        return FAILED;
    if (error)
        report(error);
    else if (WIFSIGNALED(status))
        printf("signal %d\n", WTERMSIG(status));
    else
        printf("status %d\n", WEXITSTATUS(status));
    return 0;
}

/* spawn PATH: posix_spawn, which hands the error back. */
static int mode_spawn(char **arguments)
{
    char *list[] = {arguments[0], NULL};
    pid_t process;
    int error = posix_spawn(&process, arguments[0], NULL, NULL, list, environ);
    report(error);
    if (error == 0)
        waitpid(process, NULL, 0);
    return 0;
}

static void *execute(void *argument)
{
    char *list[] = {argument, NULL};
    execve(argument, list, environ);
    report(errno);
    return NULL;
}

/* thread PATH: a secondary thread; the process and its threads go on. */
static int mode_thread(char **arguments)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, execute, arguments[0]) != 0)
        return FAILED;
    pthread_join(thread, NULL);
    printf("goes on\n");
    return 0;
}

static char flipping[4096];
static char *const *flip_names;

static void *flip(void *argument)
{
    for (unsigned turn = 0;; turn++) {
        memcpy(flipping, flip_names[turn & 1], strlen(flip_names[0]) + 1);
        for (volatile int pause_turns = 0; pause_turns < 50; pause_turns++)
            ;
    }
    return argument;
}

/* flip COUNT FIRST SECOND: COUNT executions of a path that another thread keeps changing between two names
 * of equal length, which exit with 0 and 1. Says how many ended in each way. */
static int mode_flip(char **arguments)
{
    int count = atoi(arguments[0]), first = 0, second = 0, refused = 0, killed = 0, other = 0;
    flip_names = arguments + 1;
    if (strlen(arguments[1]) != strlen(arguments[2]) || strlen(arguments[1]) >= sizeof flipping)
        return FAILED;
    for (int i = 0; i < count; i++) {
        int status;
        pid_t process = fork();
        if (process == 0) {
            char *list[] = {(char *) "flipped", NULL};
            pthread_t thread;
            strcpy(flipping, arguments[1]);
            if (pthread_create(&thread, NULL, flip, NULL) != 0)
                _exit(FAILED);
            usleep(300);
            execve(flipping, list, environ);
            _exit(errno == EACCES || errno == ENOENT ? REFUSED : FAILED);
        }
        if (process < 0 || waitpid(process, &status, 0) != process)
            return FAILED;
        if (WIFSIGNALED(status))
            killed++;
        else if (WEXITSTATUS(status) == REFUSED)
            refused++;
        else if (WEXITSTATUS(status) > 1)
            other++;
        else
            *(WEXITSTATUS(status) ? &second : &first) += 1;
    }
    printf("{\"first\": %d, \"second\": %d, \"refused\": %d, \"killed\": %d, \"other\": %d}\n", first, second,
           refused, killed, other);
    return 0;
}

struct mode {
    const char *name;
    int argument_count;
    int (*run)(char **arguments);
};

static const struct mode modes[] = {
    {"execve", 1, mode_execve}, {"execvp", 1, mode_execvp}, {"execveat", 1, mode_execveat},
    {"vfork", 1, mode_vfork},   {"spawn", 1, mode_spawn},   {"thread", 1, mode_thread},
    {"flip", 3, mode_flip},
};

int main(int count, char **arguments)
{
    for (size_t i = 0; count > 1 && i < sizeof modes / sizeof *modes; i++)
        if (strcmp(modes[i].name, arguments[1]) == 0 && count - 2 == modes[i].argument_count)
            return modes[i].run(arguments + 2);
    fprintf(stderr, "refused: unknown mode or wrong number of arguments\n");
    return FAILED;
}

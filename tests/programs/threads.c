/* Makes and ends threads in one particular way each, for the tests: threads MODE ARGUMENTS.
 * Knows nothing of cbprocess. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

#define FAILED 99
#define STACK_SIZE (64u * 1024u)

static pthread_t start(void *(*body)(void *), void *argument)
{
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_SIZE);
    int error;
    /* While another thread is in execve the kernel makes no threads: EAGAIN. Soon there will be no such
     * process. */
    do
        error = pthread_create(&thread, &attributes, body, argument);
    while (error == EAGAIN);
    pthread_attr_destroy(&attributes);
    if (error) {
        fprintf(stderr, "threads: pthread_create: %s\n", strerror(error));
        exit(FAILED);
    }
    return thread;
}

static void *idle(void *argument)
{
    for (;;)
        pause();
    return argument;
}

static void *busy(void *argument)
{
    for (volatile unsigned long turns = 0;; turns++)
        ;
    return argument;
}

static void *nothing(void *argument)
{
    return argument;
}

static void *short_lived(void *argument)
{
    for (;;)
        pthread_join(start(nothing, NULL), NULL);
    return argument;
}

static void *execute(void *argument)
{
    char *list[] = {(char *) "from-a-thread", (char *) "11", NULL};
    usleep(20000);
    execve(argument, list, environ);
    perror("threads: execve");
    exit(FAILED);
}

/* run COUNT: COUNT threads, one after the other. */
static int mode_run(char **arguments)
{
    int count = atoi(arguments[0]);
    for (int i = 0; i < count; i++)
        pthread_join(start(nothing, NULL), NULL);
    return 0;
}

/* execute PROGRAM KIND: a secondary thread executes PROGRAM while three others are idle, busy or making
 * threads. */
static int mode_execute(char **arguments)
{
    void *(*body)(void *) = arguments[1][0] == 'b' ? busy : arguments[1][0] == 'm' ? short_lived : idle;
    for (int i = 0; i < 3; i++)
        start(body, NULL);
    start(execute, arguments[0]);
    idle(NULL);
    return FAILED;
}

/* end COUNT HOW: COUNT idle threads all end at once, by exit_group or by SIGKILL. */
static int mode_end(char **arguments)
{
    int count = atoi(arguments[0]);
    for (int i = 0; i < count; i++)
        start(idle, NULL);
    if (strcmp(arguments[1], "kill") == 0)
        kill(getpid(), SIGKILL);
    _exit(12);
}

/* leader: the first thread ends before the last one does. */
static void *outlive(void *argument)
{
    usleep(50000);
    _exit(13);
    return argument;
}

static int mode_leader(char **arguments)
{
    (void) arguments;
    start(outlive, NULL);
    pthread_exit(NULL);
}

static char *spawned_program;

static void *spawner(void *argument)
{
    char *list[] = {(char *) "of-a-thread", NULL};
    for (int i = 0; i < 25; i++) {
        int status;
        pid_t process = vfork();
        if (process == 0) {
            execve(spawned_program, list, environ);
            _exit(FAILED);
        }
        if (process < 0 || waitpid(process, &status, 0) != process || status != 0)
            exit(FAILED);
    }
    return argument;
}

/* spawn COUNT PROGRAM: COUNT threads that vfork and execute PROGRAM 25 times each, all at once. */
static int mode_spawn(char **arguments)
{
    int count = atoi(arguments[0]);
    pthread_t *threads = calloc((size_t) count, sizeof *threads);
    if (!threads)
        return FAILED;
    spawned_program = arguments[1];
    for (int i = 0; i < count; i++)
        threads[i] = start(spawner, NULL);
    for (int i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    free(threads);
    return 0;
}

struct mode {
    const char *name;
    int argument_count;
    int (*run)(char **arguments);
};

static const struct mode modes[] = {
    {"run", 1, mode_run},       {"execute", 2, mode_execute}, {"end", 2, mode_end},
    {"leader", 0, mode_leader}, {"spawn", 2, mode_spawn},
};

int main(int count, char **arguments)
{
    for (size_t i = 0; count > 1 && i < sizeof modes / sizeof *modes; i++)
        if (strcmp(modes[i].name, arguments[1]) == 0 && count - 2 == modes[i].argument_count)
            return modes[i].run(arguments + 2);
    fprintf(stderr, "threads: unknown mode or wrong number of arguments\n");
    return FAILED;
}

/* What every monitor is measured on: `workload spawn|threads|preempt COUNT OUT TINY`.
 *   spawn    vfork + execve of TINY + waitpid
 *   threads  pthread_create + pthread_join
 *   preempt  about 10 ms of computing, then a SIGURG to another of its own threads: the pace at which
 * runtimes with preemption signal theirs Does WARM_UP operations, then COUNT timed ones, and writes the
 * nanoseconds of one operation to OUT. Each program it starts gets the arguments "tag-<number>" and
 * "--option=a b", so that a monitor's record of the command lines can be checked. Knows nothing of who
 * watches it. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WARM_UP = 20, SLICE_TURNS = 5000000 };

extern char **environ;

static uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t) time.tv_sec * 1000000000u + (uint64_t) time.tv_nsec;
}

static void *nothing(void *argument)
{
    return argument;
}

static int one_thread(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, nothing, NULL) != 0)
        return -1;
    return pthread_join(thread, NULL) == 0 ? 0 : -1;
}

static int one_program(const char *program, unsigned number)
{
    char tag[32];
    char *arguments[] = {"tiny", tag, "--option=a b", NULL};
    int status = -1;
    snprintf(tag, sizeof tag, "tag-%u", number);
    pid_t child = vfork();
    if (child == 0) {
        execve(program, arguments, environ);
        _exit(127);
    }
    if (child < 0 || waitpid(child, &status, 0) != child)
        return -1;
    return status == 0 ? 0 : -1;
}

static pthread_t preempted;
static volatile sig_atomic_t preempted_count;

static void preempt(int number)
{
    (void) number;
    preempted_count++;
}

static void *be_preempted(void *unused)
{
    for (;;)
        pause();
    return unused;
}

static int one_slice(void)
{
    if (preempted == 0) {
        struct sigaction action = {.sa_handler = preempt, .sa_flags = SA_RESTART};
        if (sigaction(SIGURG, &action, NULL) != 0 ||
            pthread_create(&preempted, NULL, be_preempted, NULL) != 0)
            return -1;
    }
    for (volatile unsigned turns = 0; turns < SLICE_TURNS; turns++)
        ;
    return pthread_kill(preempted, SIGURG) == 0 ? 0 : -1;
}

static int one(char kind, const char *program, unsigned number)
{
    switch (kind) {
    case 's':
        return one_program(program, number);
    case 't':
        return one_thread();
    default:
        return one_slice();
    }
}

static int run(char kind, const char *program, unsigned first, unsigned count)
{
    for (unsigned i = first; i < first + count; i++) {
        if (one(kind, program, i) != 0)
            return -1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 5 || (strcmp(argv[1], "spawn") != 0 && strcmp(argv[1], "threads") != 0 &&
                      strcmp(argv[1], "preempt") != 0)) {
        fputs("usage: workload spawn|threads|preempt COUNT OUT TINY\n", stderr);
        return 2;
    }
    char kind = argv[1][0];
    unsigned count = (unsigned) strtoul(argv[2], NULL, 10);
    if (count == 0 || run(kind, argv[4], 0, WARM_UP) != 0)
        return 1;
    uint64_t start = now_ns();
    if (run(kind, argv[4], WARM_UP, count) != 0)
        return 1;
    uint64_t spent = now_ns() - start;
    FILE *out = fopen(argv[3], "w");
    if (out == NULL)
        return 1;
    fprintf(out, "%.1f\n", (double) spent / count);
    return fclose(out) == 0 ? 0 : 1;
}

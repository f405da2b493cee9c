/* What every monitor is measured on: `workload spawn|threads COUNT OUT TINY`.
 *   spawn    vfork + execve of TINY + waitpid
 *   threads  pthread_create + pthread_join
 * Does WARM_UP operations, then COUNT timed ones, and writes the nanoseconds of one operation to OUT. Each
 * program it starts gets the arguments "tag-<number>" and "--option=a b", so that a monitor's record of the
 * command lines can be checked. Knows nothing of who watches it. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WARM_UP = 20 };

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

static int run(int spawn, const char *program, unsigned first, unsigned count)
{
    for (unsigned i = first; i < first + count; i++) {
        if ((spawn ? one_program(program, i) : one_thread()) != 0)
            return -1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 5 || (strcmp(argv[1], "spawn") != 0 && strcmp(argv[1], "threads") != 0)) {
        fputs("usage: workload spawn|threads COUNT OUT TINY\n", stderr);
        return 2;
    }
    int spawn = strcmp(argv[1], "spawn") == 0;
    unsigned count = (unsigned) strtoul(argv[2], NULL, 10);
    if (count == 0 || run(spawn, argv[4], 0, WARM_UP) != 0)
        return 1;
    uint64_t start = now_ns();
    if (run(spawn, argv[4], WARM_UP, count) != 0)
        return 1;
    uint64_t spent = now_ns() - start;
    FILE *out = fopen(argv[3], "w");
    if (out == NULL)
        return 1;
    fprintf(out, "%.1f\n", (double) spent / count);
    return fclose(out) == 0 ? 0 : 1;
}

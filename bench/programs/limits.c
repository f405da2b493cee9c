/* What many living processes cost one that works: `limits depth COUNT` makes a line of COUNT processes, each
 * the parent of the next, `limits crowd COUNT` as many children of one. Then one of them, the last or the
 * parent, forks a process and waits for it, FORKS times, says "ready MEDIAN_NS" and waits for the end of its
 * standard input. All end with it. Knows nothing of who watches it. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { FORKS = 101, END_FD = 3 };

static int compare(const void *a, const void *b)
{
    uint64_t first = *(const uint64_t *) a, second = *(const uint64_t *) b;
    return (first > second) - (first < second);
}

static uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t) time.tv_sec * 1000000000u + (uint64_t) time.tv_nsec;
}

static void fork_and_wait(void)
{
    uint64_t times[FORKS];
    for (int i = 0; i < FORKS; i++) {
        uint64_t start = now_ns();
        pid_t child = fork();
        if (child == 0)
            _exit(0);
        if (child < 0 || waitpid(child, NULL, 0) != child)
            exit(EXIT_FAILURE);
        times[i] = now_ns() - start;
    }
    qsort(times, FORKS, sizeof times[0], compare);
    printf("ready %" PRIu64 "\n", times[FORKS / 2]);
    fflush(stdout);
}

/* Until the pipe's other end is closed, which only the first process has. */
static void sleep_until_end(void)
{
    char byte;
    (void) !read(END_FD, &byte, 1);
    _exit(0);
}

static void wait_for_input_to_end(void)
{
    while (getchar() != EOF) {
    }
    exit(0); /* with it the pipe's end */
}

/* A program at each step: the kernel's own cost of a fork grows with the forks before it that executed none.
 */
static void go_deeper(char **arguments, long count)
{
    char number[32];
    snprintf(number, sizeof number, "%ld", count - 1);
    execl("/proc/self/exe", arguments[0], "deeper", number, NULL);
    exit(EXIT_FAILURE);
}

int main(int argument_count, char **arguments)
{
    if (argument_count != 3)
        return EXIT_FAILURE;
    bool is_first = strcmp(arguments[1], "deeper") != 0, is_crowd = strcmp(arguments[1], "crowd") == 0;
    int end[2] = {-1, -1};
    if (is_first &&
        (pipe2(end, O_CLOEXEC) != 0 || dup2(end[0], END_FD) != END_FD || fcntl(END_FD, F_SETFD, 0) != 0))
        return EXIT_FAILURE;
    for (long count = atol(arguments[2]); count > 0; count--) {
        pid_t child = fork();
        if (child < 0)
            return EXIT_FAILURE;
        if (child == 0 && is_first)
            close(end[1]);
        if (child == 0 && is_crowd)
            sleep_until_end();
        if (child == 0)
            go_deeper(arguments, count);
        if (!is_crowd && is_first)
            wait_for_input_to_end();
        if (!is_crowd)
            sleep_until_end();
    }
    fork_and_wait();
    if (is_crowd)
        wait_for_input_to_end();
    sleep_until_end();
}

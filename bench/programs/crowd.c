/* Many processes that live and do nothing, each under a name of its own, and one that forks all the time:
 * `crowd NAMES`. NAMES has a record of NAME_SIZE bytes for each process: the path to execute, a link to this
 * program, filled up with NUL. They are one another's parents and children, CHILDREN of each.
 *
 * Says "ready" when all live. From then on it forks a process and waits for it, again and again; for each
 * byte that it reads it says how often it did so since the last one, and how many nanoseconds of it took: the
 * median and the longest. Ends, with all the others, when its standard input ends; they end with it whatever
 * it dies of, because they wait for the end of a pipe that it alone can write to. Knows nothing of who
 * watches it. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { NAME_SIZE = 512, CHILDREN = 8, PAUSE_MAX = 1 << 20 };
enum { END_FD = 3, LIVING_FD = 4 }; /* of a process of the crowd: what it waits for, what it reports to */

static uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t) time.tv_sec * 1000000000u + (uint64_t) time.tv_nsec;
}

/* Executes the name of that number; does not return. */
static void become(const char *names, unsigned number)
{
    char name[NAME_SIZE] = "", text[16];
    int file = open(names, O_RDONLY | O_CLOEXEC);
    if (file >= 0 && pread(file, name, sizeof name - 1, (off_t) number * NAME_SIZE) > 0) {
        snprintf(text, sizeof text, "%u", number);
        execl(name, name, text, names, (char *) NULL);
    }
    _exit(127);
}

static int start(const char *names, unsigned number)
{
    pid_t child = fork();
    if (child == 0)
        become(names, number);
    return child > 0 ? 0 : -1;
}

static unsigned name_count(const char *names)
{
    struct stat status;
    return stat(names, &status) == 0 ? (unsigned) (status.st_size / NAME_SIZE) : 0;
}

/* One of the crowd. It waits for its children, so that none is left to a system that may not. */
static int live(const char *names, unsigned number)
{
    unsigned count = name_count(names);
    char byte = '.';
    for (unsigned child = number * CHILDREN + 1; child <= number * CHILDREN + CHILDREN && child < count;
         child++)
        if (start(names, child) != 0)
            byte = '!';
    if (write(LIVING_FD, &byte, 1) != 1)
        return 1;
    close(LIVING_FD);
    while (read(END_FD, &byte, 1) > 0) {
    }
    while (wait(NULL) > 0) {
    }
    return 0;
}

/* Starts the crowd, and returns once it lives: 0, or -1 if it does not. *end_fd is to be closed to end it. */
static int gather(const char *names, int *end_fd)
{
    int end[2], living[2];
    if (pipe2(end, O_CLOEXEC) != 0 || pipe2(living, O_CLOEXEC) != 0)
        return -1;
    *end_fd = end[1];
    pid_t child = fork();
    if (child == 0) {
        int end_read = fcntl(end[0], F_DUPFD, 10), living_write = fcntl(living[1], F_DUPFD, 10);
        if (dup2(end_read, END_FD) < 0 || dup2(living_write, LIVING_FD) < 0)
            _exit(127);
        close(end_read);
        close(living_write);
        become(names, 0);
    }
    close(end[0]);
    close(living[1]);
    unsigned count = name_count(names), number = 0;
    char byte = '.';
    while (number < count && byte == '.' && read(living[0], &byte, 1) == 1)
        number++;
    close(living[0]);
    return child > 0 && number == count && byte == '.' ? 0 : -1;
}

static int fork_and_wait(uint64_t *spent_ns)
{
    uint64_t begin = now_ns();
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    if (child < 0 || waitpid(child, NULL, 0) != child)
        return -1;
    *spent_ns = now_ns() - begin;
    return 0;
}

static int compare(const void *a, const void *b)
{
    uint64_t first = *(const uint64_t *) a, second = *(const uint64_t *) b;
    return (first > second) - (first < second);
}

static void report(uint64_t *pauses, size_t count)
{
    qsort(pauses, count, sizeof *pauses, compare);
    printf("%zu %" PRIu64 " %" PRIu64 "\n", count, count ? pauses[count / 2] : 0,
           count ? pauses[count - 1] : 0);
}

/* Until standard input ends: 0. */
static int fork_all_the_time(void)
{
    static uint64_t pauses[PAUSE_MAX];
    size_t count = 0;
    for (;;) {
        struct pollfd input = {.fd = 0, .events = POLLIN};
        char byte;
        if (poll(&input, 1, 0) > 0) {
            if (read(0, &byte, 1) != 1)
                return 0;
            report(pauses, count);
            count = 0;
        }
        if (count == PAUSE_MAX || fork_and_wait(&pauses[count]) != 0)
            return 1;
        count++;
    }
}

int main(int argument_count, char **arguments)
{
    int end_fd = -1, status = 1;
    if (argument_count == 3)
        return live(arguments[2], (unsigned) atoi(arguments[1]));
    if (argument_count != 2)
        return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (gather(arguments[1], &end_fd) == 0) {
        puts("ready");
        status = fork_all_the_time();
    }
    close(end_fd);
    while (wait(NULL) > 0) {
    }
    return status;
}

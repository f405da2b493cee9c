/* Runs the unit tests: all, or those with one of the arguments in their file's name or their own. With --list it
 * names them, with --first it ends after the first failed one, which may last a short time only. Prints each
 * failed test, and how many there were. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "test.h"

enum { LIMIT_S = 120, SHORT_LIMIT_S = 15, COUNTS_MAX = 32, RULE_STATUS_SIZE = 4096 };

static struct test *tests;
static int counts_pipe[2] = {-1, -1};

void test_add(struct test *test)
{
    struct test **at = &tests;
    while (*at && strcmp((*at)->file, test->file) <= 0)
        at = &(*at)->next;
    test->next = *at;
    *at = test;
}

/* ---- Counts, which tests send to the first process ---- */

struct count {
    char what[48];
    uint64_t number;
};
static struct count counts[COUNTS_MAX];

void test_count(const char *what, uint64_t number)
{
    struct count count = {.number = number};
    snprintf(count.what, sizeof count.what, "%s", what);
    if (counts_pipe[1] >= 0 && write(counts_pipe[1], &count, sizeof count) != (ssize_t) sizeof count)
        abort();
}

static void read_counts(void)
{
    struct count count;
    while (read(counts_pipe[0], &count, sizeof count) == (ssize_t) sizeof count) {
        size_t i = 0;
        while (i < COUNTS_MAX - 1 && counts[i].what[0] != 0 && strcmp(counts[i].what, count.what) != 0)
            i++;
        memcpy(counts[i].what, count.what, sizeof count.what);
        counts[i].number += count.number;
    }
}

/* ---- Running ---- */

void test_breaks(const char *rule, void (*function)(void))
{
    int output[2], status;
    char text[RULE_STATUS_SIZE] = {0}, wanted[64];
    fflush(NULL);
    if (pipe(output) != 0)
        abort();
    pid_t child = fork();
    if (child == 0) {
        dup2(output[1], STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        function();
        _exit(0);
    }
    close(output[1]);
    size_t size = 0;
    ssize_t got;
    while (size < sizeof text - 1 && (got = read(output[0], text + size, sizeof text - 1 - size)) > 0)
        size += (size_t) got;
    close(output[0]);
    waitpid(child, &status, 0);
    snprintf(wanted, sizeof wanted, "shim: %s:", rule);
    if (!strstr(text, wanted)) {
        fprintf(stderr, "the rule %s was not found to be broken; the output was: %s\n", rule, text);
        abort();
    }
    test_count("broken rules found", 1);
}

static bool is_wanted(const struct test *test, char **names)
{
    if (!names[0])
        return true;
    for (; names[0]; names++)
        if (strstr(test->file, names[0]) || strstr(test->name, names[0]))
            return true;
    return false;
}

static bool passes(const struct test *test, unsigned limit_s)
{
    int status;
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        alarm(limit_s);
        test->run();
        exit(0);
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    clock_gettime(CLOCK_MONOTONIC, &end);
    double seconds = (double) (end.tv_sec - start.tv_sec) + (double) (end.tv_nsec - start.tv_nsec) / 1e9;
    if (status != 0)
        printf("FAILED %s in %s: status %#x\n", test->name, test->file, (unsigned) status);
    else if (seconds > 2)
        printf("%s: %.1f s\n", test->name, seconds);
    return status == 0;
}

int main(int argc, char **argv)
{
    unsigned run_count = 0, failed_count = 0;
    bool lists = argc > 1 && strcmp(argv[1], "--list") == 0;
    bool ends_early = argc > 1 && strcmp(argv[1], "--first") == 0;
    char **names = argv + 1 + (lists || ends_early);
    if (pipe(counts_pipe) != 0)
        return 1;
    for (struct test *test = tests; test && !(ends_early && failed_count > 0); test = test->next) {
        if (lists)
            printf("%s\n", test->name);
        if (lists || !is_wanted(test, names))
            continue;
        run_count++;
        failed_count += !passes(test, ends_early ? SHORT_LIMIT_S : LIMIT_S);
    }
    close(counts_pipe[1]);
    read_counts();
    if (!lists)
        printf("%u tests, %u failed", run_count, failed_count);
    for (size_t i = 0; i < COUNTS_MAX && counts[i].what[0] != 0; i++)
        printf("; %llu %s", (unsigned long long) counts[i].number, counts[i].what);
    printf("\n");
    return failed_count != 0 || (!lists && run_count == 0);
}

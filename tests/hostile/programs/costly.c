/* Tries to keep its tracer busy, or to fill its memory, with what an execve is given: costly HOW COUNT
 * PROGRAM.
 *
 * far: pointers that go to and fro between two far places, COUNT of them; up to what the kernel accepts.
 * many: COUNT forks that each execute with 5 MB of arguments, all at once.
 * doomed: COUNT forks that each execute with 3 MB of arguments, more than the kernel accepts with their
 * stack. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PLACE_SIZE = 1024 * 1024, STRING_SIZE = 100 * 1024 };

static char *far_places(int index)
{
    static char *places[2];
    if (places[index] == NULL) {
        places[index] =
            mmap((void *) ((size_t) 0x10000000000 * (size_t) (index + 1)), PLACE_SIZE, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        if (places[index] == MAP_FAILED)
            exit(99);
    }
    return places[index];
}

static char **list_of(long count, int is_far)
{
    char **list = calloc((size_t) count + 2, sizeof *list);
    char *string = malloc(STRING_SIZE);
    if (list == NULL || string == NULL)
        exit(99);
    memset(string, 'x', STRING_SIZE);
    string[STRING_SIZE - 1] = 0;
    for (long i = 0; i < count; i++)
        list[i] = is_far ? far_places((int) (i & 1)) : string;
    return list;
}

int main(int argument_count, char **arguments)
{
    struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
    if (argument_count != 4)
        return EXIT_FAILURE;
    int is_doomed = strcmp(arguments[1], "doomed") == 0;
    if (is_doomed)
        unlimited.rlim_cur = 8 * 1024 * 1024;
    (void) setrlimit(RLIMIT_STACK, &unlimited);
    long count = atol(arguments[2]);
    if (strcmp(arguments[1], "far") == 0) {
        execv(arguments[3], list_of(count, 1));
        printf("errno %d\n", errno);
        return 0;
    }
    char **list = list_of(is_doomed ? 30 : 50, 0);
    for (long i = 0; i < count; i++) {
        pid_t child = fork();
        if (child == 0) {
            execv(arguments[3], list);
            _exit(errno);
        }
    }
    int status, failed = 0;
    while (wait(&status) > 0)
        failed += status != 0;
    printf("failed %d\n", failed);
    return 0;
}

/* Starts very many processes that end at once: COUNT times CHILD with its number, WIDTH of them at a time, each by
 * vfork and execve. Ends with 0 if the statuses that they end with have the sum that their numbers give. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static pid_t started(char **arguments)
{
    pid_t made = vfork();
    if (made != 0)
        return made;
    execve(arguments[0], arguments, environ);
    _exit(127);
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    const long count = atol(argv[1]), width = atol(argv[2]);
    char number[24], *arguments[] = {argv[3], number, NULL};
    long long sum = 0, expected = 0;
    for (long begun = 0, ended = 0; ended < count;) {
        if (begun < count && begun - ended < width) {
            snprintf(number, sizeof number, "%ld", begun);
            if (started(arguments) < 0)
                return 3;
            expected += begun++ % 251;
            continue;
        }
        int status = 0;
        if (wait(&status) < 0 || !WIFEXITED(status))
            return 4;
        sum += WEXITSTATUS(status);
        ++ended;
    }
    return sum == expected ? 0 : 1;
}

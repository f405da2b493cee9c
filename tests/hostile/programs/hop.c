/* Tries to fill its tracer's memory with what it remembers of the dead: forks and ends, over and over, so
 * that each process descends from a longer line. hop COUNT PROGRAM: COUNT forks; below 0, each of them
 * executes PROGRAM (this one) under another of 16 names, the last arguments being its own. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argument_count, char **arguments)
{
    long count = argument_count > 2 ? atol(arguments[1]) : 0;
    char number[32], path[4096], slashes[17] = "////////////////";
    while (count != 0) {
        pid_t child = fork();
        if (child < 0)
            return EXIT_FAILURE;
        if (child > 0)
            _exit(0);
        count += count > 0 ? -1 : 1;
        if (count < 0) {
            snprintf(number, sizeof number, "%ld", count);
            snprintf(path, sizeof path, "%s%s", slashes + (count & 15), arguments[2]);
            execl(path, arguments[0], number, arguments[2], NULL);
            return EXIT_FAILURE;
        }
    }
    printf("arrived\n");
    fflush(stdout);
    (void) getchar(); /* lives on until its input ends */
    return 0;
}

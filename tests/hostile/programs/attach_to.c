/* Tries to become the tracer of a process that nobody traces: attach_to attach|seize ID says how it went. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>

int main(int count, char **arguments)
{
    if (count != 3)
        return 2;
    int is_seize = strcmp(arguments[1], "seize") == 0;
    errno = 0;
    (void) !ptrace(is_seize ? PTRACE_SEIZE : PTRACE_ATTACH, atoi(arguments[2]), NULL, NULL);
    puts(strerror(errno));
    return 0;
}

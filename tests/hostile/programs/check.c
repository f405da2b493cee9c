/* Asks whether a program could be executed, without executing it: a caller that is asked about it could make
 * a handler believe that something runs. check PROGRAM prints the errno. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { EXECVE_CHECK = 0x10000 };

int main(int argument_count, char **arguments)
{
    char *list[] = {arguments[argument_count - 1], NULL}, *environment[] = {NULL};
    long done = syscall(SYS_execveat, AT_FDCWD, list[0], list, environment, EXECVE_CHECK);
    printf("%d\n", done == 0 ? 0 : errno);
    return 0;
}

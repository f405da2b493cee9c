/* What the actor of the contract suite executes under many names: ends at once with status 0, or, with the
 * argument "lasting", when a signal ends it or its parent has gone. */
#define _GNU_SOURCE
#include <string.h>
#include <time.h>
#include <unistd.h>

int main(int count, char **arguments)
{
    const struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
    pid_t parent = getppid();
    while (count > 1 && strcmp(arguments[1], "lasting") == 0 && getppid() == parent)
        nanosleep(&pause, NULL);
    return 0;
}

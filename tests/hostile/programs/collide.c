/* Tries to execute a program with a name that its handler would refuse: while the handler decides about the
 * first name, another thread writes the second in its place, chosen so that both have the same 64 bits of
 * FNV-1a. Nothing but a comparison of the bytes, or a hash under a secret key, tells them apart.
 *
 * collide PROGRAM DECIDING SWAPPED: DECIDING is a file that appears when the handler has seen the first name;
 * SWAPPED is made when the second is in its place. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char name[] = "8yn0iYCKYHlIj4-BwPqk";
static const char other[] = "GReLUrM4wMqfg9yzV3KQ";

static void *swap(void *argument)
{
    char **files = argument;
    while (access(files[0], F_OK) != 0)
        usleep(1000);
    memcpy(name, other, sizeof name);
    close(open(files[1], O_WRONLY | O_CREAT, 0600));
    return NULL;
}

int main(int argument_count, char **arguments)
{
    pthread_t thread;
    if (argument_count != 4 || pthread_create(&thread, NULL, swap, arguments + 2) != 0)
        return EXIT_FAILURE;
    char *list[] = {name, "0", NULL};
    execv(arguments[1], list);
    printf("errno %d\n", errno);
    return 0;
}

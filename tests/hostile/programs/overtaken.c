/* Ends while it creates a task, in the moment before the helper asks which: what the kernel says then is
 * the status with which it ends.
 *
 * overtaken fork|vfork|thread STATUS FILE: when FILE is there, one thread ends the process with this status;
 * with -1 it waits until somebody else ends it. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

static int status;
static const char *file;
static atomic_bool is_running;
static const struct timespec moment = {0, 1000000};

static void *end_in_time(void *unused)
{
    is_running = true;
    while (status < 0 || access(file, F_OK) != 0)
        nanosleep(&moment, NULL);
    _exit(status);
    return unused;
}

static void *do_nothing(void *unused)
{
    return unused;
}

int main(int count, char **arguments)
{
    pthread_t other, created;
    if (count != 4)
        return 100;
    status = atoi(arguments[2]);
    file = arguments[3];
    if (pthread_create(&other, NULL, end_in_time, NULL) != 0)
        return 101;
    while (!is_running) /* nobody lets it run while the helper waits */
        nanosleep(&moment, NULL);
    prctl(PR_SET_NAME, "overtaken", 0, 0, 0);
    if (strcmp(arguments[1], "thread") == 0)
        (void) pthread_create(&created, NULL, do_nothing, NULL);
    else if ((strcmp(arguments[1], "vfork") == 0 ? vfork() : fork()) == 0)
        _exit(0);
    return 102; /* it has not been overtaken */
}

/* Tries to have the controller signalled as a member of the caller's own process group, which another thread
 * joins and leaves in turn: at the look at the call it is another group than when the call runs. The argument
 * is the id of the controller's group. SIGUSR1 would end the controller. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static pid_t controllers_group;

static void *change(void *unused)
{
    for (;;) {
        (void) setpgid(0, 0);
        (void) setpgid(0, controllers_group);
    }
    return unused;
}

int main(int argument_count, char **arguments)
{
    pthread_t thread;
    if (argument_count != 2)
        return 2;
    controllers_group = (pid_t) atoi(arguments[1]);
    signal(SIGUSR1, SIG_IGN);
    if (pthread_create(&thread, NULL, change, NULL) != 0)
        return 3;
    for (time_t end = time(NULL) + 2; time(NULL) < end;)
        if (kill(0, SIGUSR1) != 0 && errno != ESRCH) /* the group that it was has no member any more */
            return 4;
    return 0;
}

/* Kills processes while a thread of theirs executes a program, and so takes the first thread's id: at all
 * moments, also before it can tell of that. Prints how many there were.
 *
 *     killed_execution COUNT */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void *execute(void *unused)
{
    execl("/bin/true", "true", NULL);
    return unused;
}

static void be_killed(int moment)
{
    pthread_t thread;
    pid_t child = fork();
    if (child < 0)
        exit(99);
    if (child == 0) {
        if (pthread_create(&thread, NULL, execute, NULL) != 0)
            _exit(99);
        if (moment % 2 != 0)
            execute(NULL);
        for (;;)
            pause();
    }
    usleep((useconds_t) (moment % 150) * 10);
    kill(child, SIGKILL);
    if (waitpid(child, NULL, 0) != child)
        exit(99);
}

int main(int count, char **arguments)
{
    int number = count == 2 ? atoi(arguments[1]) : 0;
    for (int i = 0; i < number; i++)
        be_killed(i);
    printf("%d\n", number);
    return 0;
}

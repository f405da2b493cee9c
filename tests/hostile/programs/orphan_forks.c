/* Tries to have children that nobody knows the creator of: one thread forks, while another one of its process
 * ends the process, executes another program (in its place), or while somebody kills it. The child then
 * executes a program.
 *
 * orphan_forks exit|kill|exec ROUNDS PROGRAM FILE: the orphans execute PROGRAM FILE. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { DELAY_MAX_US = 400 };

static char **to_execute;

static void *fork_all_the_time(void *unused)
{
    (void) unused;
    for (;;)
        if (fork() == 0) {
            execv(to_execute[0], to_execute);
            _exit(1);
        }
    return NULL;
}

static void wait_us(long us)
{
    struct timespec duration = {0, us * 1000};
    nanosleep(&duration, NULL);
}

static void create_and_end(const char *how, long delay_us)
{
    pthread_t thread;
    char *nothing[] = {"true", NULL};
    if (pthread_create(&thread, NULL, fork_all_the_time, NULL) != 0)
        _exit(2);
    wait_us(delay_us);
    if (strcmp(how, "exec") == 0)
        execv("/bin/true", nothing);
    if (strcmp(how, "exit") == 0)
        _exit(0);
    pause();
}

int main(int count, char **arguments)
{
    int pipes[2];
    char byte;
    if (count != 5 || pipe(pipes) != 0)
        return 2;
    to_execute = arguments + 3;
    for (int round = 0; round < atoi(arguments[2]); round++) {
        long delay_us = 100 + (round * 37) % DELAY_MAX_US;
        pid_t child = fork();
        if (child == 0)
            create_and_end(arguments[1], delay_us);
        if (strcmp(arguments[1], "kill") == 0) {
            wait_us(delay_us + 300);
            kill(child, SIGKILL);
        }
        waitpid(child, NULL, 0);
    }
    close(pipes[1]); /* the orphans have it, too: this waits for all of them */
    return read(pipes[0], &byte, 1) == 0 ? 0 : 1;
}

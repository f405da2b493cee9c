/* Processes whose parent is not their creator, each with a view of its own: `tell` prints its id and its
 * parent's, and stays until its input ends.
 *
 *   parents clone|clone3   a grandchild is made with CLONE_PARENT, by clone or clone3, and executes `tell`
 *   parents orphan|adopted         a grandchild executes `tell` once its parent has ended; adopted: by us
 *   parents tell
 * The first line of the output is the creator's id. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int tell(void)
{
    char byte;
    printf("%d %d\n", (int) getpid(), (int) getppid());
    fflush(stdout);
    while (read(0, &byte, 1) > 0)
        continue;
    return 0;
}

static void execute_tell(void)
{
    execl("/proc/self/exe", "parents", "tell", (char *) NULL);
    _exit(127);
}

static long clone_for_parent(int by_clone3)
{
    struct clone_args arguments = {.flags = CLONE_PARENT};
    return by_clone3 ? syscall(SYS_clone3, &arguments, sizeof arguments)
                     : syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
}

static int create(const char *how)
{
    int is_orphan = strcmp(how, "orphan") == 0 || strcmp(how, "adopted") == 0;
    pid_t creator = getpid();
    printf("%d\n", (int) creator);
    fflush(stdout);
    long child = is_orphan ? fork() : clone_for_parent(strcmp(how, "clone3") == 0);
    if (child < 0)
        return errno;
    if (child > 0)
        return 0;
    while (is_orphan && getppid() == creator)
        usleep(1000);
    execute_tell();
    return 127;
}

int main(int count, char **arguments)
{
    int status, worst = 0;
    if (count != 2)
        return 2;
    if (strcmp(arguments[1], "tell") == 0)
        return tell();
    if (strcmp(arguments[1], "adopted") == 0)
        prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    pid_t creator = fork();
    if (creator == 0)
        _exit(create(arguments[1]));
    while (wait(&status) > 0)
        if (WIFEXITED(status) && WEXITSTATUS(status) > worst)
            worst = WEXITSTATUS(status);
    return worst;
}

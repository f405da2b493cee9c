/* Tries to have a task that the helper does not trace, to trace it itself, and to let its executions
 * through the filter as their tracer.
 *
 * untraced HOW TRACING PROGRAM ARGUMENT. HOW the task is made: clone3, clone, clone3-ptrace (with
 * CLONE_PTRACE and CLONE_PARENT, so that it is the helper's without having been told of), i386-clone,
 * i386-clone3, x32-clone, x32-clone3. TRACING: traceme, seize, attach, none. The task executes PROGRAM
 * ARGUMENT. */
#include <errno.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const long options = PTRACE_O_TRACESECCOMP | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;

static long call_i386(long number, unsigned long one, unsigned long two)
{
#if defined(__x86_64__)
    long result;
    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "a"(number), "b"(one), "c"(two), "d"(0L), "S"(0L), "D"(0L)
                     : "memory", "r8", "r9", "r10", "r11");
    return result;
#else
    (void) number, (void) one, (void) two;
    return -ENOSYS;
#endif
}

static long call_clone3(const char *how, uint64_t flags)
{
    struct clone_args *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
                                  MAP_PRIVATE | MAP_ANONYMOUS
#if defined(MAP_32BIT)
                                      | MAP_32BIT
#endif
                                  ,
                                  -1, 0);
    if (low == MAP_FAILED)
        return -ENOMEM;
    low->flags = flags;
    low->exit_signal = flags & CLONE_PARENT ? 0 : SIGCHLD;
    long number = 435;
    if (strncmp(how, "i386", 4) == 0)
        return call_i386(number, (unsigned long) low, sizeof *low);
    if (strncmp(how, "x32", 3) == 0)
        number |= 0x40000000;
    long result = syscall(number, low, sizeof *low);
    return result < 0 ? -errno : result;
}

static long make_task(const char *how)
{
    if (strcmp(how, "clone3-ptrace") == 0)
        return call_clone3(how, CLONE_UNTRACED | CLONE_PTRACE | CLONE_PARENT);
    if (strstr(how, "clone3") != NULL)
        return call_clone3(how, CLONE_UNTRACED);
    if (strncmp(how, "i386", 4) == 0)
        return call_i386(120, CLONE_UNTRACED | SIGCHLD, 0);
    long number = SYS_clone | (strncmp(how, "x32", 3) == 0 ? 0x40000000 : 0);
    long result = syscall(number, (unsigned long) (CLONE_UNTRACED | SIGCHLD), 0L, 0L, 0L, 0L);
    return result < 0 ? -errno : result;
}

static void be_the_task(const char *tracing, int go, char **program)
{
    char byte;
    if (strcmp(tracing, "traceme") == 0 && ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0)
        raise(SIGSTOP);
    if (read(go, &byte, 1) == 1)
        execv(program[0], program);
    _exit(100 + (errno < 100 ? errno : 99));
}

static void trace(pid_t task, const char *tracing, int go)
{
    int status;
    if (strcmp(tracing, "seize") == 0)
        (void) !ptrace(PTRACE_SEIZE, task, NULL, options);
    if (strcmp(tracing, "attach") == 0)
        (void) !ptrace(PTRACE_ATTACH, task, NULL, NULL);
    if (write(go, "", 1) != 1)
        _exit(3);
    while (waitpid(task, &status, __WALL | (strcmp(tracing, "traceme") == 0 ? WUNTRACED : 0)) == task &&
           WIFSTOPPED(status)) {
        int signal = WSTOPSIG(status);
        (void) !ptrace(PTRACE_SETOPTIONS, task, NULL, options);
        (void) !ptrace(PTRACE_CONT, task, NULL, signal == SIGTRAP || signal == SIGSTOP ? 0 : signal);
    }
}

int main(int count, char **arguments)
{
    int pipes[2];
    if (count != 5 || pipe(pipes) != 0)
        return 2;
    long task = make_task(arguments[1]);
    if (task == 0)
        be_the_task(arguments[2], pipes[0], arguments + 3);
    if (task < 0) {
        printf("%s: %s\n", arguments[1], strerror((int) -task));
        return 0;
    }
    printf("%s: made\n", arguments[1]);
    fflush(stdout);
    trace((pid_t) task, arguments[2], pipes[1]);
    return 0;
}

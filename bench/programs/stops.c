/* A tracer that does nothing: `stops none|executions|holds|executions,holds PROGRAM ARGUMENT...` lets a program
 * and all that it creates come to the stops of the ptrace driver, and go on at once. With executions, each
 * execve stops in a seccomp filter, too. With holds, each creation and each end first asks another process,
 * which answers at once. What this costs is the kernel's part, which no tracer can save. Ends with the
 * program's status.
 *
 * Knows nothing of cbprocess. */
#define _GNU_SOURCE
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const unsigned long options = PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE |
                                     PTRACE_O_TRACEEXEC | PTRACE_O_TRACEEXIT | PTRACE_O_TRACESECCOMP;

/* The tracer and the process that answers share these words. */
struct channel {
    _Atomic unsigned asked, answered;
};

static void wake(_Atomic unsigned *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE, 1, 0, 0, 0);
}

static void wait_for(_Atomic unsigned *word, unsigned value)
{
    for (unsigned now; (now = atomic_load(word)) != value;)
        syscall(SYS_futex, word, FUTEX_WAIT, now, 0, 0, 0);
}

static void answer(struct channel *channel)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    for (unsigned number = 1;; number++) {
        wait_for(&channel->asked, number);
        atomic_store(&channel->answered, number);
        wake(&channel->answered);
    }
}

static struct channel *begin_answering(void)
{
    struct channel *channel =
        mmap(NULL, sizeof *channel, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (channel == MAP_FAILED)
        return NULL;
    pid_t child = fork();
    if (child == 0)
        answer(channel);
    return child > 0 ? channel : NULL;
}

static void hold(struct channel *channel)
{
    unsigned number = atomic_load(&channel->asked) + 1;
    atomic_store(&channel->asked, number);
    wake(&channel->asked);
    wait_for(&channel->answered, number);
}

static bool is_held(int event, bool stops_executions)
{
    return event == PTRACE_EVENT_CLONE || event == PTRACE_EVENT_EXIT ||
           event == (stops_executions ? PTRACE_EVENT_SECCOMP : PTRACE_EVENT_EXEC);
}

static int install_filter(void)
{
    struct sock_filter instructions[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_K | BPF_JEQ, SYS_execve, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof instructions / sizeof instructions[0], instructions};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static void let_go_on(pid_t task, int status, pid_t root)
{
    int event = status >> 16;
    if (event == PTRACE_EVENT_EXIT && task != root)
        ptrace(PTRACE_DETACH, task, 0, 0);
    else if (event == PTRACE_EVENT_STOP && WSTOPSIG(status) != SIGTRAP)
        ptrace(PTRACE_LISTEN, task, 0, 0);
    else
        ptrace(PTRACE_CONT, task, 0, event != 0 ? 0 : WSTOPSIG(status));
}

int main(int argc, char **argv)
{
    int status;
    if (argc < 3)
        return 2;
    bool stops_executions = strstr(argv[1], "executions");
    struct channel *channel = strstr(argv[1], "holds") ? begin_answering() : NULL;
    pid_t root = fork(), task;
    if (root == 0) {
        raise(SIGSTOP);
        if (stops_executions && install_filter() != 0)
            _exit(3);
        execv(argv[2], argv + 2);
        _exit(4);
    }
    if (waitpid(root, &status, WUNTRACED) != root || ptrace(PTRACE_SEIZE, root, 0, options) != 0)
        return 5;
    kill(root, SIGCONT);
    while ((task = waitpid(-1, &status, __WALL)) > 0)
        if (WIFSTOPPED(status)) {
            if (channel && is_held(status >> 16, stops_executions))
                hold(channel);
            let_go_on(task, status, root);
        } else if (task == root)
            return WIFEXITED(status) ? WEXITSTATUS(status) : 6;
    return 7;
}

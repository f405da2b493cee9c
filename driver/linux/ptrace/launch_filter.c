/* See launch_filter.h. A watched system call stops for the tracer; all others are left alone, and the kernel
 * remembers that by number, so they cost nothing. Where the arguments in registers show that a call concerns
 * nobody else, it does not stop either. */
#include "launch_filter.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>

#include "cbp_message.h"
#include "launch_system.h"
#include "syscalls.h"

enum { ROW_LENGTH_MAX = 11, PROGRAM_LENGTH_MAX = ROW_LENGTH_MAX * WATCHED_SYSCALL_COUNT + 1 };

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t) offsetof(struct seccomp_data, field))
#define STOP BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE | FILTER_MARK)
#define PASS BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define FAIL(error) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (error))

/* The low half of an argument: all that is looked at has 32 bits. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define LOAD_ARGUMENT(index) LOAD(args[index])
#else
#define LOAD_ARGUMENT(index)                                                                                 \
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t) offsetof(struct seccomp_data, args[index]) + 4)
#endif

struct program {
    unsigned short length;
    struct sock_filter instructions[PROGRAM_LENGTH_MAX];
};

static void append(struct program *program, struct sock_filter instruction)
{
    program->instructions[program->length++] = instruction;
}

/* Jumps over skip instructions when the loaded value is (or bits: has some of) value. */
static struct sock_filter skip_if(unsigned short comparison, uint32_t value, unsigned char skip)
{
    return (struct sock_filter) BPF_JUMP((unsigned short) (BPF_JMP | BPF_K | comparison), value, skip, 0);
}

/* Signals that do nothing to a process that has not asked for them, and 0, which is none. */
static void pass_harmless_signals(struct program *program, unsigned argument)
{
    const uint32_t harmless[] = {0, SIGCHLD, SIGURG, SIGWINCH};
    enum { COUNT = sizeof harmless / sizeof harmless[0] };
    append(program, (struct sock_filter) LOAD_ARGUMENT(argument));
    for (unsigned char i = 0; i < COUNT; i++)
        append(program, skip_if(BPF_JEQ, harmless[i], (unsigned char) (COUNT - i)));
    append(program, (struct sock_filter) STOP);
}

/* Appends what decides about one call; whatever it does not stop runs off its end. */
static void append_condition(struct program *program, enum syscall_kind kind, uint32_t parts)
{
    bool is_signal = true;
    unsigned signal_argument = 1;
    switch (kind) {
    case SYSCALL_CLONE: /* only where the flag would hide the child from a tracer */
        append(program, (struct sock_filter) LOAD_ARGUMENT(0));
        append(program, skip_if(BPF_JSET, CLONE_UNTRACED, 1));
        append(program, (struct sock_filter) PASS);
        append(program, (struct sock_filter) STOP);
        return;
    case SYSCALL_SECCOMP: /* a listener's answer would come before our stop, and could do without it */
        append(program, (struct sock_filter) LOAD_ARGUMENT(1));
        append(program, skip_if(BPF_JSET, SECCOMP_FILTER_FLAG_NEW_LISTENER, 1));
        append(program, (struct sock_filter) PASS);
        append(program, (struct sock_filter) FAIL(EBUSY));
        return;
    case SYSCALL_CLONE3: /* its flags lie in memory: it could hide a child (decision 7) */
        append(program, (struct sock_filter) FAIL(ENOSYS));
        return;
    case SYSCALL_PTRACE: /* the other requests need one of these first; who is traced cannot ask for it anyway
                          */
        append(program, (struct sock_filter) LOAD_ARGUMENT(0));
        append(program, skip_if(BPF_JEQ, PTRACE_TRACEME, 3));
        append(program, skip_if(BPF_JEQ, PTRACE_ATTACH, 3));
        append(program, skip_if(BPF_JEQ, PTRACE_SEIZE, 2));
        append(program, (struct sock_filter) PASS);
        append(program, (struct sock_filter) FAIL(EPERM));
        append(program, (struct sock_filter) STOP);
        return;
    case SYSCALL_PRLIMIT64:
    case SYSCALL_SCHED_SETAFFINITY:
    case SYSCALL_SCHED_SETPARAM:
    case SYSCALL_SCHED_SETSCHEDULER:
    case SYSCALL_SCHED_SETATTR: /* 0 is the caller itself */
        append(program, (struct sock_filter) LOAD_ARGUMENT(0));
        append(program, skip_if(BPF_JEQ, 0, 1));
        append(program, (struct sock_filter) STOP);
        return;
    case SYSCALL_TGKILL:
    case SYSCALL_RT_TGSIGQUEUEINFO:
        signal_argument = 2;
        break;
    case SYSCALL_KILL:
    case SYSCALL_TKILL:
    case SYSCALL_RT_SIGQUEUEINFO:
    case SYSCALL_PIDFD_SEND_SIGNAL:
        break;
    default:
        is_signal = false;
        break;
    }
    if (is_signal && (parts & CBP_LAUNCH_FLAG_HARMLESS_SIGNALS) == 0)
        pass_harmless_signals(program, signal_argument);
    else
        append(program, (struct sock_filter) STOP);
}

static void append_row(struct program *program, const struct watched_syscall *watched, uint32_t parts)
{
    unsigned short start = program->length;
    append(program, (struct sock_filter) LOAD(arch));
    append(program, skip_if(BPF_JEQ, watched->architecture, 0));
    append(program, (struct sock_filter) LOAD(nr));
    append(program, skip_if(BPF_JEQ, watched->number, 0));
    append_condition(program, watched->kind, parts);
    /* What is not this call jumps behind its row. */
    for (unsigned short at = (unsigned short) (start + 1); at <= start + 3; at = (unsigned short) (at + 2))
        program->instructions[at].jf = (unsigned char) (program->length - at - 1);
}

static long install(const struct sock_fprog *program, unsigned flags)
{
    return call_system(SYS_seccomp, SECCOMP_SET_MODE_FILTER, (long) flags, address_of(program), 0, 0, 0);
}

/* Without the flag older kernels slow the whole tree down against speculation; EINVAL: they lack it. */
static int install_somehow(const struct sock_fprog *program)
{
    long result = install(program, SECCOMP_FILTER_FLAG_SPEC_ALLOW);
    if (result == -EINVAL)
        result = install(program, 0);
    return (int) -result;
}

int install_launch_filter(uint32_t parts)
{
    struct program program = {.length = 0};
    for (size_t i = 0; i < WATCHED_SYSCALL_COUNT; i++)
        if (watched_syscalls[i].parts & parts)
            append_row(&program, &watched_syscalls[i], parts);
    append(&program, (struct sock_filter) PASS);
    struct sock_fprog description = {program.length, program.instructions};
    int error = install_somehow(&description);
    if (error == EACCES && call_system(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0) == 0)
        error = install_somehow(&description);
    return error;
}

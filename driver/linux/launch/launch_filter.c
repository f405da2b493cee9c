/* Builds the filter of launch_filter.h. A watched system call stops for the tracer. The kernel remembers by
 * number that all others pass, so they cost nothing. A call does not stop if its arguments in registers show
 * that it concerns no other process.
 *
 * Every filter stops handle operations, because the helper and the controller are out of the tree's reach
 * (guard.c). Unless handle operations are asked for, those pass that cannot concern these two. */
#include "launch_filter.h"

#include <asm/sockios.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>

#include "bare_system.h"
#include "syscalls.h"

/* A call takes one instruction for its number, and the instructions that decide about it. */
enum { ROW_LENGTH_MAX = 16, ARCHITECTURE_LENGTH = 5 };
enum {
    PROGRAM_LENGTH_MAX = ROW_LENGTH_MAX * WATCHED_SYSCALL_COUNT + ARCHITECTURE_LENGTH * ARCHITECTURE_COUNT + 1
};

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t) offsetof(struct seccomp_data, field))
#define STOP BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE | FILTER_MARK)
#define PASS BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define FAIL(error) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (error))

/* An argument counts by its low half, because all that is checked has 32 bits. */
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

/* Jumps over skip instructions if the loaded value is value (or with bits: has some of its bits). */
static struct sock_filter skip_if(unsigned short comparison, uint32_t value, unsigned char skip)
{
    return (struct sock_filter) BPF_JUMP((unsigned short) (BPF_JMP | BPF_K | comparison), value, skip, 0);
}

/* ---- Conditions of one call: each ends with a decision ---- */

static void pass(struct program *program)
{
    append(program, (struct sock_filter) PASS);
}

static void stop(struct program *program)
{
    append(program, (struct sock_filter) STOP);
}

/* Stops if the argument is one of two values (or with bits: has some of their bits). */
static void stop_if(struct program *program, unsigned argument, unsigned short comparison, uint32_t value,
                    uint32_t other)
{
    append(program, (struct sock_filter) LOAD_ARGUMENT(argument));
    append(program, skip_if(comparison, value, 2));
    append(program, skip_if(comparison, other, 1));
    pass(program);
    stop(program);
}

/* Fails if the argument is value; else the next condition decides. */
static void fail_if(struct program *program, unsigned argument, uint32_t value, uint32_t error)
{
    append(program, (struct sock_filter) LOAD_ARGUMENT(argument));
    append(program, skip_if(BPF_JEQ, value, 1));
    append(program, (struct sock_filter) BPF_STMT(BPF_JMP | BPF_JA, 1));
    append(program, (struct sock_filter) FAIL(error));
}

/* Stops if the argument is value; else the next condition decides. */
static void stop_at(struct program *program, unsigned argument, uint32_t value)
{
    append(program, (struct sock_filter) LOAD_ARGUMENT(argument));
    append(program, skip_if(BPF_JEQ, value, 1));
    append(program, (struct sock_filter) BPF_STMT(BPF_JMP | BPF_JA, 1));
    stop(program);
}

/* Stops if a descriptor is to send signals, and lets other flags of files pass. */
static void stop_if_asynchronous(struct program *program)
{
    append(program, (struct sock_filter) LOAD_ARGUMENT(1));
    append(program, skip_if(BPF_JEQ, F_SETFL, 1));
    append(program, (struct sock_filter) BPF_STMT(BPF_JMP | BPF_JA, 4));
    append(program, (struct sock_filter) LOAD_ARGUMENT(2));
    append(program, skip_if(BPF_JSET, O_ASYNC, 1));
    pass(program);
    stop(program);
}

static void stop_unless(struct program *program, unsigned argument, uint32_t value)
{
    append(program, (struct sock_filter) LOAD_ARGUMENT(argument));
    append(program, skip_if(BPF_JEQ, value, 1));
    stop(program);
    pass(program);
}

/* Passes only for the caller: the first argument is this kind of id, and the second, the id, is 0. */
static void stop_unless_self(struct program *program, uint32_t kind)
{
    append(program, (struct sock_filter) LOAD_ARGUMENT(0));
    append(program, skip_if(BPF_JEQ, kind, 1));
    stop(program);
    stop_unless(program, 1, 0);
}

/* Lets signals pass that a process ignores unless it has asked for them, and 0, which is none. */
static void stop_unless_harmless(struct program *program, unsigned argument)
{
    const uint32_t harmless[] = {0, SIGCHLD, SIGURG, SIGWINCH};
    enum { COUNT = sizeof harmless / sizeof harmless[0] };
    append(program, (struct sock_filter) LOAD_ARGUMENT(argument));
    for (unsigned char i = 0; i < COUNT; i++)
        append(program, skip_if(BPF_JEQ, harmless[i], (unsigned char) (COUNT - i)));
    stop(program);
    pass(program);
}

/* Passes unless the argument is the id of one of the two guarded: then the next condition decides. */
static void pass_unless_guarded(struct program *program, unsigned argument, const struct cbp_launch_go *go)
{
    append(program, (struct sock_filter) LOAD_ARGUMENT(argument));
    append(program, skip_if(BPF_JEQ, go->helper_process_id, 2));
    append(program, skip_if(BPF_JEQ, go->controller_process_id, 1));
    pass(program);
}

static void append_signal(struct program *program, enum syscall_kind kind, const struct cbp_launch_go *go)
{
    bool names_process = kind == SYSCALL_TGKILL || kind == SYSCALL_RT_TGSIGQUEUEINFO;
    /* Other calls name a process by the id of any of its threads, by a descriptor or by a group. */
    if (names_process && (go->flags & CBP_LAUNCH_FLAG_HANDLES) == 0)
        pass_unless_guarded(program, 0, go);
    if ((go->flags & CBP_LAUNCH_FLAG_HARMLESS_SIGNALS) == 0)
        stop_unless_harmless(program, names_process ? 2 : 1);
    else
        stop(program);
}

static void append_condition(struct program *program, enum syscall_kind kind, const struct cbp_launch_go *go)
{
    switch (kind) {
    case SYSCALL_CLONE: /* with a flag that hides the child from a tracer, or gives it another parent */
        stop_if(program, 0, BPF_JSET, CLONE_UNTRACED, CLONE_PARENT);
        return;
    case SYSCALL_SECCOMP: /* a listener answers before the helper's stop, and could avoid it */
        append(program, (struct sock_filter) LOAD_ARGUMENT(1));
        append(program, skip_if(BPF_JSET, SECCOMP_FILTER_FLAG_NEW_LISTENER, 1));
        pass(program);
        append(program, (struct sock_filter) FAIL(EBUSY));
        return;
    case SYSCALL_CLONE3: /* its flags are in memory and could hide a child (decision 7) */
        append(program, (struct sock_filter) FAIL(ENOSYS));
        return;
    /* The other requests need one of these first. A traced process cannot ask to be traced. */
    case SYSCALL_PTRACE:
        append(program, (struct sock_filter) LOAD_ARGUMENT(0));
        append(program, skip_if(BPF_JEQ, PTRACE_TRACEME, 3));
        append(program, skip_if(BPF_JEQ, PTRACE_ATTACH, 3));
        append(program, skip_if(BPF_JEQ, PTRACE_SEIZE, 2));
        pass(program);
        append(program, (struct sock_filter) FAIL(EPERM));
        stop(program);
        return;
    case SYSCALL_PRLIMIT64:
    case SYSCALL_SCHED_SETAFFINITY:
    case SYSCALL_SCHED_SETPARAM:
    case SYSCALL_SCHED_SETSCHEDULER:
    case SYSCALL_SCHED_SETATTR:
    case SYSCALL_MOVE_PAGES:
    case SYSCALL_MIGRATE_PAGES:
    case SYSCALL_GET_ROBUST_LIST: /* 0 is the caller */
        stop_unless(program, 0, 0);
        return;
    case SYSCALL_PERF_EVENT_OPEN: /* -1: any process, which needs a privilege */
        append(program, (struct sock_filter) LOAD_ARGUMENT(1));
        append(program, skip_if(BPF_JEQ, 0, 2));
        append(program, skip_if(BPF_JEQ, (uint32_t) -1, 1));
        stop(program);
        pass(program);
        return;
    case SYSCALL_FCNTL: /* changes of a descriptor's owner, or of its signals */
    case SYSCALL_FCNTL64:
        stop_if_asynchronous(program);
        stop_if(program, 1, BPF_JEQ, F_SETOWN, F_SETOWN_EX);
        return;
    case SYSCALL_IOCTL: /* typing for another reader fails as if the kernel were set to forbid it */
        fail_if(program, 1, TIOCSTI, EIO);
        stop_at(program, 1, FIOASYNC);
        stop_if(program, 1, BPF_JEQ, FIOSETOWN, SIOCSPGRP);
        return;
    case SYSCALL_KEYCTL: /* this changes the keys of the caller's creator */
        fail_if(program, 0, KEYCTL_SESSION_TO_PARENT, EPERM);
        pass(program);
        return;
    case SYSCALL_PRCTL: /* a processor's core is shared */
        append(program, (struct sock_filter) LOAD_ARGUMENT(0));
        append(program, skip_if(BPF_JEQ, SCHED_CORE, 1));
        pass(program);
        stop_if(program, 1, BPF_JEQ, SCHED_CORE_CREATE, SCHED_CORE_SHARE_TO);
        return;
    case SYSCALL_SETPRIORITY:
        stop_unless_self(program, PRIO_PROCESS);
        return;
    case SYSCALL_IOPRIO_SET:
        stop_unless_self(program, IOPRIO_PROCESS);
        return;
    case SYSCALL_KILL:
    case SYSCALL_TKILL:
    case SYSCALL_TGKILL:
    case SYSCALL_RT_SIGQUEUEINFO:
    case SYSCALL_RT_TGSIGQUEUEINFO:
    case SYSCALL_PIDFD_SEND_SIGNAL:
        append_signal(program, kind, go);
        return;
    default:
        stop(program);
        return;
    }
}

/* ---- The program ---- */

static bool is_wanted(const struct watched_syscall *watched, uint32_t flags)
{
    /* A pidfd tells of a process and waits for its end; anything else done with it is another call. */
    bool only_asks = watched->kind == SYSCALL_PIDFD_OPEN || watched->kind == SYSCALL_KCMP ||
                     watched->kind == SYSCALL_GET_ROBUST_LIST;
    bool may_concern_guarded = watched->parts == CBP_LAUNCH_FLAG_HANDLES && !only_asks;
    return (watched->parts & flags) != 0 || may_concern_guarded;
}

/* Every other call jumps behind this row, with its number still loaded. */
static void append_row(struct program *program, const struct watched_syscall *watched,
                       const struct cbp_launch_go *go)
{
    unsigned short at = program->length;
    append(program, skip_if(BPF_JEQ, watched->number, 0));
    append_condition(program, watched->kind, go);
    program->instructions[at].jf = (unsigned char) (program->length - at - 1);
}

static void append_architecture(struct program *program, uint32_t architecture,
                                const struct cbp_launch_go *go)
{
    append(program, (struct sock_filter) LOAD(arch));
    append(program, skip_if(BPF_JEQ, architecture, 1));
    unsigned short at = program->length;
    append(program, (struct sock_filter) BPF_STMT(BPF_JMP | BPF_JA, 0)); /* too far for a conditional jump */
    append(program, (struct sock_filter) LOAD(nr));
    for (size_t i = 0; i < WATCHED_SYSCALL_COUNT; i++)
        if (watched_syscalls[i].architecture == architecture && is_wanted(&watched_syscalls[i], go->flags))
            append_row(program, &watched_syscalls[i], go);
    pass(program);
    program->instructions[at].k = (uint32_t) (program->length - at - 1);
}

static long install(const struct sock_fprog *program, unsigned flags)
{
    return call_system(SYS_seccomp, SECCOMP_SET_MODE_FILTER, (long) flags, address_of(program), 0, 0, 0);
}

/* Without the flag, older kernels slow the whole tree down against speculation. EINVAL: they lack it. */
static int install_somehow(const struct sock_fprog *program)
{
    long result = install(program, SECCOMP_FILTER_FLAG_SPEC_ALLOW);
    if (result == -EINVAL)
        result = install(program, 0);
    return (int) -result;
}

int cbpd_install_launch_filter(const struct cbp_launch_go *go)
{
    static const uint32_t architectures[ARCHITECTURE_COUNT] = {ARCHITECTURES};
    struct program program = {.length = 0};
    for (size_t i = 0; i < ARCHITECTURE_COUNT; i++)
        append_architecture(&program, architectures[i], go);
    pass(&program);
    struct sock_fprog description = {program.length, program.instructions};
    int error = install_somehow(&description);
    if (error == EACCES && call_system(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0) == 0)
        error = install_somehow(&description);
    return error;
}

/* Builds the filter of launch_steps.h. A watched system call stops for the tracer. The kernel remembers by
 * number that all others pass, so they cost nothing. A call does not stop if its arguments in registers show
 * that it concerns no other process.
 *
 * Every filter stops handle operations, because the helper and the controller are out of the tree's reach
 * (guard.c). Unless handle operations are asked for, those pass that cannot concern these two. */
#include "launch_steps.h"

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

/* An argument mostly counts by its low half, because what is checked has 32 bits. */
#define HALF(index, offset)                                                                                  \
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t) offsetof(struct seccomp_data, args[index]) + (offset))
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define ARGUMENT(index) HALF(index, 0)
#define UPPER_HALF(index) HALF(index, 4)
#else
#define ARGUMENT(index) HALF(index, 4)
#define UPPER_HALF(index) HALF(index, 0)
#endif

/* These jump over that many instructions if the loaded value is this one, is not, or has some of the bits. */
#define SKIP_IF(value, count) BPF_JUMP(BPF_JMP | BPF_K | BPF_JEQ, (uint32_t) (value), count, 0)
#define SKIP_UNLESS(value, count) BPF_JUMP(BPF_JMP | BPF_K | BPF_JEQ, (uint32_t) (value), 0, count)
#define SKIP_IF_BITS(bits, count) BPF_JUMP(BPF_JMP | BPF_K | BPF_JSET, (uint32_t) (bits), count, 0)

/* With these flags alone, unshare gives the caller neither another root nor other mounts. Any other one stops,
 * also one that a later kernel brings: UNSHARE_EMPTY_MNTNS (Linux 7.1) makes mounts without CLONE_NEWNS. */
enum {
    NEW_TIME_NAMESPACE = 0x80, /* CLONE_NEWTIME, which older headers lack */
    HARMLESS_UNSHARING = CLONE_FILES | CLONE_FS | CLONE_SYSVSEM | CLONE_VM | CLONE_SIGHAND | CLONE_THREAD |
                         CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC |
                         CLONE_NEWCGROUP | NEW_TIME_NAMESPACE
};

struct program {
    unsigned short length;
    struct sock_filter instructions[PROGRAM_LENGTH_MAX];
};

static void append(struct program *program, const struct sock_filter *instructions, size_t count)
{
    for (size_t i = 0; i < count; i++)
        program->instructions[program->length++] = instructions[i];
}

#define APPEND(program, ...)                                                                                 \
    append(program, (const struct sock_filter[]){__VA_ARGS__},                                               \
           sizeof((const struct sock_filter[]){__VA_ARGS__}) / sizeof(struct sock_filter))

/* ---- Conditions of one call: each ends with a decision ---- */

static void append_signal(struct program *program, enum syscall_kind kind, const struct cbp_launch_go *go)
{
    bool names_process = kind == SYSCALL_TGKILL || kind == SYSCALL_RT_TGSIGQUEUEINFO;
    /* Other calls name a process by the id of any of its threads, by a descriptor or by a group. */
    if (names_process && (go->flags & CBP_LAUNCH_FLAG_HANDLES) == 0)
        APPEND(program, ARGUMENT(0), SKIP_IF(go->helper_process_id, 2), SKIP_IF(go->controller_process_id, 1),
               PASS);
    if ((go->flags & CBP_LAUNCH_FLAG_HARMLESS_SIGNALS) != 0)
        APPEND(program, STOP);
    else /* a process ignores these signals unless it has asked for them; 0 is none */
        APPEND(program, ARGUMENT(names_process ? 2 : 1), SKIP_IF(0, 4), SKIP_IF(SIGCHLD, 3),
               SKIP_IF(SIGURG, 2), SKIP_IF(SIGWINCH, 1), STOP, PASS);
}

static void append_condition(struct program *program, enum syscall_kind kind, const struct cbp_launch_go *go)
{
    switch (kind) {
    /* With a flag that hides the child from a tracer, or gives it another parent or mounts. All bits that this
     * call takes have had a meaning for long; what is new is clone3's alone. */
    case SYSCALL_CLONE:
        APPEND(program, ARGUMENT(0), SKIP_IF_BITS(CLONE_UNTRACED | CLONE_PARENT | CLONE_NEWNS, 1), PASS,
               STOP);
        return;
    case SYSCALL_UNSHARE: /* a root of the caller's own means what it did, until another call */
        APPEND(program, UPPER_HALF(0), SKIP_UNLESS(0, 3), ARGUMENT(0), SKIP_IF_BITS(~HARMLESS_UNSHARING, 1),
               PASS, STOP);
        return;
    case SYSCALL_SECCOMP: /* a listener answers before the helper's stop, and could avoid it */
        APPEND(program, ARGUMENT(1), SKIP_IF_BITS(SECCOMP_FILTER_FLAG_NEW_LISTENER, 1), PASS, FAIL(EBUSY));
        return;
    case SYSCALL_CLONE3: /* its flags are in memory and could hide a child (decision 7) */
        APPEND(program, FAIL(ENOSYS));
        return;
    /* The other requests need one of these first. A traced process cannot ask to be traced. */
    case SYSCALL_PTRACE:
        APPEND(program, ARGUMENT(0), SKIP_IF(PTRACE_TRACEME, 3), SKIP_IF(PTRACE_ATTACH, 3),
               SKIP_IF(PTRACE_SEIZE, 2), PASS, FAIL(EPERM), STOP);
        return;
    case SYSCALL_PRLIMIT64:
    case SYSCALL_SCHED_SETAFFINITY:
    case SYSCALL_SCHED_SETPARAM:
    case SYSCALL_SCHED_SETSCHEDULER:
    case SYSCALL_SCHED_SETATTR:
    case SYSCALL_MOVE_PAGES:
    case SYSCALL_MIGRATE_PAGES:
    case SYSCALL_GET_ROBUST_LIST: /* 0 is the caller */
        APPEND(program, ARGUMENT(0), SKIP_IF(0, 1), STOP, PASS);
        return;
    case SYSCALL_PERF_EVENT_OPEN: /* -1: any process, which needs a privilege */
        APPEND(program, ARGUMENT(1), SKIP_IF(0, 2), SKIP_IF(-1, 1), STOP, PASS);
        return;
    case SYSCALL_FCNTL: /* changes of a descriptor's owner, or of its signals */
    case SYSCALL_FCNTL64:
        APPEND(program, ARGUMENT(1), SKIP_UNLESS(F_SETFL, 4), ARGUMENT(2), SKIP_IF_BITS(O_ASYNC, 1), PASS,
               STOP);
        APPEND(program, SKIP_IF(F_SETOWN, 2), SKIP_IF(F_SETOWN_EX, 1), PASS, STOP);
        return;
    case SYSCALL_IOCTL: /* typing for another reader fails as if the kernel were set to forbid it */
        APPEND(program, ARGUMENT(1), SKIP_UNLESS(TIOCSTI, 1), FAIL(EIO));
        APPEND(program, SKIP_IF(FIOASYNC, 3), SKIP_IF(FIOSETOWN, 2), SKIP_IF(SIOCSPGRP, 1), PASS, STOP);
        return;
    case SYSCALL_KEYCTL: /* this changes the keys of the caller's creator */
        APPEND(program, ARGUMENT(0), SKIP_UNLESS(KEYCTL_SESSION_TO_PARENT, 1), FAIL(EPERM), PASS);
        return;
    case SYSCALL_PRCTL: /* a processor's core is shared */
        APPEND(program, ARGUMENT(0), SKIP_IF(SCHED_CORE, 1), PASS);
        APPEND(program, ARGUMENT(1), SKIP_IF(SCHED_CORE_CREATE, 2), SKIP_IF(SCHED_CORE_SHARE_TO, 1), PASS,
               STOP);
        return;
    case SYSCALL_SETPRIORITY: /* only the caller: this kind of id, and 0 */
    case SYSCALL_IOPRIO_SET:
        APPEND(program, ARGUMENT(0),
               SKIP_IF(kind == SYSCALL_SETPRIORITY ? (int) PRIO_PROCESS : (int) IOPRIO_PROCESS, 1), STOP,
               ARGUMENT(1), SKIP_IF(0, 1), STOP, PASS);
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
        APPEND(program, STOP);
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
    APPEND(program, SKIP_UNLESS(watched->number, 0));
    append_condition(program, watched->kind, go);
    program->instructions[at].jf = (unsigned char) (program->length - at - 1);
}

static void append_architecture(struct program *program, uint32_t architecture,
                                const struct cbp_launch_go *go)
{
    APPEND(program, LOAD(arch), SKIP_IF(architecture, 1));
    unsigned short at = program->length;
    APPEND(program, BPF_STMT(BPF_JMP | BPF_JA, 0) /* too far for a conditional jump */, LOAD(nr));
    for (size_t i = 0; i < WATCHED_SYSCALL_COUNT; i++)
        if (watched_syscalls[i].architecture == architecture && is_wanted(&watched_syscalls[i], go->flags))
            append_row(program, &watched_syscalls[i], go);
    APPEND(program, PASS);
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
    APPEND(&program, PASS);
    struct sock_fprog description = {program.length, program.instructions};
    int error = install_somehow(&description);
    if (error == EACCES && call_system(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0) == 0)
        error = install_somehow(&description);
    return error;
}

/* See launch_filter.h. Every watched system call stops for the tracer; all others are left alone, and the
 * kernel remembers that by number, so they cost nothing. clone stops only when it would hide the child from a
 * tracer. */
#include "launch_filter.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "syscalls.h"

enum { ROW_LENGTH = 7, PROGRAM_LENGTH_MAX = ROW_LENGTH * WATCHED_SYSCALL_COUNT + 1 };

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t) offsetof(struct seccomp_data, field))

/* The low half of the first argument: clone's flags are 32 bits. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define LOAD_FLAGS LOAD(args[0])
#else
#define LOAD_FLAGS BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t) offsetof(struct seccomp_data, args[0]) + 4)
#endif

/* Appends the instructions for one system call; a test that fails jumps behind them. */
static size_t append_row(struct sock_filter *program, size_t length, const struct watched_syscall *watched)
{
    unsigned char tail = watched->kind == SYSCALL_CLONE ? 3 : 1;
    const struct sock_filter head[] = {
        LOAD(arch),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, watched->architecture, 0, (unsigned char) (tail + 2)),
        LOAD(nr),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, watched->number, 0, tail),
    };
    const struct sock_filter flags[] = {
        LOAD_FLAGS,
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_UNTRACED, 0, 1),
    };
    for (size_t i = 0; i < sizeof head / sizeof head[0]; i++)
        program[length++] = head[i];
    for (size_t i = 0; watched->kind == SYSCALL_CLONE && i < sizeof flags / sizeof flags[0]; i++)
        program[length++] = flags[i];
    program[length++] = (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE);
    return length;
}

static bool install(const struct sock_fprog *program)
{
    /* Without this flag older kernels slow the whole tree down against speculation; EINVAL: they lack it. */
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, program) == 0)
        return true;
    return errno == EINVAL && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, program) == 0;
}

bool install_launch_filter(void)
{
    struct sock_filter program[PROGRAM_LENGTH_MAX];
    size_t length = 0;
    for (size_t i = 0; i < WATCHED_SYSCALL_COUNT; i++)
        length = append_row(program, length, &watched_syscalls[i]);
    program[length++] = (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog description = {(unsigned short) length, program};
    if (install(&description))
        return true;
    return errno == EACCES && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && install(&description);
}

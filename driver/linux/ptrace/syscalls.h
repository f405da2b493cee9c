/* The system calls that the launcher's seccomp filter stops, on each architecture that a task can use here.
 * The filter and the supervisor read the same table. Source: the kernel's syscall tables. */
#ifndef CBP_SYSCALLS_H
#define CBP_SYSCALLS_H

#include <linux/audit.h>
#include <stdint.h>

enum syscall_kind { SYSCALL_OTHER, SYSCALL_EXECVE, SYSCALL_EXECVEAT, SYSCALL_CLONE };

struct watched_syscall {
    uint32_t architecture;
    uint32_t number;
    enum syscall_kind kind;
};

#if defined(__x86_64__)
#define WATCHED_SYSCALLS                                                                                     \
    {AUDIT_ARCH_X86_64, 59, SYSCALL_EXECVE}, {AUDIT_ARCH_X86_64, 322, SYSCALL_EXECVEAT},                     \
        {AUDIT_ARCH_X86_64, 56, SYSCALL_CLONE}, {AUDIT_ARCH_X86_64, 0x40000000 + 520, SYSCALL_EXECVE},       \
        {AUDIT_ARCH_X86_64, 0x40000000 + 545, SYSCALL_EXECVEAT},                                             \
        {AUDIT_ARCH_X86_64, 0x40000000 + 56, SYSCALL_CLONE}, {AUDIT_ARCH_I386, 11, SYSCALL_EXECVE},          \
        {AUDIT_ARCH_I386, 358, SYSCALL_EXECVEAT},                                                            \
    {                                                                                                        \
        AUDIT_ARCH_I386, 120, SYSCALL_CLONE                                                                  \
    }
#elif defined(__aarch64__)
#define WATCHED_SYSCALLS                                                                                     \
    {AUDIT_ARCH_AARCH64, 221, SYSCALL_EXECVE}, {AUDIT_ARCH_AARCH64, 281, SYSCALL_EXECVEAT},                  \
        {AUDIT_ARCH_AARCH64, 220, SYSCALL_CLONE}, {AUDIT_ARCH_ARM, 11, SYSCALL_EXECVE},                      \
        {AUDIT_ARCH_ARM, 387, SYSCALL_EXECVEAT},                                                             \
    {                                                                                                        \
        AUDIT_ARCH_ARM, 120, SYSCALL_CLONE                                                                   \
    }
#else
#error "the ptrace driver knows x86_64 and aarch64"
#endif

static const struct watched_syscall watched_syscalls[] = {WATCHED_SYSCALLS};
enum { WATCHED_SYSCALL_COUNT = sizeof watched_syscalls / sizeof watched_syscalls[0] };

static inline enum syscall_kind syscall_kind(uint32_t architecture, uint64_t number)
{
    for (unsigned i = 0; i < WATCHED_SYSCALL_COUNT; i++)
        if (watched_syscalls[i].architecture == architecture && watched_syscalls[i].number == number)
            return watched_syscalls[i].kind;
    return SYSCALL_OTHER;
}

#endif

/* Makes a table of the system calls that the launcher's seccomp filter can stop, for each architecture of tasks
 * here. The filter and the helper read it. */
#ifndef CBP_SYSCALLS_H
#define CBP_SYSCALLS_H

#include <linux/audit.h>
#include <stdint.h>

#include "cbp_message.h"
#include "syscall_list.h"

enum { ARCHITECTURE_COUNT = 2 };

/* ioprio_set's first argument has these values, which some kernel headers lack. */
enum { IOPRIO_PROCESS = 1, IOPRIO_GROUP = 2, IOPRIO_USER = 3 };

/* prctl takes these values, which kernel headers have since 5.14. */
enum { SCHED_CORE = 62, SCHED_CORE_CREATE = 1, SCHED_CORE_SHARE_TO = 2 };

/* SECCOMP_RET_TRACE has this data in the launcher's filter, not in a program's own. */
enum { FILTER_MARK = 0xcb9f };

#define SYSCALL_KIND_(kind, part, ...) SYSCALL_##kind,
enum syscall_kind { WATCHED_SYSCALL_LIST(SYSCALL_KIND_) SYSCALL_OTHER };

struct watched_syscall {
    uint32_t architecture;
    uint32_t number;
    enum syscall_kind kind;
    uint32_t parts; /* CBP_LAUNCH_FLAG_: it is watched with one of these parts */
};

#define SYSCALL_ROW_(architecture, number, kind, part)                                                       \
    {architecture, number, SYSCALL_##kind, CBP_LAUNCH_FLAG_##part},

#if defined(__x86_64__)
#define ARCHITECTURES AUDIT_ARCH_X86_64, AUDIT_ARCH_I386
#define SYSCALL_ROWS_(kind, part, x86_64, x32, i386, aarch64, arm)                                           \
    SYSCALL_ROW_(AUDIT_ARCH_X86_64, x86_64, kind, part)                                                      \
    SYSCALL_ROW_(AUDIT_ARCH_X86_64, X32_SYSCALL_BIT + (x32), kind, part)                                     \
    SYSCALL_ROW_(AUDIT_ARCH_I386, i386, kind, part)
#elif defined(__aarch64__)
#define ARCHITECTURES AUDIT_ARCH_AARCH64, AUDIT_ARCH_ARM
#define SYSCALL_ROWS_(kind, part, x86_64, x32, i386, aarch64, arm)                                           \
    SYSCALL_ROW_(AUDIT_ARCH_AARCH64, aarch64, kind, part) SYSCALL_ROW_(AUDIT_ARCH_ARM, arm, kind, part)
#else
#error "the ptrace driver knows x86_64 and aarch64"
#endif

static const struct watched_syscall watched_syscalls[] = {WATCHED_SYSCALL_LIST(SYSCALL_ROWS_)};
enum { WATCHED_SYSCALL_COUNT = sizeof watched_syscalls / sizeof watched_syscalls[0] };

static inline enum syscall_kind syscall_kind(uint32_t architecture, uint64_t number)
{
    for (unsigned i = 0; i < WATCHED_SYSCALL_COUNT; i++)
        if (watched_syscalls[i].architecture == architecture && watched_syscalls[i].number == number)
            return watched_syscalls[i].kind;
    return SYSCALL_OTHER;
}

/* Gives the number of a kind of call on the given call's architecture and, on x86-64, of its flavour. */
static inline uint64_t syscall_number_like(uint32_t architecture, uint64_t model, enum syscall_kind kind)
{
    for (unsigned i = 0; i < WATCHED_SYSCALL_COUNT; i++)
        if (watched_syscalls[i].architecture == architecture && watched_syscalls[i].kind == kind &&
            (watched_syscalls[i].number & X32_SYSCALL_BIT) == (model & X32_SYSCALL_BIT))
            return watched_syscalls[i].number;
    return UINT64_MAX;
}

#endif

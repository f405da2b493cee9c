/* Tells which system call the current task makes, and with which arguments, whatever its architecture. Knows the
 * registers of the processor, for which the object is built (CBP_X86_64, CBP_AARCH64). */
#ifndef CBP_CALLS_H
#define CBP_CALLS_H

#include "kernel.h"
#include "syscall_list.h"

#define CALL_KIND(kind, part, ...) CALL_##kind,
enum call_kind { WATCHED_SYSCALL_LIST(CALL_KIND) CALL_OTHER };
#undef CALL_KIND

enum { CALL_ARGUMENT_COUNT = 5 };

struct call {
    enum call_kind kind;
    uint32_t number;
    uint64_t arguments[CALL_ARGUMENT_COUNT];
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

#if defined(CBP_X86_64)
struct pt_regs {
    unsigned long bx, cx, dx, si, di, bp, r8, r10, orig_ax;
};

struct thread_info {
    uint32_t status;
};
#elif defined(CBP_AARCH64)
struct pt_regs {
    uint64_t regs[31];
    int32_t syscallno;
};

struct thread_info {
    unsigned long flags;
};
#else
#error "the registers of this processor are not known"
#endif

struct task_struct___with_info {
    struct thread_info thread_info;
};

#pragma clang attribute pop

/* Says whether a task's call has the numbers and arguments of a 32-bit program. */
INLINE bool is_32_bit_call_of(struct task_struct *caller)
{
    struct task_struct___with_info *task = (void *) caller;
#if defined(CBP_X86_64)
    enum { COMPAT = 2 }; /* TS_COMPAT */
    return READ(task->thread_info.status) & COMPAT;
#else
    enum { COMPAT = 1 << 22 }; /* TIF_32BIT */
    return READ(task->thread_info.flags) & COMPAT;
#endif
}

INLINE bool is_32_bit(void)
{
    return is_32_bit_call_of((struct task_struct *) bpf_get_current_task());
}

/* Compilers make a search by halves of these comparisons. */
INLINE enum call_kind kind_of_call(uint64_t number, bool is_narrow)
{
#if defined(CBP_X86_64)
#define IS_WIDE(x86_64, x32, i386, aarch64, arm) (number == (x86_64) || number == (X32_SYSCALL_BIT | (x32)))
#define IS_NARROW(x86_64, x32, i386, aarch64, arm) (number == (i386))
#else
#define IS_WIDE(x86_64, x32, i386, aarch64, arm) (number == (aarch64))
#define IS_NARROW(x86_64, x32, i386, aarch64, arm) (number == (arm))
#endif
#define FIND_WIDE(kind, part, ...)                                                                           \
    if (IS_WIDE(__VA_ARGS__))                                                                                \
        return CALL_##kind;
#define FIND_NARROW(kind, part, ...)                                                                         \
    if (IS_NARROW(__VA_ARGS__))                                                                              \
        return CALL_##kind;
    if (is_narrow) {
        WATCHED_SYSCALL_LIST(FIND_NARROW)
    } else {
        WATCHED_SYSCALL_LIST(FIND_WIDE)
    }
#undef FIND_WIDE
#undef FIND_NARROW
#undef IS_WIDE
#undef IS_NARROW
    return CALL_OTHER;
}

INLINE void read_arguments(struct call *call, struct pt_regs *registers, bool is_narrow)
{
#if defined(CBP_X86_64)
    call->arguments[0] = is_narrow ? READ(registers->bx) : READ(registers->di);
    call->arguments[1] = is_narrow ? READ(registers->cx) : READ(registers->si);
    call->arguments[2] = READ(registers->dx);
    call->arguments[3] = is_narrow ? READ(registers->si) : READ(registers->r10);
    call->arguments[4] = is_narrow ? READ(registers->di) : READ(registers->r8);
#else
    bpf_probe_read_kernel(call->arguments, sizeof call->arguments, &registers->regs);
#endif
    if (is_narrow)
        for (int i = 0; i < CALL_ARGUMENT_COUNT; i++)
            call->arguments[i] = (uint32_t) call->arguments[i];
}

/* The verifier knows the registers that a tracepoint gives, so they can be read like this. */
#if defined(CBP_X86_64)
#define NUMBER_OF_CALL(registers) ((uint32_t) (registers)->orig_ax)
#else
#define NUMBER_OF_CALL(registers) ((uint32_t) (registers)->syscallno)
#endif

INLINE uint64_t number_of_call(struct pt_regs *registers)
{
#if defined(CBP_X86_64)
    return (uint32_t) READ(registers->orig_ax);
#else
    return (uint32_t) READ(registers->syscallno);
#endif
}

/* Says whether the number means a call of the list in a program of any kind. */
INLINE bool may_be_listed(uint64_t number)
{
    return kind_of_call(number, false) != CALL_OTHER || kind_of_call(number, true) != CALL_OTHER;
}

/* Reads the call with this number if it is one of the list. Nearly all are not, so that is seen first. */
INLINE bool read_call(struct call *call, struct pt_regs *registers, uint64_t number)
{
    if (!may_be_listed(number))
        return false;
    bool is_narrow = is_32_bit();
    call->number = (uint32_t) number;
    call->kind = kind_of_call(number, is_narrow);
    if (call->kind == CALL_OTHER)
        return false;
    read_arguments(call, registers, is_narrow);
    return true;
}

#endif

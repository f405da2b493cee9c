/* Reads a stopped task's registers, and makes its system call fail. Only this file knows processor
 * architectures. Knows no rules and no events. */
#include <elf.h>
#include <linux/audit.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>

#include "syscalls.h"
#include "tracer.h"

enum { OS_ERROR_MAX = 511 }; /* higher values are never seen by programs: they restart the call */

/* ---- Registers ---- */

/* A set of registers has these at such an index. */
struct places {
    size_t number, first_argument;
};

#if defined(__x86_64__)
#define PLACE(name) (offsetof(struct user_regs_struct, name) / sizeof(uint64_t))
enum { NARROW_COUNT = 17, WIDE_ARCHITECTURE = AUDIT_ARCH_X86_64, NARROW_ARCHITECTURE = AUDIT_ARCH_I386 };
static const struct places wide_places = {PLACE(orig_rax), PLACE(rdi)};
static const struct places narrow_places = {11, 0};
#elif defined(__aarch64__)
enum { NARROW_COUNT = 18, WIDE_ARCHITECTURE = AUDIT_ARCH_AARCH64, NARROW_ARCHITECTURE = AUDIT_ARCH_ARM };
static const struct places wide_places = {8, 0};
static const struct places narrow_places = {7, 0};
#else
#error "the ptrace driver knows x86_64 and aarch64"
#endif

/* A task has one set or the other, as its program is: each has as many registers as the kernel gives. */
union registers {
    uint64_t wide[sizeof(struct user_regs_struct) / sizeof(uint64_t)];
    uint32_t narrow[NARROW_COUNT];
};

static bool read_registers(const struct task *task, union registers *registers, bool *is_narrow)
{
    struct iovec vector = {registers, sizeof *registers};
    if (ptrace(PTRACE_GETREGSET, (pid_t) task->base.tid, NT_PRSTATUS, &vector) < 0)
        return false;
    *is_narrow = vector.iov_len == sizeof registers->narrow;
    return true;
}

bool cbpd_read_call_registers(const struct task *task, struct syscall_entry *entry)
{
    union registers registers;
    bool is_narrow;
    if (!read_registers(task, &registers, &is_narrow))
        return false;
    const uint32_t *narrow = registers.narrow;
    const uint64_t *wide = registers.wide;
    entry->architecture = is_narrow ? NARROW_ARCHITECTURE : WIDE_ARCHITECTURE;
    entry->number = is_narrow ? narrow[narrow_places.number] : wide[wide_places.number];
    entry->arguments[0] = is_narrow ? narrow[narrow_places.first_argument] : wide[wide_places.first_argument];
    return true;
}

#if defined(__x86_64__)

/* In a call that has created a task, each of these numbers means one call alone, of either width. */
bool cbpd_calls_plain_fork(const struct task *task)
{
    enum { FORK_32BIT = 2, VFORK_32BIT = 190 };
    long number =
        ptrace(PTRACE_PEEKUSER, (pid_t) task->base.tid, offsetof(struct user_regs_struct, orig_rax), 0);
    return number == SYS_fork || number == SYS_vfork || number == FORK_32BIT || number == VFORK_32BIT;
}

static bool poke_register(const struct task *task, size_t offset, uint64_t value)
{
    return ptrace(PTRACE_POKEUSER, (pid_t) task->base.tid, offset, value) == 0;
}

bool cbpd_fail_syscall(const struct task *task, int os_error)
{
    return poke_register(task, offsetof(struct user_regs_struct, orig_rax), (uint64_t) -1) &&
           poke_register(task, offsetof(struct user_regs_struct, rax), (uint64_t) (int64_t) -os_error);
}

bool cbpd_replace_syscall(const struct task *task, const struct replacement *replacement)
{
    static const size_t places[][4] = {
        {offsetof(struct user_regs_struct, rdi), offsetof(struct user_regs_struct, rsi),
         offsetof(struct user_regs_struct, rdx), offsetof(struct user_regs_struct, r10)},
        {offsetof(struct user_regs_struct, rbx), offsetof(struct user_regs_struct, rcx),
         offsetof(struct user_regs_struct, rdx), offsetof(struct user_regs_struct, rsi)},
    };
    const size_t *place = places[replacement->architecture == AUDIT_ARCH_I386];
    bool done = poke_register(task, offsetof(struct user_regs_struct, orig_rax), replacement->number);
    for (uint32_t i = 0; done && i < replacement->argument_count; i++)
        done = poke_register(task, place[i], replacement->arguments[i]);
    return done;
}

static bool has_32bit_pointers(uint32_t architecture, uint64_t number)
{
    return architecture == AUDIT_ARCH_I386 || (number & X32_SYSCALL_BIT) != 0;
}

#else

/* This architecture has neither: C libraries use clone. */
bool cbpd_calls_plain_fork(const struct task *task)
{
    (void) task;
    return false;
}

/* Sets the call at whose entry the task is: number -1 is no call, and its result is the first argument. */
static bool set_call(const struct task *task, int number, const uint64_t *arguments, uint32_t count)
{
    union registers registers;
    bool is_narrow;
    struct iovec in_kernel = {&number, sizeof number};
    if (!read_registers(task, &registers, &is_narrow))
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (is_narrow)
            registers.narrow[i] = (uint32_t) arguments[i];
        else
            registers.wide[i] = arguments[i];
    if (is_narrow && number >= 0)
        registers.narrow[narrow_places.number] = (uint32_t) number;
    struct iovec vector = {&registers, is_narrow ? sizeof registers.narrow : sizeof registers.wide};
    return ptrace(PTRACE_SETREGSET, (pid_t) task->base.tid, NT_PRSTATUS, &vector) == 0 &&
           ptrace(PTRACE_SETREGSET, (pid_t) task->base.tid, NT_ARM_SYSTEM_CALL, &in_kernel) == 0;
}

bool cbpd_fail_syscall(const struct task *task, int os_error)
{
    const uint64_t result = (uint64_t) (int64_t) -os_error;
    return set_call(task, -1, &result, 1);
}

bool cbpd_replace_syscall(const struct task *task, const struct replacement *replacement)
{
    return set_call(task, (int) replacement->number, replacement->arguments, replacement->argument_count);
}

static bool has_32bit_pointers(uint32_t architecture, uint64_t number)
{
    (void) number;
    return architecture == AUDIT_ARCH_ARM;
}

#endif

/* PTRACE_GET_SYSCALL_INFO writes this at a seccomp stop. Source: the kernel's linux/ptrace.h, which some
 * systems cannot include beside the C library's sys/ptrace.h. */
struct seccomp_stop {
    uint8_t operation;
    uint8_t padding[3];
    uint32_t architecture;
    uint64_t instruction_pointer, stack_pointer;
    uint64_t number;
    uint64_t arguments[6];
    uint32_t returned_data;
};

static bool read_any_stop(const struct task *task, struct seccomp_stop *stop)
{
    memset(stop, 0, sizeof *stop);
    return ptrace(PTRACE_GET_SYSCALL_INFO, (pid_t) task->base.tid, sizeof *stop, stop) > 0;
}

static bool read_stop(const struct task *task, uint8_t operation, struct seccomp_stop *stop)
{
    return read_any_stop(task, stop) && stop->operation == operation;
}

/* After execve the architecture is the new program's: the kernel makes it look as if that had made the call. This
 * takes half the time of reading all registers. Source: the kernel's set_personality_ia32(), x86. */
bool cbpd_read_stop_registers(const struct task *task, struct stop_registers *stop)
{
    struct seccomp_stop found;
    if (!read_any_stop(task, &found))
        return false;
    stop->is_32bit = found.architecture == NARROW_ARCHITECTURE;
    stop->stack_pointer = found.stack_pointer;
    return true;
}

/* Reads at a seccomp stop what the task asks for. */
bool cbpd_read_syscall_entry(const struct task *task, struct syscall_entry *entry)
{
    struct seccomp_stop stop;
    if (!read_stop(task, PTRACE_SYSCALL_INFO_SECCOMP, &stop))
        return false;
    entry->number = stop.number;
    entry->architecture = stop.architecture;
    entry->filter_data = stop.returned_data;
    memcpy(entry->arguments, stop.arguments, sizeof entry->arguments);
    entry->is_32bit = has_32bit_pointers(stop.architecture, stop.number);
    return true;
}

bool cbpd_read_syscall_error(const struct task *task, int *os_error)
{
    struct seccomp_stop stop; /* the result stands where a call's number does */
    if (!read_stop(task, PTRACE_SYSCALL_INFO_EXIT, &stop))
        return false;
    int64_t result = (int64_t) stop.number;
    *os_error = result < 0 && result >= -OS_ERROR_MAX ? (int) -result : 0;
    return true;
}

/* Says whether the value can be an exit status: the program's status in the second byte, or a signal and the
 * bit of a core dump in the first. Source: wait(2), and the kernel's do_exit and do_group_exit. */
static bool may_be_exit_status(unsigned long value)
{
    return value <= UINT16_MAX && ((value & 0xff) == 0 || value <= 0xff);
}

bool cbpd_read_event_message(uint32_t tid, int event, uint32_t *message)
{
    unsigned long value = 0;
    siginfo_t stop;
    if (ptrace(PTRACE_GETEVENTMSG, (pid_t) tid, 0, &value) != 0)
        return false;
    /* A task that has been killed in this stop is at its exit by now. No task returns to a stop that it has
     * left: if it is in this one now, it was in it before. */
    if (may_be_exit_status(value) &&
        (ptrace(PTRACE_GETSIGINFO, (pid_t) tid, 0, &stop) != 0 || stop.si_code >> 8 != event))
        return false;
    *message = (uint32_t) value;
    return true;
}

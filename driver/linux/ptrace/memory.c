/* Reads a stopped task's registers and memory, and makes its system call fail. Only this file knows processor
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

enum { PAGES_AT_ONCE = WINDOW_SIZE / TASK_PAGE_SIZE };

enum { OS_ERROR_MAX = 511 }; /* higher values are never seen by programs: they restart the call */

/* ---- Registers: one block for each architecture ---- */

#if defined(__x86_64__)

struct registers_32bit { /* NT_PRSTATUS of an i386 task */
    uint32_t values[17];
};
enum { REGISTER_32BIT_STACK_POINTER = 15 };

bool cbpd_read_stop_registers(const struct task *task, struct stop_registers *stop)
{
    union {
        struct user_regs_struct full;
        struct registers_32bit compatible;
    } registers;
    struct iovec vector = {&registers, sizeof registers};
    if (ptrace(PTRACE_GETREGSET, (pid_t) task->base.tid, NT_PRSTATUS, &vector) < 0)
        return false;
    stop->is_32bit = vector.iov_len == sizeof registers.compatible;
    stop->stack_pointer =
        stop->is_32bit ? registers.compatible.values[REGISTER_32BIT_STACK_POINTER] : registers.full.rsp;
    return true;
}

bool cbpd_read_call_registers(const struct task *task, struct syscall_entry *entry)
{
    enum { NUMBER_32BIT = 11, FIRST_ARGUMENT_32BIT = 0 };
    union {
        struct user_regs_struct full;
        struct registers_32bit compatible;
    } registers;
    struct iovec vector = {&registers, sizeof registers};
    if (ptrace(PTRACE_GETREGSET, (pid_t) task->base.tid, NT_PRSTATUS, &vector) < 0)
        return false;
    bool is_i386 = vector.iov_len == sizeof registers.compatible;
    entry->architecture = is_i386 ? AUDIT_ARCH_I386 : AUDIT_ARCH_X86_64;
    entry->number = is_i386 ? registers.compatible.values[NUMBER_32BIT] : registers.full.orig_rax;
    entry->arguments[0] = is_i386 ? registers.compatible.values[FIRST_ARGUMENT_32BIT] : registers.full.rdi;
    return true;
}

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

bool cbpd_set_first_argument(const struct task *task, const struct syscall_entry *entry, uint64_t value)
{
    bool is_i386 = entry->architecture == AUDIT_ARCH_I386;
    size_t offset = is_i386 ? offsetof(struct user_regs_struct, rbx) : offsetof(struct user_regs_struct, rdi);
    return poke_register(task, offset, value);
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

#elif defined(__aarch64__)

enum { ARM_NUMBER_REGISTER = 7, ARM_STACK_POINTER = 13, ARM_REGISTER_COUNT = 18 };

union arm_registers {
    struct user_regs_struct full;
    uint32_t compatible[ARM_REGISTER_COUNT];
};

static bool get_registers(const struct task *task, union arm_registers *registers, size_t *size)
{
    struct iovec vector = {registers, sizeof *registers};
    if (ptrace(PTRACE_GETREGSET, (pid_t) task->base.tid, NT_PRSTATUS, &vector) < 0)
        return false;
    *size = vector.iov_len;
    return true;
}

bool cbpd_read_stop_registers(const struct task *task, struct stop_registers *stop)
{
    union arm_registers registers;
    size_t size;
    if (!get_registers(task, &registers, &size))
        return false;
    stop->is_32bit = size == sizeof registers.compatible;
    stop->stack_pointer = stop->is_32bit ? registers.compatible[ARM_STACK_POINTER] : registers.full.sp;
    return true;
}

bool cbpd_read_call_registers(const struct task *task, struct syscall_entry *entry)
{
    enum { NUMBER_REGISTER = 8 };
    union arm_registers registers;
    size_t size;
    if (!get_registers(task, &registers, &size))
        return false;
    bool is_arm = size == sizeof registers.compatible;
    entry->architecture = is_arm ? AUDIT_ARCH_ARM : AUDIT_ARCH_AARCH64;
    entry->number = is_arm ? registers.compatible[ARM_NUMBER_REGISTER] : registers.full.regs[NUMBER_REGISTER];
    entry->arguments[0] = is_arm ? registers.compatible[0] : registers.full.regs[0];
    return true;
}

/* This architecture has neither: C libraries use clone. */
bool cbpd_calls_plain_fork(const struct task *task)
{
    (void) task;
    return false;
}

/* Register 0 is both the first argument and the result. */
static bool set_register_0(const struct task *task, uint64_t value)
{
    union arm_registers registers;
    size_t size;
    if (!get_registers(task, &registers, &size))
        return false;
    if (size == sizeof registers.compatible)
        registers.compatible[0] = (uint32_t) value;
    else
        registers.full.regs[0] = value;
    struct iovec vector = {&registers, size};
    return ptrace(PTRACE_SETREGSET, (pid_t) task->base.tid, NT_PRSTATUS, &vector) == 0;
}

static bool set_syscall_number(const struct task *task, int number)
{
    struct iovec vector = {&number, sizeof number};
    return ptrace(PTRACE_SETREGSET, (pid_t) task->base.tid, NT_ARM_SYSTEM_CALL, &vector) == 0;
}

bool cbpd_fail_syscall(const struct task *task, int os_error)
{
    return set_syscall_number(task, -1) && set_register_0(task, (uint64_t) (int64_t) -os_error);
}

bool cbpd_replace_syscall(const struct task *task, const struct replacement *replacement)
{
    union arm_registers registers;
    size_t size;
    if (!get_registers(task, &registers, &size))
        return false;
    for (uint32_t i = 0; i < replacement->argument_count; i++)
        if (size == sizeof registers.compatible)
            registers.compatible[i] = (uint32_t) replacement->arguments[i];
        else
            registers.full.regs[i] = replacement->arguments[i];
    if (size == sizeof registers.compatible)
        registers.compatible[ARM_NUMBER_REGISTER] = (uint32_t) replacement->number;
    struct iovec vector = {&registers, size};
    return ptrace(PTRACE_SETREGSET, (pid_t) task->base.tid, NT_PRSTATUS, &vector) == 0 &&
           set_syscall_number(task, (int) replacement->number);
}

bool cbpd_set_first_argument(const struct task *task, const struct syscall_entry *entry, uint64_t value)
{
    (void) entry;
    return set_register_0(task, value);
}

static bool has_32bit_pointers(uint32_t architecture, uint64_t number)
{
    (void) number;
    return architecture == AUDIT_ARCH_ARM;
}

#else
#error "the ptrace driver knows x86_64 and aarch64"
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

/* Reads at a seccomp stop what the task asks for. */
bool cbpd_read_syscall_entry(const struct task *task, struct syscall_entry *entry)
{
    struct seccomp_stop info;
    memset(&info, 0, sizeof info);
    if (ptrace(PTRACE_GET_SYSCALL_INFO, (pid_t) task->base.tid, sizeof info, &info) <= 0 ||
        info.operation != PTRACE_SYSCALL_INFO_SECCOMP)
        return false;
    entry->number = info.number;
    entry->architecture = info.architecture;
    entry->filter_data = info.returned_data;
    for (size_t i = 0; i < 6; i++)
        entry->arguments[i] = info.arguments[i];
    entry->is_32bit = has_32bit_pointers(info.architecture, info.number);
    return true;
}

bool cbpd_read_syscall_error(const struct task *task, int *os_error)
{
    struct seccomp_stop info; /* the result stands where a call's number does */
    memset(&info, 0, sizeof info);
    if (ptrace(PTRACE_GET_SYSCALL_INFO, (pid_t) task->base.tid, sizeof info, &info) <= 0 ||
        info.operation != PTRACE_SYSCALL_INFO_EXIT)
        return false;
    int64_t result = (int64_t) info.number;
    *os_error = result < 0 && result >= -OS_ERROR_MAX ? (int) -result : 0;
    return true;
}

/* ---- Memory ---- */

/* Reads up to size bytes, or to a page that is not mapped. Gives how many. Each page is an element, because
 * the kernel transfers an element as a whole or not at all. */
size_t cbpd_read_memory(uint32_t tid, uint64_t address, void *buffer, size_t size)
{
    size_t total = 0;
    while (total < size) {
        struct iovec remote[PAGES_AT_ONCE];
        size_t count = 0, wanted = 0;
        while (count < PAGES_AT_ONCE && total + wanted < size) {
            uint64_t at = address + total + wanted;
            size_t step = TASK_PAGE_SIZE - (size_t) (at % TASK_PAGE_SIZE);
            if (step > size - total - wanted)
                step = size - total - wanted;
            remote[count++] =
                (struct iovec){(void *) (uintptr_t) at, step}; // NOLINT: another process's address
            wanted += step;
        }
        struct iovec local = {(char *) buffer + total, wanted};
        ssize_t got = process_vm_readv((pid_t) tid, &local, 1, remote, count, 0);
        if (got <= 0)
            return total;
        total += (size_t) got;
        if ((size_t) got < wanted)
            return total;
    }
    return total;
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

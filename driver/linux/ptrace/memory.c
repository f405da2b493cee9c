/* Reads what a stopped task has in memory and registers, and fails its system call. The only file that knows
 * processor architectures. Knows nothing of rules or events. */
#include <elf.h>
#include <errno.h>
#include <linux/audit.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>

#include "supervisor.h"
#include "syscalls.h"

enum { TASK_PAGE_SIZE = 4096, PAGES_AT_ONCE = 16, NEW_STACK_FIRST_READ = 8192 };

/* ---- Registers: one block for each architecture ---- */

#if defined(__x86_64__)

struct registers_32bit { /* what NT_PRSTATUS gives for an i386 task */
    uint32_t values[17];
};
enum { REGISTER_32BIT_STACK_POINTER = 15 };

bool read_stack_pointer(const struct task *task, uint64_t *stack_pointer, bool *is_32bit)
{
    union {
        struct user_regs_struct full;
        struct registers_32bit compatible;
    } registers;
    struct iovec vector = {&registers, sizeof registers};
    if (ptrace(PTRACE_GETREGSET, (pid_t) task->tid, NT_PRSTATUS, &vector) < 0)
        return false;
    *is_32bit = vector.iov_len == sizeof registers.compatible;
    *stack_pointer =
        *is_32bit ? registers.compatible.values[REGISTER_32BIT_STACK_POINTER] : registers.full.rsp;
    return true;
}

static bool poke_register(const struct task *task, size_t offset, uint64_t value)
{
    return ptrace(PTRACE_POKEUSER, (pid_t) task->tid, offset, value) == 0;
}

bool fail_syscall(const struct task *task, int os_error)
{
    return poke_register(task, offsetof(struct user_regs_struct, orig_rax), (uint64_t) -1) &&
           poke_register(task, offsetof(struct user_regs_struct, rax), (uint64_t) (int64_t) -os_error);
}

bool set_first_argument(const struct task *task, const struct syscall_entry *entry, uint64_t value)
{
    bool is_i386 = entry->architecture == AUDIT_ARCH_I386;
    size_t offset = is_i386 ? offsetof(struct user_regs_struct, rbx) : offsetof(struct user_regs_struct, rdi);
    return poke_register(task, offset, value);
}

bool replace_syscall(const struct task *task, const struct replacement *replacement)
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
    if (ptrace(PTRACE_GETREGSET, (pid_t) task->tid, NT_PRSTATUS, &vector) < 0)
        return false;
    *size = vector.iov_len;
    return true;
}

bool read_stack_pointer(const struct task *task, uint64_t *stack_pointer, bool *is_32bit)
{
    union arm_registers registers;
    size_t size;
    if (!get_registers(task, &registers, &size))
        return false;
    *is_32bit = size == sizeof registers.compatible;
    *stack_pointer = *is_32bit ? registers.compatible[ARM_STACK_POINTER] : registers.full.sp;
    return true;
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
    return ptrace(PTRACE_SETREGSET, (pid_t) task->tid, NT_PRSTATUS, &vector) == 0;
}

static bool set_syscall_number(const struct task *task, int number)
{
    struct iovec vector = {&number, sizeof number};
    return ptrace(PTRACE_SETREGSET, (pid_t) task->tid, NT_ARM_SYSTEM_CALL, &vector) == 0;
}

bool fail_syscall(const struct task *task, int os_error)
{
    return set_syscall_number(task, -1) && set_register_0(task, (uint64_t) (int64_t) -os_error);
}

bool replace_syscall(const struct task *task, const struct replacement *replacement)
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
    return ptrace(PTRACE_SETREGSET, (pid_t) task->tid, NT_PRSTATUS, &vector) == 0 &&
           set_syscall_number(task, (int) replacement->number);
}

bool set_first_argument(const struct task *task, const struct syscall_entry *entry, uint64_t value)
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

/* What PTRACE_GET_SYSCALL_INFO writes at a seccomp stop. Source: the kernel's linux/ptrace.h, which cannot be
 * included beside the C library's sys/ptrace.h everywhere. */
struct seccomp_stop {
    uint8_t operation;
    uint8_t padding[3];
    uint32_t architecture;
    uint64_t instruction_pointer, stack_pointer;
    uint64_t number;
    uint64_t arguments[6];
    uint32_t returned_data;
};

/* At a seccomp stop: what the task asks for. */
bool read_syscall_entry(const struct task *task, struct syscall_entry *entry)
{
    struct seccomp_stop info;
    memset(&info, 0, sizeof info);
    if (ptrace(PTRACE_GET_SYSCALL_INFO, (pid_t) task->tid, sizeof info, &info) <= 0 ||
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

/* ---- Memory ---- */

/* Reads up to size bytes; a page that is not mapped ends it. One element a page, because the kernel transfers
 * whole elements or nothing of them. Gives the bytes read. */
size_t read_memory(uint32_t tid, uint64_t address, void *buffer, size_t size)
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

/* A window on a task's memory: strings of an argument list mostly lie side by side. */
struct window {
    uint32_t tid;
    uint64_t address;
    size_t size;
    size_t next_read; /* grows while reading goes on in order */
    char bytes[PAGES_AT_ONCE * TASK_PAGE_SIZE];
};

static bool window_covers(struct window *window, uint64_t address)
{
    if (address >= window->address && address - window->address < window->size)
        return true;
    size_t size = window->next_read - (size_t) (address % TASK_PAGE_SIZE);
    window->address = address;
    window->size = read_memory(window->tid, address, window->bytes, size);
    if (window->next_read < sizeof window->bytes)
        window->next_read *= 4;
    return window->size > 0;
}

/* Appends the string at address and its NUL. */
static bool append_string(struct window *window, uint64_t address, struct text *text)
{
    for (;;) {
        if (text->size > CBP_ARGUMENTS_SIZE_MAX || !window_covers(window, address))
            return false;
        const char *start = window->bytes + (address - window->address);
        size_t available = window->size - (size_t) (address - window->address);
        const char *end = memchr(start, 0, available);
        size_t size = end != NULL ? (size_t) (end - start) + 1 : available;
        if (!text_append(text, start, size))
            return false;
        if (end != NULL)
            return true;
        address += size;
    }
}

static void open_window(struct window *window, uint32_t tid)
{
    window->tid = tid;
    window->address = 0;
    window->size = 0;
    window->next_read = TASK_PAGE_SIZE;
}

static struct window shared_window; /* 64 KiB: too much for the stack, used by one thread only */

bool read_string(uint32_t tid, uint64_t address, struct text *text)
{
    open_window(&shared_window, tid);
    text->size = 0;
    return append_string(&shared_window, address, text);
}

bool read_argument_list(const struct task *task, uint64_t address, bool is_32bit, struct text *text)
{
    size_t width = is_32bit ? 4 : 8;
    text->size = 0;
    if (address == 0)
        return true;
    open_window(&shared_window, task->tid);
    uint64_t pointers[512];
    for (;;) {
        size_t wanted = TASK_PAGE_SIZE - (size_t) (address % TASK_PAGE_SIZE);
        size_t got = read_memory(task->tid, address, pointers, wanted);
        for (size_t i = 0; i + width <= got; i += width) {
            uint64_t pointer = is_32bit ? ((uint32_t *) pointers)[i / 4] : pointers[i / 8];
            if (pointer == 0)
                return true;
            if (!append_string(&shared_window, pointer, text))
                return false;
        }
        if (got < wanted)
            return false;
        address += got;
    }
}

/* ---- The stack of a new program ---- */

static struct text stack_text;
static struct text argument_text;

static uint64_t stack_word(size_t index, bool is_32bit)
{
    if (is_32bit) {
        uint32_t word;
        memcpy(&word, stack_text.bytes + index * 4, 4);
        return word;
    }
    uint64_t word;
    memcpy(&word, stack_text.bytes + index * 8, 8);
    return word;
}

/* The vectors on a new stack: argument count, arguments, NULL, environment, NULL, auxiliary pairs. */
struct vectors {
    uint64_t first_argument, after_arguments, given;
    uint32_t user_id;
};

/* Whether the words read so far hold all vectors; else more must be read. */
static bool parse_vectors(size_t word_count, bool is_32bit, struct vectors *vectors)
{
    uint64_t argument_count = word_count > 0 ? stack_word(0, is_32bit) : 0;
    size_t at = 1 + (size_t) argument_count;
    if (argument_count >= word_count || at + 1 >= word_count)
        return false;
    vectors->first_argument = argument_count > 0 ? stack_word(1, is_32bit) : 0;
    vectors->after_arguments = stack_word(++at, is_32bit);
    while (at < word_count && stack_word(at, is_32bit) != 0)
        at++;
    for (at++; at + 1 < word_count && stack_word(at, is_32bit) != AT_NULL; at += 2) {
        if (stack_word(at, is_32bit) == AT_UID)
            vectors->user_id = (uint32_t) stack_word(at + 1, is_32bit);
        if (stack_word(at, is_32bit) == AT_EXECFN)
            vectors->given = stack_word(at + 1, is_32bit);
    }
    if (at + 1 >= word_count)
        return false;
    if (vectors->after_arguments == 0) /* no environment: the arguments end where the given name starts */
        vectors->after_arguments = vectors->given;
    return true;
}

static bool read_vectors(uint32_t tid, uint64_t stack_pointer, bool is_32bit, struct vectors *vectors)
{
    for (size_t size = NEW_STACK_FIRST_READ; size <= 4u * CBP_ARGUMENTS_SIZE_MAX; size *= 4) {
        if (!text_reserve(&stack_text, size))
            return false;
        stack_text.size = read_memory(tid, stack_pointer, stack_text.bytes, size);
        if (parse_vectors(stack_text.size / (is_32bit ? 4 : 8), is_32bit, vectors))
            return true;
        if (stack_text.size < size)
            return false;
    }
    return false;
}

/* The bytes from address to end, from what was read with the vectors or else from the task. */
static bool read_range(uint32_t tid, uint64_t stack_pointer, uint64_t address, uint64_t end,
                       struct text *text)
{
    size_t size = (size_t) (end - address);
    text->size = 0;
    if (end <= address || size > CBP_ARGUMENTS_SIZE_MAX || !text_reserve(text, size))
        return false;
    if (address >= stack_pointer && end - stack_pointer <= stack_text.size)
        memcpy(text->bytes, stack_text.bytes + (address - stack_pointer), size);
    else if (read_memory(tid, address, text->bytes, size) < size)
        return false;
    text->size = size;
    return true;
}

/* The string at address, mostly among what was read with the vectors: at the top of the stack. */
static const char *stack_string(uint32_t tid, uint64_t stack_pointer, uint64_t address, uint32_t *size)
{
    static struct text text;
    if (address >= stack_pointer && address - stack_pointer < stack_text.size) {
        const char *start = stack_text.bytes + (address - stack_pointer);
        const char *end = memchr(start, 0, stack_text.size - (size_t) (address - stack_pointer));
        if (end != NULL) {
            *size = (uint32_t) (end - start);
            return start;
        }
    }
    if (!read_string(tid, address, &text))
        return NULL;
    *size = (uint32_t) text.size - 1;
    return text.bytes;
}

void read_new_stack(const struct task *task, struct new_stack *stack)
{
    struct vectors vectors = {0, 0, 0, task->process->user_id};
    uint64_t stack_pointer;
    bool is_32bit;
    memset(stack, 0, sizeof *stack);
    stack->user_id = task->process->user_id;
    if (!read_stack_pointer(task, &stack_pointer, &is_32bit) ||
        !read_vectors(task->tid, stack_pointer, is_32bit, &vectors))
        return;
    stack->user_id = vectors.user_id;
    if (vectors.given != 0)
        stack->given = stack_string(task->tid, stack_pointer, vectors.given, &stack->given_size);
    if (vectors.first_argument == 0) {
        stack->complete = true;
    } else if (read_range(task->tid, stack_pointer, vectors.first_argument, vectors.after_arguments,
                          &argument_text)) {
        stack->arguments = argument_text.bytes;
        stack->arguments_size = (uint32_t) argument_text.size;
        stack->complete = argument_text.size > 0 && argument_text.bytes[argument_text.size - 1] == 0;
    }
}

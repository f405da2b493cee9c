/* Looks at threads by one call of a BPF program, or by /proc where that cannot be. /proc costs some 30 us for
 * a process that nobody has looked at before, most of it for entries that are made and removed again; the
 * program costs 1 or 2. */
#include "looks.h"

#include "argument_list.h"
#include "deleted.h"
#include "proc_files.h"
#include "syscalls.h"

#include <errno.h>
#include <linux/bpf.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__)
enum { WIDE_ARCHITECTURE = AUDIT_ARCH_X86_64, NARROW_ARCHITECTURE = AUDIT_ARCH_I386 };
#else
enum { WIDE_ARCHITECTURE = AUDIT_ARCH_AARCH64, NARROW_ARCHITECTURE = AUDIT_ARCH_ARM };
#endif

/* A thread that waits is sometimes awake for a moment, because all that wait for answers are waked with one. */
enum { ATTEMPTS_MAX = 200, ATTEMPTS_WITHOUT_SLEEP = 20, ATTEMPT_SLEEP_NS = 50000 };

bool cbpi_looks_open(struct cbpi_looks *looks, int program, int map)
{
    void *memory = MAP_FAILED;
    looks->program = program;
    if (program >= 0 && map >= 0)
        memory = mmap(NULL, sizeof *looks->memory, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);
    if (memory == MAP_FAILED) {
        looks->program = -1;
        memory = calloc(1, sizeof *looks->memory);
    }
    looks->memory = memory;
    return memory != NULL;
}

void cbpi_looks_close(struct cbpi_looks *looks)
{
    if (looks->program >= 0)
        munmap(looks->memory, sizeof *looks->memory);
    else
        free(looks->memory);
    looks->memory = NULL;
}

/* ---- By the program ---- */

static bool look_by_program(struct cbpi_looks *looks)
{
    union bpf_attr attribute;
    memset(&attribute, 0, sizeof attribute);
    attribute.test.prog_fd = (uint32_t) looks->program;
    return syscall(SYS_bpf, BPF_PROG_TEST_RUN, &attribute, sizeof attribute) == 0 &&
           attribute.test.retval == 0 && looks->memory->process_id != 0;
}

/* ---- By /proc ---- */

/* Reads numbers as /proc writes them: decimal, or hexadecimal with 0x. */
static bool read_numbers(const char *text, uint64_t *numbers, int count)
{
    for (int i = 0; i < count; i++) {
        char *end;
        numbers[i] = strtoull(text, &end, 0);
        if (end == text)
            return false;
        text = end;
    }
    return true;
}

/* Reads the registers of the call that the thread waits in: number, arguments, stack pointer, instruction. */
static bool read_registers(uint32_t thread_id, struct cbp_machine_look *look)
{
    char text[256];
    uint64_t numbers[9];
    static const struct timespec pause = {.tv_nsec = ATTEMPT_SLEEP_NS};
    for (int attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
        size_t size = cbpd_read_proc_file(thread_id, "syscall", text, sizeof text);
        if (size == 0)
            return false;
        if (strncmp(text, "-1 ", 3) == 0) /* in no call: the kernel itself executes */
            return true;
        if (strncmp(text, "running", 7) != 0) {
            if (!read_numbers(text, numbers, 9))
                return false;
            look->call = numbers[0];
            memcpy(look->arguments, numbers + 1, sizeof look->arguments);
            look->stack_pointer = numbers[7];
            return true;
        }
        if (attempt < ATTEMPTS_WITHOUT_SLEEP)
            sched_yield();
        else
            nanosleep(&pause, NULL);
    }
    return false;
}

/* Says which call it is. The thread is in one that opens a program, and no number of the other architecture's
 * calls for that means a call that does. */
static void judge_call(struct cbp_machine_look *look)
{
    enum syscall_kind kind = syscall_kind(NARROW_ARCHITECTURE, look->call);
    bool is_narrow = kind == SYSCALL_EXECVE || kind == SYSCALL_EXECVEAT;
    if (!is_narrow)
        kind = syscall_kind(WIDE_ARCHITECTURE, look->call);
    if (kind == SYSCALL_EXECVE)
        look->flags |= CBP_MACHINE_LOOK_EXECVE;
    if (kind == SYSCALL_EXECVEAT)
        look->flags |= CBP_MACHINE_LOOK_EXECVEAT;
    if (is_narrow || (look->call & X32_SYSCALL_BIT) != 0)
        look->flags |= CBP_MACHINE_LOOK_NARROW;
}

static uint32_t up_to_page_end(uint64_t address, uint32_t size)
{
    uint64_t left = TASK_PAGE_SIZE - address % TASK_PAGE_SIZE;
    return left < size ? (uint32_t) left : size;
}

static void read_memory(uint32_t thread_id, struct cbp_machine_look *look)
{
    const uint64_t *arguments = look->arguments + (look->flags & CBP_MACHINE_LOOK_EXECVEAT ? 1 : 0);
    uint32_t given_size = up_to_page_end(arguments[0], sizeof look->given);
    uint32_t pointers_size = up_to_page_end(arguments[1], sizeof look->pointers);
    const struct iovec local[] = {{look->given, given_size}, {look->pointers, pointers_size}};
    // NOLINTBEGIN: another process's addresses
    const struct iovec remote[] = {{(void *) (uintptr_t) arguments[0], given_size},
                                   {(void *) (uintptr_t) arguments[1], pointers_size}};
    // NOLINTEND
    unsigned long count = arguments[1] != 0 ? 2 : 1;
    ssize_t got = process_vm_readv((pid_t) thread_id, local, count, remote, count, 0);
    look->given_size = got >= (ssize_t) given_size ? given_size : 0;
    look->pointers_size = count == 2 && got == (ssize_t) (given_size + pointers_size) ? pointers_size : 0;
}

static void read_file(int descriptor, uint32_t thread_id, struct cbp_machine_look *look)
{
    struct stat status;
    char link[32], room[PROC_NAME_SIZE];
    if (fstat(descriptor, &status) != 0)
        return;
    look->device = status.st_dev;
    look->inode = status.st_ino;
    snprintf(link, sizeof link, "/fd/%d", descriptor);
    const char *name = cbpd_proc_name(room, (uint32_t) getpid(), link);
    ssize_t got = readlink(name, look->path, CBP_MACHINE_LOOK_PATH_END);
    if (got <= 0 || got == CBP_MACHINE_LOOK_PATH_END)
        return;
    size_t size = (size_t) got;
    if (cbpd_take_off_deleted(name, thread_id, look->path, &size))
        look->flags |= CBP_MACHINE_LOOK_DELETED;
    look->path_size = (uint32_t) size;
    look->path_begin = CBP_MACHINE_LOOK_PATH_END - size;
    memmove(look->path + look->path_begin, look->path, size);
}

static bool look_by_proc(struct cbp_machine_look *look)
{
    struct status_facts facts;
    if (!cbpd_read_status_file(look->thread_id, &facts) || !read_registers(look->thread_id, look))
        return false;
    look->process_id = facts.group;
    look->user_id = facts.user_id;
    judge_call(look);
    if (look->stack_pointer != 0 && look->flags != 0)
        read_memory(look->thread_id, look);
    if (look->descriptor >= 0)
        read_file(look->descriptor, look->thread_id, look);
    return true;
}

const struct cbp_machine_look *cbpi_look(struct cbpi_looks *looks, uint32_t thread_id, int descriptor)
{
    struct cbp_machine_look *look = looks->memory;
    memset(look, 0, offsetof(struct cbp_machine_look, pointers));
    look->thread_id = thread_id;
    look->descriptor = descriptor;
    bool is_known = looks->program >= 0 ? look_by_program(looks) : look_by_proc(look);
    return is_known ? look : NULL;
}

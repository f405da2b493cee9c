/* Looks at a thread that waits in an execution, and at the file that it has opened, for the core, which runs this
 * program (BPF_PROG_RUN). /proc would tell the same, but makes and removes entries for every process. Knows
 * nothing of decisions. */
#include "kernel.h"

#include "cbp_machine.h"

extern void *bpf_rdonly_cast(const void *pointer, uint32_t type) SECTION(".ksyms");
/* Makes a pointer one that the verifier knows, which is dereferenced much faster than by a call for each member. */
#define KNOWN(type, pointer) ((type *) bpf_rdonly_cast(pointer, __builtin_btf_type_id(*(type *) 0, 1)))
#define LOAD(place) (place)
#define AS_MOUNT(pointer) KNOWN(struct mount, pointer)
#include "calls.h"
#include "inodes.h"
#include "paths.h"

enum { USER_PAGE_SIZE = 4096 };

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct pt_regs___stack {
    unsigned long sp;
};

struct mm_struct___users {
    struct atomic mm_users;
};

struct task_struct___vfork {
    void *vfork_done;
};

struct fdtable {
    unsigned int max_fds;
    struct file **fd;
};

struct files_struct {
    struct fdtable *fdt;
};

struct task_struct___files {
    struct files_struct *files;
};

#pragma clang attribute pop

extern struct task_struct *bpf_task_from_pid(int32_t id) SECTION(".ksyms");
extern void bpf_task_release(struct task_struct *task) SECTION(".ksyms");

struct {
    MAP_NUMBER(type, MAP_ARRAY);
    MAP_NUMBER(map_flags, MAP_FLAG_MMAPABLE);
    MAP_NUMBER(max_entries, 1);
    MAP_TYPE(key, uint32_t);
    MAP_TYPE(value, struct cbp_machine_look);
} looks SECTION(".maps");

/* Copies from the thread's memory, up to the end of the page. Gives the size, or 0. */
INLINE uint32_t copy_from(struct task_struct *task, uint64_t address, void *into, uint32_t size_max)
{
    uint32_t size = size_max;
    uint64_t left = USER_PAGE_SIZE - (address & (USER_PAGE_SIZE - 1));
    if (address == 0)
        return 0;
    if (left < size)
        size = (uint32_t) left;
    OPAQUE(size);
    if (size == 0 || size > size_max)
        return 0;
    return bpf_copy_from_user_task(into, size, (void *) address, task, 0) == 0 ? size : 0;
}

INLINE uint64_t stack_pointer_of(struct pt_regs *registers, bool is_32_bit_call)
{
    struct pt_regs___stack *stack = (void *) registers;
#if defined(CBP_AARCH64)
    if (is_32_bit_call)
        return READ(registers->regs[13]);
#endif
    (void) is_32_bit_call;
    return READ(stack->sp);
}

/* Says whether anybody else uses the memory. One that waits for its child of vfork does nothing. */
INLINE bool is_memory_shared(struct task_struct *task)
{
    struct mm_struct___users *memory = (void *) READ(task->mm);
    struct task_struct___vfork *child = (void *) task;
    struct task_struct *parent = READ(task->real_parent);
    if (!memory)
        return false;
    int user_count = READ(memory->mm_users.counter);
    struct signal_struct *signal = READ(parent->signal);
    if (READ(child->vfork_done) && (void *) READ(parent->mm) == memory && READ(signal->nr_threads) == 1)
        user_count--;
    return user_count > 1;
}

/* Reads the call, and of what it is given the beginning. */
INLINE void read_given(struct task_struct *task, struct cbp_machine_look *look)
{
    struct pt_regs *registers = (struct pt_regs *) bpf_task_pt_regs(task);
    struct call call = {.kind = CALL_OTHER};
    bool is_narrow = is_32_bit_call_of(task);
    look->call = number_of_call(registers);
    look->stack_pointer = stack_pointer_of(registers, is_narrow);
    enum call_kind kind = kind_of_call(look->call, is_narrow);
    if (look->stack_pointer == 0 || (kind != CALL_EXECVE && kind != CALL_EXECVEAT))
        return;
    read_arguments(&call, registers, is_narrow);
    look->flags |= kind == CALL_EXECVEAT ? CBP_MACHINE_LOOK_EXECVEAT : CBP_MACHINE_LOOK_EXECVE;
    if (is_narrow || (look->call & X32_SYSCALL_BIT))
        look->flags |= CBP_MACHINE_LOOK_NARROW;
    for (int i = 0; i < CALL_ARGUMENT_COUNT; i++)
        look->arguments[i] = call.arguments[i];
    if (is_memory_shared(task))
        look->flags |= CBP_MACHINE_LOOK_SHARED;
    uint64_t given = call.arguments[kind == CALL_EXECVEAT ? 1 : 0];
    uint64_t pointers = call.arguments[kind == CALL_EXECVEAT ? 2 : 1];
    look->given_size = copy_from(task, given, look->given, sizeof look->given);
    look->pointers_size = copy_from(task, pointers, look->pointers, sizeof look->pointers);
}

/* Reads a file of the process that runs this program. */
INLINE void read_file(struct cbp_machine_look *look)
{
    struct task_struct___files *self = (void *) bpf_get_current_task();
    struct files_struct *files = READ(self->files);
    struct fdtable *table = READ(files->fdt);
    uint32_t descriptor = (uint32_t) look->descriptor;
    if (descriptor >= READ(table->max_fds))
        return;
    struct file **places = READ(table->fd);
    struct file *place = READ(places[descriptor]);
    if (!place)
        return;
    struct file *file = KNOWN(struct file, place);
    struct dentry *dentry = file->f_path.dentry;
    struct path_buffer *path = (struct path_buffer *) look->path;
    look->device = device_of(file->f_inode->i_sb->s_dev);
    look->inode = file->f_inode->i_ino;
    if (write_path(path, file->f_path.mnt, dentry))
        look->path_size = (uint32_t) (PATH_SIZE_MAX - path->begin);
    if (file->f_inode->i_nlink == 0 || !dentry->d_hash.pprev)
        look->flags |= CBP_MACHINE_LOOK_DELETED;
}

SECTION("syscall") int look(void *unused)
{
    uint32_t zero = 0;
    struct cbp_machine_look *look = bpf_map_lookup_elem(&looks, &zero);
    (void) unused;
    if (!look)
        return 1;
    if (look->descriptor >= 0)
        read_file(look);
    struct task_struct *task = bpf_task_from_pid((int32_t) look->thread_id);
    if (!task)
        return 0;
    look->process_id = (uint32_t) task->tgid;
    look->user_id = task->cred->uid.val;
    look->start_ns = task->group_leader->start_boottime;
    read_given(task, look);
    bpf_task_release(task);
    return 0;
}

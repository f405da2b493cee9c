/* Looks at a thread that waits in an execution, and at the file that it has opened, for the core, which runs this
 * program (BPF_PROG_RUN). /proc would tell the same, but makes and removes entries for every process. Knows
 * nothing of decisions. */
#include "inodes.h"
#include "paths.h"

#include "cbp_machine.h"

enum { USER_PAGE_SIZE = 4096 };

/* Registers of a thread in a system call, of both architectures. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct pt_regs;

struct pt_regs___x86 {
    unsigned long bp, bx, r10, r9, r8, cx, dx, si, di, orig_ax, sp;
};

struct pt_regs___arm {
    uint64_t regs[31], sp, pstate, orig_x0;
    int syscallno;
};

struct thread_info {
    uint32_t status;
};

struct task_struct___thread {
    struct thread_info thread_info;
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

enum { X86_STATUS_32BIT = 2, ARM_STATE_32BIT = 16 };

static struct pt_regs *(*const bpf_task_pt_regs)(struct task_struct *task) = (void *) 175;
extern struct task_struct *bpf_task_from_pid(int32_t id) SECTION(".ksyms");
extern void bpf_task_release(struct task_struct *task) SECTION(".ksyms");

struct {
    MAP_NUMBER(type, MAP_ARRAY);
    MAP_NUMBER(map_flags, MAP_FLAG_MMAPABLE);
    MAP_NUMBER(max_entries, 1);
    MAP_TYPE(key, uint32_t);
    MAP_TYPE(value, struct cbp_machine_look);
} looks SECTION(".maps");

INLINE void read_x86(struct task_struct *task, struct pt_regs___x86 *registers, struct cbp_machine_look *look)
{
    struct task_struct___thread *thread = (void *) task;
    uint64_t *arguments = look->arguments;
    look->call = READ(registers->orig_ax);
    look->stack_pointer = READ(registers->sp);
    if (READ(thread->thread_info.status) & X86_STATUS_32BIT) {
        look->flags |= CBP_MACHINE_LOOK_32BIT;
        look->call = (uint32_t) look->call;
        arguments[0] = (uint32_t) READ(registers->bx);
        arguments[1] = (uint32_t) READ(registers->cx);
        arguments[2] = (uint32_t) READ(registers->dx);
        arguments[3] = (uint32_t) READ(registers->si);
        arguments[4] = (uint32_t) READ(registers->di);
        arguments[5] = (uint32_t) READ(registers->bp);
    } else {
        arguments[0] = READ(registers->di);
        arguments[1] = READ(registers->si);
        arguments[2] = READ(registers->dx);
        arguments[3] = READ(registers->r10);
        arguments[4] = READ(registers->r8);
        arguments[5] = READ(registers->r9);
    }
}

INLINE void read_arm(struct pt_regs___arm *registers, struct cbp_machine_look *look)
{
    look->call = (uint32_t) READ(registers->syscallno);
    look->stack_pointer = READ(registers->sp);
    look->arguments[0] = READ(registers->orig_x0);
    for (int i = 1; i < 6; i++)
        look->arguments[i] = READ(registers->regs[i]);
    if (READ(registers->pstate) & ARM_STATE_32BIT) {
        look->flags |= CBP_MACHINE_LOOK_32BIT;
        look->stack_pointer = READ(registers->regs[13]);
    }
}

/* Copies from the thread's memory, up to the end of the page. Gives the size, or 0. */
INLINE uint32_t copy_from(struct task_struct *task, uint64_t address, void *into, uint32_t size)
{
    uint64_t left = USER_PAGE_SIZE - (address & (USER_PAGE_SIZE - 1));
    if (address == 0)
        return 0;
    if (left < size)
        size = (uint32_t) left;
    OPAQUE(size);
    if (size == 0 || size > CBP_MACHINE_LOOK_GIVEN_SIZE)
        return 0;
    return bpf_copy_from_user_task(into, size, (void *) address, task, 0) == 0 ? size : 0;
}

INLINE void read_call(struct task_struct *task, struct cbp_machine_look *look)
{
    struct pt_regs *registers = bpf_task_pt_regs(task);
    struct pt_regs___x86 *x86 = (void *) registers;
    if (HAS_MEMBER(x86->orig_ax))
        read_x86(task, x86, look);
    else
        read_arm((void *) registers, look);
    if (look->stack_pointer == 0)
        return;
    bool is_narrow = look->flags & CBP_MACHINE_LOOK_32BIT;
    uint64_t given = look->arguments[0], pointers = look->arguments[1];
    if (look->call == look->execveat[is_narrow]) {
        look->flags |= CBP_MACHINE_LOOK_AT;
        given = look->arguments[1];
        pointers = look->arguments[2];
    }
    look->given_size = copy_from(task, given, look->given, sizeof look->given);
    uint64_t left = USER_PAGE_SIZE - (pointers & (USER_PAGE_SIZE - 1));
    uint32_t size = left < sizeof look->pointers ? (uint32_t) left : sizeof look->pointers;
    OPAQUE(size);
    if (pointers != 0 && size > 0 && size <= sizeof look->pointers &&
        bpf_copy_from_user_task(look->pointers, size, (void *) pointers, task, 0) == 0)
        look->pointers_size = size;
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
    struct file *file = READ(places[descriptor]);
    if (!file)
        return;
    struct inode *inode = READ(file->f_inode);
    struct super_block *super = READ(inode->i_sb);
    struct dentry *dentry = READ(file->f_path.dentry);
    struct path_buffer *path = (struct path_buffer *) look->path;
    look->device = device_of(READ(super->s_dev));
    look->inode = READ(inode->i_ino);
    if (write_path(path, READ(file->f_path.mnt), dentry))
        look->path_size = (uint32_t) (PATH_SIZE_MAX - path->begin);
    if (READ(inode->i_nlink) == 0 || !READ(dentry->d_hash.pprev))
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
    read_call(task, look);
    bpf_task_release(task);
    return 0;
}

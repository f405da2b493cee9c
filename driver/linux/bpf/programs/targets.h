/* Finds the task that a number or a descriptor names, as the kernel does for a system call of the current task.
 * It walks the kernel's tables without a lock, so that a number that is given away in that moment may name
 * nothing. Pointers that it gives can only be read through READ(). Knows nothing of calls and records. */
#ifndef CBP_TARGETS_H
#define CBP_TARGETS_H

#include "kernel.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct xarray {
    void *xa_head;
};

struct xa_node {
    unsigned char shift;
    void *slots[64];
};

struct idr {
    struct xarray idr_rt;
    unsigned int idr_base;
};

struct pid_namespace___with_table {
    struct idr idr;
};

struct hlist_node {
    struct hlist_node *next;
};

struct hlist_head {
    struct hlist_node *first;
};

struct pid___with_tasks {
    struct hlist_head tasks[4];
};

struct task_struct___with_links {
    struct hlist_node pid_links[4];
};

struct fdtable {
    unsigned int max_fds;
    struct file **fd;
};

struct files_struct {
    struct fdtable *fdt;
};

struct proc_inode {
    struct pid *pid;
    struct inode vfs_inode;
};

#pragma clang attribute pop

enum id_kind { ID_OF_THREAD, ID_OF_PROCESS, ID_OF_GROUP };
enum { TREE_LEVEL_MAX = 6, TREE_SLOT_MASK = 63, TREE_NODE_MARK = 2, TREE_MARKS = 3 };
enum { MAGIC_PROC = 0x9fa0, MAGIC_PIDFS = 0x50494446, MAGIC_ANONYMOUS = 0x09041934 };

INLINE struct task_struct *current_task(void)
{
    return (struct task_struct *) bpf_get_current_task();
}

INLINE struct pid_namespace *current_namespace(void)
{
    struct task_struct *task = current_task();
    struct pid *pid = READ(task->thread_pid);
    uint64_t level = READ(pid->level);
    struct upid *numbers = (struct upid *) ((char *) pid + __builtin_preserve_field_info(pid->numbers, 0));
    struct upid found = {.nr = 0};
    bpf_probe_read_kernel(&found, sizeof found, numbers + level);
    return found.ns;
}

/* Finds what a number stands for in the namespace. NULL: nothing. Source: Linux, lib/radix-tree.c. */
INLINE struct pid *pid_of(struct pid_namespace *namespace, uint32_t number)
{
    struct pid_namespace___with_table *table = (void *) namespace;
    uint64_t index = number - READ(table->idr.idr_base);
    void *entry = READ(table->idr.idr_rt.xa_head);
    if ((int) number <= 0)
        return NULL;
    for (int level = 0; level < TREE_LEVEL_MAX; level++) {
        if (((uintptr_t) entry & TREE_MARKS) != TREE_NODE_MARK)
            break;
        struct xa_node *node = (void *) ((char *) entry - TREE_NODE_MARK);
        uint64_t shift = READ(node->shift);
        if (level == 0 && index >> shift > TREE_SLOT_MASK)
            return NULL;
        void **slots = (void **) ((char *) node + __builtin_preserve_field_info(node->slots, 0));
        if (bpf_probe_read_kernel(&entry, sizeof entry, slots + (index >> shift & TREE_SLOT_MASK)) != 0)
            return NULL;
        if (shift == 0)
            return entry;
    }
    return index == 0 ? entry : NULL;
}

INLINE uint64_t link_offset(enum id_kind kind)
{
    struct task_struct___with_links *task = NULL;
    return __builtin_preserve_field_info(task->pid_links, 0) + (uint64_t) kind * 2 * sizeof(void *);
}

INLINE struct task_struct *task_at_link(struct hlist_node *link, enum id_kind kind)
{
    return link ? (struct task_struct *) ((char *) link - link_offset(kind)) : NULL;
}

/* Gives the task that has this id; of a group, its first member. next_of_group() gives further ones. */
INLINE struct task_struct *task_of(struct pid *pid, enum id_kind kind)
{
    struct pid___with_tasks *with_tasks = (void *) pid;
    struct hlist_head *heads =
        (struct hlist_head *) ((char *) pid + __builtin_preserve_field_info(with_tasks->tasks, 0));
    void *first = NULL;
    if (!pid || bpf_probe_read_kernel(&first, sizeof first, heads + kind) != 0)
        return NULL;
    return task_at_link(first, kind);
}

INLINE struct task_struct *next_of_group(struct task_struct *task)
{
    void *next = NULL;
    bpf_probe_read_kernel(&next, sizeof next, (char *) task + link_offset(ID_OF_GROUP));
    return task_at_link(next, ID_OF_GROUP);
}

/* Gives the task that the current one means by this id. */
INLINE struct task_struct *task_of_id(uint64_t id)
{
    return task_of(pid_of(current_namespace(), (uint32_t) id), ID_OF_THREAD);
}

INLINE struct file *file_of(uint64_t descriptor)
{
    struct task_struct *task = current_task();
    struct files_struct *files = READ(task->files);
    struct fdtable *table = READ(files->fdt);
    struct file **all = READ(table->fd), *file = NULL;
    if (descriptor >= READ(table->max_fds))
        return NULL;
    bpf_probe_read_kernel(&file, sizeof file, all + descriptor);
    return file;
}

INLINE unsigned long magic_of(struct file *file)
{
    struct inode *inode = READ(file->f_inode);
    struct super_block *super = READ(inode->i_sb);
    return READ(super->s_magic);
}

/* Says whether the file has this name, which is shorter than 8 bytes. */
INLINE bool has_name(struct file *file, const char *wanted, uint32_t size)
{
    struct dentry *dentry = READ(file->f_path.dentry);
    char *name = READ(dentry->d_name.name);
    char found[8] = "";
    bpf_probe_read_kernel_str(found, sizeof found, name);
    for (uint32_t i = 0; i < sizeof found && i <= size; i++)
        if (found[i] != wanted[i])
            return false;
    return true;
}

/* Gives what a pidfd names; NULL: it is no pidfd. */
INLINE struct pid *pid_of_pidfd(struct file *file)
{
    unsigned long magic = file ? magic_of(file) : 0;
    if (magic == MAGIC_PIDFS) {
        struct inode *inode = READ(file->f_inode);
        return READ(inode->i_private);
    }
    return magic == MAGIC_ANONYMOUS && has_name(file, "[pidfd]", 7) ? READ(file->private_data) : NULL;
}

/* Gives the process that a file or folder of /proc belongs to; NULL: to none. */
INLINE struct pid *pid_of_proc_file(struct file *file)
{
    struct inode *inode = READ(file->f_inode);
    struct proc_inode *outer = NULL;
    outer = (struct proc_inode *) ((char *) inode - __builtin_preserve_field_info(outer->vfs_inode, 0));
    return READ(outer->pid);
}

/* Gives what a descriptor names for a signal: a pidfd, or the folder of a process in /proc. */
INLINE struct pid *pid_of_receiver(struct file *file)
{
    return file && magic_of(file) == MAGIC_PROC ? pid_of_proc_file(file) : pid_of_pidfd(file);
}

/* Gives the process whose memory a file of /proc is; NULL: it is no such file. */
INLINE struct pid *pid_of_memory_file(struct file *file)
{
    return file && magic_of(file) == MAGIC_PROC && has_name(file, "mem", 3) ? pid_of_proc_file(file) : NULL;
}

#endif

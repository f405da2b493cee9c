/* Tells of forks, executions and ends of all tasks, and keeps the table of processes. Knows what the kernel
 * does at these tracepoints, and nothing of rules: masks say whether a record wakes the controller.
 *
 * It is for Linux 5.17 and later; processes58.bpf.o is for 5.8 to 5.16, processes7.bpf.o for 7.0 and later.
 * Programs whose names end in a digit are copies for kernels with preemptible tracepoints (7.0 and later);
 * see is_told(). */
#include "inodes.h"
#include "last.h"
#include "paths.h"
#include "task_records.h"

#define COPY_COUNT 4

/* ---- Forks ---- */

INLINE bool is_exempt(const struct cbp_machine_settings *set, const struct cbp_machine_task *creator)
{
    return (creator ? creator->mask | creator->child_mask : set->default_mask) & CBP_MACHINE_MASK_EXEMPT;
}

/* Makes the entry of a new process and gives its mask. */
INLINE uint32_t enter_process(struct cbp_machine_settings *set, struct task_struct *task,
                              const struct cbp_machine_fork *fork, const struct cbp_machine_task *creator)
{
    struct cbp_machine_task entry = {.mask = creator ? creator->child_mask : set->default_mask};
    uint32_t id = (uint32_t) task->tgid;
    uint64_t execution_count = task->self_exec_id; /* a copy of the creator's */
    if ((fork->record.flags & CBP_MACHINE_FLAG_WORKER) || is_exempt(set, creator))
        entry.mask = CBP_MACHINE_MASK_EXEMPT;
    entry.child_mask = entry.mask;
    entry.strip_access = entry.child_strip_access = creator ? creator->child_strip_access : 0;
    entry.creator_process_id = fork->creator_process_id;
    entry.creator_start_ns = fork->creator_start_ns;
    entry.start_ns = fork->record.start_ns;
    entry.execution_count = execution_count - (creator && is_unknown(creator, execution_count));
    if (bpf_map_update_elem(&tasks, &id, &entry, UPDATE_ANY) != 0)
        count_loss(set, 0);
    return mask_of(set, &entry, execution_count);
}

INLINE int fork(struct task_struct *task, uint64_t clone_flags)
{
    struct cbp_machine_settings *set = settings_if_on();
    if (!set || is_told(set, CBP_MACHINE_FORK, (uint32_t) task->pid, task->start_boottime))
        return 0;
    struct cbp_machine_fork told;
    fill_fork(set, &told, task, clone_flags);
    uint32_t creator_id = told.creator_process_id, mask;
    struct cbp_machine_task *creator = bpf_map_lookup_elem(&tasks, &creator_id);
    if (clone_flags & CLONE_FLAG_THREAD)
        mask = mask_of(set, creator, task->self_exec_id); /* a copy of the creator's */
    else
        mask = enter_process(set, task, &told, creator);
    if (is_start_held(set, task, creator_id, mask))
        told.record.flags |= CBP_MACHINE_FLAG_HELD;
    TELL(set, told, (mask & EVENT_THREAD_CREATION) && is_told_of(set, creator_id) && !is_of_kernel(task));
    return 0;
}

/* ---- Executions ---- */

#define CHUNK_SIZE 16384u    /* of arguments in one record */
#define CHUNK_COUNT_MAX 384u /* of ARGUMENTS records: execve takes no more than 6 MiB */

/* The texts behind the record are a path, a name, a folder and the arguments, each of at most this size. */
struct exec_text {
    struct cbp_machine_exec exec;
    char text[CBP_MACHINE_RECORD_SIZE_MAX - sizeof(struct cbp_machine_exec)];
};

struct arguments_text {
    struct cbp_machine_arguments arguments;
    char text[CHUNK_SIZE];
};

/* Each copy of the program has its own, because copies can interrupt each other. */
struct {
    MAP_NUMBER(type, MAP_PERCPU_ARRAY);
    MAP_NUMBER(max_entries, COPY_COUNT);
    MAP_TYPE(key, uint32_t);
    MAP_TYPE(value, struct exec_text);
} exec_texts SECTION(".maps");

struct {
    MAP_NUMBER(type, MAP_PERCPU_ARRAY);
    MAP_NUMBER(max_entries, COPY_COUNT);
    MAP_TYPE(key, uint32_t);
    MAP_TYPE(value, struct path_buffer);
} paths SECTION(".maps");

struct execution {
    struct cbp_machine_settings *set;
    struct task_struct *task;
    struct linux_binprm *program;
    struct exec_text *into;
    struct path_buffer *path;
    uint32_t copy;             /* of the program */
    uint64_t size;             /* of the texts */
    uint64_t begin, remaining; /* of the arguments that have not been told */
};

/* Writes the path into this copy's buffer and gives its beginning there; 0: there is none. The verifier goes
 * through a function with numbers for arguments once, and not at each place that calls it. */
__attribute__((noinline)) uint64_t find_path(uint64_t mount, uint64_t dentry, uint32_t copy)
{
    struct path_buffer *buffer = bpf_map_lookup_elem(&paths, &copy);
    if (!buffer || !write_path(buffer, (struct vfsmount *) mount, (struct dentry *) dentry))
        return 0;
    return buffer->begin;
}

/* Copies a path behind the texts that are there and gives its size. The verifier knows the largest size that
 * they have, so the order of texts stands in the limits. */
INLINE uint64_t append_path(struct execution *it, struct path *path, uint64_t size_max)
{
    uint64_t at = it->size;
    uint64_t begin = find_path((uint64_t) READ(path->mnt), (uint64_t) READ(path->dentry), it->copy);
    if (begin == 0) {
        it->into->exec.record.flags |= CBP_MACHINE_FLAG_INCOMPLETE;
        return 0;
    }
    OPAQUE(begin);
    begin &= PATH_SIZE_MAX - 1;
    uint64_t size = PATH_SIZE_MAX - begin;
    OPAQUE(at);
    if (at > size_max)
        return 0;
    bpf_probe_read_kernel(&it->into->text[at], (uint32_t) size, &it->path->text[begin]);
    it->size = at + size;
    return size;
}

INLINE uint64_t append_given(struct execution *it)
{
    uint64_t at = it->size;
    OPAQUE(at);
    if (at > PATH_SIZE_MAX)
        return 0;
    long size = bpf_probe_read_kernel_str(&it->into->text[at], PATH_SIZE_MAX, it->program->filename);
    if (size <= 1)
        return 0;
    it->size = at + (uint64_t) size - 1;
    return (uint64_t) size - 1;
}

/* Long lists get no more than a half of the ring, so that they do not take the room of other records. */
INLINE bool has_room_for_chunks(void)
{
    return bpf_ringbuf_query(&records, RING_UNREAD_SIZE) <= bpf_ringbuf_query(&records, RING_SIZE) / 2;
}

/* Tells of arguments that the last record has no room for, with the beginning of that record. 0: it cannot. The
 * verifier goes through it once, and not each time that a loop comes by. */
__attribute__((noinline)) uint64_t tell_chunk(uint64_t begin, uint32_t offset, uint32_t copy)
{
    struct cbp_machine_settings *set = settings_if_on();
    struct exec_text *last = bpf_map_lookup_elem(&exec_texts, &copy);
    if (!set || !last)
        return 0;
    struct arguments_text *told = NULL;
    if (has_room_for_chunks())
        told = bpf_ringbuf_reserve(&records, sizeof *told, 0);
    if (!told) {
        count_loss(set, CBP_MACHINE_ARGUMENTS);
        return 0;
    }
    told->arguments.record = last->exec.record;
    told->arguments.record.type = CBP_MACHINE_ARGUMENTS;
    told->arguments.record.size = sizeof *told;
    told->arguments.record.flags = 0;
    told->arguments.offset = offset;
    told->arguments.count = CHUNK_SIZE;
    if (bpf_probe_read_user(told->text, CHUNK_SIZE, (void *) begin) != 0) {
        bpf_ringbuf_discard(told, RING_NO_WAKEUP);
        return 0;
    }
    bpf_ringbuf_submit(told, wake_flags(set, false));
    return 1;
}

/* Tells of as many arguments as the last record has no room for, and gives their size: a smaller one if the rest
 * cannot be told. */
__attribute__((noinline)) uint64_t tell_chunks(uint64_t begin, uint64_t size, uint32_t copy)
{
    uint32_t told = 0;
    for (uint32_t i = 0; i < CHUNK_COUNT_MAX && told + CHUNK_SIZE < size; i++) {
        if (!tell_chunk(begin + told, told, copy))
            break;
        told += CHUNK_SIZE;
    }
    return told;
}

/* Tells of arguments until the rest has room in the last record, or marks that as incomplete. It has a part in any
 * case. */
INLINE void tell_beginning_of_arguments(struct execution *it)
{
    uint64_t told = tell_chunks(it->begin, it->remaining, it->copy);
    it->begin += told;
    it->remaining -= told;
    if (it->remaining <= CHUNK_SIZE)
        return;
    it->into->exec.record.flags |= CBP_MACHINE_FLAG_INCOMPLETE;
    it->remaining = CHUNK_SIZE;
}

INLINE uint64_t append_arguments(struct execution *it)
{
    uint64_t at = it->size, size = it->remaining;
    OPAQUE(at);
    OPAQUE(size);
    if (at > 3 * PATH_SIZE_MAX || size > CHUNK_SIZE ||
        bpf_probe_read_user(&it->into->text[at], (uint32_t) size, (void *) it->begin) != 0) {
        it->into->exec.record.flags |= CBP_MACHINE_FLAG_INCOMPLETE;
        return 0;
    }
    it->size = at + size;
    return size;
}

/* File systems with devices of their own inside give stat(2) others than that of their superblock. */
INLINE bool has_inner_devices(struct super_block *super)
{
    enum { BTRFS = 0x9123683e, OVERLAYFS = 0x794c7630 };
    unsigned long magic = READ(super->s_magic);
    return magic == BTRFS || magic == OVERLAYFS;
}

/* Says whether the execution has been decided, and leaves in the entry what the gate's program asks it for. */
INLINE bool take_decided(const struct execution *it, const struct cbp_machine_exec *exec,
                         struct super_block *super)
{
    struct cbp_machine_decided *found = decided_entry(exec->old_thread_id);
    if (!found || *(volatile uint32_t *) &found->thread_id != exec->old_thread_id)
        return false;
    bool is_same = found->inode == exec->inode && (found->device == exec->device || has_inner_devices(super));
    found->thread_id = 0;
    if (is_same) {
        found->taken_thread_id = exec->old_thread_id;
        found->taken_stamp = stamp_of_exec(it->task);
    }
    return is_same;
}

INLINE void fill_exec(struct execution *it, uint32_t old_thread_id)
{
    struct cbp_machine_exec *exec = &it->into->exec;
    struct file *file = it->program->file;
    struct inode *inode = file->f_inode;
    struct super_block *super = inode->i_sb;
    fill_record(&exec->record, CBP_MACHINE_EXEC, 0, it->task);
    exec->device = device_of(super->s_dev);
    exec->inode = inode->i_ino;
    exec->file_change_ns = change_time_of(inode);
    exec->link_count = inode->i_nlink;
    exec->old_thread_id = old_thread_id;
    exec->execution_count = it->task->self_exec_id;
    if (it->program->interp != it->program->filename)
        exec->record.flags |= CBP_MACHINE_FLAG_SCRIPT;
    if (take_decided(it, exec, super))
        exec->record.flags |= CBP_MACHINE_FLAG_DECIDED;
}

INLINE void append_texts(struct execution *it)
{
    struct cbp_machine_exec *exec = &it->into->exec;
    it->size = 0;
    exec->path_size = (uint32_t) append_path(it, &it->program->file->f_path, 0);
    exec->given_size = (uint32_t) append_given(it);
    exec->folder_size = 0;
    if (READ(*it->program->filename) != '/')
        exec->folder_size = (uint32_t) append_path(it, &it->task->fs->pwd, 2 * PATH_SIZE_MAX);
    exec->arguments_size = (uint32_t) append_arguments(it);
}

INLINE int exec(struct task_struct *task, uint32_t old_thread_id, struct linux_binprm *program, uint32_t copy)
{
    struct execution it = {.set = settings_if_on(), .task = task, .program = program, .copy = copy};
    uint32_t process_id = (uint32_t) task->tgid;
    if (!it.set || is_told(it.set, CBP_MACHINE_EXEC, (uint32_t) task->pid, stamp_of_exec(task)))
        return 0;
    it.into = bpf_map_lookup_elem(&exec_texts, &copy);
    it.path = bpf_map_lookup_elem(&paths, &copy);
    if (!it.into || !it.path)
        return 0;
    it.begin = task->mm->arg_start;
    it.remaining = task->mm->arg_end - it.begin;
    fill_exec(&it, old_thread_id);
    if (it.remaining > CHUNK_SIZE)
        tell_beginning_of_arguments(&it);
    append_texts(&it);

    struct cbp_machine_record *record = &it.into->exec.record;
    struct cbp_machine_task *entry = bpf_map_lookup_elem(&tasks, &process_id);
    uint32_t mask = mask_of(it.set, entry, task->self_exec_id);
    bool is_decided = record->flags & CBP_MACHINE_FLAG_DECIDED;
    if (is_exec_held(it.set, process_id, mask, is_decided))
        record->flags |= CBP_MACHINE_FLAG_HELD;
    bool is_wanted = !is_decided && (mask & (EVENT_PROCESS_CREATION | CBP_MACHINE_MASK_UNKNOWN));
    uint64_t size = (sizeof(struct cbp_machine_exec) + it.size + 7) & ~7ull;
    OPAQUE(size);
    record->size = (uint32_t) size;
    if (size <= sizeof *it.into)
        tell_text(it.set, record, size, is_wanted);
    return 0;
}

/* ---- Ends ---- */

INLINE void exit(struct task_struct *task)
{
    struct cbp_machine_settings *set = settings_if_on();
    uint32_t process_id = (uint32_t) task->tgid, thread_id = (uint32_t) task->pid;
    if (!set || is_told(set, CBP_MACHINE_EXIT, thread_id, task->start_boottime))
        return;
    struct cbp_machine_task *entry = bpf_map_lookup_elem(&tasks, &process_id);
    struct cbp_machine_exit told;
    uint32_t mask = mask_of(set, entry, task->self_exec_id), wanted = EVENT_THREAD_TERMINATION;

    bool is_marked = is_one_of_many(task);
    if (is_marked)
        leave_mark(task);
    bool is_last = is_last_of_process(task, is_marked);
    fill_exit(&told, task, is_last);
    if (is_last)
        wanted |= EVENT_PROCESS_TERMINATION;
    bool is_held = is_exit_held(set, task, mask, is_last);
    if (is_held)
        told.record.flags |= CBP_MACHINE_FLAG_HELD;
    TELL(set, told, (mask & wanted) && is_told_of(set, process_id) && !is_of_kernel(task));
    if (is_marked)
        mark_as_told(task);
    if (is_last && !is_held) /* the gate needs the entry until it opens */
        bpf_map_delete_elem(&tasks, &process_id);
    if (thread_id != process_id && process_id == set->controller_process_id)
        bpf_map_delete_elem(&tasks, &thread_id);
}

/* ---- The programs ---- */

#define PROGRAMS(suffix, copy)                                                                               \
    int tell_fork##suffix(uint64_t *arguments) SECTION("tp_btf/task_newtask");                               \
    int tell_fork##suffix(uint64_t *arguments)                                                               \
    {                                                                                                        \
        return fork((struct task_struct *) arguments[0], arguments[1]);                                      \
    }                                                                                                        \
    int tell_exec##suffix(uint64_t *arguments) SECTION("tp_btf/sched_process_exec");                         \
    int tell_exec##suffix(uint64_t *arguments)                                                               \
    {                                                                                                        \
        return exec((struct task_struct *) arguments[0], (uint32_t) arguments[1],                            \
                    (struct linux_binprm *) arguments[2], copy);                                             \
    }                                                                                                        \
    int tell_exit##suffix(uint64_t *arguments) SECTION("tp_btf/sched_process_exit");                         \
    int tell_exit##suffix(uint64_t *arguments)                                                               \
    {                                                                                                        \
        KEEP_PROCESSOR();                                                                                    \
        exit((struct task_struct *) arguments[0]);                                                           \
        LEAVE_PROCESSOR();                                                                                   \
        return 0;                                                                                            \
    }

PROGRAMS(, 0)
PROGRAMS(_2, 1)
PROGRAMS(_3, 2)
PROGRAMS(_4, 3)

/* Lists all processes: each of two iterators writes a cbp_machine_listed for every one. They hold nothing and
 * change nothing. Knows the kernel's structures, and nothing of rules and events.
 *
 * What is written here is what /proc tells. Where that cannot be known (a deleted program, a process whose
 * first thread has ended, very long arguments), the record says so, and its reader asks /proc for that one. */
#include "kernel.h"

#include "cbp_machine.h"
#include "paths.h"

#define IS_WORKQUEUE_WORKER 0x20u
#define SHORT_NAME_SIZE 63u /* /proc/PID/stat cuts it there */
#define TITLE_SIZE_MAX 4096u
#define ARGUMENTS_SIZE_MAX 28000u
#define BUFFER_COUNT 8u
#define TREE_DEPTH_MAX 6
#define PAGE_SHIFT 12
#define TOP_STEP_MAX 4 /* a root may be mounted over the one that the machine was started with */
#define RANGE_COUNT 16
#define INNER_COUNT 10

struct seq_file;

static uint32_t (*const bpf_get_smp_processor_id)(void) = (void *) 8;
static long (*const bpf_seq_write)(struct seq_file *into, const void *data, uint32_t size) = (void *) 127;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct bpf_iter_meta {
    struct seq_file *seq;
    uint64_t session_id;
};

struct bpf_iter__task {
    struct bpf_iter_meta *meta;
    struct task_struct *task;
};

struct workqueue_struct {
    char name[32];
};

struct worker {
    void *current_work, *pool;
    char desc[32];
    struct workqueue_struct *rescue_wq;
};

struct kthread {
    void *data;
    char *full_name;
};

struct maple_tree {
    void *ma_root;
};

/* The kernel keeps the pieces of a process's memory in a tree of these nodes. They are read as a whole. */
struct maple_range_64 {
    void *parent;
    unsigned long pivot[RANGE_COUNT - 1];
    void *slot[RANGE_COUNT];
};

struct maple_arange_64 {
    void *parent;
    unsigned long pivot[INNER_COUNT - 1];
    void *slot[INNER_COUNT];
};

struct mm_struct___tree {
    struct maple_tree mm_mt;
};

struct vm_area_struct {
    unsigned long vm_start, vm_end;
    void *vm_ops;
};

#pragma clang attribute pop

/* A program's own memory. Several run at a time, and one may be interrupted by another. */
struct buffer {
    uint32_t is_used;
    uint32_t key;  /* its own */
    bool is_gone;  /* the file of the path */
    uint64_t list; /* for which the path was made; 0: none */
    void *mnt, *dentry;
    struct maple_range_64 range;
    struct maple_arange_64 inner;
    uint8_t record[8192 + ARGUMENTS_SIZE_MAX];
};

struct {
    MAP_NUMBER(type, MAP_ARRAY);
    MAP_NUMBER(max_entries, BUFFER_COUNT);
    MAP_TYPE(key, uint32_t);
    MAP_TYPE(value, struct buffer);
} buffers SECTION(".maps");

struct {
    MAP_NUMBER(type, MAP_ARRAY);
    MAP_NUMBER(max_entries, BUFFER_COUNT);
    MAP_TYPE(key, uint32_t);
    MAP_TYPE(value, struct path_buffer);
} paths SECTION(".maps");

/* It is not static: the compiler would split it, and then neither it nor any function had a type for the kernel. */
struct {
    void *mnt, *dentry;
} top;

static const uint32_t names_begin = sizeof(struct cbp_machine_listed);

/* Gives the key of a buffer that is the caller's now; BUFFER_COUNT: none is free. The verifier goes through a
 * function with numbers for arguments once, and forgets which of the buffers it was. */
__attribute__((noinline)) uint32_t take_buffer(uint32_t first)
{
    for (uint32_t i = 0; i < BUFFER_COUNT; i++) {
        uint32_t key = (first + i) % BUFFER_COUNT;
        struct buffer *buffer = bpf_map_lookup_elem(&buffers, &key);
        if (buffer && __sync_val_compare_and_swap(&buffer->is_used, 0, 1) == 0) {
            buffer->key = key;
            return key;
        }
    }
    return BUFFER_COUNT;
}

INLINE void give_back(struct buffer *buffer)
{
    __sync_val_compare_and_swap(&buffer->is_used, 1, 0);
}

/* ---- Names ---- */

/* Appends a text to the short name, and gives its new size. */
INLINE uint32_t append(struct buffer *buffer, uint32_t size, const void *text)
{
    OPAQUE(size);
    size &= SHORT_NAME_SIZE;
    long got = bpf_probe_read_kernel_str(&buffer->record[names_begin + size], SHORT_NAME_SIZE + 1, text);
    size += got > 0 ? (uint32_t) got - 1 : 0;
    return size < SHORT_NAME_SIZE ? size : SHORT_NAME_SIZE;
}

/* A worker's name is its own and its present or last work's, behind '+' or '-'. */
INLINE uint32_t append_work(struct buffer *buffer, uint32_t size, struct worker *worker)
{
    char sign[2] = "-";
    char letter = 0;
    struct workqueue_struct *rescued = READ(worker->rescue_wq);
    bpf_probe_read_kernel(&letter, sizeof letter, &buffer->record[names_begin + 8]);
    if (rescued && letter == 'R') /* kworker/R-NAME, which comm cuts; before 6.9 comm is the whole name */
        size = append(buffer, sizeof "kworker/R-" - 1, rescued->name);
    bpf_probe_read_kernel(&letter, sizeof letter, worker->desc);
    if (!letter || !READ(worker->pool))
        return size;
    if (READ(worker->current_work))
        sign[0] = '+';
    size = append(buffer, size, sign);
    return append(buffer, size, worker->desc);
}

INLINE uint32_t write_short_name(struct buffer *buffer, struct task_struct *task)
{
    uint32_t size = append(buffer, 0, task->comm);
    if (!(task->flags & TASK_IS_KERNEL_THREAD) || !HAS_MEMBER(task->worker_private))
        return size;
    struct kthread *thread = task->worker_private;
    if (!thread)
        return size;
    if (task->flags & IS_WORKQUEUE_WORKER) {
        struct worker *worker = READ(thread->data);
        return worker ? append_work(buffer, size, worker) : size;
    }
    char *full_name = HAS_MEMBER(thread->full_name) ? READ(thread->full_name) : NULL;
    return full_name ? append(buffer, 0, full_name) : size;
}

/* /proc tells paths as its reader sees them, and here they are told from the top. Says whether that is one. The
 * root that was found to be the top last is remembered. */
INLINE bool is_reader_at_top(void)
{
    struct task_struct *reader = bpf_get_current_task_btf();
    struct vfsmount *mnt = reader->fs->root.mnt;
    struct dentry *dentry = reader->fs->root.dentry;
    if (mnt == top.mnt && dentry == top.dentry)
        return true;
    struct mount *mount = mount_of(mnt);
    struct dentry *place = dentry;
    for (int step = 0; step < TOP_STEP_MAX; step++) {
        struct mount *above = READ(mount->mnt_parent);
        if (place != READ(mount->mnt.mnt_root))
            return false;
        if (above == mount) {
            top.mnt = mnt;
            top.dentry = dentry;
            return true;
        }
        place = READ(mount->mnt_mountpoint);
        mount = above;
    }
    return false;
}

/* Writes the path of a file into the buffer with that key. The verifier goes through a function with numbers for
 * arguments once. */
__attribute__((noinline)) uint32_t write_file_path(uint64_t mount, uint64_t dentry, uint32_t key)
{
    struct path_buffer *path = bpf_map_lookup_elem(&paths, &key);
    if (!path || !write_path(path, (struct vfsmount *) mount, (struct dentry *) dentry))
        return 0;
    return (uint32_t) path->begin;
}

/* Writes the path of a program's file, and says whether it can be known. The file has its place in a folder, or
 * had one and is gone for good: then its path is told nevertheless. Anything else is for /proc to say. */
INLINE bool write_program_path(struct buffer *buffer, struct vfsmount *mnt, struct dentry *dentry)
{
    struct inode *inode = READ(dentry->d_inode);
    buffer->is_gone = !READ(dentry->d_hash.pprev);
    if (buffer->is_gone && (!inode || READ(inode->i_nlink) != 0))
        return false;
    return is_reader_at_top() && write_file_path((uint64_t) mnt, (uint64_t) dentry, buffer->key) != 0;
}

/* Makes the path of the file. The last one is kept: many processes run one program. */
INLINE bool find_program_path(struct buffer *buffer, struct file *file, uint64_t list)
{
    struct vfsmount *mnt = READ(file->f_path.mnt);
    struct dentry *dentry = READ(file->f_path.dentry);
    if (buffer->list == list && buffer->mnt == mnt && buffer->dentry == dentry)
        return true;
    buffer->list = 0;
    if (!write_program_path(buffer, mnt, dentry))
        return false;
    buffer->list = list;
    buffer->mnt = mnt;
    buffer->dentry = dentry;
    return true;
}

/* Writes the name behind the record's place, and gives its size. */
INLINE uint32_t write_path_name(struct buffer *buffer, struct file *file, uint64_t list, uint32_t *flags)
{
    if (!find_program_path(buffer, file, list)) {
        *flags |= CBP_MACHINE_LISTED_NO_NAME;
        return 0;
    }
    if (buffer->is_gone)
        *flags |= CBP_MACHINE_LISTED_DELETED;
    uint32_t key = buffer->key;
    struct path_buffer *path = bpf_map_lookup_elem(&paths, &key);
    if (!path)
        return 0;
    uint64_t begin = path->begin;
    OPAQUE(begin);
    begin &= PATH_SIZE_MAX - 1;
    uint32_t size = (uint32_t) (PATH_SIZE_MAX - begin);
    OPAQUE(size);
    if (size > PATH_SIZE_MAX)
        return 0;
    bpf_probe_read_kernel(&buffer->record[names_begin], size, &path->text[begin]);
    return size;
}

INLINE uint32_t write_name(struct buffer *buffer, struct task_struct *task, struct mm_struct *mm,
                           struct file *file, uint64_t list, uint32_t *flags)
{
    if (mm && file)
        return write_path_name(buffer, file, list, flags);
    *flags |= CBP_MACHINE_LISTED_NAME;
    if (!mm && !(task->flags & TASK_IS_KERNEL_THREAD) && task->signal->nr_threads > 1)
        *flags |= CBP_MACHINE_LISTED_NO_NAME; /* another thread of it has them */
    return write_short_name(buffer, task);
}

/* ---- Arguments ---- */

/* Gives 1 if the number is not below 2^63, else 0; without a branch, of which the verifier follows both ways. */
INLINE uint64_t top_bit(uint64_t number)
{
    OPAQUE(number);
    return number >> 63;
}

/* Gives the place of the slot that has the address: it is behind all pivots below. Unused pivots are 0. */
INLINE uint32_t find_slot(const unsigned long *pivots, uint32_t count, uint64_t address)
{
    uint64_t place = 0, goes_on = 1;
    for (uint32_t i = 0; i < count - 1; i++) {
        uint64_t pivot = pivots[i];
        goes_on &= top_bit((pivot >> PAGE_SHIFT) - (address >> PAGE_SHIFT)) & top_bit(pivot | -pivot);
        place += goes_on;
    }
    OPAQUE(place);
    return (uint32_t) place;
}

/* Goes down one step of the tree from an inner node (type 2, and with sizes of gaps 3) or a leaf (type 1). */
INLINE uint64_t step_down(struct buffer *buffer, uint64_t node, uint32_t type, uint64_t address)
{
    if (type == 3) {
        bpf_probe_read_kernel(&buffer->inner, sizeof buffer->inner, (void *) node);
        uint32_t place = find_slot(buffer->inner.pivot, INNER_COUNT, address);
        return place < INNER_COUNT ? (uint64_t) buffer->inner.slot[place] : 0;
    }
    bpf_probe_read_kernel(&buffer->range, sizeof buffer->range, (void *) node);
    uint32_t place = find_slot(buffer->range.pivot, RANGE_COUNT, address);
    return place < RANGE_COUNT ? (uint64_t) buffer->range.slot[place] : 0;
}

/* Says whether a piece of memory of the process is its own and no file's, as far as can be seen: reading what
 * a file system of another user has to provide could take for ever. */
__attribute__((noinline)) uint32_t is_plain_memory(uint64_t mm, uint64_t begin, uint64_t end, uint32_t key)
{
    struct buffer *buffer = bpf_map_lookup_elem(&buffers, &key);
    struct mm_struct___tree *with_tree = (struct mm_struct___tree *) mm;
    if (!buffer)
        return false;
    uint64_t entry = (uint64_t) READ(with_tree->mm_mt.ma_root);
    if ((entry & 3) != 2) /* the root is no node */
        return false;
    for (int depth = 0; depth < TREE_DEPTH_MAX; depth++) {
        uint64_t node = entry & ~255ull;
        uint32_t type = entry >> 3 & 15;
        if (node == 0 || type == 0 || type > 3)
            return false;
        entry = step_down(buffer, node, type, begin);
        if (type == 1) {
            struct vm_area_struct *area = (void *) entry;
            return entry && READ(area->vm_start) <= begin && end <= READ(area->vm_end) && !READ(area->vm_ops);
        }
    }
    return false;
}

/* Reads the arguments behind a name of that size. */
INLINE bool read_arguments(struct buffer *buffer, struct task_struct *task, uint32_t name_size,
                           uint64_t address, uint32_t size)
{
    OPAQUE(name_size);
    name_size &= 2 * PATH_SIZE_MAX - 1;
    OPAQUE(size);
    if (size == 0 || size > ARGUMENTS_SIZE_MAX || name_size > PATH_SIZE_MAX)
        return false;
    void *into = &buffer->record[names_begin + name_size];
    return bpf_copy_from_user_task(into, size, (void *) address, task, 0) == 0;
}

INLINE uint32_t without_arguments(uint32_t *flags)
{
    *flags |= CBP_MACHINE_LISTED_NO_ARGUMENTS;
    return 0;
}

/* Writes what /proc/PID/cmdline has (Linux: fs/proc/base.c, get_mm_cmdline), and gives its size. */
INLINE uint32_t write_arguments(struct buffer *buffer, struct task_struct *task, struct mm_struct *mm,
                                uint32_t name_size, uint32_t *flags)
{
    uint64_t begin = mm->arg_start, end = mm->arg_end, title_end = end;
    uint8_t last = 0;
    if (mm->env_end == 0 || begin >= end)
        return 0;
    if (mm->env_start == end && mm->env_end > end)
        title_end = mm->env_end;
    uint64_t size = end - begin;
    uint64_t title_size = title_end - begin < TITLE_SIZE_MAX ? title_end - begin : TITLE_SIZE_MAX;
    uint64_t read_size = size < title_size ? title_size : size;
    uint64_t memory =
        (uint64_t) READ(task->mm); /* as a number; if it is another one by now, list() sees that */
    if (size > ARGUMENTS_SIZE_MAX || !is_plain_memory(memory, begin, begin + read_size, buffer->key) ||
        !read_arguments(buffer, task, name_size, begin, (uint32_t) size))
        return without_arguments(flags);
    uint32_t at = name_size + (uint32_t) size - 1;
    OPAQUE(at);
    if (at < PATH_SIZE_MAX + ARGUMENTS_SIZE_MAX)
        last = buffer->record[names_begin + at];
    if (!last)
        return (uint32_t) size;
    if (!read_arguments(buffer, task, name_size, begin, (uint32_t) title_size))
        return without_arguments(flags);
    *flags |= CBP_MACHINE_LISTED_TITLE;
    return (uint32_t) title_size;
}

/* ---- Records ---- */

INLINE void write_record(struct seq_file *seq, struct buffer *buffer, struct cbp_machine_listed *record)
{
    uint32_t size = sizeof *record + record->name_size + record->arguments_size;
    record->size = size;
    OPAQUE(size);
    if (size > sizeof *record + PATH_SIZE_MAX + ARGUMENTS_SIZE_MAX)
        return;
    bpf_probe_read_kernel(buffer->record, sizeof *record, record);
    bpf_seq_write(seq, buffer->record, size);
}

INLINE void fill(struct cbp_machine_listed *record, struct task_struct *task)
{
    __builtin_memset(record, 0, sizeof *record);
    record->size = sizeof *record;
    record->process_id = (uint32_t) task->tgid;
    record->parent_process_id = (uint32_t) task->real_parent->tgid;
    record->start_ns = task->start_boottime;
    record->execution_count = task->self_exec_id;
    record->user_id = task->real_cred->uid.val;
    record->effective_user_id = task->real_cred->euid.val;
    record->thread_count = (uint32_t) task->signal->nr_threads;
    if (task->signal->live.counter <= 0) /* its end is told from then on */
        record->flags = CBP_MACHINE_LISTED_ENDED;
}

INLINE int list(struct bpf_iter__task *context, bool with_arguments)
{
    struct seq_file *seq = context->meta->seq;
    struct task_struct *task = context->task;
    struct cbp_machine_listed record;
    if (!task || task->pid != task->tgid)
        return 0;
    fill(&record, task);
    uint32_t key = take_buffer(bpf_get_smp_processor_id());
    struct buffer *buffer = bpf_map_lookup_elem(&buffers, &key);
    if (!buffer) {
        record.flags |= CBP_MACHINE_LISTED_NO_NAME;
        bpf_seq_write(seq, &record, sizeof record);
        return 0;
    }
    struct mm_struct *mm = task->flags & TASK_IS_KERNEL_THREAD ? NULL : task->mm;
    struct file *file = mm ? mm->exe_file : NULL;
    record.name_size = write_name(buffer, task, mm, file, context->meta->session_id + 1, &record.flags);
    if (!with_arguments)
        record.flags |= CBP_MACHINE_LISTED_NO_ARGUMENTS;
    else if (mm && !(record.flags & CBP_MACHINE_LISTED_NO_NAME))
        record.arguments_size = write_arguments(buffer, task, mm, record.name_size, &record.flags);
    /* A process that has executed meanwhile would be a mixture of two. */
    if (mm && (task->mm != mm || mm->exe_file != file || task->self_exec_id != record.execution_count))
        record.flags |= CBP_MACHINE_LISTED_NO_NAME;
    write_record(seq, buffer, &record);
    give_back(buffer);
    return 0;
}

SECTION("iter/task") int list_processes(struct bpf_iter__task *context)
{
    return list(context, false);
}

SECTION("iter.s/task") int list_command_lines(struct bpf_iter__task *context)
{
    return list(context, true);
}

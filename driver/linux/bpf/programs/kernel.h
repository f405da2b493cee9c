/* Declares what BPF programs use of the kernel: types, helper functions, and of its structures the members that
 * are read. Names of members are found in the running kernel when a program is loaded (CO-RE), so order and
 * offsets here mean nothing. A name with three underscores is another kernel's form of the structure in front
 * of them. Knows nothing of records and maps. Source: bpf-helpers(7), include/uapi/linux/bpf.h. */
#ifndef CBP_KERNEL_H
#define CBP_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SECTION(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
/* A function of the kernel that is found by its name when a program is loaded. */
#define KERNEL_FUNCTION __attribute__((section(".ksyms")))
/* Hides a value from the compiler, which would else move a bounds check to where the verifier misses it. */
#define OPAQUE(variable) __asm__ volatile("" : "+r"(variable))

char program_license[] SECTION("license") = "Dual MIT/GPL";

/* ---- Maps ---- */

#define MAP_NUMBER(name, value) int(*name)[value]
#define MAP_TYPE(name, type) typeof(type) *name

enum map_type {
    MAP_HASH = 1,
    MAP_ARRAY = 2,
    MAP_PERCPU_ARRAY = 6,
    MAP_LRU_HASH = 9,
    MAP_QUEUE = 22,
    MAP_RINGBUF = 27,
    MAP_TASK_STORAGE = 29
};
enum map_flag { MAP_FLAG_NO_PREALLOC = 1, MAP_FLAG_MMAPABLE = 1024 };
enum update_flag { UPDATE_ANY, UPDATE_NOEXIST, UPDATE_EXIST };
enum ring_flag { RING_NO_WAKEUP = 1, RING_FORCE_WAKEUP = 2 };
enum ring_question { RING_UNREAD_SIZE, RING_SIZE };

/* ---- Helper functions ---- */

struct pt_regs;
struct task_struct;

static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *) 1;
static long (*const bpf_map_update_elem)(void *map, const void *key, const void *value,
                                         uint64_t flags) = (void *) 2;
static long (*const bpf_map_delete_elem)(void *map, const void *key) = (void *) 3;
static uint64_t (*const bpf_ktime_get_ns)(void) = (void *) 5;
static uint64_t (*const bpf_get_current_pid_tgid)(void) = (void *) 14;
static uint64_t (*const bpf_get_current_task)(void) = (void *) 35;
static long (*const bpf_map_push_elem)(void *map, const void *value, uint64_t flags) = (void *) 87;
static long (*const bpf_map_pop_elem)(void *map, void *value) = (void *) 88;
static long (*const bpf_send_signal)(uint32_t signal) = (void *) 109;
static long (*const bpf_probe_read_user)(void *into, uint32_t size, const void *from) = (void *) 112;
static long (*const bpf_probe_read_kernel)(void *into, uint32_t size, const void *from) = (void *) 113;
static long (*const bpf_probe_read_kernel_str)(void *into, uint32_t size, const void *from) = (void *) 115;
static long (*const bpf_ringbuf_output)(void *ring, void *data, uint64_t size, uint64_t flags) = (void *) 130;
static void *(*const bpf_ringbuf_reserve)(void *ring, uint64_t size, uint64_t flags) = (void *) 131;
static void (*const bpf_ringbuf_submit)(void *data, uint64_t flags) = (void *) 132;
static void (*const bpf_ringbuf_discard)(void *data, uint64_t flags) = (void *) 133;
static struct task_struct *(*const bpf_get_current_task_btf)(void) = (void *) 158;
static long (*const bpf_loop)(uint32_t count, void *callback, void *context, uint64_t flags) = (void *) 181;
static struct pt_regs *(*const bpf_task_pt_regs)(struct task_struct *task) = (void *) 175;
static long (*const bpf_copy_from_user_task)(void *into, uint32_t size, const void *from,
                                             struct task_struct *task, uint64_t flags) = (void *) 191;
static uint64_t (*const bpf_ringbuf_query)(void *ring, uint64_t question) = (void *) 134;

/* ---- Structures ---- */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct dentry;
struct files_struct;

struct atomic {
    int counter;
};

struct user_id {
    uint32_t val;
};

struct cred {
    struct user_id uid, euid, suid;
};

struct qstr {
    uint32_t len;
    char *name;
};

struct super_block {
    uint32_t s_dev;
    unsigned long s_magic;
};

struct timespec64 {
    int64_t tv_sec;
    long tv_nsec;
};

struct inode {
    uint16_t i_mode;
    unsigned long i_ino;
    unsigned int i_nlink;
    struct super_block *i_sb;
    int64_t i_ctime_sec; /* since 6.11 */
    uint32_t i_ctime_nsec;
    void *i_private;
};

struct inode___6_6 {
    struct timespec64 __i_ctime;
};

struct inode___5_8 {
    struct timespec64 i_ctime;
};

struct hash_node {
    void *pprev;
};

struct dentry {
    struct hash_node d_hash;
    struct dentry *d_parent;
    struct qstr d_name;
    struct inode *d_inode;
    void *d_op;
};

struct vfsmount {
    struct dentry *mnt_root;
};

struct mount {
    struct mount *mnt_parent;
    struct dentry *mnt_mountpoint;
    struct vfsmount mnt;
};

struct path {
    struct vfsmount *mnt;
    struct dentry *dentry;
};

struct file {
    struct path f_path;
    struct inode *f_inode;
    uint32_t f_mode, f_flags;
    void *private_data;
};

struct fs_struct {
    struct path root, pwd;
};

struct mm_struct {
    struct file *exe_file;
    unsigned long arg_start, arg_end, env_start, env_end;
};

struct pid_namespace {
    unsigned int level;
};

struct upid {
    int nr;
    struct pid_namespace *ns;
};

struct pid {
    unsigned int level;
    struct upid numbers[1];
};

struct list_head {
    struct list_head *next;
};

struct signal_struct {
    struct atomic live;
    struct list_head thread_head;
    int nr_threads;
    unsigned int flags;
    int group_exit_code;
    struct pid *pids[4];
};

struct task_struct {
    int pid, tgid;
    unsigned int flags;
    int exit_state, exit_code;
    struct task_struct *group_leader, *real_parent;
    uint64_t start_boottime, self_exec_id;
    struct cred *cred, *real_cred;
    struct signal_struct *signal;
    struct mm_struct *mm;
    struct fs_struct *fs;
    struct files_struct *files;
    struct list_head thread_node;
    struct pid *thread_pid;
    char comm[16];
    void *worker_private;
};

struct linux_binprm {
    struct file *file;
    int argc;
    char *filename, *interp;
};

#pragma clang attribute pop

enum task_flag { TASK_IS_IO_WORKER = 0x10, TASK_IS_USER_WORKER = 0x4000, TASK_IS_KERNEL_THREAD = 0x200000 };
enum { CLONE_FLAG_THREAD = 0x10000 };
enum { SIGNAL_FLAG_GROUP_EXIT = 4 };

/* Calls step(number, context) up to count times, until it gives something else than 0. Kernels from 5.17 on have
 * bpf_loop(): there the verifier goes through the step once, and not at each turn, so loading is many times faster. */
#ifdef CBP_KERNEL_5_17
#define REPEAT(count, step, context) bpf_loop(count, step, context, 0)
#else
#define REPEAT(count, step, context)                                                                         \
    do {                                                                                                     \
        for (uint32_t turn_ = 0; turn_ < (count); turn_++)                                                   \
            if (step(turn_, context))                                                                        \
                break;                                                                                       \
    } while (0)
#endif

/* Reads one member of a kernel structure through a pointer of any origin. Gives 0 if that cannot be read. */
#define READ(place)                                                                                          \
    ({                                                                                                       \
        typeof(place) value_ = 0;                                                                            \
        bpf_probe_read_kernel(&value_, sizeof value_, &(place));                                             \
        value_;                                                                                              \
    })
/* Says whether the running kernel's structure has the member. */
#define HAS_MEMBER(place) __builtin_preserve_field_info(place, 2)

#endif

/* Tells of operations on other processes and threads where BPF LSM is not active: at the entry of the system
 * call that asks for one, or when a file of /proc has been opened. Nothing can be refused here. It loads from
 * Linux 5.8 on. Source of the rights: docs/linux.md, "Handle operations".
 *
 * Every system call of the machine comes by, so the first comparisons decide what this costs. */
#include "handles.h"
#include "calls.h"

/* Of a process group this many are told. */
enum { GROUP_COUNT_MAX = 32 };

enum { PTRACE_ATTACH = 16, PTRACE_SEIZE = 0x4206 };
enum { F_SETOWN = 8, F_SETOWN_EX = 15, FIOSETOWN = 0x8901, SIOCSPGRP = 0x8902 };
enum { OWNER_IS_THREAD, OWNER_IS_PROCESS, OWNER_IS_GROUP };
enum { PRIO_PROCESS, PRIO_GROUP, IOPRIO_PROCESS = 1, IOPRIO_GROUP };
enum { SCHED_CORE = 62, SCHED_CORE_CREATE = 1, SCHED_CORE_SHARE_TO, CORE_OF_THREAD = 0, CORE_OF_PROCESS };
enum { PIDFD_THREAD = 128, SIGNAL_TO_THREAD = 1, SIGNAL_TO_PROCESS = 2, SIGNAL_TO_GROUP = 4 };
enum { FILE_READ = 1, FILE_WRITE = 2 };

#define EVERYTHING_OF_PROCESS                                                                                \
    (CBP_PROCESS_VM_READ | CBP_PROCESS_VM_WRITE | CBP_PROCESS_VM_OPERATION | CBP_PROCESS_SUSPEND_RESUME)
#define EVERYTHING_OF_THREAD (CBP_THREAD_GET_CONTEXT | CBP_THREAD_SET_CONTEXT | CBP_THREAD_SUSPEND_RESUME)

static __attribute__((noinline)) int tell(const struct operation *operation)
{
    struct cbp_machine_settings *set = settings_if_on();
    struct cbp_machine_handle told;
    struct sides sides;
    if (!set || !operation || !operation->target || !look_at_sides(set, operation, &sides))
        return 0;
    uint32_t event = fill_handle(&told, operation, &sides);
    if (sides.masks & event)
        TELL(set, told, true);
    return 0;
}

/* Where a call names its target, if not in its arguments. */
struct aim {
    struct operation operation;
    uint64_t id;
    enum id_kind kind;
};

/* Reads a call that names its target by the id that is its first or second argument, and what it asks for.
 * False: it asks for nothing. */
INLINE bool read_by_id(const struct call *call, struct aim *aim)
{
    const uint64_t *arguments = call->arguments;
    struct operation *operation = &aim->operation;
    uint32_t access = 0;
    aim->id = arguments[0];
    switch (call->kind) {
    case CALL_PTRACE:
    case CALL_PERF_EVENT_OPEN:
        aim->id = arguments[1];
        operation->becomes_thread = true;
        access = call->kind == CALL_PTRACE ? EVERYTHING_OF_PROCESS
                                           : (uint32_t) (CBP_PROCESS_VM_READ | CBP_PROCESS_TERMINATE);
        operation->thread_access = call->kind == CALL_PTRACE
                                       ? (uint32_t) EVERYTHING_OF_THREAD
                                       : (uint32_t) (CBP_THREAD_GET_CONTEXT | CBP_THREAD_TERMINATE);
        operation->process_access = access;
        return call->kind != CALL_PTRACE || arguments[0] == PTRACE_ATTACH || arguments[0] == PTRACE_SEIZE;
    case CALL_SCHED_SETAFFINITY:
    case CALL_SCHED_SETPARAM:
    case CALL_SCHED_SETSCHEDULER:
    case CALL_SCHED_SETATTR:
        operation->is_thread = true;
        operation->thread_access = CBP_THREAD_SET_INFORMATION;
        return true;
    case CALL_PIDFD_OPEN:
        operation->is_thread = arguments[1] & PIDFD_THREAD;
        operation->thread_access = CBP_THREAD_QUERY_LIMITED_INFORMATION | CBP_THREAD_SYNCHRONIZE;
        access = CBP_PROCESS_QUERY_LIMITED_INFORMATION | CBP_PROCESS_SYNCHRONIZE;
        break;
    case CALL_MOVE_PAGES:
        access = arguments[3] ? CBP_PROCESS_VM_OPERATION : CBP_PROCESS_QUERY_INFORMATION;
        break;
    case CALL_MIGRATE_PAGES:
        access = CBP_PROCESS_VM_OPERATION;
        break;
    case CALL_GET_ROBUST_LIST:
    case CALL_KCMP:
        access = CBP_PROCESS_QUERY_INFORMATION;
        break;
    case CALL_PROCESS_VM_READV:
        access = CBP_PROCESS_VM_READ;
        break;
    case CALL_PROCESS_VM_WRITEV:
        access = CBP_PROCESS_VM_WRITE | CBP_PROCESS_VM_OPERATION;
        break;
    case CALL_PRLIMIT64:
        access = (arguments[2] ? (uint32_t) CBP_PROCESS_SET_QUOTA : 0) |
                 (arguments[3] ? (uint32_t) CBP_PROCESS_QUERY_INFORMATION : 0);
        break;
    default:
        break;
    }
    operation->process_access = access;
    return access != 0;
}

/* Aims at the process or group that a number below zero stands for, as kill(2) and fcntl(2) have it. */
INLINE bool aim_at_signed(struct aim *aim, int32_t id)
{
    aim->kind = id > 0 ? ID_OF_THREAD : ID_OF_GROUP;
    aim->id = (uint32_t) (id > 0 ? id : -id);
    return id != -1;
}

INLINE bool read_owner(const struct call *call, struct aim *aim)
{
    struct {
        int32_t type, id;
    } owner = {.type = OWNER_IS_PROCESS, .id = (int32_t) call->arguments[2]};
    uint64_t command = call->arguments[1];
    void *place = (void *) call->arguments[2];
    if (call->kind == CALL_IOCTL ? command != FIOSETOWN && command != SIOCSPGRP
                                 : command != F_SETOWN && command != F_SETOWN_EX)
        return false;
    if (command == F_SETOWN_EX && bpf_probe_read_user(&owner, sizeof owner, place) != 0)
        return false;
    if (call->kind == CALL_IOCTL && bpf_probe_read_user(&owner.id, sizeof owner.id, place) != 0)
        return false;
    aim->operation.process_access = CBP_PROCESS_TERMINATE | CBP_PROCESS_SUSPEND_RESUME;
    return owner.id != 0 && aim_at_signed(aim, owner.type == OWNER_IS_GROUP ? -owner.id : owner.id);
}

INLINE bool read_priority(const struct call *call, struct aim *aim)
{
    bool is_of_disk = call->kind == CALL_IOPRIO_SET;
    uint64_t which = call->arguments[0];
    aim->id = call->arguments[1];
    aim->operation.process_access = CBP_PROCESS_SET_INFORMATION;
    aim->operation.thread_access = CBP_THREAD_SET_INFORMATION;
    aim->operation.becomes_thread = true;
    if (which == (is_of_disk ? IOPRIO_GROUP : PRIO_GROUP))
        aim->kind = ID_OF_GROUP;
    return aim->kind == ID_OF_GROUP || which == (is_of_disk ? IOPRIO_PROCESS : PRIO_PROCESS);
}

INLINE bool read_core(const struct call *call, struct aim *aim)
{
    const uint64_t *arguments = call->arguments;
    aim->id = arguments[2];
    aim->operation.process_access = CBP_PROCESS_SET_INFORMATION;
    aim->operation.thread_access = CBP_THREAD_SET_INFORMATION;
    aim->operation.is_thread = arguments[3] == CORE_OF_THREAD;
    return arguments[0] == SCHED_CORE &&
           (arguments[1] == SCHED_CORE_CREATE || arguments[1] == SCHED_CORE_SHARE_TO) &&
           arguments[3] <= CORE_OF_PROCESS;
}

/* Reads a call that names its target by a number. False: it is no operation on others. */
INLINE bool read_aim(const struct call *call, struct aim *aim)
{
    const uint64_t *arguments = call->arguments;
    switch (call->kind) {
    case CALL_KILL:
        return ask_for_signal(&aim->operation, arguments[1]) && aim_at_signed(aim, (int32_t) arguments[0]);
    case CALL_RT_SIGQUEUEINFO:
        aim->id = arguments[0];
        return ask_for_signal(&aim->operation, arguments[1]);
    case CALL_TKILL:
        aim->operation.is_thread = true;
        aim->id = arguments[0];
        return ask_for_signal(&aim->operation, arguments[1]);
    case CALL_TGKILL:
    case CALL_RT_TGSIGQUEUEINFO:
        aim->operation.is_thread = true;
        aim->id = arguments[1];
        return ask_for_signal(&aim->operation, arguments[2]);
    case CALL_SETPRIORITY:
    case CALL_IOPRIO_SET:
        return read_priority(call, aim);
    case CALL_FCNTL:
    case CALL_FCNTL64:
    case CALL_IOCTL:
        return read_owner(call, aim);
    case CALL_PRCTL:
        return read_core(call, aim);
    default:
        return read_by_id(call, aim);
    }
}

INLINE void tell_group(struct aim *aim)
{
    struct task_struct *task = current_task();
    struct task_struct *target = NULL;
    if (aim->id != 0) {
        target = task_of(pid_of(current_namespace(), (uint32_t) aim->id), ID_OF_GROUP);
    } else {
        struct signal_struct *signal = READ(task->signal);
        target = task_of(READ(signal->pids[ID_OF_GROUP]), ID_OF_GROUP);
    }
    aim->operation.becomes_thread = false;
    for (int i = 0; i < GROUP_COUNT_MAX && target; i++) {
        aim->operation.target = target;
        tell(&aim->operation);
        target = next_of_group(target);
    }
}

/* Reads a call whose first argument is a pidfd. */
INLINE bool read_descriptor(const struct call *call, struct aim *aim, struct pid **pid)
{
    const uint64_t *arguments = call->arguments;
    *pid = pid_of_pidfd(file_of(arguments[0]));
    switch (call->kind) {
    case CALL_PIDFD_SEND_SIGNAL:
        aim->operation.is_thread = arguments[3] & SIGNAL_TO_THREAD;
        aim->kind = arguments[3] & SIGNAL_TO_GROUP ? ID_OF_GROUP : ID_OF_THREAD;
        return ask_for_signal(&aim->operation, arguments[1]);
    case CALL_PIDFD_GETFD:
        aim->operation.is_duplication = true;
        aim->operation.process_access = CBP_PROCESS_DUP_HANDLE;
        return true;
    case CALL_PROCESS_MADVISE:
    case CALL_PROCESS_MRELEASE:
        aim->operation.process_access = CBP_PROCESS_VM_OPERATION;
        return true;
    default:
        return false;
    }
}

/* The programs' copies see a call once: the claim is good until the call is over. */
INLINE struct claim claim_of_call(void)
{
    struct task_struct *task = current_task();
    return (struct claim){.kind = CBP_MACHINE_HANDLE,
                          .thread_id = (uint32_t) bpf_get_current_pid_tgid(),
                          .stamp = READ(task->start_boottime)};
}

INLINE bool is_seen(void)
{
    struct cbp_machine_settings *set = settings_if_on();
    struct claim key = claim_of_call();
    return !set || is_told(set, key.kind, key.thread_id, key.stamp);
}

INLINE int at_entry(struct pt_regs *registers)
{
    struct call call;
    struct aim aim = {.kind = ID_OF_THREAD};
    struct pid *pid = NULL;
    if (!read_call(&call, registers) || is_seen())
        return 0;
    aim.operation.system_call = call.number;
    if (read_descriptor(&call, &aim, &pid)) {
        aim.operation.target = task_of(pid, aim.kind);
        tell(&aim.operation);
    } else if (read_aim(&call, &aim)) {
        if (aim.kind == ID_OF_GROUP) {
            tell_group(&aim);
            return 0;
        }
        aim.operation.target = task_of_id(aim.id);
        tell(&aim.operation);
        if (call.kind != CALL_KCMP)
            return 0;
        aim.operation.target = task_of_id(call.arguments[1]);
        tell(&aim.operation);
    }
    return 0;
}

/* Tells of a memory file of /proc that has just been opened. */
INLINE int tell_of_open(uint32_t number, int64_t result)
{
    struct file *file = file_of((uint64_t) result);
    struct pid *pid = pid_of_memory_file(file);
    struct operation operation = {.system_call = number};
    if (!pid)
        return 0;
    uint32_t mode = READ(file->f_mode);
    if (mode & FILE_READ)
        operation.process_access |= CBP_PROCESS_VM_READ;
    if (mode & FILE_WRITE)
        operation.process_access |= CBP_PROCESS_VM_WRITE | CBP_PROCESS_VM_OPERATION;
    operation.target = task_of(pid, ID_OF_THREAD);
    return tell(&operation);
}

/* Calls that open files have other numbers in 32-bit programs. */
INLINE bool is_open(uint64_t number, bool is_narrow)
{
    enum { OPENAT2 = 437 };
#if defined(CBP_X86_64)
    enum { OPEN = 2, OPENAT = 257, CREAT = 85, OPEN_32 = 5, OPENAT_32 = 295, CREAT_32 = 8 };
    if (is_narrow)
        return number == OPEN_32 || number == OPENAT_32 || number == CREAT_32 || number == OPENAT2;
    number &= ~(uint64_t) X32_SYSCALL_BIT;
    return number == OPENAT || number == OPEN || number == CREAT || number == OPENAT2;
#else
    enum { OPENAT = 56, OPEN_32 = 5, OPENAT_32 = 322 };
    return number == (is_narrow ? OPENAT_32 : OPENAT) || number == OPENAT2 ||
           (is_narrow && number == OPEN_32);
#endif
}

INLINE int at_exit(struct pt_regs *registers, int64_t result)
{
    uint64_t number = number_of_call(registers);
    bool is_narrow = is_32_bit();
    if (kind_of_call(number, is_narrow) != CALL_OTHER) {
        struct cbp_machine_settings *set = settings_if_on();
        struct claim key = claim_of_call();
        if (set && set->has_copies)
            bpf_map_delete_elem(&claims, &key);
        return 0;
    }
    return result >= 0 && is_open(number, is_narrow) ? tell_of_open((uint32_t) number, result) : 0;
}

#define PROGRAM(suffix)                                                                                      \
    int enter_call##suffix(uint64_t *arguments) SECTION("tp_btf/sys_enter");                                 \
    int enter_call##suffix(uint64_t *arguments)                                                              \
    {                                                                                                        \
        return at_entry((struct pt_regs *) arguments[0]);                                                    \
    }

PROGRAM()
PROGRAM(_2)
PROGRAM(_3)
PROGRAM(_4)

int leave_call(uint64_t *arguments) SECTION("tp_btf/sys_exit");
int leave_call(uint64_t *arguments)
{
    return at_exit((struct pt_regs *) arguments[0], (int64_t) arguments[1]);
}

/* Tells of operations on other processes and threads where BPF LSM is not active: at the entry of the system
 * call that asks for one, or when a file of /proc has been opened. Nothing can be refused here. It loads from
 * Linux 5.8 on.
 *
 * Every system call of the machine comes by, so the first comparisons decide what this costs. */
#include "aims.h"

/* This many members of a process group are told. */
enum { GROUP_COUNT_MAX = 32 };

/* The verifier goes once through a function that is not static, and through a static one at each place that calls it.
 * Older kernels take no pointer for an argument of such a function. */
#ifdef CBP_KERNEL_5_17
#define SHARED_FUNCTION __attribute__((noinline))
#else
#define SHARED_FUNCTION static __attribute__((noinline))
#endif

SHARED_FUNCTION int tell(const struct operation *operation)
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

/* Tells of one member of a process group, and goes on to the next. Gives 1 behind the last one. */
static long tell_member(uint32_t count, struct operation *operation)
{
    (void) count;
    tell(operation);
    operation->target = next_of_group(operation->target);
    return !operation->target;
}

/* Tells of the members of a process group. */
INLINE int tell_group(struct operation *operation, struct pid *group)
{
    operation->target = task_of(group, ID_OF_GROUP);
    if (!operation->target)
        return 0;
    REPEAT(GROUP_COUNT_MAX, tell_member, operation);
    return 0;
}

INLINE struct pid *own_group(void)
{
    struct task_struct *task = current_task();
    struct signal_struct *signal = READ(task->signal);
    return READ(signal->pids[ID_OF_GROUP]);
}

/* Gives what the call names. */
INLINE struct pid *pid_of_call(const struct call *call, const struct aim *aim)
{
    if (!names_by_descriptor(call->kind))
        return aim->kind == AIM_AT_GROUP && aim->id == 0 ? own_group()
                                                         : pid_of(current_namespace(), (uint32_t) aim->id);
    struct file *file = file_of(call->arguments[0]);
    return call->kind == CALL_PIDFD_SEND_SIGNAL ? pid_of_receiver(file) : pid_of_pidfd(file);
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

INLINE int at_entry(struct pt_regs *registers, uint64_t number)
{
    struct call call;
    struct aim aim = {.kind = AIM_AT_ONE};
    if (!read_call(&call, registers, number) || !read_request(&call, &aim) || aim.kind == AIM_AT_MANY ||
        is_seen())
        return 0;
    struct pid *pid = pid_of_call(&call, &aim);
    if (aim.kind == AIM_AT_GROUP)
        return tell_group(&aim.operation, pid);
    aim.operation.target = task_of(pid, ID_OF_THREAD);
    tell(&aim.operation);
    if (call.kind == CALL_KCMP) {
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
    read_memory_request(file, &operation);
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

INLINE int at_exit(uint64_t number, int64_t result)
{
    bool may_be_open = is_open(number, false) || is_open(number, true);
    if (may_be_listed(number)) {
        struct cbp_machine_settings *set = settings_if_on();
        struct claim key = claim_of_call();
        if (set && set->has_copies)
            bpf_map_delete_elem(&claims, &key);
    }
    return result >= 0 && may_be_open && is_open(number, is_32_bit())
               ? tell_of_open((uint32_t) number, result)
               : 0;
}

#define PROGRAM(suffix)                                                                                      \
    int enter_call##suffix(uint64_t *arguments) SECTION("tp_btf/sys_enter");                                 \
    int enter_call##suffix(uint64_t *arguments)                                                              \
    {                                                                                                        \
        return at_entry((struct pt_regs *) arguments[0], (uint32_t) arguments[1]);                           \
    }

PROGRAM()
PROGRAM(_2)
PROGRAM(_3)
PROGRAM(_4)

int leave_call(uint64_t *arguments) SECTION("tp_btf/sys_exit");
int leave_call(uint64_t *arguments)
{
    struct pt_regs *registers = (struct pt_regs *) arguments[0];
    return at_exit(NUMBER_OF_CALL(registers), (int64_t) arguments[1]);
}

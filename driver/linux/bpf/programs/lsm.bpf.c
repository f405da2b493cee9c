/* Refuses operations on other processes and threads that strip rules take the rights for, where BPF LSM is
 * active, and tells of all that are wanted. With CBP_GATE (Linux 6.18 and later) a handler can decide, too: the
 * hook interrupts the call, the task waits in the gate before it is back in user mode, and the call begins again.
 * It loads from Linux 5.15 on. */
#include "aims.h"

#ifdef CBP_GATE
#include "gate.h"
#endif

enum { EPERM = 1, ERESTARTNOINTR = 513 };

#ifdef CBP_GATE

/* A verdict is for the call that begins again at once. */
enum { VERDICT_AGE_MAX_NS = 1000000000 };

struct verdict {
    uint64_t given_ns;
    uint32_t target_process_id, target_thread_id, access, system_call;
    uint32_t refuses;
    uint32_t reserved;
};

struct {
    MAP_NUMBER(type, MAP_LRU_HASH);
    MAP_NUMBER(max_entries, 4096);
    MAP_TYPE(key, uint32_t);
    MAP_TYPE(value, struct verdict);
} verdicts SECTION(".maps");

struct question {
    struct bpf_task_work work;
    struct cbp_machine_handle handle;
};

struct {
    MAP_NUMBER(type, MAP_HASH);
    MAP_NUMBER(max_entries, 8192);
    MAP_TYPE(key, uint32_t);
    MAP_TYPE(value, struct question);
} questions SECTION(".maps");

INLINE struct verdict verdict_on(const struct cbp_machine_handle *handle, bool refuses)
{
    return (struct verdict){.given_ns = bpf_ktime_get_ns(),
                            .target_process_id = handle->target_process_id,
                            .target_thread_id = handle->target_thread_id,
                            .access = handle->access,
                            .system_call = handle->system_call,
                            .refuses = refuses};
}

/* The caller runs this on its way back to user mode. */
static int wait(struct bpf_map *map, void *key, void *value)
{
    struct question *question = value;
    uint32_t thread_id = question->handle.record.thread_id, zero = 0;
    struct cbp_machine_settings *set = bpf_map_lookup_elem(&settings, &zero);
    bool was_read = false;
    (void) map;
    (void) key;
    if (!set)
        return 0;
    uint32_t state = WAIT(set, &question->handle, CBP_MACHINE_STOP_HANDLE, &was_read);
    struct verdict verdict = verdict_on(&question->handle, state == CBP_MACHINE_SLOT_REFUSED);
    bpf_map_update_elem(&verdicts, &thread_id, &verdict, UPDATE_ANY);
    if (state == CBP_MACHINE_SLOT_WAITING && !was_read) {
        /* Such a call has not been told before. */
        question->handle.record.flags &= (uint16_t) ~CBP_MACHINE_FLAG_HELD;
        TELL(set, question->handle, true);
    }
    bpf_map_delete_elem(&questions, &thread_id);
    return 0;
}

/* Takes the verdict on the operation, if there is one, and says so. */
INLINE bool take_verdict(const struct cbp_machine_handle *handle, bool *refuses)
{
    uint32_t thread_id = handle->record.thread_id;
    struct verdict *verdict = bpf_map_lookup_elem(&verdicts, &thread_id);
    if (!verdict)
        return false;
    bool is_this = verdict->target_process_id == handle->target_process_id &&
                   verdict->target_thread_id == handle->target_thread_id &&
                   verdict->access == handle->access && verdict->system_call == handle->system_call &&
                   bpf_ktime_get_ns() - verdict->given_ns < VERDICT_AGE_MAX_NS;
    *refuses = verdict->refuses;
    bpf_map_delete_elem(&verdicts, &thread_id);
    return is_this;
}

/* Lets the call begin again after a verdict. False: that cannot be done. */
INLINE bool ask(const struct cbp_machine_handle *handle)
{
    uint32_t thread_id = handle->record.thread_id;
    struct question question = {.handle = *handle};
    question.handle.record.flags |= CBP_MACHINE_FLAG_HELD;
    if (bpf_map_update_elem(&questions, &thread_id, &question, UPDATE_ANY) != 0)
        return false;
    struct question *kept = bpf_map_lookup_elem(&questions, &thread_id);
    if (kept && SCHEDULE_SIGNAL(bpf_get_current_task_btf(), &kept->work, &questions, wait) == 0)
        return true;
    bpf_map_delete_elem(&questions, &thread_id);
    return false;
}

#endif

/* Gives what the hook returns. Where a call has several targets, or gives an error of its own in place of the
 * hook's, nobody can be asked. */
static __attribute__((noinline)) int judge(const struct operation *operation, int can_ask)
{
    struct cbp_machine_settings *set = settings_if_on();
    struct cbp_machine_handle told;
    struct sides sides;
    if (!set || !operation || !operation->target || !look_at_sides(set, operation, &sides))
        return 0;
    uint32_t event = fill_handle(&told, operation, &sides);
    told.lost_access = lost_access(&told, &sides);
    if (told.lost_access != 0) {
        told.record.flags |= CBP_MACHINE_FLAG_REFUSED;
        TELL(set, told, sides.masks & event);
        return -EPERM;
    }
    if (!(sides.masks & event))
        return 0;
#ifdef CBP_GATE
    bool refuses = false;
    if (can_ask && holds(set, sides.masks, event) && !is_own(set, sides.process_id)) {
        if (take_verdict(&told, &refuses))
            return refuses ? -EPERM : 0;
        if (ask(&told))
            return -ERESTARTNOINTR;
    }
#else
    (void) can_ask;
#endif
    TELL(set, told, true);
    return 0;
}

INLINE bool read_current_call(struct call *call)
{
    struct pt_regs *registers = bpf_task_pt_regs(bpf_get_current_task_btf());
    return read_call(call, registers, number_of_call(registers));
}

/* Judges the current call, of which the hook has the target, if it is of the family. */
#define JUDGE(its_target, is_of_family, can_ask)                                                             \
    ({                                                                                                       \
        struct call call_;                                                                                   \
        struct aim aim_ = {.kind = AIM_AT_ONE};                                                              \
        int result_ = 0;                                                                                     \
        if (read_current_call(&call_) && is_of_family(call_.kind) && read_request(&call_, &aim_)) {          \
            aim_.operation.target = (struct task_struct *) (its_target);                                     \
            result_ = judge(&aim_.operation, (can_ask) && aim_.kind == AIM_AT_ONE);                          \
        }                                                                                                    \
        result_;                                                                                             \
    })

INLINE bool is_signal(enum call_kind kind)
{
    return kind == CALL_KILL || kind == CALL_TKILL || kind == CALL_TGKILL || kind == CALL_RT_SIGQUEUEINFO ||
           kind == CALL_RT_TGSIGQUEUEINFO || kind == CALL_PIDFD_SEND_SIGNAL;
}

INLINE bool is_attach(enum call_kind kind)
{
    return kind == CALL_PTRACE;
}

/* These calls give an error of their own in place of the hook's. */
INLINE bool is_look(enum call_kind kind)
{
    return kind == CALL_PROCESS_VM_READV || kind == CALL_PROCESS_VM_WRITEV || kind == CALL_PIDFD_GETFD ||
           kind == CALL_PROCESS_MADVISE || kind == CALL_KCMP || kind == CALL_GET_ROBUST_LIST ||
           kind == CALL_MOVE_PAGES || kind == CALL_MIGRATE_PAGES || kind == CALL_PERF_EVENT_OPEN ||
           kind == CALL_PRCTL;
}

INLINE bool is_priority(enum call_kind kind)
{
    return kind == CALL_SETPRIORITY || kind == CALL_IOPRIO_SET;
}

INLINE bool is_scheduling(enum call_kind kind)
{
    return kind == CALL_SCHED_SETAFFINITY || kind == CALL_SCHED_SETPARAM || kind == CALL_SCHED_SETSCHEDULER ||
           kind == CALL_SCHED_SETATTR;
}

INLINE int judge_owner(enum call_kind wanted, enum call_kind other)
{
    struct call call;
    struct aim aim = {.kind = AIM_AT_ONE};
    if (!read_current_call(&call) || (call.kind != wanted && call.kind != other) ||
        !read_request(&call, &aim) || aim.kind != AIM_AT_ONE)
        return 0;
    aim.operation.target = task_of_id(aim.id);
    return judge(&aim.operation, true);
}

int judge_kill(uint64_t *arguments) SECTION("lsm/task_kill");
int judge_kill(uint64_t *arguments)
{
    return JUDGE(arguments[0], is_signal, true);
}

int judge_ptrace(uint64_t *arguments) SECTION("lsm/ptrace_access_check");
int judge_ptrace(uint64_t *arguments)
{
    int result = JUDGE(arguments[0], is_attach, true);
    return result != 0 ? result : JUDGE(arguments[0], is_look, false);
}

/* The hook has only credentials. */
int judge_limits(uint64_t *arguments) SECTION("lsm/task_prlimit");
int judge_limits(uint64_t *arguments)
{
    struct call call;
    struct aim aim = {.kind = AIM_AT_ONE};
    (void) arguments;
    if (!read_current_call(&call) || call.kind != CALL_PRLIMIT64 || !read_request(&call, &aim))
        return 0;
    aim.operation.target = task_of_id(aim.id);
    return judge(&aim.operation, true);
}

int judge_priority(uint64_t *arguments) SECTION("lsm/task_setnice");
int judge_priority(uint64_t *arguments)
{
    return JUDGE(arguments[0], is_priority, true);
}

int judge_disk_priority(uint64_t *arguments) SECTION("lsm/task_setioprio");
int judge_disk_priority(uint64_t *arguments)
{
    return JUDGE(arguments[0], is_priority, true);
}

int judge_scheduling(uint64_t *arguments) SECTION("lsm/task_setscheduler");
int judge_scheduling(uint64_t *arguments)
{
    return JUDGE(arguments[0], is_scheduling, true);
}

int judge_owner_by_fcntl(uint64_t *arguments) SECTION("lsm/file_fcntl");
int judge_owner_by_fcntl(uint64_t *arguments)
{
    (void) arguments;
    return judge_owner(CALL_FCNTL, CALL_FCNTL64);
}

int judge_owner_by_ioctl(uint64_t *arguments) SECTION("lsm/file_ioctl");
int judge_owner_by_ioctl(uint64_t *arguments)
{
    (void) arguments;
    return judge_owner(CALL_IOCTL, CALL_IOCTL);
}

/* A pidfd is a file that is opened, from Linux 6.9 on. */
int judge_open(uint64_t *arguments) SECTION("lsm/file_open");
int judge_open(uint64_t *arguments)
{
    struct file *file = (struct file *) arguments[0];
    unsigned long magic = magic_of(file);
    struct call call;
    struct aim aim = {.kind = AIM_AT_ONE};
    if (magic == MAGIC_PIDFS) {
        if (!read_current_call(&call) || call.kind != CALL_PIDFD_OPEN || !read_request(&call, &aim))
            return 0;
        aim.operation.target = task_of(pid_of_pidfd(file), ID_OF_THREAD);
    } else if (magic == MAGIC_PROC) {
        aim.operation.target = task_of(pid_of_memory_file(file), ID_OF_THREAD);
        aim.operation.system_call = (uint32_t) number_of_call(bpf_task_pt_regs(bpf_get_current_task_btf()));
        read_memory_request(file, &aim.operation);
    }
    return aim.operation.target ? judge(&aim.operation, true) : 0;
}

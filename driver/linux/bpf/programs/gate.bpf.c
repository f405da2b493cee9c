/* Holds starts, executions and ends of tasks until the controller's verdict. A program at the tracepoint
 * schedules work, and the task itself waits when it does that work: before its first instruction, before the
 * first one of a new image, or at its end. Whatever fails lets the task go on, and its record is told again as
 * one that nobody waits with.
 *
 * It loads from Linux 6.18 on; from 7.0 on as gate7.bpf.o. What is held follows from masks, as in
 * processes.bpf.c, whose programs come first at each tracepoint. */
#include "gate.h"
#include "task_records.h"

enum { SIGNAL_KILL = 9 };

struct work {
    struct bpf_task_work work;
    uint32_t stop; /* CBP_MACHINE_STOP_ */
    uint32_t reserved;
    union {
        struct cbp_machine_record record;
        struct cbp_machine_fork fork;
        struct cbp_machine_exec exec;
        struct cbp_machine_exit exit;
    };
};

struct work_key {
    uint32_t thread_id, stop;
};

struct {
    MAP_NUMBER(type, MAP_HASH);
    MAP_NUMBER(max_entries, 8192);
    MAP_TYPE(key, struct work_key);
    MAP_TYPE(value, struct work);
} works SECTION(".maps");

/* Tells once more of an operation that goes on without anybody having been asked. */
INLINE void release(struct cbp_machine_settings *set, struct work *work)
{
    work->record.flags &= (uint16_t) ~CBP_MACHINE_FLAG_HELD;
    work->record.flags |= CBP_MACHINE_FLAG_RELEASED;
    if (work->stop == CBP_MACHINE_STOP_START)
        TELL(set, work->fork, true);
    else if (work->stop == CBP_MACHINE_STOP_EXEC)
        TELL(set, work->exec, true);
    else
        TELL(set, work->exit, true);
}

/* The record of an end has left the entry of the process for the gate. */
INLINE void forget_process(const struct work *work)
{
    uint32_t process_id = work->record.process_id;
    if (work->record.type == CBP_MACHINE_EXIT && (work->record.flags & CBP_MACHINE_FLAG_LAST))
        bpf_map_delete_elem(&tasks, &process_id);
}

/* The held task runs this. */
static int wait(struct bpf_map *map, void *key, void *value)
{
    struct work *work = value;
    struct work_key id = {.thread_id = work->record.thread_id, .stop = work->stop};
    uint32_t zero = 0, state;
    bool was_read = false;
    struct cbp_machine_settings *set = bpf_map_lookup_elem(&settings, &zero);
    (void) map;
    (void) key;
    if (!set)
        return 0;
    if (work->stop == CBP_MACHINE_STOP_START)
        state = WAIT(set, &work->fork, CBP_MACHINE_STOP_START, &was_read);
    else if (work->stop == CBP_MACHINE_STOP_EXEC)
        state = WAIT(set, &work->exec, CBP_MACHINE_STOP_EXEC, &was_read);
    else
        state = WAIT(set, &work->exit, CBP_MACHINE_STOP_EXIT, &was_read);
    if (state == CBP_MACHINE_SLOT_REFUSED && work->stop != CBP_MACHINE_STOP_EXIT)
        bpf_send_signal(SIGNAL_KILL);
    if (state == CBP_MACHINE_SLOT_WAITING && !was_read)
        release(set, work);
    forget_process(work);
    bpf_map_delete_elem(&works, &id);
    return 0;
}

/* Lets the task wait later. The program's copies find the work in the table, and do nothing. */
INLINE void hold(struct cbp_machine_settings *set, struct task_struct *task, struct work *work)
{
    struct work_key id = {.thread_id = work->record.thread_id, .stop = work->stop};
    work->record.flags |= CBP_MACHINE_FLAG_HELD;
    long result = bpf_map_update_elem(&works, &id, work, UPDATE_NOEXIST);
    if (result == -17) /* EEXIST */
        return;
    struct work *kept = result == 0 ? bpf_map_lookup_elem(&works, &id) : NULL;
    if (kept && SCHEDULE_RESUME(task, &kept->work, &works, wait) == 0)
        return;
    __sync_fetch_and_add(&set->unanswered, 1);
    release(set, work);
    forget_process(work);
    bpf_map_delete_elem(&works, &id);
}

INLINE struct cbp_machine_task *entry_of(uint32_t process_id)
{
    return bpf_map_lookup_elem(&tasks, &process_id);
}

INLINE int start(struct task_struct *task, uint64_t clone_flags)
{
    struct cbp_machine_settings *set = settings_if_on();
    struct work work = {.stop = CBP_MACHINE_STOP_START};
    if (!set || !set->gate_process_id)
        return 0;
    uint32_t mask = mask_of(set, entry_of((uint32_t) task->tgid), task->self_exec_id);
    if (!is_start_held(set, task, (uint32_t) (bpf_get_current_pid_tgid() >> 32), mask))
        return 0;
    fill_fork(set, &work.fork, task, clone_flags);
    hold(set, task, &work);
    return 0;
}

/* Says whether tell_exec has found the execution to be decided. */
INLINE bool is_decided(struct task_struct *task, uint32_t old_thread_id)
{
    const struct cbp_machine_decided *found = decided_entry(old_thread_id);
    return found && found->taken_thread_id == old_thread_id && found->taken_stamp == stamp_of_exec(task);
}

INLINE int exec(struct task_struct *task, uint32_t old_thread_id)
{
    struct cbp_machine_settings *set = settings_if_on();
    struct work work = {.stop = CBP_MACHINE_STOP_EXEC};
    uint32_t process_id = (uint32_t) task->tgid;
    if (!set || !set->gate_process_id)
        return 0;
    uint32_t mask = mask_of(set, entry_of(process_id), task->self_exec_id);
    if (!is_exec_held(set, process_id, mask, false) || is_decided(task, old_thread_id))
        return 0;
    fill_record(&work.record, CBP_MACHINE_EXEC, sizeof work.exec, task);
    work.exec.record.flags |= CBP_MACHINE_FLAG_INCOMPLETE;
    work.exec.old_thread_id = old_thread_id;
    work.exec.execution_count = task->self_exec_id;
    hold(set, task, &work);
    return 0;
}

/* Says whether the task's record was the last one of its process. */
INLINE bool is_last(struct task_struct *task)
{
    struct claim key = {
        .kind = CLAIM_LAST, .thread_id = (uint32_t) task->tgid, .stamp = task->group_leader->start_boottime};
    /* Volatile: the compiler would make this load and that of nr_threads one, which the verifier does not take. */
    volatile uint32_t *claimer = bpf_map_lookup_elem(&claims, &key);
    if (claimer)
        return *claimer == (uint32_t) task->pid;
    return task->signal->live.counter == 0 && task->signal->nr_threads == 1;
}

INLINE int end(struct task_struct *task)
{
    struct cbp_machine_settings *set = settings_if_on();
    struct work work = {.stop = CBP_MACHINE_STOP_EXIT};
    if (!set || !set->gate_process_id)
        return 0;
    bool is_its_last = is_last(task);
    uint32_t mask = mask_of(set, entry_of((uint32_t) task->tgid), task->self_exec_id);
    if (!is_exit_held(set, task, mask, is_its_last))
        return 0;
    fill_exit(&work.exit, task, is_its_last);
    hold(set, task, &work);
    return 0;
}

#define PROGRAMS(suffix)                                                                                     \
    int hold_start##suffix(uint64_t *arguments) SECTION("tp_btf/task_newtask");                              \
    int hold_start##suffix(uint64_t *arguments)                                                              \
    {                                                                                                        \
        return start((struct task_struct *) arguments[0], arguments[1]);                                     \
    }                                                                                                        \
    int hold_exec##suffix(uint64_t *arguments) SECTION("tp_btf/sched_process_exec");                         \
    int hold_exec##suffix(uint64_t *arguments)                                                               \
    {                                                                                                        \
        return exec((struct task_struct *) arguments[0], (uint32_t) arguments[1]);                           \
    }                                                                                                        \
    int hold_exit##suffix(uint64_t *arguments) SECTION("tp_btf/sched_process_exit");                         \
    int hold_exit##suffix(uint64_t *arguments)                                                               \
    {                                                                                                        \
        return end((struct task_struct *) arguments[0]);                                                     \
    }

PROGRAMS()
PROGRAMS(_2)
PROGRAMS(_3)
PROGRAMS(_4)

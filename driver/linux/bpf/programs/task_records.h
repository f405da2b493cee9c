/* Makes the records of forks and ends, which the programs that tell and the gate make alike. Knows nothing of
 * what is done with them. */
#ifndef CBP_TASK_RECORDS_H
#define CBP_TASK_RECORDS_H

#include "maps.h"

/* Says whether the creator is a thread of the controller that is inside of a handler. */
INLINE bool is_worker(const struct cbp_machine_settings *set, uint32_t process_id, uint32_t thread_id)
{
    struct cbp_machine_task *thread = NULL;
    if (process_id == set->controller_process_id)
        thread = bpf_map_lookup_elem(&tasks, &thread_id);
    return thread && (thread->mask & CBP_MACHINE_MASK_FIRST_THREAD);
}

/* Fills the record of a new task. The current task is its creator. */
INLINE void fill_fork(const struct cbp_machine_settings *set, struct cbp_machine_fork *record,
                      struct task_struct *task, uint64_t clone_flags)
{
    uint64_t ids = bpf_get_current_pid_tgid();
    struct task_struct *creator = (struct task_struct *) bpf_get_current_task();
    struct task_struct *leader = READ(creator->group_leader);
    fill_record(&record->record, CBP_MACHINE_FORK, sizeof *record, task);
    record->creator_process_id = (uint32_t) (ids >> 32);
    record->creator_thread_id = (uint32_t) ids;
    record->creator_start_ns = READ(leader->start_boottime);
    record->clone_flags = clone_flags;
    if (is_worker(set, record->creator_process_id, record->creator_thread_id))
        record->record.flags |= CBP_MACHINE_FLAG_WORKER;
}

/* Gives what wait(2) says of the process, or of the thread, which is all that its leader needs to know. */
INLINE uint32_t exit_status_of(struct task_struct *task, bool is_last)
{
    struct signal_struct *signal = task->signal;
    if (!is_last)
        return (uint32_t) task->exit_code;
    return (uint32_t) (signal->flags & SIGNAL_FLAG_GROUP_EXIT ? signal->group_exit_code
                                                              : task->group_leader->exit_code);
}

INLINE void fill_exit(struct cbp_machine_exit *record, struct task_struct *task, bool is_last)
{
    fill_record(&record->record, CBP_MACHINE_EXIT, sizeof *record, task);
    record->exit_status = exit_status_of(task, is_last);
    record->reserved = 0;
    if (is_last)
        record->record.flags |= CBP_MACHINE_FLAG_LAST;
}

#endif

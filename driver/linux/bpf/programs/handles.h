/* Describes an operation on another process or thread, says by the masks of both sides whether it is told, and
 * what strip rules take. Knows nothing of system calls' arguments and of hooks. */
#ifndef CBP_HANDLES_H
#define CBP_HANDLES_H

#include "cbp_right_pairs.h"
#include "maps.h"
#include "targets.h"

struct operation {
    struct task_struct *target; /* to be read through READ() */
    uint32_t process_access, thread_access;
    uint32_t system_call;
    bool is_thread;      /* it is on one thread */
    bool becomes_thread; /* it is on one thread unless the target is a first thread */
    bool is_duplication; /* from the target to the caller */
};

enum { CREATOR_STEP_MAX = 16 };

/* The thread rights that go with rights to a process. */
INLINE uint32_t thread_rights_of(uint32_t process_rights)
{
    uint32_t rights = 0;
#define ADD_RIGHTS(of_process, of_thread)                                                                    \
    if (process_rights & (of_process))                                                                       \
        rights |= (of_thread);
    CBP_RIGHT_PAIR_LIST(ADD_RIGHTS)
#undef ADD_RIGHTS
    return rights;
}

/* Gives the rights that a signal asks for. False: the number is no signal. Source: docs/linux.md. */
INLINE bool ask_for_signal(struct operation *operation, uint64_t number)
{
    enum { CHLD = 17, CONT, STOP, TSTP, TTIN, TTOU, URG, WINCH = 28, SIGNAL_MAX = 64 };
    switch ((int) number) {
    case 0:
    case CHLD:
    case URG:
    case WINCH:
        operation->process_access = CBP_PROCESS_QUERY_LIMITED_INFORMATION;
        operation->thread_access = CBP_THREAD_QUERY_LIMITED_INFORMATION;
        return true;
    case CONT:
    case STOP:
    case TSTP:
    case TTIN:
    case TTOU:
        operation->process_access = CBP_PROCESS_SUSPEND_RESUME;
        operation->thread_access = CBP_THREAD_SUSPEND_RESUME;
        return true;
    default:
        operation->process_access = CBP_PROCESS_TERMINATE;
        operation->thread_access = CBP_THREAD_TERMINATE;
        return (int) number > 0 && (int) number <= SIGNAL_MAX;
    }
}

/* Both sides of an operation, as the table of processes has them. */
struct sides {
    struct cbp_machine_task *caller, *target;
    uint32_t process_id, target_id; /* of the two processes */
    uint32_t masks;                 /* of both together */
};

/* Says whether the operation can concern anybody. It does not if it is the process's own, or the caller is
 * exempt. Handlers' operations in the controller's workers are. */
INLINE bool look_at_sides(const struct cbp_machine_settings *set, const struct operation *operation,
                          struct sides *sides)
{
    uint64_t ids = bpf_get_current_pid_tgid();
    uint32_t thread_id = (uint32_t) ids;
    struct task_struct *task = current_task(), *target = operation->target;
    sides->process_id = (uint32_t) (ids >> 32);
    sides->target_id = (uint32_t) READ(target->tgid);
    if (sides->target_id == sides->process_id || sides->target_id == 0)
        return false;
    if (is_own(set, sides->process_id)) {
        struct cbp_machine_task *thread = bpf_map_lookup_elem(&tasks, &thread_id);
        if (!set->observes_own || sides->process_id != set->controller_process_id ||
            (thread && (thread->mask & CBP_MACHINE_MASK_FIRST_THREAD)))
            return false;
    }
    sides->caller = bpf_map_lookup_elem(&tasks, &sides->process_id);
    sides->target = bpf_map_lookup_elem(&tasks, &sides->target_id);
    if ((sides->caller ? sides->caller->mask : set->default_mask) & CBP_MACHINE_MASK_EXEMPT)
        return false;
    sides->masks = mask_of(set, sides->caller, READ(task->self_exec_id)) |
                   mask_of(set, sides->target, READ(target->self_exec_id));
    return true;
}

/* Fills the record and gives the event that it is. */
INLINE uint32_t fill_handle(struct cbp_machine_handle *record, const struct operation *operation,
                            const struct sides *sides)
{
    struct task_struct *task = current_task(), *target = operation->target;
    struct task_struct *leader = READ(task->group_leader), *parent = READ(task->real_parent);
    struct task_struct *target_leader = READ(target->group_leader);
    struct cred *cred = READ(task->cred);
    uint32_t target_thread_id = (uint32_t) READ(target->pid);
    bool is_thread =
        operation->is_thread || (operation->becomes_thread && target_thread_id != sides->target_id);
    *record = (struct cbp_machine_handle){.record = {.size = sizeof *record,
                                                     .type = CBP_MACHINE_HANDLE,
                                                     .process_id = sides->process_id,
                                                     .thread_id = (uint32_t) bpf_get_current_pid_tgid(),
                                                     .time_ns = bpf_ktime_get_ns(),
                                                     .start_ns = READ(leader->start_boottime),
                                                     .user_id = READ(cred->uid.val),
                                                     .parent_process_id = (uint32_t) READ(parent->tgid)},
                                          .target_process_id = sides->target_id,
                                          .target_thread_id = is_thread ? target_thread_id : 0,
                                          .target_start_ns = READ(target_leader->start_boottime),
                                          .access = is_thread ? operation->thread_access
                                                              : operation->process_access,
                                          .system_call = operation->system_call};
    if (operation->is_duplication)
        record->source_process_id = sides->target_id;
    return is_thread ? EVENT_THREAD_HANDLE : EVENT_PROCESS_HANDLE;
}

/* Says whether the process has created the target, directly or through others. */
INLINE bool is_creator(const struct sides *sides)
{
    struct cbp_machine_task *entry = sides->target;
    for (int step = 0; step < CREATOR_STEP_MAX && entry; step++) {
        uint32_t creator_id = entry->creator_process_id;
        uint64_t start_ns = entry->creator_start_ns;
        entry = start_ns != 0 ? bpf_map_lookup_elem(&tasks, &creator_id) : NULL;
        if (!entry || entry->start_ns != start_ns)
            return false;
        if (creator_id == sides->process_id)
            return true;
    }
    return false;
}

/* Gives those of the rights that strip rules take. A protected process keeps its rights to what it has created. */
INLINE uint32_t lost_access(const struct cbp_machine_handle *record, const struct sides *sides)
{
    uint32_t stripped = sides->target ? sides->target->strip_access : 0;
    bool is_thread = record->target_thread_id != 0;
    uint32_t kept = sides->caller ? sides->caller->strip_access : 0;
    if (stripped == 0 || !(record->access & (is_thread ? thread_rights_of(stripped) : stripped)))
        return 0;
    if (kept != 0 && is_creator(sides))
        stripped &= ~kept;
    return record->access & (is_thread ? thread_rights_of(stripped) : stripped);
}

#endif

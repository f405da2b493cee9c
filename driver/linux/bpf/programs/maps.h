/* Declares the maps that all objects share, and what the masks of a task mean. processes.bpf.o's maps are the
 * ones that exist; the guard gives them to the other objects. Knows nothing of what happens in the system. */
#ifndef CBP_MAPS_H
#define CBP_MAPS_H

#include "kernel.h"

#include "cbp_machine.h"

#define EVENT_PROCESS_CREATION 0x01u
#define EVENT_PROCESS_TERMINATION 0x02u
#define EVENT_PROCESS_HANDLE 0x04u
#define EVENT_THREAD_CREATION 0x08u
#define EVENT_THREAD_TERMINATION 0x10u
#define EVENT_THREAD_HANDLE 0x20u

/* Sizes are those of a small machine. The guard may choose others before it loads the object. */
struct {
    MAP_NUMBER(type, MAP_RINGBUF);
    MAP_NUMBER(max_entries, 16 * 1024 * 1024);
} records SECTION(".maps");

struct {
    MAP_NUMBER(type, MAP_HASH);
    MAP_NUMBER(max_entries, 65536);
    MAP_TYPE(key, uint32_t);
    MAP_TYPE(value, struct cbp_machine_task);
} tasks SECTION(".maps");

struct {
    MAP_NUMBER(type, MAP_ARRAY);
    MAP_NUMBER(map_flags, MAP_FLAG_MMAPABLE);
    MAP_NUMBER(max_entries, CBP_MACHINE_DECIDED_COUNT);
    MAP_TYPE(key, uint32_t);
    MAP_TYPE(value, struct cbp_machine_decided);
} decided SECTION(".maps");

struct {
    MAP_NUMBER(type, MAP_ARRAY);
    MAP_NUMBER(map_flags, MAP_FLAG_MMAPABLE);
    MAP_NUMBER(max_entries, 1);
    MAP_TYPE(key, uint32_t);
    MAP_TYPE(value, struct cbp_machine_settings);
} settings SECTION(".maps");

struct {
    MAP_NUMBER(type, MAP_ARRAY);
    MAP_NUMBER(map_flags, MAP_FLAG_MMAPABLE);
    MAP_NUMBER(max_entries, CBP_MACHINE_SLOT_COUNT);
    MAP_TYPE(key, uint32_t);
    MAP_TYPE(value, struct cbp_machine_slot);
} slots SECTION(".maps");

/* What happens once is told once: by the program that is first to make the entry. */
struct claim {
    uint32_t kind; /* CBP_MACHINE_ record type, or CLAIM_ */
    uint32_t thread_id;
    uint64_t stamp;
};

enum { CLAIM_LAST = 16, CLAIM_MARK };

struct {
    MAP_NUMBER(type, MAP_LRU_HASH);
    MAP_NUMBER(max_entries, 16384);
    MAP_TYPE(key, struct claim);
    MAP_TYPE(value, uint32_t);
} claims SECTION(".maps");

/* Gives the settings; NULL while programs have to do nothing. */
INLINE struct cbp_machine_settings *settings_if_on(void)
{
    uint32_t key = 0;
    struct cbp_machine_settings *found = bpf_map_lookup_elem(&settings, &key);
    return found && found->is_on ? found : NULL;
}

/* Says whether the caller is the first to come with this. value is what later ones can look up. */
INLINE bool claim(uint32_t kind, uint32_t thread_id, uint64_t stamp, uint32_t value)
{
    struct claim key = {.kind = kind, .thread_id = thread_id, .stamp = stamp};
    return bpf_map_update_elem(&claims, &key, &value, UPDATE_NOEXIST) == 0;
}

/* Says whether a copy of the program has told this already. Where programs have no copies, none has: a kernel
 * with preemptible tracepoints skips a program while the same program is interrupted on that processor. */
INLINE bool is_told(const struct cbp_machine_settings *set, uint32_t kind, uint32_t thread_id, uint64_t stamp)
{
    return set->has_copies && !claim(kind, thread_id, stamp, 0);
}

/* Gives the stamp of an execution. An id of a task alone comes again. */
INLINE uint64_t stamp_of_exec(struct task_struct *task)
{
    return task->start_boottime + task->self_exec_id;
}

INLINE struct cbp_machine_decided *decided_entry(uint32_t thread_id)
{
    uint32_t place = thread_id % CBP_MACHINE_DECIDED_COUNT;
    return bpf_map_lookup_elem(&decided, &place);
}

INLINE bool is_unknown(const struct cbp_machine_task *entry, uint64_t execution_count)
{
    return (entry->mask & CBP_MACHINE_MASK_NAMES) && entry->execution_count != execution_count;
}

/* Gives the mask of a process whose entry (NULL: none) and current image are these. 0: it is exempt. */
INLINE uint32_t mask_of(const struct cbp_machine_settings *set, const struct cbp_machine_task *entry,
                        uint64_t execution_count)
{
    uint32_t mask = entry ? entry->mask : set->default_mask;
    if (mask & CBP_MACHINE_MASK_EXEMPT)
        return 0;
    if (entry && is_unknown(entry, execution_count))
        mask |= CBP_MACHINE_MASK_UNKNOWN | set->unknown_mask;
    return mask;
}

/* Says whether the process is one of those that are never held. */
INLINE bool is_own(const struct cbp_machine_settings *set, uint32_t process_id)
{
    return process_id == set->controller_process_id || process_id == set->guard_process_id ||
           process_id == set->gate_process_id;
}

/* Says whether the gate holds an operation with these EVENT_ bits. gate_process_id is 0 while it is shut. */
INLINE bool holds(const struct cbp_machine_settings *set, uint32_t mask, uint32_t events)
{
    return set->gate_process_id && (mask >> CBP_MACHINE_MASK_HOLD_SHIFT & events);
}

/* Says whether anybody is told of what the process does itself. */
INLINE bool is_told_of(const struct cbp_machine_settings *set, uint32_t process_id)
{
    return set->observes_own || !is_own(set, process_id);
}

/* The kernel's own threads are told, so that every task is known, but no handler hears of them. */
INLINE bool is_of_kernel(struct task_struct *task)
{
    return task->flags & TASK_IS_KERNEL_THREAD;
}

/* ---- Stops of the gate. The record of a stop and the gate's own program ask these separately. ---- */

/* Helpers of the kernel inside of a process never come to a place where they can wait. */
INLINE bool can_wait(struct task_struct *task)
{
    return !(task->flags & (TASK_IS_KERNEL_THREAD | TASK_IS_IO_WORKER | TASK_IS_USER_WORKER));
}

INLINE bool is_start_held(const struct cbp_machine_settings *set, struct task_struct *task,
                          uint32_t creator_id, uint32_t mask)
{
    return holds(set, mask, EVENT_THREAD_CREATION) && !is_own(set, creator_id) && can_wait(task);
}

INLINE bool is_exec_held(const struct cbp_machine_settings *set, uint32_t process_id, uint32_t mask,
                         bool is_decided)
{
    return holds(set, mask, EVENT_PROCESS_CREATION) && !is_own(set, process_id) && !is_decided;
}

INLINE bool is_exit_held(const struct cbp_machine_settings *set, struct task_struct *task, uint32_t mask,
                         bool is_last)
{
    return holds(set, mask, EVENT_THREAD_TERMINATION | (is_last ? EVENT_PROCESS_TERMINATION : 0)) &&
           !is_own(set, (uint32_t) task->tgid) && can_wait(task);
}

/* ---- Records ---- */

INLINE void count_loss(struct cbp_machine_settings *set, uint32_t type)
{
    if (type < sizeof set->lost / sizeof set->lost[0])
        __sync_fetch_and_add(&set->lost[type], 1);
}

/* Gives the flags with which a record is submitted, for which room has been reserved. The controller sleeps
 * unless the record is wanted, or so much is unread that it has to hurry. */
INLINE uint64_t wake_flags(struct cbp_machine_settings *set, bool is_wanted)
{
    if (*(volatile uint32_t *) &set->is_dozing)
        return RING_NO_WAKEUP;
    if (!is_wanted &&
        bpf_ringbuf_query(&records, RING_UNREAD_SIZE) <= bpf_ringbuf_query(&records, RING_SIZE) / 4)
        return RING_NO_WAKEUP;
    __sync_fetch_and_add(&set->waked, 1);
    return RING_FORCE_WAKEUP;
}

/* Tells a record whose size the compiler knows. */
#define TELL(set, told, is_wanted)                                                                           \
    do {                                                                                                     \
        typeof(told) *room_ = bpf_ringbuf_reserve(&records, sizeof *room_, 0);                               \
        if (room_) {                                                                                         \
            *room_ = (told);                                                                                 \
            bpf_ringbuf_submit(room_, wake_flags(set, is_wanted));                                           \
        } else {                                                                                             \
            count_loss(set, (told).record.type);                                                             \
        }                                                                                                    \
    } while (0)

/* Tells a record of another size, which cannot look whether the controller sleeps between its own room and its
 * end. So an empty one behind it does the waking. */
INLINE void tell_text(struct cbp_machine_settings *set, struct cbp_machine_record *record, uint64_t size,
                      bool is_wanted)
{
    if (bpf_ringbuf_output(&records, record, size, RING_NO_WAKEUP) != 0) {
        count_loss(set, record->type);
        return;
    }
    uint64_t flags = wake_flags(set, is_wanted);
    if (flags == RING_NO_WAKEUP)
        return;
    uint64_t *knock = bpf_ringbuf_reserve(&records, sizeof *knock, 0);
    if (knock)
        bpf_ringbuf_discard(knock, flags);
}

/* Fills the beginning of a record about a task. */
INLINE void fill_record(struct cbp_machine_record *record, uint32_t type, uint32_t size,
                        struct task_struct *task)
{
    record->size = size;
    record->type = (uint16_t) type;
    record->flags = 0;
    record->process_id = (uint32_t) task->tgid;
    record->thread_id = (uint32_t) task->pid;
    record->time_ns = bpf_ktime_get_ns();
    record->start_ns = task->group_leader->start_boottime;
    record->user_id = task->cred->uid.val;
    record->parent_process_id = (uint32_t) task->real_parent->tgid;
}

#endif

/* Lets the current task wait for the controller's verdict: it takes a slot, fills it, and reads the slot's page
 * of the gate, which the controller answers. For programs that may sleep, from Linux 6.18 on. Knows nothing of
 * what waits and why. */
#ifndef CBP_GATE_H
#define CBP_GATE_H

#include "maps.h"

/* The kernel finds this structure in the values of a map by its name. */
struct bpf_task_work {
    uint64_t opaque;
} __attribute__((aligned(8)));

struct bpf_map {
    uint32_t id;
};

typedef int (*task_work_callback)(struct bpf_map *map, void *key, void *value);

extern struct task_struct *bpf_task_from_pid(int pid) KERNEL_FUNCTION;
extern void bpf_task_release(struct task_struct *task) KERNEL_FUNCTION;

/* RESUME lets a task do the work before it goes back to user mode, or ends. SIGNAL interrupts its call, too. */
#ifdef CBP_KERNEL_7
extern int bpf_task_work_schedule_resume(struct task_struct *task, struct bpf_task_work *work, void *map,
                                         task_work_callback callback) KERNEL_FUNCTION;
extern int bpf_task_work_schedule_signal(struct task_struct *task, struct bpf_task_work *work, void *map,
                                         task_work_callback callback) KERNEL_FUNCTION;
#define SCHEDULE_RESUME(...) bpf_task_work_schedule_resume(__VA_ARGS__)
#define SCHEDULE_SIGNAL(...) bpf_task_work_schedule_signal(__VA_ARGS__)
#else
extern int bpf_task_work_schedule_resume_impl(struct task_struct *task, struct bpf_task_work *work, void *map,
                                              task_work_callback callback, void *unused) KERNEL_FUNCTION;
extern int bpf_task_work_schedule_signal_impl(struct task_struct *task, struct bpf_task_work *work, void *map,
                                              task_work_callback callback, void *unused) KERNEL_FUNCTION;
#define SCHEDULE_RESUME(...) bpf_task_work_schedule_resume_impl(__VA_ARGS__, NULL)
#define SCHEDULE_SIGNAL(...) bpf_task_work_schedule_signal_impl(__VA_ARGS__, NULL)
#endif

#define STATE_MASK 0xffull
#define GENERATION_STEP 0x100ull

struct slot_search {
    uint32_t start, index;
    bool is_over;
};

/* Tries to take one slot, and ends the search with 1. */
static long try_slot(uint32_t i, struct slot_search *search)
{
    uint32_t place = (search->start + i) % CBP_MACHINE_SLOT_COUNT;
    struct cbp_machine_slot *slot = bpf_map_lookup_elem(&slots, &place);
    if (!slot)
        return 1;
    uint64_t state = *(volatile uint64_t *) &slot->state;
    uint64_t filling = ((state & ~STATE_MASK) + GENERATION_STEP) | CBP_MACHINE_SLOT_FILLING;
    search->index = place;
    search->is_over = (state & STATE_MASK) == CBP_MACHINE_SLOT_FREE &&
                      __sync_val_compare_and_swap(&slot->state, state, filling) == state;
    return search->is_over;
}

/* Gives a slot that nobody else has; NULL: all are taken. *index is its number. */
INLINE struct cbp_machine_slot *take_slot(uint32_t start, uint32_t *index)
{
    struct slot_search search = {.start = start};
    bpf_loop(CBP_MACHINE_SLOT_COUNT, try_slot, &search, 0);
    if (!search.is_over)
        return NULL;
    *index = search.index;
    return bpf_map_lookup_elem(&slots, index);
}

/* Reads the page of the slot in the process that has the gate mapped. It ends with an error in any case: with
 * the one that the controller gives, or because the task is killed or the gate is gone. */
INLINE void read_page(const struct cbp_machine_settings *set, uint32_t index)
{
    struct task_struct *gate = bpf_task_from_pid((int) set->gate_process_id);
    uint64_t ignored;
    if (!gate)
        return;
    bpf_copy_from_user_task(&ignored, sizeof ignored,
                            (void *) (set->gate_address + (uint64_t) index * CBP_MACHINE_SLOT_SIZE), gate, 0);
    bpf_task_release(gate);
}

/* Waits with a record of that size, which the slot then has. Gives the state that the slot got, without its
 * generation: WAITING if nobody has answered. *was_read says whether the controller knows of the stop. */
#define WAIT(set, told, its_stop, was_read)                                                                  \
    ({                                                                                                       \
        uint32_t index_, state_ = CBP_MACHINE_SLOT_WAITING;                                                  \
        struct cbp_machine_slot *slot_ = take_slot((told)->record.thread_id, &index_);                       \
        *(was_read) = false;                                                                                 \
        if (slot_) {                                                                                         \
            _Static_assert(sizeof *(told) <= sizeof slot_->body, "a record has to fit");                     \
            slot_->entered_ns = bpf_ktime_get_ns();                                                          \
            slot_->request_id = 0;                                                                           \
            slot_->deadline_ns = ~0ull;                                                                      \
            slot_->stop = (its_stop);                                                                        \
            slot_->timeout_refuses = 0;                                                                      \
            *(typeof(told)) (void *) slot_->body = *(told);                                                  \
            state_ = wait_in(set, slot_, index_, was_read);                                                  \
        } else {                                                                                             \
            __sync_fetch_and_add(&(set)->gate_full, 1);                                                      \
        }                                                                                                    \
        state_;                                                                                              \
    })

INLINE uint32_t wait_in(struct cbp_machine_settings *set, struct cbp_machine_slot *slot, uint32_t index,
                        bool *was_read)
{
    uint64_t generation = slot->state & ~STATE_MASK;
    __sync_lock_test_and_set(&slot->state, generation | CBP_MACHINE_SLOT_WAITING);
    read_page(set, index);
    *was_read = *(volatile uint64_t *) &slot->request_id != 0;
    uint64_t state = __sync_lock_test_and_set(&slot->state, generation | CBP_MACHINE_SLOT_FREE) & STATE_MASK;
    if (state == CBP_MACHINE_SLOT_WAITING)
        __sync_fetch_and_add(&set->unanswered, 1);
    return (uint32_t) state;
}

#endif

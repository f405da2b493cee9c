/* Finds the last task of a process that comes to its end, so that the end of the process is told behind the ends of all
 * its threads. Knows nothing of records.
 *
 * When no task of a process is alive any more, several may still be on their way to the tracepoint. Each leaves a mark
 * when it comes, and looks for those of the others only then. Marks are made and looked for under the lock of their
 * place in the table. So of two tasks at least one finds the other's mark, and the last one finds all of them. */
#ifndef CBP_LAST_H
#define CBP_LAST_H

#include "maps.h"

/* A task that has left its mark tells its record before another task runs on its processor: others wait for it. Before
 * 7.0 that is so at each tracepoint. */
#ifdef CBP_KERNEL_7
extern void bpf_preempt_disable(void) KERNEL_FUNCTION;
extern void bpf_preempt_enable(void) KERNEL_FUNCTION;
#define KEEP_PROCESSOR() bpf_preempt_disable()
#define LEAVE_PROCESSOR() bpf_preempt_enable()
#else
#define KEEP_PROCESSOR() ((void) 0)
#define LEAVE_PROCESSOR() ((void) 0)
#endif

/* Steps from task to task. Of a process with more tasks that have not been waited for, one that has come last as far as
 * they reach is believed to be the last one. */
#ifdef CBP_KERNEL_5_17
enum { STEP_MAX = 1024 };
#else
enum { STEP_MAX = 256 };
#endif

enum mark {
    NOT_COME, /* somebody else has looked for it */
    COME,
    TOLD /* its record has its place in the ring */
};

struct others {
    uint64_t own, node, head; /* addresses in the kernel */
    bool is_patient, is_one_missing;
};

INLINE struct claim key_of_mark(uint32_t thread_id, uint64_t stamp)
{
    return (struct claim){.kind = CLAIM_MARK, .thread_id = thread_id, .stamp = stamp};
}

INLINE void leave_mark(struct task_struct *task)
{
    struct claim key = key_of_mark((uint32_t) task->pid, stamp_of_exec(task));
    uint32_t mark = COME;
    bpf_map_update_elem(&claims, &key, &mark, UPDATE_ANY);
}

INLINE void mark_as_told(struct task_struct *task)
{
    struct claim key = key_of_mark((uint32_t) task->pid, stamp_of_exec(task));
    uint32_t *mark = bpf_map_lookup_elem(&claims, &key);
    if (mark)
        *(volatile uint32_t *) mark = TOLD;
}

/* Says whether the task has left the tracepoint behind, whenever that was: it gives up its files soon afterwards. The
 * workers that drivers have in a process never have any. */
INLINE bool has_passed(struct task_struct *task)
{
    bool is_worker = READ(task->flags) & TASK_IS_USER_WORKER;
    return (!is_worker && !READ(task->files)) || READ(task->exit_state) != 0;
}

INLINE uint32_t mark_of(struct task_struct *task)
{
    struct claim key =
        key_of_mark((uint32_t) READ(task->pid), READ(task->start_boottime) + READ(task->self_exec_id));
    uint32_t none = NOT_COME;
    if (has_passed(task))
        return TOLD;
    bpf_map_update_elem(&claims, &key, &none, UPDATE_NOEXIST);
    uint32_t *found = bpf_map_lookup_elem(&claims, &key);
    return found ? *(volatile uint32_t *) found : NOT_COME;
}

/* Goes on to the next task. Gives 1 behind the last one, and at one that has not come. */
static long look_at_other(uint32_t step, struct others *others)
{
    struct task_struct *task = NULL;
    task = (struct task_struct *) (others->node - __builtin_preserve_field_info(task->thread_node, 0));
    (void) step;
    if (others->node == others->head)
        return 1;
    uint32_t mark = others->node == others->own ? TOLD : mark_of(task);
    if (mark == NOT_COME) {
        others->is_one_missing = true;
        return 1;
    }
    if (mark == TOLD || !others->is_patient)
        others->node = (uint64_t) READ(task->thread_node.next);
    return 0;
}

/* Says whether all other tasks of the process have come. is_patient: it also waits until they have told, as long as a
 * processor needs that has been interrupted on the way, and no longer. */
INLINE bool have_others_come(struct task_struct *task, bool is_patient)
{
    struct list_head *head = &task->signal->thread_head;
    struct others others = {.own = (uint64_t) &task->thread_node,
                            .head = (uint64_t) head,
                            .node = (uint64_t) READ(head->next),
                            .is_patient = is_patient};
    REPEAT(STEP_MAX, look_at_other, &others);
    return !others.is_one_missing;
}

INLINE bool is_one_of_many(struct task_struct *task)
{
    return task->signal->nr_threads != 1;
}

/* Says whether the task, which has left its mark if it is one of many, is the last of its process. */
INLINE bool is_last_of_process(struct task_struct *task, bool is_marked)
{
    struct claim key = {
        .kind = CLAIM_LAST, .thread_id = (uint32_t) task->tgid, .stamp = task->group_leader->start_boottime};
    if (task->signal->live.counter != 0)
        return false;
    if (!is_marked)
        return !bpf_map_lookup_elem(&claims, &key);
    if (!have_others_come(task, false) || !claim(key.kind, key.thread_id, key.stamp, (uint32_t) task->pid))
        return false;
    have_others_come(task, true);
    return true;
}

#endif

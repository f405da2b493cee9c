/* A driver's own records - struct process, struct task, struct operation - for those of the helper and the
 * policy that they begin with. Their definitions are the driver's; none is needed here. */
#ifndef CBPD_RECORDS_H
#define CBPD_RECORDS_H

#include "helper.h"

struct process;
struct task;
struct operation;

static inline struct process *process_of(const struct cbpd_process *base)
{
    return (struct process *) (uintptr_t) base;
}

static inline struct process *creator_of(const struct process *process)
{
    return process_of(((const struct cbpd_process *) (const void *) process)->parent);
}

static inline struct process *next_process(const struct process *process)
{
    return process_of(((const struct cbpd_process *) (const void *) process)->next);
}

static inline struct task *task_of(const struct cbpd_task *base)
{
    return (struct task *) (uintptr_t) base;
}

static inline struct task *next_task(const struct task *task)
{
    return task_of(((const struct cbpd_task *) (const void *) task)->next);
}

static inline struct process *find_process(const struct cbpd_helper *helper, uint32_t pid) /* that lives */
{
    return process_of(cbpd_find_process(&helper->policy, pid));
}

static inline struct process *first_process(const struct cbpd_helper *helper)
{
    return process_of(helper->policy.processes);
}

static inline const struct cbp_stance *stances_of(struct cbpd_helper *helper, struct process *process)
{
    return cbpd_stances_of(&helper->policy, (struct cbpd_process *) (void *) process);
}

static inline struct task *find_task(const struct cbpd_helper *helper, uint32_t tid)
{
    return task_of(cbpd_find_task(helper, tid));
}

static inline struct task *first_task(const struct cbpd_helper *helper)
{
    return task_of(helper->tasks);
}

static inline struct operation *operation_of(struct cbpd_held *held)
{
    return (struct operation *) (void *) held;
}

/* Posts a report, of which an operation may become that is held: see cbpd_post(). */
static inline void post(struct cbpd_helper *helper, const struct cbpd_report *report,
                        struct operation **operation, struct cbpd_refusal *refusal, uint64_t *sequences)
{
    struct cbpd_held *held = (struct cbpd_held *) (void *) *operation;
    cbpd_post(helper, report, &held, refusal, sequences);
    *operation = operation_of(held);
}

#endif

/* Casts records of the helper and the policy to the driver's own - struct process, struct task, struct
 * operation - which begin with them. Needs no definition of the driver's records. */
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

/* Finds a living process. */
static inline struct process *find_process(const struct cbpd_helper *helper, uint32_t pid)
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

/* Calls cbpd_post() with the driver's record of a held operation. */
static inline void post(struct cbpd_helper *helper, const struct cbpd_report *report,
                        struct operation **operation, struct cbpd_refusal *refusal, uint64_t *sequences)
{
    struct cbpd_held *held = (struct cbpd_held *) (void *) *operation;
    cbpd_post(helper, report, &held, refusal, sequences);
    *operation = operation_of(held);
}

#endif

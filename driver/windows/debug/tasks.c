/* Tasks and processes that come and go. Knows nothing of events or sessions. */
#include "debugger.h"

struct task *add_task(uint32_t tid, struct process *process)
{
    struct task *task = task_of(cbpd_make_task(&self.helper, tid));
    if (task == NULL)
        return NULL;
    task->process = process;
    process->base.reference_count++;
    return task;
}

void remove_task(struct task *task)
{
    if (task->operation != NULL)
        cbpd_cancel_operation(&task->operation->held);
    cbpd_release_process(&self.helper.policy, &task->process->base);
    cbpd_free_task(&self.helper, &task->base);
}

struct process *begin_process(uint32_t pid, struct process *parent)
{
    struct cbpd_policy *policy = &self.helper.policy;
    struct process *process =
        process_of(cbpd_add_process(policy, pid, parent != NULL ? &parent->base : NULL));
    if (process == NULL)
        return NULL;
    process->base.reference_count = 1;
    process->base.executed = true;
    return process;
}

void forget_process(struct process *process)
{
    if (process->launch != NULL)
        end_launch(process->launch, CBP_ERROR_BROKEN_PIPE, 0);
    cbpd_end_process(&self.helper.policy, &process->base);
    if (process->handle != NULL)
        CloseHandle(process->handle);
    process->handle = NULL;
    for (struct task *task = first_task(), *next; task != NULL; task = next) {
        next = next_task(task);
        if (task->process == process)
            remove_task(task);
    }
    cbpd_release_process(&self.helper.policy, &process->base);
}

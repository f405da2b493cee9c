/* Tasks and processes that come and go. Knows nothing of events or sessions. */
#include "supervisor.h"

struct task *add_task(uint32_t tid, struct process *process)
{
    struct task *task = make_task(tid);
    if (task == NULL)
        return NULL;
    task->process = process;
    process->reference_count++;
    return task;
}

void remove_task(struct task *task)
{
    if (task->operation != NULL)
        cancel_operation(task->operation);
    release_process(task->process);
    free_task(task);
}

struct process *begin_process(uint32_t pid, struct process *parent)
{
    struct process *process = add_process(pid, parent);
    if (process == NULL)
        return NULL;
    process->reference_count = 1;
    process->executed = true;
    return process;
}

void forget_process(struct process *process)
{
    if (process->launch != NULL)
        end_launch(process->launch, CBP_ERROR_BROKEN_PIPE, 0);
    end_process(process);
    if (process->handle != NULL)
        CloseHandle(process->handle);
    process->handle = NULL;
    for (struct task *task = self.tasks, *next; task != NULL; task = next) {
        next = task->next;
        if (task->process == process)
            remove_task(task);
    }
    release_process(process);
}

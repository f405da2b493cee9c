/* Adds and removes tasks, and connects them with their processes. Knows no stops and no sessions. */
#include "cbp_atomic.h"
#include "look.h"
#include "tracer.h"

struct task *cbpd_add_task(struct tracer *self, uint32_t tid)
{
    struct task *task = task_of(cbpd_make_task(&self->helper, tid));
    if (task)
        self->unowned_count++;
    return task;
}

/* Gives a task to a process; before, it had none. */
void cbpd_task_joins(struct tracer *self, struct task *task, struct process *process)
{
    task->process = process;
    process->base.reference_count++;
    process->thread_count++;
    self->unowned_count--;
    self->let_go_count += process->base.standing.is_let_go;
    self->filtered_count += process->filter_parts != 0;
}

void cbpd_remove_task(struct tracer *self, struct task *task)
{
    cbpd_drop_look(task);
    cbpd_release_approval(self, &task->approval);
    cbpd_unpark(task);
    struct process *process = task->process;
    if (process) {
        self->let_go_count -= process->base.standing.is_let_go;
        self->filtered_count -= process->filter_parts != 0;
        cbpd_release_process(&self->helper.policy, &process->base);
    } else {
        self->unowned_count--;
    }
    cbpd_free_task(&self->helper, &task->base);
}

void cbpd_forget_empty_process(struct tracer *self, struct process *process)
{
    process->base.reference_count = 1;
    cbpd_release_process(&self->helper.policy, &process->base);
}

void cbpd_process_ends(struct tracer *self, struct process *process)
{
    if (!process->base.ended)
        cbpd_leave_legacy(self, process);
    cbpd_end_process(&self->helper.policy, &process->base);
}

uint32_t cbpd_capabilities_of(const struct cbpd_process *base)
{
    const struct process *process = process_of(base);
    const uint32_t everybody = CBP_PTRACE_CAPABILITIES &
                               ~(uint32_t) (CBP_PTRACE_FILTER_CAPABILITIES | CBP_CAP_KILL_PROCESS_CREATION);
    uint32_t parts = process->filter_parts;
    return everybody | (parts & CBP_LAUNCH_FLAG_HANDLES ? (uint32_t) CBP_PTRACE_HANDLE_CAPABILITIES : 0) |
           (parts & CBP_LAUNCH_FLAG_EXECUTIONS ? (uint32_t) CBP_CAP_REFUSE_PROCESS_CREATION
                                               : (uint32_t) CBP_CAP_KILL_PROCESS_CREATION);
}

void cbpd_publish_counts(struct tracer *self, const struct task *leaving)
{
    uint32_t count = self->helper.task_count - self->let_go_count;
    if (leaving && (!leaving->process || !leaving->process->base.standing.is_let_go))
        count--;
    cbp_store_relaxed_u32(&self->helper.channel->supervised_count, count);
    if (count > 0)
        cbp_store_relaxed_u32(&self->helper.channel->supervised_ever, 1);
}

void cbpd_release_approval(struct tracer *self, struct approval *approval)
{
    cbpd_release_image(&self->helper.policy, approval->image);
    approval->image = NULL;
    approval->valid = false;
}

void cbpd_drop_operation(struct task *task)
{
    cbpd_unpark(task);
    cbpd_drop_look(task);
    if (cbpd_drop_held(&task->base) && task->process)
        task->process->has_dropped = true;
}

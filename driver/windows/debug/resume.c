/* Carries out dispositions: only here an event is continued, a process ended or let go. Knows no events. */
#include "debugger.h"

static void detach(struct debugger *self, struct process *process)
{
    cbpd_stop_debugging(process->base.pid);
    cbpd_forget_process(self, process);
}

/* Handles a process that has ended by itself. */
static void end_of(struct debugger *self, struct process *process)
{
    cbpd_remember_ended(self, process);
    cbpd_forget_process(self, process);
}

/* A process stands still with all its threads until its event is continued. */
void cbpd_carry_out(struct debugger *self, uint32_t pid, uint32_t tid, struct disposition disposition)
{
    struct process *process = find_process(&self->helper, pid);
    if (disposition.victim)
        cbpd_end_by_force(disposition.victim, cbpd_refusal_status(disposition.refusal));
    if (disposition.launch)
        cbpd_end_launch(disposition.launch, 0, disposition.refusal);
    if (process)
        process->is_held = disposition.what == DISPOSE_HOLD;
    if (disposition.what == DISPOSE_LET_GO)
        cbpd_stop_debugging(pid);
    if (disposition.what == DISPOSE_HOLD || disposition.what == DISPOSE_LET_GO)
        return;
    cbpd_resume_event(pid, tid, disposition.how);
    if (!process)
        return;
    if (disposition.what == DISPOSE_END_PROCESS) {
        end_of(self, process);
        return;
    }
    struct task *task = find_task(&self->helper, tid);
    if (disposition.what == DISPOSE_END_THREAD && task && task->process == process)
        cbpd_remove_task(self, task);
    if (!self->helper.leaving && cbpd_is_released(&self->helper.policy, &process->base))
        detach(self, process);
}

static void let_go(struct debugger *self, struct process *process)
{
    const struct task *task = cbpd_task_in(self, process);
    if (process->is_held && task)
        cbpd_resume_event(process->base.pid, task->base.tid, DBG_CONTINUE);
    detach(self, process);
}

void cbpd_let_released_go(struct cbpd_helper *helper)
{
    struct debugger *self = debugger_of(helper);
    for (struct process *process = first_process(&self->helper), *next; process; process = next) {
        next = next_process(process);
        if (!process->is_held && cbpd_is_released(&self->helper.policy, &process->base))
            detach(self, process);
    }
}

void cbpd_let_everything_go(struct debugger *self)
{
    while (first_process(&self->helper))
        let_go(self, first_process(&self->helper));
}

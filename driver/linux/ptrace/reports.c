/* Begins reports on tasks and tells of creations that were not told before. Knows no stops. */
#include <string.h>

#include "tracer.h"

void cbpd_start_report(struct tracer *self, struct cbpd_report *report, struct task *task)
{
    memset(report, 0, sizeof *report);
    report->thread_id = task->base.tid;
    report->process = &task->process->base;
    report->capabilities = cbpd_capabilities_of(&task->process->base);
    report->image = task->process->base.image;
    report->originator_pid = task->creator_pid;
    report->originator_tid = task->creator_tid;
    report->user_id = task->process->user_id;
    report->request.subject = stances_of(&self->helper, task->process);
    /* The creator of a process counts after its end, too. */
    struct process *process = task->process;
    struct process *creator = task->creator_pid == process->base.pid ? process : creator_of(process);
    report->request.originator = creator ? stances_of(&self->helper, creator) : NULL;
}

void cbpd_add_first_thread(struct cbpd_report *report, struct task *task)
{
    if (task->first_unreported)
        cbpd_add_item(report, CBP_PROC_EVT_THREAD_CREATION, 0);
    task->first_unreported = false;
}

void cbpd_introduce(struct tracer *self, struct task *task)
{
    struct cbpd_report report;
    if (!task->first_unreported || task->process->is_launcher)
        return;
    cbpd_start_report(self, &report, task);
    cbpd_add_first_thread(&report, task);
    cbpd_tell_past(&self->helper, &report);
}

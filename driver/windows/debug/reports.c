/* Begins reports on a process and its threads, and holds creations. Knows no debug events. */
#include "debugger.h"

struct task *cbpd_task_in(struct debugger *self, const struct process *process)
{
    struct task *task = first_task(&self->helper);
    while (task && task->process != process)
        task = next_task(task);
    return task;
}

void cbpd_start_report(struct debugger *self, struct cbpd_report *report, struct task *task)
{
    struct process *process = task->process;
    *report = (struct cbpd_report){.request = {.originator = stances_of(&self->helper, process),
                                               .subject = stances_of(&self->helper, process)},
                                   .process = &process->base,
                                   .image = process->base.image,
                                   .capabilities = cbpd_capabilities_of(&process->base),
                                   .thread_id = task->base.tid,
                                   .originator_pid = process->base.pid,
                                   .originator_tid = task->base.tid};
}

static void start_creation(struct debugger *self, struct cbpd_report *report, struct process *process,
                           const struct facts *of, uint32_t flags)
{
    report->arguments = of->command_line.bytes;
    report->arguments_size = (uint32_t) of->command_line.size;
    /* A process without a known creator names its parent, or 0 if there is none. */
    report->originator_pid = creator_of(process) ? creator_of(process)->base.pid : process->parent_pid;
    report->originator_tid = process->creator_tid;
    report->request.originator = creator_of(process) ? stances_of(&self->helper, creator_of(process)) : NULL;
    cbpd_add_item(report, CBP_PROC_EVT_PROCESS_CREATION, flags);
}

void cbpd_start_creation_report(struct debugger *self, struct cbpd_report *report, struct task *task)
{
    static struct facts facts;
    if (!cbpd_read_facts(task->process->handle, NULL, &facts))
        facts.command_line.size = 0;
    cbpd_start_report(self, report, task);
    start_creation(self, report, task->process, &facts, 0);
    cbpd_add_item(report, CBP_PROC_EVT_THREAD_CREATION, 0);
}

void cbpd_tell_refused(struct debugger *self, struct process *process, const struct facts *of)
{
    struct task nobody = {.process = process};
    struct cbpd_report report;
    cbpd_start_report(self, &report, &nobody);
    start_creation(self, &report, process, of, CBP_EVENT_FLAG_DECIDED_BY_RULE);
    report.request.result_code = CBP_ERROR_BUSY;
    cbpd_tell_past(&self->helper, &report);
}

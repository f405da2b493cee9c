/* Handles tasks that end at the stop of their exit, where they may be held, or without a stop. */
#include <errno.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tracer.h"

static void report_end(struct tracer *self, struct task *task, uint32_t exit_status,
                       struct cbpd_report *report)
{
    struct process *process = task->process;
    cbpd_start_report(self, report, task);
    report->request.originator = stances_of(&self->helper, process);
    bool last = --process->thread_count == 0;
    if (!process->is_launcher) {
        cbpd_add_first_thread(report, task);
        cbpd_add_item(report, CBP_PROC_EVT_THREAD_TERMINATION, 0);
        if (last)
            cbpd_add_item(report, CBP_PROC_EVT_PROCESS_TERMINATION, 0);
    }
    report->exit_status = exit_status;
    task->first_unreported = false;
    task->exit_reported = true;
}

/* Finds a thread that was killed in its execution before it could stop there. It had already taken its
 * leader's id and ends under that, so no end is told of its own id. */
static struct task *find_vanished_thread(struct tracer *self, uint32_t pid)
{
    for (struct task *task = first_task(&self->helper); task; task = next_task(task))
        if (task->process && task->process->base.pid == pid && !task->process->base.ended &&
            task->base.tid != pid && syscall(SYS_tgkill, (pid_t) pid, (pid_t) task->base.tid, 0) != 0 &&
            errno == ESRCH)
            return task;
    return NULL;
}

void cbpd_end_vanished_threads(struct tracer *self, uint32_t pid)
{
    for (struct task *task; (task = find_vanished_thread(self, pid));)
        cbpd_handle_gone(self, task, SIGKILL);
}

struct disposition cbpd_after_end(struct tracer *self, struct task *task)
{
    if (task->launch)
        cbpd_finish_launch(self, task, CBP_ERROR_BROKEN_PIPE, 0);
    return (struct disposition){.what = DISPOSE_DETACH, .frees_creator = true};
}

struct disposition cbpd_handle_exit_stop(struct tracer *self, struct task *task)
{
    unsigned long status = 0;
    if (cbpd_any_session_wants(&self->helper.policy,
                               CBP_PROC_EVT_PROCESS_TERMINATION | CBP_PROC_EVT_THREAD_TERMINATION) &&
        ptrace(PTRACE_GETEVENTMSG, (pid_t) task->base.tid, 0, &status) != 0)
        return stay(); /* it has been killed: wait4 will tell */
    cbpd_drop_operation(task);
    cbpd_note_failed_execution(self, task, 0);
    task->waits_for = 0;
    task->announced = false;
    if (task->base.tid == task->process->base.pid && task->process->thread_count > 1)
        cbpd_end_vanished_threads(self, task->base.tid);
    struct cbpd_report report;
    report_end(self, task, (uint32_t) status, &report);
    /* A task that was killed during a decision ended before that: later ends are told as past, not held. */
    report.is_past = task->process->has_dropped;
    uint32_t result_code;
    if (cbpd_is_held(&self->helper, &task->base, &report, OPERATION_EXIT, &result_code))
        return stay();
    return cbpd_after_end(self, task);
}

/* Handles a task that has ended without a stop at its exit. */
void cbpd_handle_gone(struct tracer *self, struct task *task, int status)
{
    cbpd_publish_counts(self, task);
    cbpd_drop_operation(task);
    cbpd_note_failed_execution(self, task, 0);
    cbpd_carry_out(self, task, (struct disposition){.frees_creator = true});
    if (task->launch)
        cbpd_finish_launch(self, task, CBP_ERROR_BROKEN_PIPE, 0);
    if (!task->process) {
        cbpd_remove_task(self, task);
        return;
    }
    if (!task->exit_reported) {
        struct cbpd_report report;
        report_end(self, task, (uint32_t) status, &report);
        cbpd_tell_past(&self->helper, &report);
    }
    if (task->process->thread_count == 0)
        cbpd_process_ends(self, task->process);
    cbpd_remove_task(self, task);
}

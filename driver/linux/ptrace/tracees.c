/* Begins to trace tasks. trace.c handles their stops, and letting_go.c lets them go. Runs in the tracer thread
 * only. */
#include <errno.h>
#include <sys/ptrace.h>

#include "tracer.h"

static const unsigned long base_options = PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE |
                                          PTRACE_O_TRACEEXEC | PTRACE_O_TRACEEXIT | PTRACE_O_TRACESECCOMP |
                                          PTRACE_O_TRACESYSGOOD;

/* The task is noted before it is traced: every tracee must be known. */
uint32_t cbpd_seize_root(struct tracer *self, uint32_t tid, uint32_t filter_parts, struct task **seized)
{
    unsigned long options = base_options | (filter_parts != 0 ? (unsigned long) PTRACE_O_EXITKILL : 0);
    struct task *task = cbpd_add_task(self, tid);
    struct process *process = task ? process_of(cbpd_add_process(&self->helper.policy, tid, NULL)) : NULL;
    uint32_t error = !process ? CBP_ERROR_NOT_ENOUGH_MEMORY : 0;
    if (error == 0 && ptrace(PTRACE_SEIZE, (pid_t) tid, 0, options) != 0)
        error = errno == EPERM ? CBP_ERROR_BUSY : CBP_ERROR_BROKEN_PIPE;
    if (error != 0) {
        if (process)
            cbpd_forget_empty_process(self, process);
        if (task)
            cbpd_remove_task(self, task);
        return error;
    }
    process->base.start_time = cbpd_read_start_time(self, tid);
    process->tree = tid;
    process->filter_parts = filter_parts;
    cbpd_task_joins(self, task, process);
    task->first_unreported = true;
    *seized = task;
    return 0;
}

uint32_t cbpd_seize_thread(struct tracer *self, uint32_t tid, struct process *process)
{
    struct task *task = cbpd_add_task(self, tid);
    if (!task)
        return CBP_ERROR_NOT_ENOUGH_MEMORY;
    if (!cbpd_seize_within_limit(self, tid, base_options)) {
        uint32_t error = errno == ESRCH       ? CBP_ERROR_INVALID_PARAMETER
                         : errno == ETIMEDOUT ? CBP_ERROR_BUSY
                                              : CBP_ERROR_ACCESS_DENIED;
        cbpd_remove_task(self, task);
        return error;
    }
    cbpd_task_joins(self, task, process);
    return 0;
}

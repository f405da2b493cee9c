/* Tasks that begin to be traced, and those that are ended or given up: what they do in between is trace.c's,
 * and letting_go.c lets them go. Runs in the tracer thread only. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <unistd.h>

#include "cbp_atomic.h"
#include "tracer.h"

static const unsigned long base_options = PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE |
                                          PTRACE_O_TRACEEXEC | PTRACE_O_TRACEEXIT | PTRACE_O_TRACESECCOMP |
                                          PTRACE_O_TRACESYSGOOD;

/* ---- Beginning ---- */

/* The books come first: nobody must be traced without being known. */
uint32_t seize_root(uint32_t tid, uint32_t filter_parts, struct task **seized)
{
    unsigned long options = base_options | (filter_parts != 0 ? (unsigned long) PTRACE_O_EXITKILL : 0);
    struct task *task = add_task(tid);
    struct process *process =
        task != NULL ? process_of(cbpd_add_process(&self.helper.policy, tid, NULL)) : NULL;
    uint32_t error = process == NULL ? CBP_ERROR_NOT_ENOUGH_MEMORY : 0;
    if (error == 0 && ptrace(PTRACE_SEIZE, (pid_t) tid, 0, options) != 0)
        error = errno == EPERM ? CBP_ERROR_BUSY : CBP_ERROR_BROKEN_PIPE;
    if (error != 0) {
        if (process != NULL)
            forget_empty_process(process);
        if (task != NULL)
            remove_task(task);
        return error;
    }
    process->base.start_time = read_start_time(tid);
    process->tree = tid;
    process->filter_parts = filter_parts;
    task_joins(task, process);
    task->first_unreported = true;
    *seized = task;
    return 0;
}

uint32_t seize_thread(uint32_t tid, struct process *process)
{
    struct task *task = add_task(tid);
    if (task == NULL)
        return CBP_ERROR_NOT_ENOUGH_MEMORY;
    if (!seize_within_limit(tid, base_options)) {
        uint32_t error = errno == ESRCH       ? CBP_ERROR_INVALID_PARAMETER
                         : errno == ETIMEDOUT ? CBP_ERROR_BUSY
                                              : CBP_ERROR_ACCESS_DENIED;
        remove_task(task);
        return error;
    }
    task_joins(task, process);
    return 0;
}

/* ---- Ending ---- */

void count_loss(void)
{
    cbpd_count_for_all(&self.helper, offsetof(struct cbp_channel_session, lost));
}

static bool any_ended_unknown;

bool was_ended_unknown(uint32_t tid)
{
    struct status_facts facts;
    return any_ended_unknown && (!read_status(tid, &facts) || facts.tracer_pid != (uint32_t) getpid());
}

void end_unknown_task(uint32_t tid)
{
    any_ended_unknown = true;
    if (self.helper.leaving) { /* no rule is in force any more */
        (void) ptrace(PTRACE_DETACH, (pid_t) tid, 0, 0);
        return;
    }
    count_loss();
    (void) kill((pid_t) tid, SIGKILL);
    (void) ptrace(PTRACE_CONT, (pid_t) tid, 0, 0);
}

void forget_everybody(void)
{
    fprintf(stderr, "cbprocess-ptrace: of %u tasks in its books the kernel knows none; they are forgotten\n",
            self.helper.task_count);
    for (struct task *task = first_task(), *next; task != NULL; task = next) {
        next = next_task(task);
        fprintf(stderr, "  task %u of process %u%s\n", task->base.tid,
                task->process != NULL ? task->process->base.pid : 0, task->announced ? ", announced" : "");
        handle_gone(task, 0);
    }
}

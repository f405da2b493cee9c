/* Carries out dispositions: only here a stopped task goes on, stays stopped, is let go or is ended. Runs in
 * the tracer thread only. Knows no events. */
#include <signal.h>
#include <sys/ptrace.h>
#include <unistd.h>

#include "tracer.h"

bool cbpd_lets_go(struct tracer *self, const struct task *task)
{
    struct process *process = task->process;
    /* A task with the filter needs a tracer, or its filtered calls do not work. */
    if (self->helper.leaving && (!process || process->filter_parts == 0))
        return true;
    return process && (process->base.standing.is_let_go ||
                       (!self->is_attaching && cbpd_is_released(&self->helper.policy, &process->base)));
}

/* Gives the creator that was kept stopped for this task, which the caller resumes. NULL: there is none. */
static struct task *take_kept_creator(struct tracer *self, struct task *task)
{
    struct task *creator = task->kept_creator != 0 ? find_task(&self->helper, task->kept_creator) : NULL;
    task->kept_creator = 0;
    if (!creator || creator->waits_for != task->base.tid)
        return NULL;
    creator->waits_for = 0;
    return creator;
}

void cbpd_forget_detached(struct tracer *self, struct task *task)
{
    struct process *process = task->process;
    if (!process || process->filter_parts != 0)
        cbpd_note_other_root(self); /* another tracer may let it change a root that it shares */
    if (process && !task->exit_reported && --process->thread_count == 0)
        cbpd_process_ends(self, process);
    cbpd_remove_task(self, task);
}

/* Resumes a task from any stop, or detaches it if it is let go. If it is gone or dying, wait4 will tell. Requests
 * have no type here, because each C library has its own for them. */
static void resume(struct tracer *self, struct task *task, bool stops_at_return, int signal)
{
    if (cbpd_lets_go(self, task)) {
        struct task *creator = take_kept_creator(self, task);
        if (creator)
            resume(self, creator, false, 0);
        if (ptrace(PTRACE_DETACH, (pid_t) task->base.tid, 0, signal) == 0)
            cbpd_forget_detached(self, task);
        return;
    }
    task->resumed_ns = cbpd_boot_ns();
    task->parked.since_ns = 0;
    (void) ptrace(stops_at_return ? PTRACE_SYSCALL : PTRACE_CONT, (pid_t) task->base.tid, 0, signal);
}

static void detach(struct tracer *self, struct task *task)
{
    struct process *process = task->process;
    cbpd_publish_counts(self, task);
    if (ptrace(PTRACE_DETACH, (pid_t) task->base.tid, 0, 0) != 0)
        return; /* it has been killed: wait4 will tell */
    bool last = process->thread_count == 0;
    if (last)
        cbpd_process_ends(self, process);
    cbpd_remove_task(self, task);
}

/* Keeps a task in its group stop, which only SIGCONT ends. */
static void stay_stopped(struct tracer *self, struct task *task)
{
    if (cbpd_lets_go(self, task)) {
        resume(self, task, false, 0);
        return;
    }
    task->listening = true;
    (void) ptrace(PTRACE_LISTEN, (pid_t) task->base.tid, 0, 0);
}

/* ---- Tasks that are not known ---- */

static bool any_ended_unknown;

bool cbpd_was_ended_unknown(struct tracer *self, uint32_t tid)
{
    struct status_facts facts;
    return any_ended_unknown &&
           (!cbpd_read_status(self, tid, &facts) || facts.tracer_pid != (uint32_t) getpid());
}

static void end_unknown(struct tracer *self, uint32_t tid)
{
    any_ended_unknown = true;
    if (self->helper.leaving) { /* no rule is in force any more */
        (void) ptrace(PTRACE_DETACH, (pid_t) tid, 0, 0);
        return;
    }
    cbpd_count_lost(&self->helper);
    (void) kill((pid_t) tid, SIGKILL);
    (void) ptrace(PTRACE_CONT, (pid_t) tid, 0, 0);
}

/* ---- Dispositions ---- */

void cbpd_carry_out(struct tracer *self, struct task *task, struct disposition disposition)
{
    if (disposition.kills)
        (void) kill((pid_t) task->process->base.pid, SIGKILL);
    struct task *creator = disposition.frees_creator ? take_kept_creator(self, task) : NULL;
    switch (disposition.what) {
    case DISPOSE_HOLD:
        break;
    case DISPOSE_RESUME:
        resume(self, task, false, disposition.signal);
        break;
    case DISPOSE_RESUME_TO_RETURN:
        resume(self, task, true, 0);
        break;
    case DISPOSE_STAY_STOPPED:
        stay_stopped(self, task);
        break;
    case DISPOSE_DETACH:
        detach(self, task);
        break;
    case DISPOSE_END_UNKNOWN:
        end_unknown(self, task ? task->base.tid : self->served_tid);
        if (task)
            cbpd_remove_task(self, task);
        break;
    }
    /* The creator goes on last, because on one processor this order costs less: bench/run.py, row H3. */
    if (creator)
        resume(self, creator, false, 0);
}

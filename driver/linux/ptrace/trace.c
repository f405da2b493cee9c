/* Handles stops of tasks, as wait4 reports them, and answers. Each goes to its handler, which returns a
 * disposition; resume.c carries that out. Runs in the tracer thread only.
 *
 * A task's life
 *   creation   Its creator stops with an event, and the task stops for the first time, in either order. Then
 *              it is "ready": held for its creation event, or, after a vfork, resumed until it executes a
 *              program (creation.c).
 *   execution  It stops at the entry of execve, after it, or at both (execution.c).
 *   end        It stops at its exit, is held for its termination events, and is then detached: its parent
 *              reaps it (ends.c). If SIGKILL meets a task at a stop, its end is told afterwards.
 *
 * A creator that has called vfork stays stopped until its child executes or ends. It would only wait anyway,
 * and this saves two context switches. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "syscalls.h"
#include "tracer.h"

/* ---- Applying answers ---- */

static struct disposition after_answers(struct tracer *self, struct task *task,
                                        const struct operation *operation)
{
    uint32_t result_code = operation->held.base.result_code;
    switch (operation->held.kind) {
    case OPERATION_THREAD:
    case OPERATION_FORK:
        return cbpd_after_creation(task, result_code);
    case OPERATION_ENTRY:
        return cbpd_finish_entry(task, &operation->approval, result_code);
    case OPERATION_EXECUTION:
        return cbpd_finish_execution(self, task, result_code);
    case OPERATION_HANDLE:
        return cbpd_finish_handle_call(self, task, operation);
    case OPERATION_EXIT:
        return cbpd_after_end(self, task);
    }
    return stay();
}

void cbpd_apply_settled(struct tracer *self)
{
    for (struct cbpd_held *held; (held = cbpd_next_settled(&self->helper));) {
        struct operation *operation = operation_of(held);
        if (held->task) {
            struct task *task = task_of(held->task);
            self->served_tid = task->base.tid;
            cbpd_carry_out(self, task, after_answers(self, task, operation));
        }
        cbpd_release_approval(self, &operation->approval);
        cbpd_free_surely(operation);
    }
}

/* ---- Stops ---- */

/* PTRACE_O_TRACESYSGOOD marks the stop at a call's return like this. */
enum { RETURN_STOP = SIGTRAP | 0x80 };

static bool is_stop_signal(int signal)
{
    return signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU;
}

/* Handles the first stop of a new task, a group stop, or the answer to PTRACE_INTERRUPT. */
static struct disposition handle_event_stop(struct tracer *self, struct task *task, int signal)
{
    bool is_first = !task->process || task->announced;
    if (is_first) {
        task->stopped = true;
        task->group_stopped = is_stop_signal(signal);
        task->seen_ns = cbpd_now_ns();
        return task->process ? cbpd_task_is_ready(self, task) : stay();
    }
    if (is_stop_signal(signal))
        return (struct disposition){.what = DISPOSE_STAY_STOPPED};
    task->listening = false;
    return go_on(0);
}

/* Handles an attach: a tracer gets the stops of its tracee's filter. */
static struct disposition handle_attach_call(struct tracer *self, struct task *task,
                                             const struct syscall_entry *entry)
{
    int os_error = cbpd_refusal_of_attach(self, task, entry);
    return os_error == 0 ? cbpd_handle_handle_call(self, task, entry) : fail_call(task, os_error);
}

/* Handles a seccomp stop. A program's own filter may want a tracer, too, but not this one; without a tracer
 * the call does not exist. Source: seccomp(2), SECCOMP_RET_TRACE. */
static struct disposition handle_syscall(struct tracer *self, struct task *task)
{
    struct syscall_entry entry;
    if (!cbpd_read_syscall_entry(task, &entry))
        return go_on(0);
    if (entry.filter_data != FILTER_MARK)
        return fail_call(task, ENOSYS);
    switch (syscall_kind(entry.architecture, entry.number)) {
    case SYSCALL_EXECVE:
    case SYSCALL_EXECVEAT:
        return cbpd_handle_execution(self, task, &entry);
    case SYSCALL_CHROOT:
    case SYSCALL_PIVOT_ROOT:
    case SYSCALL_UNSHARE: /* stopped only if it may ask for mounts */
    case SYSCALL_SETNS:
        cbpd_note_other_root(self);
        return go_on(0);
    case SYSCALL_CLONE: /* stopped only with CLONE_PARENT or CLONE_NEWNS, or with what would hide the child */
        if ((entry.arguments[0] & CLONE_NEWNS) != 0)
            cbpd_note_other_root(self);
        task->asked_for_parent = (entry.arguments[0] & CLONE_PARENT) != 0;
        (void) cbpd_replace_syscall(
            task, &(struct replacement){.argument_count = 1,
                                        .architecture = entry.architecture,
                                        .number = entry.number,
                                        .arguments = {entry.arguments[0] & ~(uint64_t) CLONE_UNTRACED}});
        return go_on(0);
    case SYSCALL_PTRACE:
        return handle_attach_call(self, task, &entry);
    case SYSCALL_OTHER:
        return go_on(0);
    default:
        return cbpd_handle_handle_call(self, task, &entry);
    }
}

/* Gives the disposition of *stopped, which is another task then if cbpd_handle_creation() says so. */
static struct disposition handle_stop(struct tracer *self, struct task **stopped, int status)
{
    struct task *task = *stopped;
    int signal = WSTOPSIG(status);
    int event = status >> 16;
    bool is_first = event == PTRACE_EVENT_STOP && (!task->process || task->announced);
    if (!task->process && !is_first && !cbpd_find_owner(self, task))
        return (struct disposition){.what = DISPOSE_END_UNKNOWN};
    if (event == 0 && signal == RETURN_STOP)
        return cbpd_handle_execution_return(self, task);
    bool is_creation =
        event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK || event == PTRACE_EVENT_CLONE;
    /* Two stops are handled first: what the task creates is let go, too, and its own filter still counts. */
    if (!is_first && !is_creation && event != PTRACE_EVENT_SECCOMP && cbpd_lets_go(self, task)) {
        cbpd_drop_operation(task);
        return go_on(event == 0 ? signal : 0);
    }
    switch (event) {
    case PTRACE_EVENT_FORK:
    case PTRACE_EVENT_VFORK:
    case PTRACE_EVENT_CLONE:
        return cbpd_handle_creation(self, stopped, event);
    case PTRACE_EVENT_SECCOMP:
        return handle_syscall(self, task);
    case PTRACE_EVENT_EXEC:
        return cbpd_handle_execution(self, task, NULL);
    case PTRACE_EVENT_EXIT:
        return cbpd_handle_exit_stop(self, task);
    case PTRACE_EVENT_STOP:
        return handle_event_stop(self, task, signal);
    default:
        return go_on(event == 0 ? signal : 0);
    }
}

/* Tells of a change of leader: each created thread ends once. The executing thread ends under its own id, and
 * begins again under the leader's if the leader's end has been told. */
static void tell_change_of_leader(struct tracer *self, struct task *task, bool leader_lives,
                                  uint32_t leader_tid)
{
    struct cbpd_report report;
    uint32_t former_tid = task->base.tid;
    cbpd_start_report(self, &report, task);
    report.request.originator = stances_of(&self->helper, task->process);
    cbpd_add_first_thread(&report, task);
    cbpd_add_item(&report, CBP_PROC_EVT_THREAD_TERMINATION, 0);
    cbpd_tell_past(&self->helper, &report);
    if (leader_lives)
        return;
    cbpd_start_report(self, &report, task);
    report.originator_pid = task->process->base.pid;
    report.originator_tid = former_tid;
    report.thread_id = leader_tid;
    cbpd_add_item(&report, CBP_PROC_EVT_THREAD_CREATION, 0);
    cbpd_tell_past(&self->helper, &report);
}

/* Handles an execve by a thread that is not the leader: the others are gone, and it gets the leader's id. */
static struct task *take_over_leader(struct tracer *self, uint32_t tid)
{
    uint32_t former = 0;
    struct task *leader = find_task(&self->helper, tid);
    bool is_alone = leader && leader->process && leader->process->thread_count == 1;
    if (is_alone || !cbpd_read_event_message(tid, PTRACE_EVENT_EXEC, &former) || former == tid)
        return leader;
    struct task *task = find_task(&self->helper, former);
    if (!task || !task->process || task->process->base.pid != tid)
        return leader;
    bool leader_lives = leader && !leader->exit_reported;
    tell_change_of_leader(self, task, leader_lives, tid);
    if (leader) {
        cbpd_drop_operation(leader);
        cbpd_note_failed_execution(self, leader, 0);
        cbpd_remove_task(self, leader);
    }
    cbpd_rename_task(&self->helper, &task->base, tid);
    task->execution_tid = former;
    task->process->thread_count = 1;
    return task;
}

void cbpd_handle_wait_status(struct tracer *self, uint32_t tid, int status)
{
    struct task *task = find_task(&self->helper, tid);
    self->served_tid = tid;
    if (WIFEXITED(status) || WIFSIGNALED(status)) {
        if (find_process(&self->helper, tid))
            cbpd_end_vanished_threads(self, tid);
        if (task)
            cbpd_handle_gone(self, task, status);
        return;
    }
    if (status >> 16 == PTRACE_EVENT_EXEC)
        task = take_over_leader(self, tid);
    if (!task)
        task = cbpd_add_task(self, tid);
    struct disposition next = {.what = DISPOSE_END_UNKNOWN};
    if (task)
        next = handle_stop(self, &task, status);
    cbpd_carry_out(self, task, next);
}

void cbpd_forget_everybody(struct tracer *self)
{
    fprintf(stderr, "cbprocess-ptrace: of %u tasks in its books the kernel knows none; they are forgotten\n",
            self->helper.task_count);
    for (struct task *task = first_task(&self->helper), *next; task; task = next) {
        next = next_task(task);
        fprintf(stderr, "  task %u of process %u%s\n", task->base.tid,
                task->process ? task->process->base.pid : 0, task->announced ? ", announced" : "");
        cbpd_handle_gone(self, task, 0);
    }
}

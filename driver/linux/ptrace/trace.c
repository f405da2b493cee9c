/* What tasks do, as wait4 tells it: creations of processes and threads, signals, group stops, ends.
 * Executions of programs are execution.c's. Runs in the tracer thread only.
 *
 * A task's life here
 *   creation   its creator stops with an event, the task stops for the first time; in either order. Then it
 * is "ready": held for its creation event, or, after a vfork, let run until it executes a program. execution
 * execution.c end        it stops at its exit, is held for its termination events, and is then detached: its
 * parent reaps it without us. A task that dies from SIGKILL at a stop is told about afterwards.
 *
 * A creator that has called vfork stays stopped until its child executes or ends: it would only wait anyway,
 * and two context switches are saved. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "look.h"
#include "syscalls.h"
#include "tracer.h"

/* ---- Letting a stopped task go on ---- */

bool cbpd_lets_go(struct tracer *self, const struct task *task)
{
    struct process *process = task->process;
    /* With our filter, only a tracer keeps the filtered calls working. */
    if (self->helper.leaving && (process == NULL || process->filter_parts == 0))
        return true;
    return process != NULL &&
           (process->base.standing.is_let_go ||
            (!cbpd_is_attaching() && cbpd_is_released(&self->helper.policy, &process->base)));
}

/* Lets the creator go on that was kept stopped for this task, if it is still there. */
void cbpd_resume_kept_creator(struct tracer *self, struct task *task)
{
    struct task *creator = task->kept_creator != 0 ? find_task(self, task->kept_creator) : NULL;
    task->kept_creator = 0;
    if (creator == NULL || creator->waits_for != task->base.tid)
        return;
    creator->waits_for = 0;
    cbpd_resume_task(self, creator, 0);
}

void cbpd_forget_detached(struct tracer *self, struct task *task)
{
    struct process *process = task->process;
    if (process != NULL && !task->exit_reported && --process->thread_count == 0)
        cbpd_process_ends(self, process);
    cbpd_remove_task(self, task);
}

/* Continues a task from any stop, up to the return of its call if to_return, or detaches it when everything
 * is being let go. A task that is gone or dying is left to wait4. */
static void resume(struct tracer *self, struct task *task, bool to_return, int signal)
{
    if (cbpd_lets_go(self, task)) {
        cbpd_resume_kept_creator(self, task);
        if (ptrace(PTRACE_DETACH, (pid_t) task->base.tid, 0, signal) == 0)
            cbpd_forget_detached(self, task);
        return;
    }
    task->resumed_ns = cbpd_boot_ns();
    task->parked.since_ns = 0;
    (void) ptrace(to_return ? PTRACE_SYSCALL : PTRACE_CONT, (pid_t) task->base.tid, 0, signal);
}

void cbpd_resume_task(struct tracer *self, struct task *task, int signal)
{
    resume(self, task, false, signal);
}

void cbpd_resume_until_return(struct tracer *self, struct task *task)
{
    resume(self, task, true, 0);
}

static void detach_task(struct tracer *self, struct task *task)
{
    struct process *process = task->process;
    cbpd_publish_counts(self, task);
    if (ptrace(PTRACE_DETACH, (pid_t) task->base.tid, 0, 0) != 0)
        return; /* killed meanwhile: wait4 will tell */
    bool last = process->thread_count == 0;
    if (last)
        cbpd_process_ends(self, process);
    cbpd_remove_task(self, task);
}

/* ---- Reports ---- */

void cbpd_start_report(struct tracer *self, struct cbpd_report *report, struct task *task)
{
    memset(report, 0, sizeof *report);
    report->thread_id = task->base.tid;
    report->process = &task->process->base;
    report->capabilities = cbpd_capabilities_of(task->process);
    report->image = task->process->base.image;
    report->originator_pid = task->creator_pid;
    report->originator_tid = task->creator_tid;
    report->user_id = task->process->user_id;
    report->request.subject = stances_of(self, task->process);
    /* Whoever created a process counts after its end, too. */
    struct process *process = task->process;
    struct process *creator = task->creator_pid == process->base.pid ? process : creator_of(process);
    report->request.originator = creator != NULL ? stances_of(self, creator) : NULL;
}

void cbpd_add_item(struct cbpd_report *report, uint32_t type, uint32_t flags)
{
    report->request.types[report->request.item_count] = type;
    report->request.flags[report->request.item_count] = flags;
    report->request.item_count++;
}

static void apply_to_task(struct tracer *self, struct task *task, const struct operation *operation);

/* Posts a report; the task stays stopped if somebody is asked, else what follows is done at once. */
void cbpd_post_and_hold(struct tracer *self, struct task *task, const struct cbpd_report *report,
                        enum operation_kind kind)
{
    struct cbpd_refusal refusal = {0};
    struct operation *operation = NULL;
    post(&self->helper, report, &operation, &refusal, NULL);
    if (operation == NULL) {
        struct operation nobody_asked = {.held.base.result_code = refusal.code, .kind = kind};
        apply_to_task(self, task, &nobody_asked);
        return;
    }
    operation->held.task = task;
    operation->kind = kind;
    task->operation = operation;
}

/* ---- Ends ---- */

static void report_end(struct tracer *self, struct task *task, uint32_t exit_status,
                       struct cbpd_report *report)
{
    struct process *process = task->process;
    cbpd_start_report(self, report, task);
    report->request.originator = stances_of(self, process);
    bool last = --process->thread_count == 0;
    if (!process->is_launcher) {
        if (task->first_unreported)
            cbpd_add_item(report, CBP_PROC_EVT_THREAD_CREATION, 0);
        cbpd_add_item(report, CBP_PROC_EVT_THREAD_TERMINATION, 0);
        if (last)
            cbpd_add_item(report, CBP_PROC_EVT_PROCESS_TERMINATION, 0);
    }
    report->exit_status = exit_status;
    task->first_unreported = false;
    task->exit_reported = true;
}

static void drop_operation(struct task *task)
{
    cbpd_unpark(task);
    cbpd_drop_look(task);
    if (task->operation == NULL)
        return;
    cbpd_cancel_operation(&task->operation->held);
    task->operation = NULL;
    if (task->process != NULL)
        task->process->has_dropped = true;
}

/* A thread that executes a program takes its leader's id. If it is killed before it can stop for that, it
 * ends under that id, and nobody tells of its own any more. */
static struct task *find_vanished_thread(struct tracer *self, uint32_t pid)
{
    for (struct task *task = first_task(self); task != NULL; task = next_task(task))
        if (task->process != NULL && task->process->base.pid == pid && !task->process->base.ended &&
            task->base.tid != pid && syscall(SYS_tgkill, (pid_t) pid, (pid_t) task->base.tid, 0) != 0 &&
            errno == ESRCH)
            return task;
    return NULL;
}

static void end_vanished_threads(struct tracer *self, uint32_t pid)
{
    for (struct task *task; (task = find_vanished_thread(self, pid)) != NULL;)
        cbpd_handle_gone(self, task, SIGKILL);
}

static void handle_exit_stop(struct tracer *self, struct task *task)
{
    unsigned long status = 0;
    if (cbpd_any_session_wants(&self->helper.policy,
                               CBP_PROC_EVT_PROCESS_TERMINATION | CBP_PROC_EVT_THREAD_TERMINATION) &&
        ptrace(PTRACE_GETEVENTMSG, (pid_t) task->base.tid, 0, &status) != 0)
        return; /* killed meanwhile: wait4 will tell */
    drop_operation(task);
    cbpd_note_failed_execution(self, task, 0);
    task->waits_for = 0;
    task->announced = false;
    if (task->base.tid == task->process->base.pid && task->process->thread_count > 1)
        end_vanished_threads(self, task->base.tid);
    struct cbpd_report report;
    report_end(self, task, (uint32_t) status, &report);
    /* It was killed while somebody decided about it, and its end is told after that. Until then nobody is to
     * be kept from dying. */
    report.is_past = task->process->has_dropped;
    cbpd_post_and_hold(self, task, &report, OPERATION_EXIT);
}

/* A task has ended without a stop at its exit that we could hold. */
void cbpd_handle_gone(struct tracer *self, struct task *task, int status)
{
    cbpd_publish_counts(self, task);
    drop_operation(task);
    cbpd_note_failed_execution(self, task, 0);
    cbpd_resume_kept_creator(self, task);
    if (task->launch != NULL)
        cbpd_finish_launch(self, task, CBP_ERROR_BROKEN_PIPE, 0);
    if (task->process == NULL) {
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

/* ---- Applying answers ---- */

static void apply_to_task(struct tracer *self, struct task *task, const struct operation *operation)
{
    switch (operation->kind) {
    case OPERATION_THREAD:
    case OPERATION_FORK:
        if (operation->held.base.result_code != 0)
            (void) kill((pid_t) task->process->base.pid, SIGKILL);
        if (task->group_stopped && !cbpd_lets_go(self, task)) {
            task->listening = true;
            (void) ptrace(PTRACE_LISTEN, (pid_t) task->base.tid, 0, 0);
        } else {
            cbpd_resume_task(self, task, 0);
        }
        break;
    case OPERATION_ENTRY:
    case OPERATION_EXECUTION:
        cbpd_finish_execution(self, task, operation->kind, operation, operation->held.base.result_code);
        break;
    case OPERATION_HANDLE:
        cbpd_finish_handle_call(self, task, operation);
        break;
    case OPERATION_EXIT:
        if (task->launch != NULL)
            cbpd_finish_launch(self, task, CBP_ERROR_BROKEN_PIPE, 0);
        cbpd_resume_kept_creator(self, task);
        detach_task(self, task);
        break;
    }
}

void cbpd_apply_settled(struct tracer *self)
{
    for (struct cbpd_held *held; (held = cbpd_next_settled(&self->helper)) != NULL;) {
        struct operation *operation = operation_of(held);
        struct task *task = held->task;
        if (task != NULL) {
            task->operation = NULL;
            self->served_tid = task->base.tid;
            apply_to_task(self, task, operation);
        }
        cbpd_release_approval(self, &operation->approval);
        cbpd_free_surely(operation);
    }
}

/* ---- Stops ---- */

/* How PTRACE_O_TRACESYSGOOD marks the stop at a call's return. */
enum { RETURN_STOP = SIGTRAP | 0x80 };

static bool is_stop_signal(int signal)
{
    return signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU;
}

/* The first stop of a new task, a group stop, or the answer to PTRACE_INTERRUPT. */
static void handle_event_stop(struct tracer *self, struct task *task, int signal)
{
    bool is_first = task->process == NULL || task->announced;
    if (is_first) {
        task->stopped = true;
        task->group_stopped = is_stop_signal(signal);
        task->seen_ns = cbpd_now_ns();
        if (task->process != NULL)
            cbpd_task_is_ready(self, task);
        return;
    }
    if (is_stop_signal(signal)) {
        task->listening = true;
        (void) ptrace(PTRACE_LISTEN, (pid_t) task->base.tid, 0, 0);
        return;
    }
    task->listening = false;
    cbpd_resume_task(self, task, 0);
}

/* Whoever traces a task gets the stops of its filter. */
static void handle_attach_call(struct tracer *self, struct task *task, const struct syscall_entry *entry)
{
    int os_error = cbpd_refusal_of_attach(self, task, entry);
    if (os_error == 0) {
        cbpd_handle_handle_call(self, task, entry);
        return;
    }
    (void) cbpd_fail_syscall(task, os_error);
    cbpd_resume_task(self, task, 0);
}

/* A seccomp stop. A program's own filter may want a tracer, too: we are not the one that it means, and
 * without one the call does not exist. Source: seccomp(2), SECCOMP_RET_TRACE. */
static void handle_syscall(struct tracer *self, struct task *task)
{
    struct syscall_entry entry;
    if (!cbpd_read_syscall_entry(task, &entry)) {
        cbpd_resume_task(self, task, 0);
        return;
    }
    if (entry.filter_data != FILTER_MARK) {
        (void) cbpd_fail_syscall(task, ENOSYS);
        cbpd_resume_task(self, task, 0);
        return;
    }
    switch (syscall_kind(entry.architecture, entry.number)) {
    case SYSCALL_EXECVE:
    case SYSCALL_EXECVEAT:
        cbpd_handle_execution_entry(self, task, &entry);
        return;
    case SYSCALL_CLONE: /* the filter stops it only with CLONE_PARENT, and with what would hide the child */
        task->asked_for_parent = (entry.arguments[0] & CLONE_PARENT) != 0;
        (void) cbpd_set_first_argument(task, &entry, entry.arguments[0] & ~(uint64_t) CLONE_UNTRACED);
        break;
    case SYSCALL_PTRACE:
        handle_attach_call(self, task, &entry);
        return;
    case SYSCALL_OTHER:
        break;
    default:
        cbpd_handle_handle_call(self, task, &entry);
        return;
    }
    cbpd_resume_task(self, task, 0);
}

static void handle_stop(struct tracer *self, struct task *task, int status)
{
    int signal = WSTOPSIG(status);
    int event = status >> 16;
    bool is_first = event == PTRACE_EVENT_STOP && (task->process == NULL || task->announced);
    if (task->process == NULL && !is_first && !cbpd_find_owner(self, task)) {
        cbpd_end_unknown_task(self, task->base.tid);
        cbpd_remove_task(self, task);
        return;
    }
    if (event == 0 && signal == RETURN_STOP) {
        cbpd_handle_execution_return(self, task);
        return;
    }
    bool is_creation =
        event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK || event == PTRACE_EVENT_CLONE;
    /* What it has created is to be let go, too; and a call that its own filter stops must not get by. */
    if (!is_first && !is_creation && event != PTRACE_EVENT_SECCOMP && cbpd_lets_go(self, task)) {
        drop_operation(task);
        cbpd_resume_task(self, task, event == 0 ? signal : 0);
        return;
    }
    switch (event) {
    case PTRACE_EVENT_FORK:
    case PTRACE_EVENT_VFORK:
    case PTRACE_EVENT_CLONE:
        cbpd_handle_creation(self, task, event);
        break;
    case PTRACE_EVENT_SECCOMP:
        handle_syscall(self, task);
        break;
    case PTRACE_EVENT_EXEC:
        cbpd_handle_execution_stop(self, task);
        break;
    case PTRACE_EVENT_EXIT:
        handle_exit_stop(self, task);
        break;
    case PTRACE_EVENT_STOP:
        handle_event_stop(self, task, signal);
        break;
    default:
        cbpd_resume_task(self, task, event == 0 ? signal : 0);
        break;
    }
}

/* Every thread that was created ends once: the one that executes ends under its own id, and begins again
 * under the leader's if that one's end has been told. */
static void tell_change_of_leader(struct tracer *self, struct task *task, bool leader_lives,
                                  uint32_t leader_tid)
{
    struct cbpd_report report;
    uint32_t former_tid = task->base.tid;
    cbpd_start_report(self, &report, task);
    report.request.originator = stances_of(self, task->process);
    if (task->first_unreported)
        cbpd_add_item(&report, CBP_PROC_EVT_THREAD_CREATION, 0);
    cbpd_add_item(&report, CBP_PROC_EVT_THREAD_TERMINATION, 0);
    cbpd_tell_past(&self->helper, &report);
    task->first_unreported = false;
    if (leader_lives)
        return;
    cbpd_start_report(self, &report, task);
    report.originator_pid = task->process->base.pid;
    report.originator_tid = former_tid;
    report.thread_id = leader_tid;
    cbpd_add_item(&report, CBP_PROC_EVT_THREAD_CREATION, 0);
    cbpd_tell_past(&self->helper, &report);
}

/* An exit status is what the program gave, in the second byte, or a signal and the bit of a core dump, in the
 * first. Source: wait(2), and the kernel's do_exit and do_group_exit. */
static bool may_be_exit_status(unsigned long value)
{
    return value <= UINT16_MAX && ((value & 0xff) == 0 || value <= 0xff);
}

bool cbpd_read_event_message(uint32_t tid, int event, uint32_t *message)
{
    unsigned long value = 0;
    siginfo_t stop;
    if (ptrace(PTRACE_GETEVENTMSG, (pid_t) tid, 0, &value) != 0)
        return false;
    /* A task that has been killed in this stop is in the one at its exit by now. Stops are left forwards
     * only: if it is still in this one, then so it was. */
    if (may_be_exit_status(value) &&
        (ptrace(PTRACE_GETSIGINFO, (pid_t) tid, 0, &stop) != 0 || stop.si_code >> 8 != event))
        return false;
    *message = (uint32_t) value;
    return true;
}

/* execve by a thread that is not the leader: the others are gone, and it goes on under the leader's id. */
static struct task *take_over_leader(struct tracer *self, uint32_t tid)
{
    uint32_t former = 0;
    struct task *leader = find_task(self, tid);
    bool is_alone = leader != NULL && leader->process != NULL && leader->process->thread_count == 1;
    if (is_alone || !cbpd_read_event_message(tid, PTRACE_EVENT_EXEC, &former) || former == tid)
        return leader;
    struct task *task = find_task(self, former);
    if (task == NULL || task->process == NULL || task->process->base.pid != tid)
        return leader;
    bool leader_lives = leader != NULL && !leader->exit_reported;
    tell_change_of_leader(self, task, leader_lives, tid);
    if (leader != NULL) {
        drop_operation(leader);
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
    struct task *task = find_task(self, tid);
    self->served_tid = tid;
    if (WIFEXITED(status) || WIFSIGNALED(status)) {
        if (find_process(self, tid) != NULL)
            end_vanished_threads(self, tid);
        if (task != NULL)
            cbpd_handle_gone(self, task, status);
        return;
    }
    if (status >> 16 == PTRACE_EVENT_EXEC)
        task = take_over_leader(self, tid);
    if (task == NULL)
        task = cbpd_add_task(self, tid);
    if (task == NULL) {
        cbpd_end_unknown_task(self, tid);
        return;
    }
    handle_stop(self, task, status);
}

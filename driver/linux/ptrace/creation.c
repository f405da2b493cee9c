/* New tasks: whose they are, and telling about them. A task's creator stops with an event and the task stops
 * for the first time, in either order; a creator that is killed in between never tells, and /proc has to.
 * Runs in the tracer thread only. */
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "supervisor.h"

enum { UNOWNED_LIMIT_NS = 20 * 1000 * 1000 };

static bool fork_is_a_creation(void)
{
    for (uint32_t id = 0; id < CBP_SESSION_MAX; id++)
        if (self.sessions[id].open && (self.sessions[id].flags & CBP_SESSION_FLAG_FORK_IS_CREATION))
            return true;
    return false;
}

/* A new task is known and stopped: tell about it. */
void task_is_ready(struct task *task)
{
    bool is_process = task->process->pid == task->tid;
    task->stopped = task->announced = false;
    if (is_process && task->event == PTRACE_EVENT_VFORK && !fork_is_a_creation()) {
        resume_task(task, 0);
        return;
    }
    /* The creator goes on at once, after the event has its place in the order. */
    struct task *creator = task->kept_creator != 0 ? find_task(task->kept_creator) : NULL;
    uint32_t tid = task->tid;
    task->kept_creator = 0;
    task->first_unreported = false;
    struct report report;
    start_report(&report, task);
    if (is_process)
        add_item(&report, CBP_PROC_EVT_PROCESS_CREATION, CBP_EVENT_FLAG_FORK);
    add_item(&report, CBP_PROC_EVT_THREAD_CREATION, 0);
    post_and_hold(&report, is_process ? OPERATION_FORK : OPERATION_THREAD);
    if (creator != NULL && creator->waits_for == tid) {
        creator->waits_for = 0;
        resume_task(creator, 0);
    }
}

static struct process *make_child_process(struct task *task, struct process *parent)
{
    struct process *process = add_process(task->tid, parent);
    if (process == NULL)
        return NULL;
    struct task *creator = find_task(task->creator_tid);
    process->start_time = start_time_since(task->tid, creator != NULL ? creator->resumed_ns : 0);
    process->parent_pid = parent->pid;
    process->creator_pid = task->creator_pid;
    process->creator_tid = task->creator_tid;
    process->user_id = parent->user_id;
    process->filter_parts = parent->filter_parts;
    process->attached = parent->attached;
    process->image = share_image(parent->image);
    inherit_rules(process, parent);
    return process;
}

/* The creator of a task is known. Without memory the task is let go unseen: it must not stay stopped. */
static bool adopt_task(struct task *task, struct process *creator, uint32_t creator_tid, int event)
{
    bool is_thread =
        event == PTRACE_EVENT_CLONE && syscall(SYS_tgkill, (pid_t) creator->pid, (pid_t) task->tid, 0) == 0;
    task->event = event;
    task->creator_pid = creator->pid;
    task->creator_tid = creator_tid;
    struct process *process = is_thread ? creator : make_child_process(task, creator);
    if (process == NULL) {
        (void) ptrace(PTRACE_DETACH, (pid_t) task->tid, 0, 0);
        remove_task(task);
        return false;
    }
    task->first_unreported = true;
    task_joins(task, process);
    return true;
}

void introduce(struct task *task)
{
    struct report report;
    if (!task->first_unreported || task->process->is_launcher)
        return;
    start_report(&report, task);
    add_item(&report, CBP_PROC_EVT_THREAD_CREATION, 0);
    tell_past(&report);
    task->first_unreported = false;
}

void handle_creation(struct task *creator, int event)
{
    introduce(creator);
    unsigned long tid = 0;
    if (ptrace(PTRACE_GETEVENTMSG, (pid_t) creator->tid, 0, &tid) != 0)
        return;
    struct task *task = find_task((uint32_t) tid);
    if (task == NULL)
        task = add_task((uint32_t) tid);
    if (task == NULL || task->process != NULL || !adopt_task(task, creator->process, creator->tid, event)) {
        resume_task(creator, 0);
        return;
    }
    task->announced = true;
    task->kept_creator = creator->tid;
    creator->waits_for = task->tid;
    if (task->stopped)
        task_is_ready(task);
}

/* ---- Tasks whose creator died before it could tell ---- */

/* Asks /proc whose task this is. Gives false for one that is nobody's; it is let go. */
bool find_owner(struct task *task)
{
    struct status_facts facts;
    if (!read_status(task->tid, &facts))
        return false;
    bool is_thread = facts.group != task->tid;
    struct process *owner = find_process(is_thread ? facts.group : facts.parent_pid);
    int event = is_thread ? PTRACE_EVENT_CLONE : PTRACE_EVENT_FORK;
    if (owner != NULL)
        return adopt_task(task, owner, owner->pid, event);
    /* Its creator has ended and is forgotten: a root of its own, under no rule but those for names and all.
     */
    struct process *process = add_process(task->tid, NULL);
    if (process == NULL)
        return false;
    process->start_time = read_start_time(task->tid);
    process->parent_pid = facts.parent_pid;
    task_joins(task, process);
    return true;
}

void resolve_unowned_tasks(void)
{
    uint64_t now = now_ns();
    for (struct task *task = self.tasks, *next; task != NULL; task = next) {
        next = task->next;
        if (task->process != NULL || !task->stopped || now - task->seen_ns < UNOWNED_LIMIT_NS)
            continue;
        if (find_owner(task))
            task_is_ready(task);
    }
}

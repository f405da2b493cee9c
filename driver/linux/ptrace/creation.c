/* Finds out which process a new task belongs to, and tells about it. The creator's stop with an event and the
 * new task's first stop come in either order. If the creator ends in between, it never tells. /proc then
 * names a thread's process, but of a new process only its present parent: its creator is guessed
 * (legacies.c). Runs in the tracer thread only. */
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tracer.h"

/* A creator may take so long to tell; the longer limit holds while the parent, mostly the creator, lives. */
enum { TELLING_LIMIT_MS = 20, LIVING_TELLING_LIMIT_MS = 250 };

struct disposition cbpd_after_creation(const struct task *task, uint32_t result_code)
{
    return (struct disposition){.what = task->group_stopped ? DISPOSE_STAY_STOPPED : DISPOSE_RESUME,
                                .kills = result_code != 0};
}

/* Tells about a new task that is known and stopped. */
struct disposition cbpd_task_is_ready(struct tracer *self, struct task *task)
{
    bool is_process = task->process->base.pid == task->base.tid;
    task->stopped = task->announced = false;
    bool fork_is_creation = (flags_of_sessions(self) & CBP_SESSION_FLAG_FORK_IS_CREATION) != 0;
    if (is_process && task->event == PTRACE_EVENT_VFORK && !fork_is_creation)
        return go_on(0);
    task->first_unreported = false;
    struct cbpd_report report;
    cbpd_start_report(self, &report, task);
    if (is_process)
        cbpd_add_item(&report, CBP_PROC_EVT_PROCESS_CREATION, CBP_EVENT_FLAG_FORK);
    cbpd_add_item(&report, CBP_PROC_EVT_THREAD_CREATION, 0);
    uint32_t result_code;
    bool is_held = cbpd_is_held(&self->helper, &task->base, &report,
                                is_process ? OPERATION_FORK : OPERATION_THREAD, &result_code);
    struct disposition next = is_held ? stay() : cbpd_after_creation(task, result_code);
    next.frees_creator = true; /* the event has its place in the order */
    return next;
}

static struct process *make_child_process(struct tracer *self, struct task *task, struct process *parent)
{
    struct process *process =
        process_of(cbpd_add_process(&self->helper.policy, task->base.tid, &parent->base));
    if (!process)
        return NULL;
    struct task *creator = find_task(&self->helper, task->creator_tid);
    process->base.start_time = cbpd_start_time_since(self, task->base.tid, creator ? creator->resumed_ns : 0);
    process->parent_pid = parent->base.pid;
    process->tree = parent->tree;
    process->creator_pid = task->creator_pid;
    process->creator_tid = task->creator_tid;
    process->base.creator_tenure = parent->base.tenure;
    process->user_id = parent->user_id;
    process->filter_parts = parent->filter_parts;
    process->has_our_root = parent->has_our_root;
    process->base.attached = parent->base.attached;
    process->base.image = cbpd_share_image(parent->base.image);
    process->base.standing.is_let_go = parent->base.standing.is_let_go;
    cbpd_inherit_rules(&self->helper.policy, &process->base, &parent->base);
    cbpd_forget_old_ancestors(&self->helper.policy, &parent->base);
    if (creator && cbpd_creates_for_parent(creator))
        cbpd_look_at_parent(self, process);
    return process;
}

/* Connects a task with its creator, which is now known. False: no memory. */
static bool adopt_task(struct tracer *self, struct task *task, struct process *creator, uint32_t creator_tid,
                       int event)
{
    bool is_thread = event == PTRACE_EVENT_CLONE &&
                     syscall(SYS_tgkill, (pid_t) creator->base.pid, (pid_t) task->base.tid, 0) == 0;
    task->event = event;
    task->creator_pid = creator->base.pid;
    task->creator_tid = creator_tid;
    struct process *process = is_thread ? creator : make_child_process(self, task, creator);
    if (!process)
        return false;
    task->first_unreported = true;
    cbpd_task_joins(self, task, process);
    return true;
}

struct disposition cbpd_handle_creation(struct tracer *self, struct task **stopped, int event)
{
    struct task *creator = *stopped;
    cbpd_introduce(self, creator);
    uint32_t tid;
    if (!cbpd_read_event_message(creator->base.tid, event, &tid))
        return stay();
    struct task *task = find_task(&self->helper, tid);
    if (!task && !cbpd_was_ended_unknown(self, tid))
        task = cbpd_add_task(self, tid);
    if (!task || task->process || !adopt_task(self, task, creator->process, creator->base.tid, event))
        return go_on(0); /* without memory its owner is looked for later */
    task->announced = true;
    task->kept_creator = creator->base.tid;
    creator->waits_for = task->base.tid;
    if (!task->stopped)
        return stay();
    *stopped = task;
    return cbpd_task_is_ready(self, task);
}

/* ---- Tasks of which no creator has told ---- */

/* Makes a process whose creator is not known. */
static struct process *make_orphan(struct tracer *self, uint32_t pid, const struct status_facts *facts)
{
    uint64_t start_time = cbpd_read_start_time(self, pid);
    struct process *creator = cbpd_guess_creator(self, facts, start_time);
    struct cbpd_image *image = creator ? cbpd_image_of_running(self, pid) : NULL;
    struct process *process =
        image ? process_of(cbpd_add_process(&self->helper.policy, pid, &creator->base)) : NULL;
    if (!process) { /* no rule by name would apply to a process without a name */
        cbpd_release_image(&self->helper.policy, image);
        if (creator)
            cbpd_forget_empty_process(self, creator);
        return NULL;
    }
    cbpd_count_for_all(&self->helper, offsetof(struct cbp_channel_session, guessed));
    process->base.start_time = start_time;
    process->parent_pid = facts->parent_pid;
    process->user_id = facts->user_id;
    process->filter_parts = creator->filter_parts;
    process->base.attached = creator->base.attached;
    process->base.image = image;
    cbpd_inherit_rules(&self->helper.policy, &process->base, &creator->base);
    return process;
}

/* Finds a task's process without its creator. False: it cannot be known. */
bool cbpd_find_owner(struct tracer *self, struct task *task)
{
    struct status_facts facts;
    if (!cbpd_read_status(self, task->base.tid, &facts))
        return false;
    struct process *process = find_process(&self->helper, facts.group);
    bool is_thread = facts.group != task->base.tid;
    if (!process)
        process = make_orphan(self, facts.group, &facts);
    if (!process)
        return false;
    task->event = is_thread ? PTRACE_EVENT_CLONE : PTRACE_EVENT_FORK;
    task->creator_pid = task->creator_tid = is_thread ? process->base.pid : 0;
    task->first_unreported = true;
    cbpd_task_joins(self, task, process);
    return true;
}

static bool has_living_parent(struct tracer *self, const struct task *task)
{
    struct status_facts facts;
    return cbpd_read_status(self, task->base.tid, &facts) && facts.group == task->base.tid &&
           find_process(&self->helper, facts.parent_pid);
}

void cbpd_resolve_unowned_tasks(struct tracer *self)
{
    uint64_t now = cbpd_now_ns();
    for (struct task *task = first_task(&self->helper), *next; task; task = next) {
        next = next_task(task);
        if (task->process || !task->stopped || now - task->seen_ns < TELLING_LIMIT_MS * CBP_NS_PER_MS ||
            (now - task->seen_ns < LIVING_TELLING_LIMIT_MS * CBP_NS_PER_MS && has_living_parent(self, task)))
            continue;
        self->served_tid = task->base.tid;
        cbpd_carry_out(self, task,
                       cbpd_find_owner(self, task) ? cbpd_task_is_ready(self, task)
                                                   : (struct disposition){.what = DISPOSE_END_UNKNOWN});
    }
}

/* Decides about programs being executed. With the seccomp filter that happens at the entry of execve, where a
 * refusal is an errno of that call. Else it happens at the stop after execve, before the new program's first
 * instruction, where a refusal ends the process. Runs in the tracer thread only.
 *
 * What was decided at the entry is compared with what is executed, because another thread may change the
 * path, the arguments or the files in between. If they differ, the stop after execve asks again. reading.c
 * reads what an execution is about; this file acts on it. */
#include <errno.h>

#include "cbp_atomic.h"
#include "look.h"
#include "syscalls.h"
#include "tracer.h"

static bool creations_are_wanted(struct tracer *self)
{
    return !self->helper.leaving &&
           (self->helper.policy.rule_counts[CBP_ACTION_DENY] > 0 ||
            cbpd_any_session_wants(&self->helper.policy,
                                   CBP_PROC_EVT_PROCESS_CREATION | CBP_PROC_EVT_THREAD_CREATION));
}

/* Names the creator: for the first execution the process that forked, later the process itself. */
static void report_creation(struct tracer *self, struct cbpd_report *report, struct task *task,
                            const struct reading *reading, const struct cbp_stance *old_stances)
{
    struct process *process = task->process;
    cbpd_start_report(self, report, task);
    report->since_ns = task->parked.since_ns;
    report->arguments = reading ? reading->arguments : NULL;
    report->arguments_size = reading ? reading->arguments_size : 0;
    if (process->base.executed) {
        report->originator_pid = process->base.pid;
        report->originator_tid = task->execution_tid != 0 ? task->execution_tid : task->base.tid;
        report->request.originator = old_stances;
    } else {
        report->originator_pid = process->creator_pid;
        report->originator_tid = process->creator_tid;
        report->request.originator =
            creator_of(process) ? stances_of(&self->helper, creator_of(process)) : NULL;
    }
}

/* Gives the memory that an event about it needs. */
static size_t size_of(struct tracer *self, const struct reading *reading)
{
    return (reading->arguments_size + reading->chain.names.size) *
           (self->helper.policy.session_count > 0 ? self->helper.policy.session_count : 1);
}

/* ---- At the entry of execve ---- */

/* Asks about a program that is about to be executed. */
static struct disposition ask_at_entry(struct tracer *self, struct task *task, struct cbpd_image *image,
                                       const struct reading *reading)
{
    struct cbp_stance stances[CBP_SESSION_MAX];
    struct approval approval = {.valid = true, .image = image, .facts = reading->facts};
    cbpd_stances_under_image(&self->helper.policy, &task->process->base, image, stances);
    struct cbpd_report report;
    report_creation(self, &report, task, reading, stances_of(&self->helper, task->process));
    report.image = image;
    report.request.subject = stances;
    cbpd_add_item(&report, CBP_PROC_EVT_PROCESS_CREATION, 0);
    cbpd_add_first_thread(&report, task);
    task->process->is_launcher = false;
    struct cbpd_refusal refusal = {0};
    struct operation *operation = NULL;
    post(&self->helper, &report, &operation, &refusal, approval.sequences);
    if (!operation)
        return cbpd_finish_entry(task, &approval, refusal.code);
    operation->approval = approval;
    (void) cbpd_share_image(image);
    cbpd_hold(&task->base, &operation->held, OPERATION_ENTRY);
    return stay();
}

/* Asks about an execution that is known. The kernel and the stop after execve decide about an unknown one. */
static struct disposition go_on_at_entry(struct tracer *self, struct task *task,
                                         const struct reading *reading)
{
    if (!reading || !creations_are_wanted(self))
        return go_on(0);
    if (cbpd_park_if_full(self, task, OPERATION_ENTRY, size_of(self, reading)))
        return stay();
    struct cbpd_image *image = cbpd_image_of_chain(self, reading);
    if (!image) { /* no memory to ask */
        cbpd_count_lost(&self->helper);
        return fail_call(task, ENOMEM);
    }
    struct disposition next = ask_at_entry(self, task, image, reading);
    cbpd_release_image(&self->helper.policy, image);
    return next;
}

/* Tells a session that an execution it was told of has not happened. */
static void take_back(struct cbp_channel_session *session, uint64_t sequence, int os_error)
{
    uint64_t count = cbp_load_u64(&session->failed_after);
    struct cbp_failed_execution *failed = &session->failed[count % CBP_FAILED_EXECUTION_MAX];
    cbp_store_u64(&failed->sequence, sequence);
    cbp_store_u32(&failed->os_error, (uint32_t) os_error);
    cbp_add_u64(&session->failed_after, 1);
}

void cbpd_note_failed_execution(struct tracer *self, struct task *task, int os_error)
{
    if (!task->approval.valid)
        return;
    cbpd_release_approval(self, &task->approval);
    for (uint32_t id = 0; id < CBP_SESSION_MAX; id++)
        if (self->helper.policy.sessions[id].open && task->approval.sequences[id] != 0)
            take_back(&self->helper.channel->sessions[id], task->approval.sequences[id], os_error);
}

struct disposition cbpd_handle_execution_return(struct tracer *self, struct task *task)
{
    int os_error = 0;
    if (task->approval.valid)
        (void) cbpd_read_syscall_error(task, &os_error);
    cbpd_note_failed_execution(self, task, os_error);
    return go_on(0);
}

/* Says whether a session must be told if the execution fails. */
static bool was_told(const struct approval *approval)
{
    for (uint32_t id = 0; id < CBP_SESSION_MAX; id++)
        if (approval->sequences[id] != 0)
            return true;
    return false;
}

/* ---- After execve ---- */

/* Gives the process another image. Without memory (NULL) it has no name, which counts as any name that a rule
 * forbids or protects; the old name could exempt it. */
static void change_image(struct tracer *self, struct process *process, struct cbpd_image *image,
                         uint32_t user_id, struct cbp_stance *old_stances)
{
    struct cbpd_policy *policy = &self->helper.policy;
    cbpd_leave_legacy(self, process); /* a thread that has ended by this may have been creating a process */
    cbpd_execute(policy, &process->base, image ? image : cbpd_share_image(policy->nameless), old_stances);
    process->user_id = user_id;
    process->has_dropped = false; /* the threads that had dropped operations have ended */
    process->is_launcher = false;
}

static struct disposition go_on_at_stop(struct tracer *self, struct task *task, const struct reading *reading,
                                        bool approved)
{
    struct process *process = task->process;
    struct cbp_stance old_stances[CBP_SESSION_MAX];
    struct cbpd_report report;
    bool changed = task->approval.valid && !approved;
    if (!approved && reading && !self->helper.leaving && creations_are_wanted(self) &&
        cbpd_park_if_full(self, task, OPERATION_EXECUTION, size_of(self, reading)))
        return stay();
    struct cbpd_image *image =
        approved ? cbpd_share_image(task->approval.image) : cbpd_image_of_reading(self, reading);
    cbpd_identify_program(self, image, process->base.pid);
    cbpd_release_approval(self, &task->approval);
    report_creation(self, &report, task, reading, old_stances);
    task->execution_tid = 0;
    change_image(self, process, image, reading ? reading->user_id : process->user_id, old_stances);
    report.request.subject = stances_of(&self->helper, process);
    struct cbpd_refusal refusal = {0};
    struct operation *operation = NULL;
    if (!image && creations_are_wanted(self)) {
        cbpd_count_lost(&self->helper); /* without memory for its names no rule by name could apply */
        refusal.code = CBP_ERROR_NOT_ENOUGH_MEMORY;
    } else if (!approved) {
        report.image = process->base.image;
        report.user_id = process->user_id;
        bool is_complete = reading && reading->is_complete;
        cbpd_add_item(&report, CBP_PROC_EVT_PROCESS_CREATION,
                      (changed ? (uint32_t) CBP_EVENT_FLAG_CHANGED : 0) |
                          (is_complete ? 0 : (uint32_t) CBP_EVENT_FLAG_ARGUMENTS_TRUNCATED));
        cbpd_add_first_thread(&report, task);
        post(&self->helper, &report, &operation, &refusal, NULL);
    }
    if (!operation)
        return cbpd_finish_execution(self, task, refusal.code);
    cbpd_hold(&task->base, &operation->held, OPERATION_EXECUTION);
    return stay();
}

/* Goes on after a look; look is NULL if it was not done in time. */
static struct disposition go_on_after_look(struct tracer *self, struct task *task, bool is_at_entry,
                                           const struct look *look)
{
    if (is_at_entry)
        return go_on_at_entry(self, task, look && look->resolution == RESOLVED ? &look->reading : NULL);
    return go_on_at_stop(self, task, look ? &look->reading : NULL, look && look->is_as_approved);
}

struct disposition cbpd_handle_execution(struct tracer *self, struct task *task,
                                         const struct syscall_entry *entry)
{
    const struct look *found;
    if (entry) {
        cbpd_note_failed_execution(self, task, 0);
        if (task->process->is_launcher)
            cbpd_look_at_root(self, task);
        if (!creations_are_wanted(self))
            return go_on(0);
    }
    if (!cbpd_look_at_execution(self, task, entry, &found))
        return stay();
    return go_on_after_look(self, task, entry, found);
}

struct disposition cbpd_go_on_after_look(struct tracer *self, struct task *task, struct job *job)
{
    const struct look *found;
    bool is_at_entry = task->look_stage == LOOK_AT_ENTRY;
    if (!cbpd_end_look(self, task, job, &found))
        return stay();
    struct disposition next = go_on_after_look(self, task, is_at_entry, found);
    cbpd_free_look(job);
    return next;
}

static struct task *first_with_look(struct tracer *self)
{
    struct task *task = first_task(&self->helper);
    while (task && !task->look)
        task = next_task(task);
    return task;
}

/* Letting one task go on may remove others, so each one is searched for from the beginning. */
void cbpd_end_every_look(struct tracer *self)
{
    for (struct task *task; (task = first_with_look(self));) {
        cbpd_drop_look(task);
        cbpd_carry_out(self, task, cbpd_go_on_after_look(self, task, NULL));
    }
}

struct disposition cbpd_go_on_after_parking(struct tracer *self, struct task *task)
{
    struct syscall_entry entry;
    if (task->parked.kind == OPERATION_EXECUTION)
        return cbpd_handle_execution(self, task, NULL);
    if (cbpd_read_syscall_entry(task, &entry))
        return cbpd_handle_execution(self, task, &entry);
    return stay(); /* it has been killed: wait4 will tell */
}

/* ---- Applying decisions ---- */

struct disposition cbpd_finish_entry(struct task *task, const struct approval *approval, uint32_t result_code)
{
    if (result_code != 0)
        return fail_call(task, cbpd_errno_of_code(result_code));
    task->approval = *approval;
    (void) cbpd_share_image(task->approval.image);
    /* An execution that succeeds stops before its return and then goes on without this stop. */
    return (struct disposition){.what = was_told(approval) ? DISPOSE_RESUME_TO_RETURN : DISPOSE_RESUME};
}

struct disposition cbpd_finish_execution(struct tracer *self, struct task *task, uint32_t result_code)
{
    if (task->launch)
        cbpd_finish_launch(self, task, 0, result_code != 0 ? cbpd_errno_of_code(result_code) : 0);
    return (struct disposition){.what = DISPOSE_RESUME, .kills = result_code != 0, .frees_creator = true};
}

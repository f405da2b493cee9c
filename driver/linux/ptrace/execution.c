/* Programs being executed: decided at the entry of execve where the tree has our seccomp filter (a refusal is
 * then an errno of that call), and else at the stop after it, before the new program's first instruction (a
 * refusal then ends the process). Runs in the tracer thread only.
 *
 * What was decided at the entry is compared with what is executed: another thread may change the path, the
 * arguments or the files in between. If they differ, the execution is asked about again at the stop after it.
 * What an execution is about is read by reading.c; here is what is done with it. */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "cbp_atomic.h"
#include "look.h"
#include "syscalls.h"
#include "tracer.h"

/* Source: the meaning of the Win32 codes; whatever has no counterpart is "not permitted". */
int errno_of_code(uint32_t code)
{
    switch (code) {
    case CBP_ERROR_FILE_NOT_FOUND:
    case CBP_ERROR_PATH_NOT_FOUND:
        return ENOENT;
    case CBP_ERROR_TOO_MANY_OPEN_FILES:
        return EMFILE;
    case CBP_ERROR_ACCESS_DENIED:
        return EACCES;
    case CBP_ERROR_NOT_ENOUGH_MEMORY:
        return ENOMEM;
    case CBP_ERROR_BAD_FORMAT:
        return ENOEXEC;
    case CBP_ERROR_INVALID_PARAMETER:
        return EINVAL;
    case CBP_ERROR_BUSY:
        return EBUSY;
    case CBP_ERROR_NO_SYSTEM_RESOURCES:
        return EAGAIN;
    default:
        return EPERM;
    }
}

static bool creations_are_wanted(void)
{
    if (self.helper.policy.rule_counts[CBP_ACTION_DENY] > 0 && !self.helper.leaving)
        return true;
    return !self.helper.leaving &&
           cbpd_any_session_wants(&self.helper.policy,
                                  CBP_PROC_EVT_PROCESS_CREATION | CBP_PROC_EVT_THREAD_CREATION);
}

/* Who creates: whoever forked the process, for the first execution after the fork; later the process itself.
 */
static void report_creation(struct cbpd_report *report, struct task *task,
                            const struct cbp_stance *old_stances)
{
    struct process *process = task->process;
    start_report(report, task);
    if (process->base.executed) {
        report->originator_pid = process->base.pid;
        report->originator_tid = task->execution_tid != 0 ? task->execution_tid : task->base.tid;
        report->request.originator = old_stances;
    } else {
        report->originator_pid = process->creator_pid;
        report->originator_tid = process->creator_tid;
        report->request.originator = creator_of(process) != NULL ? stances_of(creator_of(process)) : NULL;
    }
}

struct cbpd_image *image_of_chain(const struct reading *reading)
{
    const struct chain *chain = &reading->chain;
    struct cbpd_image_file files[CHAIN_FILE_MAX];
    for (uint32_t i = 0; i < chain->file_count; i++) {
        const struct chain_file *file = &chain->files[i];
        files[i] = (struct cbpd_image_file){.path = chain->names.bytes + file->path_at,
                                            .path_size = file->path_size,
                                            .given = chain->names.bytes + file->given_at,
                                            .given_size = file->given_size,
                                            .device = file->device,
                                            .inode = file->inode,
                                            .is_deleted = file->is_deleted};
    }
    return chain->file_count > 0
               ? cbpd_make_image(&self.helper.policy, files, chain->file_count, reading->is_vague)
               : NULL;
}

void release_approval(struct approval *approval)
{
    cbpd_release_image(&self.helper.policy, approval->image);
    approval->image = NULL;
    approval->valid = false;
}

/* What it takes to hold it. */
static size_t size_of(const struct reading *reading)
{
    return (reading->arguments_size + reading->chain.names.size) *
           (self.helper.policy.session_count > 0 ? self.helper.policy.session_count : 1);
}

/* ---- At the entry of execve ---- */

/* Asks about a program that is about to be executed. */
static void ask_at_entry(struct task *task, struct cbpd_image *image, const struct reading *reading)
{
    struct cbp_stance stances[CBP_SESSION_MAX];
    struct approval approval = {.valid = true, .image = image, .facts = reading->facts};
    cbpd_stances_under_image(&self.helper.policy, &task->process->base, image, stances);
    struct cbpd_report report;
    report_creation(&report, task, stances_of(task->process));
    report.image = image;
    report.request.subject = stances;
    report.since_ns = task->parked.since_ns;
    report.arguments = reading->arguments;
    report.arguments_size = reading->arguments_size;
    add_item(&report, CBP_PROC_EVT_PROCESS_CREATION, 0);
    if (task->first_unreported)
        add_item(&report, CBP_PROC_EVT_THREAD_CREATION, 0);
    task->first_unreported = false;
    task->process->is_launcher = false;
    struct cbpd_refusal refusal = {0};
    struct operation *operation = NULL;
    post(&self.helper, &report, &operation, &refusal, approval.sequences);
    if (operation == NULL) {
        struct operation nobody_asked = {.approval = approval};
        finish_execution(task, OPERATION_ENTRY, &nobody_asked, refusal.code);
        return;
    }
    operation->held.task = task;
    operation->kind = OPERATION_ENTRY;
    operation->approval = approval;
    (void) cbpd_share_image(image);
    task->operation = operation;
}

void handle_execution_entry(struct task *task, const struct syscall_entry *entry)
{
    note_failed_execution(task, 0);
    if (creations_are_wanted())
        look_at_execution(task, entry);
    else
        resume_task(task, 0);
}

/* What is not known is left to the kernel and to the stop after execve. */
static void go_on_at_entry(struct task *task, const struct reading *reading)
{
    bool is_known = reading != NULL && creations_are_wanted();
    if (is_known && park_if_full(task, OPERATION_ENTRY, size_of(reading)))
        return;
    struct cbpd_image *image = is_known ? image_of_chain(reading) : NULL;
    if (image == NULL) {
        if (is_known) { /* but for the memory to ask */
            count_loss();
            (void) fail_syscall(task, ENOMEM);
        }
        resume_task(task, 0);
        return;
    }
    ask_at_entry(task, image, reading);
    cbpd_release_image(&self.helper.policy, image);
}

/* Tells a session that what an event says has not happened. */
static void take_back(struct cbp_channel_session *session, uint64_t sequence, int os_error)
{
    uint64_t count = cbp_load_u64(&session->failed_after);
    struct cbp_failed_execution *failed = &session->failed[count % CBP_FAILED_EXECUTION_MAX];
    cbp_store_u64(&failed->sequence, sequence);
    cbp_store_u32(&failed->os_error, (uint32_t) os_error);
    cbp_add_u64(&session->failed_after, 1);
}

void note_failed_execution(struct task *task, int os_error)
{
    if (!task->approval.valid)
        return;
    release_approval(&task->approval);
    for (uint32_t id = 0; id < CBP_SESSION_MAX; id++)
        if (self.helper.policy.sessions[id].open && task->approval.sequences[id] != 0)
            take_back(&self.helper.channel->sessions[id], task->approval.sequences[id], os_error);
}

void handle_execution_return(struct task *task)
{
    int os_error = 0;
    if (task->approval.valid)
        (void) read_syscall_error(task, &os_error);
    note_failed_execution(task, os_error);
    resume_task(task, 0);
}

/* Whether somebody has to be told if it fails. */
static bool was_told(const struct approval *approval)
{
    for (uint32_t id = 0; id < CBP_SESSION_MAX; id++)
        if (approval->sequences[id] != 0)
            return true;
    return false;
}

/* ---- After execve ---- */

/* The process goes by this image from now on. Without memory for one (NULL) it has no name, which counts as
 * any that a rule forbids or protects; the name of the old one could exempt it. */
static void change_image(struct process *process, struct cbpd_image *image, uint32_t user_id,
                         struct cbp_stance *old_stances)
{
    struct cbpd_policy *policy = &self.helper.policy;
    leave_legacy(process); /* a thread that the execution has ended may have been creating */
    cbpd_execute(policy, &process->base, image != NULL ? image : cbpd_share_image(policy->nameless),
                 old_stances);
    process->user_id = user_id;
    process->has_dropped = false; /* the threads that it has ended have ended */
    process->is_launcher = false;
}

void handle_execution_stop(struct task *task)
{
    look_at_execution(task, NULL);
}

struct cbpd_image *image_of_reading(const struct reading *reading)
{
    static const struct cbpd_image_file unknown = {.path = "", .given = ""};
    return reading != NULL ? image_of_chain(reading)
                           : cbpd_make_image(&self.helper.policy, &unknown, 1, true);
}

static void go_on_at_stop(struct task *task, const struct reading *reading, bool approved)
{
    struct process *process = task->process;
    struct cbp_stance old_stances[CBP_SESSION_MAX];
    struct cbpd_report report;
    bool changed = task->approval.valid && !approved;
    if (!approved && reading != NULL && !self.helper.leaving && creations_are_wanted() &&
        park_if_full(task, OPERATION_EXECUTION, size_of(reading)))
        return;
    struct cbpd_image *image = approved ? cbpd_share_image(task->approval.image) : image_of_reading(reading);
    identify_program(image, process->base.pid);
    release_approval(&task->approval);
    report_creation(&report, task, old_stances);
    task->execution_tid = 0;
    change_image(process, image, reading != NULL ? reading->user_id : process->user_id, old_stances);
    report.request.subject = stances_of(process);
    struct cbpd_refusal refusal = {0};
    struct operation *operation = NULL;
    if (image == NULL && creations_are_wanted()) {
        count_loss(); /* without memory for its names no rule could be held against them */
        refusal.code = CBP_ERROR_NOT_ENOUGH_MEMORY;
    } else if (!approved) {
        report.image = process->base.image;
        report.user_id = process->user_id;
        report.since_ns = task->parked.since_ns;
        report.arguments = reading != NULL ? reading->arguments : NULL;
        report.arguments_size = reading != NULL ? reading->arguments_size : 0;
        bool is_complete = reading != NULL && reading->is_complete;
        add_item(&report, CBP_PROC_EVT_PROCESS_CREATION,
                 (changed ? (uint32_t) CBP_EVENT_FLAG_CHANGED : 0) |
                     (is_complete ? 0 : (uint32_t) CBP_EVENT_FLAG_ARGUMENTS_TRUNCATED));
        if (task->first_unreported)
            add_item(&report, CBP_PROC_EVT_THREAD_CREATION, 0);
        task->first_unreported = false;
        post(&self.helper, &report, &operation, &refusal, NULL);
    }
    if (operation == NULL) {
        finish_execution(task, OPERATION_EXECUTION, NULL, refusal.code);
        return;
    }
    operation->held.task = task;
    operation->kind = OPERATION_EXECUTION;
    task->operation = operation;
}

void go_on_after_look(struct task *task, enum operation_kind kind, const struct look *look)
{
    if (kind == OPERATION_EXECUTION)
        go_on_at_stop(task, look != NULL ? &look->reading : NULL, look != NULL && look->is_as_approved);
    else
        go_on_at_entry(task, look != NULL && look->resolution == RESOLVED ? &look->reading : NULL);
}

/* ---- Carrying out what was decided ---- */

void finish_execution(struct task *task, enum operation_kind kind, const struct operation *operation,
                      uint32_t result_code)
{
    if (kind == OPERATION_ENTRY) {
        if (result_code != 0) {
            (void) fail_syscall(task, errno_of_code(result_code));
            resume_task(task, 0);
            return;
        }
        task->approval = operation->approval;
        (void) cbpd_share_image(task->approval.image);
        /* What succeeds stops before it returns, and then goes on without this stop. */
        if (was_told(&task->approval))
            resume_until_return(task);
        else
            resume_task(task, 0);
        return;
    }
    if (task->launch != NULL)
        finish_launch(task, 0, result_code != 0 ? errno_of_code(result_code) : 0);
    if (result_code != 0)
        (void) kill((pid_t) task->process->base.pid, SIGKILL);
    resume_kept_creator(task);
    resume_task(task, 0);
}

/* From the system's debug events to reports, and what happens to the process afterwards. A process whose
 * event has not been continued stands still with all its threads; others go on. */
#include <stdlib.h>

#include "cbp_atomic.h"
#include "debugger.h"

/* So many events are served before requests, answers and deadlines are looked at again. */
enum { EVENTS_AT_ONCE = 64 };

static struct facts facts; /* of the process whose creation is being told */

uint32_t cbpd_capabilities_of(const struct process *process)
{
    (void) process; /* there is no difference between them */
    return CBP_DEBUG_CAPABILITIES;
}

static void continue_event(struct process *process, uint32_t tid, DWORD how)
{
    process->is_held = false;
    cbpd_resume_event(process->base.pid, tid, how);
}

/* The exit status of a process whose creation is refused: always one of failure. */
UINT cbpd_refusal_status(uint32_t code)
{
    if (code == CBP_ERROR_ACCESS_DENIED)
        return 0xc0000022u; /* STATUS_ACCESS_DENIED */
    return 0xc0070000u | (code & 0xffffu);
}

static void detach(struct debugger *self, struct process *process)
{
    cbpd_stop_debugging(process->base.pid);
    cbpd_forget_process(self, process);
}

/* It has ended by itself. */
static void end_of(struct debugger *self, struct process *process)
{
    cbpd_remember_ended(self, process);
    cbpd_forget_process(self, process);
}

void cbpd_count_lost(struct debugger *self)
{
    cbpd_count_for_all(&self->helper, offsetof(struct cbp_channel_session, lost));
}

void cbpd_count_refused(struct debugger *self)
{
    cbpd_count_for_all(&self->helper, offsetof(struct cbp_channel_session, refused));
}

void cbpd_count_guess(struct debugger *self)
{
    cbpd_count_for_all(&self->helper, offsetof(struct cbp_channel_session, guessed));
}

/* ---- What follows an operation ---- */

static void finish_creation(struct process *process, uint32_t result_code)
{
    if (result_code != 0) {
        process->refused = true;
        cbpd_end_by_force(process->handle, cbpd_refusal_status(result_code));
    }
    if (process->launch != NULL)
        cbpd_end_launch(process->launch, 0, result_code);
}

static void finish(struct debugger *self, struct task *task, enum operation_kind kind, uint32_t result_code)
{
    struct process *process = task->process;
    if (kind == OPERATION_CREATION)
        finish_creation(process, result_code);
    continue_event(process, task->base.tid, DBG_CONTINUE);
    if (kind == OPERATION_EXIT)
        end_of(self, process);
    else if (kind == OPERATION_THREAD_EXIT)
        cbpd_remove_task(self, task);
    if (kind != OPERATION_EXIT && !self->helper.leaving &&
        cbpd_is_released(&self->helper.policy, &process->base))
        detach(self, process);
}

void cbpd_apply_settled(struct debugger *self)
{
    for (struct cbpd_held *held; (held = cbpd_next_settled(&self->helper)) != NULL;) {
        struct operation *operation = operation_of(held);
        struct task *task = held->task;
        enum operation_kind kind = operation->kind;
        uint32_t result_code = held->base.result_code;
        cbpd_free_surely(operation);
        if (task == NULL)
            continue;
        task->operation = NULL;
        finish(self, task, kind, result_code);
    }
}

/* ---- Reports ---- */

static void start_report(struct debugger *self, struct cbpd_report *report, struct task *task)
{
    struct process *process = task->process;
    *report = (struct cbpd_report){
        .request = {.originator = stances_of(self, process), .subject = stances_of(self, process)},
        .process = &process->base,
        .image = process->base.image,
        .capabilities = cbpd_capabilities_of(process),
        .thread_id = task->base.tid,
        .originator_pid = process->base.pid,
        .originator_tid = task->base.tid};
}

static void add_item(struct cbpd_report *report, uint32_t type)
{
    report->request.types[report->request.item_count++] = type;
}

/* The process stands still already: either somebody is asked, or it goes on at once. */
static void post_and_hold(struct debugger *self, struct task *task, const struct cbpd_report *report,
                          enum operation_kind kind)
{
    struct operation *operation = NULL;
    struct cbpd_refusal refusal = {.code = report->request.result_code};
    post(&self->helper, report, &operation, &refusal, NULL);
    if (operation == NULL) {
        finish(self, task, kind, refusal.code);
        return;
    }
    operation->held.task = task;
    operation->kind = kind;
    task->operation = operation;
}

static struct task *task_in(struct debugger *self, const struct process *process)
{
    struct task *task = first_task(self);
    while (task != NULL && task->process != process)
        task = next_task(task);
    return task;
}

static bool is_anything_forbidden(struct debugger *self)
{
    return self->helper.policy.rule_counts[CBP_ACTION_DENY] > 0;
}

static void start_creation(struct debugger *self, struct cbpd_report *report, struct process *process,
                           const struct facts *of)
{
    report->arguments = of->command_line.bytes;
    report->arguments_size = (uint32_t) of->command_line.size;
    /* Of whom nobody knows who created it the parent is nobody, with the id 0. */
    report->originator_pid =
        creator_of(process) != NULL ? creator_of(process)->base.pid : process->parent_pid;
    report->originator_tid = process->creator_tid;
    report->request.originator = creator_of(process) != NULL ? stances_of(self, creator_of(process)) : NULL;
    add_item(report, CBP_PROC_EVT_PROCESS_CREATION);
}

void cbpd_report_creation(struct debugger *self, struct process *process)
{
    struct cbpd_report report;
    if (!cbpd_read_facts(process->handle, NULL, &facts))
        facts.command_line.size = 0;
    struct task *task = task_in(self, process);
    start_report(self, &report, task);
    start_creation(self, &report, process, &facts);
    add_item(&report, CBP_PROC_EVT_THREAD_CREATION);
    post_and_hold(self, task, &report, OPERATION_CREATION);
}

void cbpd_tell_refused(struct debugger *self, struct process *process, const struct facts *of)
{
    struct task nobody = {.process = process};
    struct cbpd_report report;
    start_report(self, &report, &nobody);
    start_creation(self, &report, process, of);
    report.request.result_code = CBP_ERROR_BUSY;
    report.request.flags[0] |= CBP_EVENT_FLAG_DECIDED_BY_RULE;
    cbpd_tell_past(&self->helper, &report);
}

/* ---- The events ---- */

/* Without memory for a thread it goes on, unseen; what it does is lost and counted. */
static void give_up(struct debugger *self, uint32_t pid, uint32_t tid)
{
    cbpd_count_lost(self);
    cbpd_resume_event(pid, tid, DBG_CONTINUE);
}

/* So is a process that nothing can be said of, unless a rule forbids something: it might forbid this. For
 * want of memory to ask about it somebody's handler might as well. */
static void give_up_process(struct debugger *self, const DEBUG_EVENT *event, bool is_lacking)
{
    if (is_anything_forbidden(self) ||
        (is_lacking && cbpd_any_session_wants(&self->helper.policy, CBP_PROC_EVT_PROCESS_CREATION))) {
        uint32_t code = is_lacking ? CBP_ERROR_NOT_ENOUGH_MEMORY : CBP_ERROR_ACCESS_DENIED;
        cbpd_end_by_force(event->u.CreateProcessInfo.hProcess, cbpd_refusal_status(code));
        cbpd_count_refused(self);
    }
    give_up(self, event->dwProcessId, event->dwThreadId);
}

/* NULL without memory. */
static struct process *make_process(struct debugger *self, uint32_t pid,
                                    const CREATE_PROCESS_DEBUG_INFO *info)
{
    uint64_t start_time = cbpd_read_start_time(info->hProcess);
    struct process *process =
        cbpd_begin_process(self, pid, cbpd_find_creator(self, facts.parent_pid, start_time));
    if (process == NULL)
        return NULL;
    process->handle = cbpd_keep_handle(info->hProcess);
    process->parent_pid = facts.parent_pid;
    process->base.start_time = start_time;
    process->base.image = cbpd_image_of(self, &facts);
    if (creator_of(process) != NULL)
        cbpd_inherit_rules(&self->helper.policy, &process->base, process->base.parent);
    return process;
}

static void handle_process_creation(struct debugger *self, const DEBUG_EVENT *event)
{
    const CREATE_PROCESS_DEBUG_INFO *info = &event->u.CreateProcessInfo;
    struct process *process = find_process(self, event->dwProcessId);
    cbpd_hide_debugger(info->hProcess, info->lpThreadLocalBase);
    if (process != NULL) { /* attached: this is only how the system begins to tell of it */
        if (cbpd_add_task(self, event->dwThreadId, process) == NULL)
            cbpd_count_lost(self);
        continue_event(process, event->dwThreadId, DBG_CONTINUE);
        return;
    }
    bool is_known = cbpd_read_facts(info->hProcess, info->hFile, &facts);
    process = is_known ? make_process(self, event->dwProcessId, info) : NULL;
    if (process == NULL || process->base.image == NULL ||
        cbpd_add_task(self, event->dwThreadId, process) == NULL) {
        if (process != NULL)
            cbpd_forget_process(self, process);
        give_up_process(self, event, is_known || facts.is_lacking);
        return;
    }
    process->is_held = true;
    if (cbpd_find_claim(self, process))
        return;
    if (creator_of(process) != NULL)
        cbpd_report_creation(self, process);
    else
        cbpd_await_claim(self, process);
}

static void handle_thread_creation(struct debugger *self, const DEBUG_EVENT *event, struct process *process)
{
    struct task *task = cbpd_add_task(self, event->dwThreadId, process);
    uint64_t start_time = cbpd_read_thread_start_time(event->u.CreateThread.hThread);
    bool is_new = !process->base.attached || start_time > process->attached_time;
    if (task == NULL || !is_new) {
        if (task == NULL)
            give_up(self, process->base.pid, event->dwThreadId);
        else
            continue_event(process, event->dwThreadId, DBG_CONTINUE);
        return;
    }
    struct cbpd_report report;
    start_report(self, &report, task);
    report.originator_pid = 0; /* the system does not say who created it */
    report.originator_tid = 0;
    add_item(&report, CBP_PROC_EVT_THREAD_CREATION);
    process->is_held = true;
    post_and_hold(self, task, &report, OPERATION_THREAD);
}

static void handle_end(struct debugger *self, struct process *process, uint32_t tid, uint32_t exit_status,
                       enum operation_kind kind)
{
    struct task *task = find_task(self, tid);
    if (task == NULL || task->process != process || process->refused) {
        continue_event(process, tid, DBG_CONTINUE);
        if (kind == OPERATION_EXIT)
            end_of(self, process);
        else if (task != NULL && task->process == process)
            cbpd_remove_task(self, task);
        return;
    }
    struct cbpd_report report;
    start_report(self, &report, task);
    report.exit_status = exit_status;
    add_item(&report, CBP_PROC_EVT_THREAD_TERMINATION);
    if (kind == OPERATION_EXIT)
        add_item(&report, CBP_PROC_EVT_PROCESS_TERMINATION);
    process->is_held = true;
    post_and_hold(self, task, &report, kind);
}

/* To a program that sends something to a debugger it is to look as if there were none. */
static DWORD answer_to(const DEBUG_EVENT *event, const struct process *process)
{
    if (event->dwDebugEventCode == EXCEPTION_DEBUG_EVENT)
        return cbpd_answer_exception(process != NULL ? process->handle : NULL, &event->u.Exception);
    return event->dwDebugEventCode == OUTPUT_DEBUG_STRING_EVENT ? DBG_EXCEPTION_NOT_HANDLED : DBG_CONTINUE;
}

static void close_file(const DEBUG_EVENT *event)
{
    HANDLE file = NULL;
    if (event->dwDebugEventCode == CREATE_PROCESS_DEBUG_EVENT)
        file = event->u.CreateProcessInfo.hFile;
    else if (event->dwDebugEventCode == LOAD_DLL_DEBUG_EVENT)
        file = event->u.LoadDll.hFile;
    if (file != NULL)
        CloseHandle(file);
}

static void handle_debug_event(struct debugger *self, const DEBUG_EVENT *event)
{
    uint32_t tid = event->dwThreadId;
    struct process *process = find_process(self, event->dwProcessId);
    DWORD code = event->dwDebugEventCode;
    if (code == CREATE_PROCESS_DEBUG_EVENT)
        handle_process_creation(self, event);
    else if (process == NULL)
        cbpd_resume_event(event->dwProcessId, tid, answer_to(event, NULL));
    else if (code == CREATE_THREAD_DEBUG_EVENT)
        handle_thread_creation(self, event, process);
    else if (code == EXIT_THREAD_DEBUG_EVENT)
        handle_end(self, process, tid, event->u.ExitThread.dwExitCode, OPERATION_THREAD_EXIT);
    else if (code == EXIT_PROCESS_DEBUG_EVENT)
        handle_end(self, process, tid, event->u.ExitProcess.dwExitCode, OPERATION_EXIT);
    else
        continue_event(process, tid, answer_to(event, process));
    close_file(event);
}

void cbpd_handle_debug_events(struct debugger *self)
{
    DEBUG_EVENT event;
    for (uint32_t i = 0; i < EVENTS_AT_ONCE && cbpd_next_debug_event(&event); i++)
        handle_debug_event(self, &event);
}

/* ---- Letting go ---- */

static void let_go(struct debugger *self, struct process *process)
{
    const struct task *task = task_in(self, process);
    if (process->is_held && task != NULL)
        continue_event(process, task->base.tid, DBG_CONTINUE);
    detach(self, process);
}

void cbpd_let_released_go(struct debugger *self)
{
    for (struct process *process = first_process(self), *next; process != NULL; process = next) {
        next = next_process(process);
        if (!process->is_held && cbpd_is_released(&self->helper.policy, &process->base))
            detach(self, process);
    }
}

/* Nothing is held for an answer any more: what stands still is unclaimed. */
void cbpd_let_everything_go(struct debugger *self)
{
    while (first_process(self) != NULL)
        let_go(self, first_process(self));
}

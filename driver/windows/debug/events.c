/* From the system's debug events to reports, and what happens to the process afterwards. A process whose
 * event has not been continued stands still with all its threads; others go on. */
#include <stdlib.h>

#include "cbp_atomic.h"
#include "supervisor.h"

#define UNCLAIMED_MAX_NS UINT64_C(3000000000)

static struct facts facts; /* of the process whose creation is being told */

uint32_t capabilities_of(const struct process *process)
{
    (void) process; /* there is no difference between them */
    return CBP_DEBUG_CAPABILITIES;
}

static void continue_event(struct process *process, uint32_t tid, DWORD how)
{
    process->is_held = false;
    (void) ContinueDebugEvent(process->pid, tid, how);
}

/* The exit status of a process whose creation is refused: always one of failure. */
static UINT refusal_status(uint32_t code)
{
    if (code == CBP_ERROR_ACCESS_DENIED)
        return 0xc0000022u; /* STATUS_ACCESS_DENIED */
    return 0xc0070000u | (code & 0xffffu);
}

static void detach(struct process *process)
{
    (void) DebugActiveProcessStop(process->pid);
    forget_process(process);
}

/* ---- What follows an operation ---- */

static void finish_creation(struct process *process, uint32_t result_code)
{
    if (result_code != 0) {
        process->refused = true;
        (void) TerminateProcess(process->handle, refusal_status(result_code));
    }
    if (process->launch != NULL)
        end_launch(process->launch, 0, result_code);
}

static void finish(struct task *task, enum operation_kind kind, uint32_t result_code)
{
    struct process *process = task->process;
    if (kind == OPERATION_CREATION)
        finish_creation(process, result_code);
    continue_event(process, task->tid, DBG_CONTINUE);
    if (kind == OPERATION_EXIT)
        forget_process(process);
    else if (kind == OPERATION_THREAD_EXIT)
        remove_task(task);
    if (kind != OPERATION_EXIT && !self.leaving && is_released(process))
        detach(process);
}

void apply_operation(struct operation *operation)
{
    struct task *task = operation->task;
    enum operation_kind kind = operation->kind;
    uint32_t result_code = operation->result_code;
    free(operation);
    if (task == NULL)
        return;
    task->operation = NULL;
    finish(task, kind, result_code);
}

/* ---- Reports ---- */

static void start_report(struct report *report, struct task *task)
{
    struct process *process = task->process;
    *report = (struct report){.task = task,
                              .process = process,
                              .image = process->image,
                              .thread_id = task->tid,
                              .originator_pid = process->pid,
                              .originator_tid = task->tid,
                              .originator = stances_of(process),
                              .subject = stances_of(process)};
}

static void add_item(struct report *report, uint32_t type)
{
    report->types[report->item_count++] = type;
}

/* The process stands still already: either somebody is asked, or it goes on at once. */
static void post_and_hold(const struct report *report, enum operation_kind kind)
{
    struct operation *operation = NULL;
    uint32_t refusal = 0;
    post_report(report, &operation, &refusal, NULL, NULL);
    if (operation == NULL) {
        finish(report->task, kind, refusal);
        return;
    }
    operation->task = report->task;
    operation->kind = kind;
    report->task->operation = operation;
}

static struct task *first_task(const struct process *process)
{
    struct task *task = self.tasks;
    while (task != NULL && task->process != process)
        task = task->next;
    return task;
}

void report_creation(struct process *process)
{
    struct task *task = first_task(process);
    struct report report;
    if (!read_facts(process->handle, &facts))
        facts.command_line.size = 0;
    start_report(&report, task);
    report.arguments = facts.command_line.bytes;
    report.arguments_size = (uint32_t) facts.command_line.size;
    report.originator_pid = process->parent_pid;
    report.originator_tid = process->creator_tid;
    report.originator = process->parent != NULL ? stances_of(process->parent) : NULL;
    add_item(&report, CBP_PROC_EVT_PROCESS_CREATION);
    add_item(&report, CBP_PROC_EVT_THREAD_CREATION);
    post_and_hold(&report, OPERATION_CREATION);
}

/* ---- The events ---- */

/* Without memory for it the process goes on, unseen; what it does is lost and counted. */
static void give_up(uint32_t pid, uint32_t tid)
{
    for (uint32_t id = 0; id < CBP_SESSION_MAX; id++)
        if (self.sessions[id].open)
            cbp_add_u64(&channel_of(id)->lost, 1);
    (void) ContinueDebugEvent(pid, tid, DBG_CONTINUE);
}

static struct process *make_process(uint32_t pid, HANDLE handle)
{
    HANDLE own = NULL;
    if (!read_facts(handle, &facts))
        return NULL;
    struct process *process = begin_process(pid, find_process(facts.parent_pid));
    if (process == NULL)
        return NULL;
    (void) DuplicateHandle(GetCurrentProcess(), handle, GetCurrentProcess(), &own, 0, FALSE,
                           DUPLICATE_SAME_ACCESS);
    process->handle = own;
    process->parent_pid = facts.parent_pid;
    process->start_time = read_start_time(handle);
    process->image = make_image(facts.path.bytes, (uint32_t) facts.path.size, facts.given.bytes,
                                (uint32_t) facts.given.size);
    if (process->parent != NULL)
        inherit_rules(process, process->parent);
    return process;
}

static void handle_process_creation(const DEBUG_EVENT *event)
{
    const CREATE_PROCESS_DEBUG_INFO *info = &event->u.CreateProcessInfo;
    struct process *process = find_process(event->dwProcessId);
    if (info->hFile != NULL)
        CloseHandle(info->hFile);
    if (process != NULL) { /* attached: this is only how the system begins to tell of it */
        (void) add_task(event->dwThreadId, process);
        continue_event(process, event->dwThreadId, DBG_CONTINUE);
        return;
    }
    process = make_process(event->dwProcessId, info->hProcess);
    if (process == NULL || add_task(event->dwThreadId, process) == NULL) {
        if (process != NULL)
            forget_process(process);
        give_up(event->dwProcessId, event->dwThreadId);
        return;
    }
    hide_debugger(info->hProcess, info->lpThreadLocalBase);
    process->is_held = true;
    if (process->parent != NULL) {
        report_creation(process);
        return;
    }
    process->is_root = true;
    process->seen_ns = now_ns();
    find_claim(process);
}

static void handle_thread_creation(const DEBUG_EVENT *event, struct process *process)
{
    struct task *task = add_task(event->dwThreadId, process);
    uint64_t start_time = read_thread_start_time(event->u.CreateThread.hThread);
    bool is_new = !process->attached || start_time > process->attached_time;
    if (task == NULL || !is_new) {
        if (task == NULL)
            give_up(process->pid, event->dwThreadId);
        else
            continue_event(process, event->dwThreadId, DBG_CONTINUE);
        return;
    }
    struct report report;
    start_report(&report, task);
    report.originator_pid = 0; /* the system does not say who created it */
    report.originator_tid = 0;
    add_item(&report, CBP_PROC_EVT_THREAD_CREATION);
    process->is_held = true;
    post_and_hold(&report, OPERATION_THREAD);
}

static void handle_end(struct process *process, uint32_t tid, uint32_t exit_status, enum operation_kind kind)
{
    struct task *task = find_task(tid);
    if (task == NULL || task->process != process || process->refused) {
        continue_event(process, tid, DBG_CONTINUE);
        if (kind == OPERATION_EXIT)
            forget_process(process);
        else if (task != NULL && task->process == process)
            remove_task(task);
        return;
    }
    struct report report;
    start_report(&report, task);
    report.exit_status = exit_status;
    add_item(&report, CBP_PROC_EVT_THREAD_TERMINATION);
    if (kind == OPERATION_EXIT)
        add_item(&report, CBP_PROC_EVT_PROCESS_TERMINATION);
    process->is_held = true;
    post_and_hold(&report, kind);
}

/* Exceptions, and what OutputDebugString sends (which is one), are the program's own affair. */
void handle_debug_event(const DEBUG_EVENT *event)
{
    uint32_t tid = event->dwThreadId;
    if (event->dwDebugEventCode == CREATE_PROCESS_DEBUG_EVENT) {
        handle_process_creation(event);
        return;
    }
    if (event->dwDebugEventCode == LOAD_DLL_DEBUG_EVENT && event->u.LoadDll.hFile != NULL)
        CloseHandle(event->u.LoadDll.hFile);
    struct process *process = find_process(event->dwProcessId);
    bool is_exception = event->dwDebugEventCode == EXCEPTION_DEBUG_EVENT ||
                        event->dwDebugEventCode == OUTPUT_DEBUG_STRING_EVENT;
    if (process == NULL || is_exception) {
        (void) ContinueDebugEvent(event->dwProcessId, tid,
                                  is_exception ? DBG_EXCEPTION_NOT_HANDLED : DBG_CONTINUE);
        return;
    }
    switch (event->dwDebugEventCode) {
    case CREATE_THREAD_DEBUG_EVENT:
        handle_thread_creation(event, process);
        break;
    case EXIT_THREAD_DEBUG_EVENT:
        handle_end(process, tid, event->u.ExitThread.dwExitCode, OPERATION_THREAD_EXIT);
        break;
    case EXIT_PROCESS_DEBUG_EVENT:
        handle_end(process, tid, event->u.ExitProcess.dwExitCode, OPERATION_EXIT);
        break;
    default:
        continue_event(process, tid, DBG_CONTINUE);
        break;
    }
}

/* ---- Letting go ---- */

static bool is_unclaimed(const struct process *process)
{
    return process->is_root && process->is_held && process->launch == NULL && process->seen_ns != 0;
}

bool has_unclaimed(void)
{
    struct process *process = self.processes;
    while (process != NULL && !is_unclaimed(process))
        process = process->next;
    return process != NULL;
}

static void let_go(struct process *process)
{
    const struct task *task = first_task(process);
    if (process->is_held && task != NULL)
        continue_event(process, task->tid, DBG_CONTINUE);
    detach(process);
}

void let_unclaimed_go(void)
{
    uint64_t now = now_ns();
    for (struct process *process = self.processes, *next; process != NULL; process = next) {
        next = process->next;
        if (is_unclaimed(process) && now - process->seen_ns > UNCLAIMED_MAX_NS)
            let_go(process);
    }
}

void let_released_go(void)
{
    for (struct process *process = self.processes, *next; process != NULL; process = next) {
        next = process->next;
        if (!process->is_held && is_released(process))
            detach(process);
    }
}

/* Nothing is held for an answer any more: what stands still is unclaimed. */
void let_everything_go(void)
{
    while (self.processes != NULL)
        let_go(self.processes);
}

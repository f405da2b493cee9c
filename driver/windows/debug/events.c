/* Handles debug events and answers. Each goes to its handler, which returns a disposition; resume.c carries
 * that out. Knows no requests. */
#include <stdlib.h>

#include "debugger.h"

/* So many events are served before the next look at requests, answers and deadlines. */
enum { EVENTS_AT_ONCE = 64 };

static struct facts facts;

/* ---- After an operation ---- */

static struct disposition after_creation(struct process *process, uint32_t result_code)
{
    process->refused = result_code != 0;
    return (struct disposition){.what = DISPOSE_CONTINUE,
                                .how = DBG_CONTINUE,
                                .victim = process->refused ? process->handle : NULL,
                                .refusal = result_code,
                                .launch = process->launch};
}

static struct disposition after_answers(const struct task *task, enum operation_kind kind,
                                        uint32_t result_code)
{
    static const enum disposition_kind next[] = {[OPERATION_THREAD] = DISPOSE_CONTINUE,
                                                 [OPERATION_THREAD_EXIT] = DISPOSE_END_THREAD,
                                                 [OPERATION_EXIT] = DISPOSE_END_PROCESS};
    if (kind == OPERATION_CREATION)
        return after_creation(task->process, result_code);
    return (struct disposition){.what = next[kind], .how = DBG_CONTINUE};
}

/* Posts a report on a task. Says what is to be done with the task if no session is asked. */
static struct disposition ask(struct debugger *self, struct task *task, const struct cbpd_report *report,
                              enum operation_kind kind)
{
    uint32_t result_code;
    bool is_held = cbpd_is_held(&self->helper, &task->base, report, kind, &result_code);
    return is_held ? stay() : after_answers(task, kind, result_code);
}

void cbpd_apply_settled(struct debugger *self)
{
    for (struct cbpd_held *held; (held = cbpd_next_settled(&self->helper));) {
        const struct task *task = held->task ? task_of(held->task) : NULL;
        if (task)
            cbpd_carry_out(self, task->process->base.pid, task->base.tid,
                           after_answers(task, held->kind, held->base.result_code));
        cbpd_free_surely(held);
    }
}

/* ---- The events ---- */

static struct disposition creation_of(struct debugger *self, struct process *process)
{
    struct cbpd_report report;
    struct task *task = cbpd_task_in(self, process);
    cbpd_start_creation_report(self, &report, task);
    return ask(self, task, &report, OPERATION_CREATION);
}

void cbpd_tell_creation(struct debugger *self, struct process *process)
{
    const struct task *task = cbpd_task_in(self, process);
    cbpd_carry_out(self, process->base.pid, task->base.tid, creation_of(self, process));
}

void cbpd_settle_unclaimed(struct debugger *self)
{
    for (struct process *process; (process = cbpd_next_orphan(self));)
        cbpd_tell_creation(self, process);
}

/* Lets a thread without memory go on unseen. What it does is counted as lost. */
static struct disposition give_up(struct debugger *self)
{
    cbpd_count_lost(&self->helper);
    return go_on(DBG_CONTINUE);
}

/* Lets a process go on unseen about which nothing is known. It is refused if some rule denies, because that
 * rule may be meant for it, or if memory is lacking and a handler may be. */
static struct disposition give_up_process(struct debugger *self, const DEBUG_EVENT *event, bool is_lacking)
{
    struct disposition next = give_up(self);
    if (self->helper.policy.rule_counts[CBP_ACTION_DENY] > 0 ||
        (is_lacking && cbpd_any_session_wants(&self->helper.policy, CBP_PROC_EVT_PROCESS_CREATION))) {
        next.victim = event->u.CreateProcessInfo.hProcess;
        next.refusal = is_lacking ? CBP_ERROR_NOT_ENOUGH_MEMORY : CBP_ERROR_ACCESS_DENIED;
        cbpd_count_for_all(&self->helper, offsetof(struct cbp_channel_session, refused));
    }
    return next;
}

static struct disposition handle_process_creation(struct debugger *self, const DEBUG_EVENT *event)
{
    const CREATE_PROCESS_DEBUG_INFO *info = &event->u.CreateProcessInfo;
    struct process *process = find_process(&self->helper, event->dwProcessId);
    cbpd_hide_debugger(info->hProcess, info->lpThreadLocalBase);
    if (process) { /* it was attached to: this only begins its events */
        if (!cbpd_add_task(self, event->dwThreadId, process))
            cbpd_count_lost(&self->helper);
        return go_on(DBG_CONTINUE);
    }
    bool is_known = cbpd_read_facts(info->hProcess, info->hFile, &facts);
    if (is_known) {
        uint64_t start_time = cbpd_read_start_time(info->hProcess);
        struct process *creator = cbpd_find_creator(self, facts.parent_pid, start_time);
        process = cbpd_begin_process(self, event->dwProcessId, start_time, creator, &facts);
    }
    if (process && !cbpd_add_task(self, event->dwThreadId, process)) {
        cbpd_forget_process(self, process);
        process = NULL;
    }
    if (!process)
        return give_up_process(self, event, is_known || facts.is_lacking);
    process->handle = cbpd_keep_handle(info->hProcess);
    bool has_to_wait =
        !cbpd_find_claim(self, process) && !creator_of(process) && cbpd_awaits_claim(self, process);
    return has_to_wait ? stay() : creation_of(self, process);
}

static struct disposition handle_thread_creation(struct debugger *self, const DEBUG_EVENT *event,
                                                 struct process *process)
{
    struct task *task = cbpd_add_task(self, event->dwThreadId, process);
    uint64_t start_time = cbpd_read_thread_start_time(event->u.CreateThread.hThread);
    bool is_new = !process->base.attached || start_time > process->attached_time;
    if (!task)
        return give_up(self);
    if (!is_new)
        return go_on(DBG_CONTINUE);
    struct cbpd_report report;
    cbpd_start_report(self, &report, task);
    report.originator_pid = 0; /* the system does not name its creator */
    report.originator_tid = 0;
    cbpd_add_item(&report, CBP_PROC_EVT_THREAD_CREATION, 0);
    return ask(self, task, &report, OPERATION_THREAD);
}

static struct disposition handle_end(struct debugger *self, struct process *process, uint32_t tid,
                                     uint32_t exit_status, enum operation_kind kind)
{
    struct task *task = find_task(&self->helper, tid);
    if (!task || task->process != process || process->refused)
        return after_answers(task, kind, 0);
    struct cbpd_report report;
    cbpd_start_report(self, &report, task);
    report.exit_status = exit_status;
    cbpd_add_item(&report, CBP_PROC_EVT_THREAD_TERMINATION, 0);
    if (kind == OPERATION_EXIT)
        cbpd_add_item(&report, CBP_PROC_EVT_PROCESS_TERMINATION, 0);
    return ask(self, task, &report, kind);
}

/* Answers as if there were no debugger, also to a program that sends something to one. */
static DWORD answer_to(const DEBUG_EVENT *event, const struct process *process)
{
    if (event->dwDebugEventCode == EXCEPTION_DEBUG_EVENT)
        return cbpd_answer_exception(process ? process->handle : NULL, &event->u.Exception);
    return event->dwDebugEventCode == OUTPUT_DEBUG_STRING_EVENT ? DBG_EXCEPTION_NOT_HANDLED : DBG_CONTINUE;
}

static void close_file(const DEBUG_EVENT *event)
{
    HANDLE file = NULL;
    if (event->dwDebugEventCode == CREATE_PROCESS_DEBUG_EVENT)
        file = event->u.CreateProcessInfo.hFile;
    else if (event->dwDebugEventCode == LOAD_DLL_DEBUG_EVENT)
        file = event->u.LoadDll.hFile;
    close_handle(file);
}

static struct disposition handle_debug_event(struct debugger *self, const DEBUG_EVENT *event)
{
    uint32_t tid = event->dwThreadId;
    struct process *process = find_process(&self->helper, event->dwProcessId);
    DWORD code = event->dwDebugEventCode;
    if (code == CREATE_PROCESS_DEBUG_EVENT)
        return handle_process_creation(self, event);
    if (process && code == CREATE_THREAD_DEBUG_EVENT)
        return handle_thread_creation(self, event, process);
    if (process && code == EXIT_THREAD_DEBUG_EVENT)
        return handle_end(self, process, tid, event->u.ExitThread.dwExitCode, OPERATION_THREAD_EXIT);
    if (process && code == EXIT_PROCESS_DEBUG_EVENT)
        return handle_end(self, process, tid, event->u.ExitProcess.dwExitCode, OPERATION_EXIT);
    return go_on(answer_to(event, process));
}

void cbpd_handle_debug_events(struct debugger *self)
{
    DEBUG_EVENT event;
    for (uint32_t i = 0; i < EVENTS_AT_ONCE && cbpd_next_debug_event(&event); i++) {
        struct disposition next = handle_debug_event(self, &event);
        cbpd_carry_out(self, event.dwProcessId, event.dwThreadId, next);
        close_file(&event);
    }
}

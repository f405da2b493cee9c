/* Operations on other processes and threads, held at the entry of their system calls: from what a call asks
 * of whom to the events, and from the answers to the call's result. What each call asks is handle_calls.c's.
 * Runs in the tracer thread only.
 *
 * Linux grants all or nothing: a call that has lost a right it needs fails with EPERM, one that was refused
 * with the errno of the code. One that aims at several processes is one operation: it goes on if every one of
 * its events says so. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "handle_calls.h"
#include "supervisor.h"

/* What a filter stops for the guard alone is no more than a part of what concerns others. */
static bool handles_are_of_interest(const struct process *process)
{
    if (self.leaving || (process->filter_parts & CBP_LAUNCH_FLAG_HANDLES) == 0)
        return false;
    for (uint32_t id = 0; id < CBP_SESSION_MAX; id++)
        if (self.sessions[id].open && (self.sessions[id].events & HANDLE_OPERATIONS) != 0)
            return true;
    return self.rules.counts[CBP_ACTION_STRIP] > 0;
}

/* What a call does as a whole, while its targets are told one after the other. */
struct verdict {
    struct operation *operation;
    uint32_t refusal;
    bool is_stripped;
};

static bool is_ancestor(const struct process *process, const struct process *descendant)
{
    do
        descendant = descendant->parent;
    while (descendant != NULL && descendant != process);
    return descendant != NULL;
}

/* Tells about one target. Nothing fires for an operation on oneself. */
static void tell_target(struct task *task, const struct handle_call *call, uint32_t tid,
                        const struct status_facts *facts, struct verdict *verdict)
{
    struct process outsider = {.pid = facts->group};
    struct process *target = find_process(facts->group);
    struct report report;
    if (facts->group == task->process->pid)
        return;
    if (target == NULL) {
        outsider.start_time = read_start_time(facts->group);
        outsider.parent_pid = facts->parent_pid;
        outsider.user_id = facts->user_id;
        target = &outsider;
    }
    bool is_thread = call->is_thread || (call->becomes_thread && tid != facts->group);
    memset(&report, 0, sizeof report);
    report.task = task;
    report.process = target;
    report.image = target->image;
    report.thread_id = is_thread ? tid : 0;
    report.originator_pid = task->process->pid;
    report.originator_tid = task->tid;
    report.user_id = target->user_id;
    report.access = is_thread ? call->thread_access : call->process_access;
    report.originator = stances_of(task->process);
    report.subject = target == &outsider ? NULL : stances_of(target);
    report.is_by_ancestor = is_ancestor(task->process, target);
    if (call->is_duplication) {
        report.source_pid = target->pid;
        report.target_pid = task->process->pid;
    }
    add_item(&report,
             is_thread ? CBP_PROC_EVT_THREAD_HANDLE_OPERATION : CBP_PROC_EVT_PROCESS_HANDLE_OPERATION,
             call->is_duplication ? CBP_EVENT_FLAG_DUPLICATION : 0);
    post_report(&report, &verdict->operation, &verdict->refusal, &verdict->is_stripped, NULL);
}

/* Tells about every process that a call for many aims at. */
static void tell_many(struct task *task, const struct handle_call *call, const struct id_view *view,
                      struct verdict *verdict)
{
    DIR *folder = opendir("/proc");
    struct dirent *entry;
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        struct status_facts facts;
        uint32_t pid = (uint32_t) strtoul(entry->d_name, NULL, 10);
        if (isdigit((unsigned char) entry->d_name[0]) && read_status(pid, &facts) && facts.group == pid &&
            !(call->replacement.signal_for_many != 0 && is_guarded(pid)) &&
            is_aimed_at(call, view, task, pid, &facts))
            tell_target(task, call, pid, &facts, verdict);
    }
    if (folder != NULL)
        closedir(folder);
}

/* Gives false if there is no such target: the call will say so itself. */
static bool tell_one(struct task *task, const struct handle_call *call, struct verdict *verdict)
{
    struct status_facts facts;
    if (call->tid == 0 || !read_status(call->tid, &facts))
        return false;
    if (call->group != 0 && call->group != facts.group)
        return false;
    tell_target(task, call, call->tid, &facts, verdict);
    return true;
}

static void settle_at_once(struct task *task, const struct verdict *verdict, const struct handle_call *call)
{
    const struct operation nobody_asked = {.task = task,
                                           .kind = OPERATION_HANDLE,
                                           .result_code = verdict->refusal,
                                           .is_stripped = verdict->is_stripped,
                                           .replacement = call->replacement};
    finish_handle_call(task, &nobody_asked);
}

void handle_handle_call(struct task *task, const struct syscall_entry *entry)
{
    struct handle_call call;
    struct id_view view;
    struct verdict verdict = {.operation = NULL};
    if (!open_view(task, &view) || !read_handle_call(task, entry, &view, &call)) {
        resume_task(task, 0);
        return;
    }
    if (call.os_error == 0 && guard_refuses(task, entry, &view, &call))
        call.os_error = EPERM;
    if (call.os_error != 0) {
        (void) fail_syscall(task, call.os_error);
        resume_task(task, 0);
        return;
    }
    if (!handles_are_of_interest(task->process)) {
        settle_at_once(task, &verdict, &call);
        return;
    }
    introduce(task);
    if (call.aim == AIM_ONE)
        (void) tell_one(task, &call, &verdict);
    else
        tell_many(task, &call, &view, &verdict);
    if (verdict.operation == NULL) {
        settle_at_once(task, &verdict, &call);
        return;
    }
    if (verdict.operation->result_code == 0)
        verdict.operation->result_code = verdict.refusal;
    verdict.operation->is_stripped |= verdict.is_stripped;
    verdict.operation->task = task;
    verdict.operation->kind = OPERATION_HANDLE;
    verdict.operation->replacement = call.replacement;
    task->operation = verdict.operation;
}

void finish_handle_call(struct task *task, const struct operation *operation)
{
    if (operation->result_code != 0)
        (void) fail_syscall(task, errno_of_code(operation->result_code));
    else if (operation->is_stripped)
        (void) fail_syscall(task, EPERM);
    else if (operation->replacement.signal_for_many != 0)
        signal_the_others(task, &operation->replacement);
    else if (operation->replacement.argument_count > 0)
        (void) replace_syscall(task, &operation->replacement);
    resume_task(task, 0);
}

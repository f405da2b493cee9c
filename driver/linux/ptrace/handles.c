/* Holds operations on other processes and threads at the entry of their system calls: a call becomes events,
 * and their answers become the call's result. handle_calls.c knows what each call asks. Runs in the tracer
 * thread only.
 *
 * Linux grants all or nothing: a call that has lost a right it needs fails with EPERM, and a refused one with
 * the errno of the code. A call with several targets is one operation, which all its events must allow. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "cbp_atomic.h"
#include "handle_calls.h"
#include "tracer.h"

/* ---- Whether a call matters ---- */

/* Gives the process rights that a session's rules take away. */
static uint32_t rights_taken_in(struct tracer *self, uint32_t session_id)
{
    uint32_t rights = 0;
    for (uint32_t part = 0; part < CBP_RULES_PART_COUNT; part++) {
        const struct cbpd_rule_set *set = self->helper.policy.rules[session_id][part];
        if (set && set->counts[CBP_ACTION_STRIP] > 0)
            rights |= set->strip_mask;
    }
    return rights;
}

/* Says whether a process's handle operations concern a session or a rule. A filter for the guard alone stops
 * fewer calls, which do not count. */
static bool handles_are_of_interest(struct tracer *self, const struct process *process)
{
    return !self->helper.leaving && (process->filter_parts & CBP_LAUNCH_FLAG_HANDLES) != 0 &&
           (self->helper.policy.rule_counts[CBP_ACTION_STRIP] > 0 ||
            cbpd_any_session_wants(&self->helper.policy, CBPD_HANDLE_OPERATIONS));
}

/* Says whether a session's rules or handlers could refuse this call, whatever it aims at. */
static bool could_refuse(const struct handle_call *call, uint32_t session_id)
{
    const struct cbpd_session *session = &call->self->helper.policy.sessions[session_id];
    uint32_t rights = session->open ? rights_taken_in(call->self, session_id) : 0;
    return session->open && ((session->settings.events & CBPD_HANDLE_OPERATIONS) != 0 ||
                             (call->process_access & rights) != 0 ||
                             (call->thread_access & cbpd_thread_rights_of(rights)) != 0);
}

/* ---- The targets of a call ---- */

struct reached_task {
    uint32_t tid;
    struct status_facts facts;
};

/* This is all that one call reaches. One thread uses it, for one call at a time. */
static struct {
    struct text tasks; /* each a struct reached_task */
    bool reaches_caller;
    bool is_unknown; /* not all of them can be known */
} reached;

static struct reached_task *targets(void)
{
    return (struct reached_task *) (void *) reached.tasks.bytes;
}

static size_t target_count(void)
{
    return reached.tasks.size / sizeof(struct reached_task);
}

static void reach(const struct handle_call *call, uint32_t tid, const struct status_facts *facts)
{
    const struct reached_task target = {tid, *facts};
    if (facts->group == call->task->process->base.pid) /* an operation on the own process makes no event */
        reached.reaches_caller = true;
    else if (!text_append(&reached.tasks, (const char *) &target, sizeof target))
        reached.is_unknown = true;
}

/* Adds one process that a call for many may reach. What is hidden of an untraced one concerns no rule. */
static void reach_one_of_many(const struct handle_call *call, uint32_t pid, bool is_ours)
{
    struct status_facts facts;
    enum knowledge aimed;
    if (!cbpd_read_status(call->self, pid, &facts))
        aimed = cbpd_is_there(pid) ? NOT_KNOWN : ABSENT;
    else
        aimed = facts.group == pid ? cbpd_is_aimed_at(call, pid, &facts) : ABSENT;
    if (aimed == KNOWN)
        reach(call, pid, &facts);
    else if (aimed == NOT_KNOWN && is_ours)
        reached.is_unknown = true;
}

static int by_id(const void *a, const void *b)
{
    uint32_t first = ((const struct reached_task *) a)->tid, second = ((const struct reached_task *) b)->tid;
    return (first > second) - (first < second);
}

/* Adds all targets of a call for many. The system's list may hide some, but traced processes are known. */
static void reach_many(const struct handle_call *call)
{
    const struct cbpd_helper *helper = &call->self->helper;
    struct id_list list;
    if (cbpd_list_ids(call->self, ALL_PROCESSES, &list) != KNOWN)
        reached.is_unknown = true;
    for (const struct process *process = first_process(helper); process; process = next_process(process))
        reach_one_of_many(call, process->base.pid, true);
    for (uint32_t i = 0; i < list.count; i++) {
        uint32_t pid = list.ids[i];
        if (!find_process(helper, pid) &&
            !(call->replacement.signal_for_many != 0 && cbpd_is_guarded(call->self, pid)))
            reach_one_of_many(call, pid, false);
    }
    cbpd_free_id_list(&list);
    if (target_count() > 1)
        qsort(targets(), target_count(), sizeof *targets(), by_id);
}

/* Adds a call's only target. False: the call fails because there is no such target, or goes on because the
 * kernel wants a first thread and this is another. */
static bool reach_one(struct handle_call *call, uint32_t tid)
{
    struct status_facts facts;
    if (!cbpd_read_status(call->self, tid, &facts)) {
        reached.is_unknown = cbpd_is_there(tid);
        call->os_error = reached.is_unknown ? 0 : ESRCH;
        return reached.is_unknown;
    }
    if (call->group != 0 && call->group != facts.group) {
        call->os_error = call->wants_first_thread ? 0 : ESRCH;
        return false;
    }
    reach(call, tid, &facts);
    return true;
}

/* ---- Telling ---- */

/* A call's targets are told one after the other, and this is the verdict about the call as a whole. */
struct verdict {
    struct operation *operation;
    struct cbpd_refusal refusal;
};

/* Gives the creator of a new child that was not told of yet, which counts as its creator until then. */
static struct process *creator_of_new(struct tracer *self, const struct status_facts *facts)
{
    return facts->tracer_pid == (uint32_t) getpid() ? find_process(&self->helper, facts->parent_pid) : NULL;
}

static void tell_target(const struct handle_call *call, const struct reached_task *aim,
                        struct verdict *verdict)
{
    struct tracer *self = call->self;
    const struct status_facts *facts = &aim->facts;
    struct process *caller = call->task->process;
    struct process outsider = {.base.pid = facts->group};
    struct process *target = find_process(&self->helper, facts->group);
    struct process *judged = target;
    if (!target) {
        judged = creator_of_new(self, facts);
        outsider.base.start_time = cbpd_read_start_time(self, facts->group);
        outsider.parent_pid = facts->parent_pid;
        outsider.user_id = facts->user_id;
        outsider.base.parent = judged ? &judged->base : NULL;
        outsider.base.creator_tenure = judged ? judged->base.tenure : 0;
        target = &outsider;
    }
    bool is_thread = call->is_thread || (call->becomes_thread && aim->tid != facts->group);
    struct cbpd_report report = {
        .process = &target->base,
        .capabilities = cbpd_capabilities_of(&target->base),
        .image = judged ? judged->base.image : NULL,
        .thread_id = is_thread ? aim->tid : 0,
        .originator_pid = caller->base.pid,
        .originator_tid = call->task->base.tid,
        .user_id = target->user_id,
        .request.access = is_thread ? call->thread_access : call->process_access,
        .request.originator = stances_of(&self->helper, caller),
        .request.subject = judged ? stances_of(&self->helper, judged) : NULL,
        .request.is_by_creator =
            cbpd_is_protected_creator(&self->helper.policy, &caller->base, &target->base),
        .source_pid = call->is_duplication ? target->base.pid : 0,
        .target_pid = call->is_duplication ? caller->base.pid : 0,
    };
    cbpd_add_item(&report,
                  is_thread ? CBP_PROC_EVT_THREAD_HANDLE_OPERATION : CBP_PROC_EVT_PROCESS_HANDLE_OPERATION,
                  call->is_duplication ? CBP_EVENT_FLAG_DUPLICATION : 0);
    post(&self->helper, &report, &verdict->operation, &verdict->refusal, NULL);
}

/* ---- Descriptors that other threads can exchange ---- */

static uint32_t descriptor_access_of(const struct handle_call *call)
{
    return call->keeps_descriptor ? call->process_access : 0;
}

/* Says whether a descriptor may mean a process that a rule protects by the time of the call. */
static bool descriptor_may_be_exchanged(struct tracer *self, const struct task *task,
                                        const struct operation *operation)
{
    bool is_refused = false;
    for (uint32_t id = 0; id < CBP_SESSION_MAX && !self->helper.leaving; id++) {
        if (!self->helper.policy.sessions[id].open ||
            (rights_taken_in(self, id) & operation->descriptor_access) == 0)
            continue;
        if (!is_refused && !cbpd_descriptors_are_shared(self, task))
            return false;
        cbp_add_u64(&cbpd_channel_of(&self->helper, id)->refused, 1);
        is_refused = true;
    }
    return is_refused;
}

static struct disposition settle_at_once(const struct handle_call *call, const struct verdict *verdict)
{
    const struct operation nobody_asked = {.held.base.result_code = verdict->refusal.code,
                                           .held.base.is_stripped = verdict->refusal.is_stripped,
                                           .held.kind = OPERATION_HANDLE,
                                           .descriptor_access = descriptor_access_of(call),
                                           .replacement = call->replacement};
    return cbpd_finish_handle_call(call->self, call->task, &nobody_asked);
}

/* ---- Calls that are not known ---- */

/* Refuses a call with unknown targets. No session is told, but its counter is raised. */
static struct disposition refuse_unknown(const struct handle_call *call)
{
    for (uint32_t id = 0; id < CBP_SESSION_MAX; id++)
        if (could_refuse(call, id))
            cbp_add_u64(&cbpd_channel_of(&call->self->helper, id)->refused, 1);
    return fail_call(call->task, EPERM);
}

static bool could_be_refused(const struct handle_call *call)
{
    for (uint32_t id = 0; id < CBP_SESSION_MAX; id++)
        if (could_refuse(call, id))
            return true;
    return false;
}

/* Settles a call without an event. True: it fails or goes on as *next says. False: its targets are told. */
static bool is_settled(struct handle_call *call, struct disposition *next)
{
    reached.tasks.size = 0;
    reached.reaches_caller = reached.is_unknown = false;
    bool goes_on = true;
    if (call->os_error == 0 && call->aim == AIM_ONE)
        goes_on = reach_one(call, call->tid) && (call->other_tid == 0 || reach_one(call, call->other_tid));
    else if (call->os_error == 0)
        reach_many(call);
    if (call->os_error == 0 && reached.is_unknown) {
        *next = refuse_unknown(call);
        return true;
    }
    if (goes_on && call->os_error == 0 && target_count() == 0 && !reached.reaches_caller &&
        call->replacement.signal_for_many == 0)
        call->os_error = ESRCH;
    *next = call->os_error != 0 ? fail_call(call->task, call->os_error) : go_on(0);
    return call->os_error != 0 || !goes_on;
}

struct disposition cbpd_handle_handle_call(struct tracer *self, struct task *task,
                                           const struct syscall_entry *entry)
{
    struct handle_call call = {
        .self = self, .task = task, .entry = entry, .kind = syscall_kind(entry->architecture, entry->number)};
    struct verdict verdict = {.operation = NULL};
    if (cbpd_asks_for_signals(entry))
        return cbpd_signals_may_reach_others(self, task, entry) ? fail_call(task, EPERM) : go_on(0);
    bool is_view_known = cbpd_open_view(self, task, &call.view);
    if (!cbpd_read_handle_call(&call))
        return go_on(0);
    call.is_unknown |= !is_view_known;
    bool matters = handles_are_of_interest(self, task->process) && could_be_refused(&call);
    if (call.os_error == 0 && call.is_unknown && matters)
        return refuse_unknown(&call);
    if (call.os_error == 0 && cbpd_guard_refuses(&call))
        return fail_call(task, EPERM);
    if (call.os_error == 0 && !matters) {
        call.keeps_descriptor = false;
        return settle_at_once(&call, &verdict);
    }
    struct disposition next;
    if (is_settled(&call, &next))
        return next;
    cbpd_introduce(self, task);
    cbpd_begin_search(&self->helper.policy, &task->process->base);
    for (size_t i = 0; i < target_count(); i++)
        tell_target(&call, &targets()[i], &verdict);
    if (!verdict.operation)
        return settle_at_once(&call, &verdict);
    cbpd_refuse_by_rules(&self->helper.policy, &verdict.refusal, &verdict.operation->held.base);
    verdict.operation->descriptor_access = descriptor_access_of(&call);
    verdict.operation->replacement = call.replacement;
    cbpd_hold(&task->base, &verdict.operation->held, OPERATION_HANDLE);
    return stay();
}

struct disposition cbpd_finish_handle_call(struct tracer *self, struct task *task,
                                           const struct operation *operation)
{
    const struct cbpd_operation *outcome = &operation->held.base;
    if (outcome->result_code != 0)
        return fail_call(task, cbpd_errno_of_code(outcome->result_code));
    if (outcome->is_stripped || descriptor_may_be_exchanged(self, task, operation))
        return fail_call(task, EPERM);
    if (operation->replacement.signal_for_many != 0)
        cbpd_signal_the_others(self, task, &operation->replacement);
    else if (operation->replacement.argument_count > 0)
        (void) cbpd_replace_syscall(task, &operation->replacement);
    return go_on(0);
}

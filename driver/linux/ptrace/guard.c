/* Keeps the helper and the controller out of reach of the processes that they supervise. A process with the
 * filter cannot signal, stop, trace, read or change them, whatever the rules say and whether or not a session
 * wants handle operations. Nothing is told about it. Queries and signals without effect pass.
 *
 * A signal for many that would reach one of the two goes to the other processes: "kill 0" in a script that
 * shares its process group with the controller is no attack. The helper sends that signal, as far as the
 * caller may. Decision 11. Runs in the tracer thread only. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "handle_calls.h"

enum { PASSES_MAX = 8 };

/* A pending signal makes poll fail even without waiting (EINTR): then the controller counts as alive. */
static bool controller_lives(void)
{
    struct pollfd controller = {.fd = CONTROLLER_FD, .events = POLLIN};
    return poll(&controller, 1, 0) <= 0;
}

bool cbpd_is_guarded(struct tracer *self, uint32_t pid)
{
    return pid == (uint32_t) getpid() || (pid == self->controller_pid && controller_lives());
}

/* Says whether tid is a thread of the process, without a look into /proc. */
static bool is_thread_of(uint32_t pid, uint32_t tid)
{
    return syscall(SYS_tgkill, (pid_t) pid, (pid_t) tid, 0) == 0 || errno == EPERM;
}

static bool is_in_group(uint32_t pid, uint32_t group)
{
    return cbpd_process_group_of(pid) == group;
}

static bool asks_for_more_than_facts(const struct handle_call *call)
{
    const uint32_t process_facts =
        CBP_PROCESS_QUERY_INFORMATION | CBP_PROCESS_QUERY_LIMITED_INFORMATION | CBP_PROCESS_SYNCHRONIZE;
    const uint32_t thread_facts =
        CBP_THREAD_QUERY_INFORMATION | CBP_THREAD_QUERY_LIMITED_INFORMATION | CBP_THREAD_SYNCHRONIZE;
    return (call->process_access & ~process_facts) != 0 || (call->thread_access & ~thread_facts) != 0;
}

/* Gives the group that a call aims at, in the helper's namespace; 0: neither of the two can be in it. */
static uint32_t group_of(const struct handle_call *call)
{
    return call->process_group_ours || !call->view.is_foreign ? call->process_group : 0;
}

static bool reaches(uint32_t pid, const struct handle_call *call)
{
    switch (call->aim) {
    case AIM_ONE:
        return call->tid != 0 && call->tid <= INT_MAX && is_thread_of(pid, call->tid);
    case AIM_GROUP:
        return group_of(call) != 0 && is_in_group(pid, group_of(call));
    default: /* the two are not in the caller's other namespace */
        return !call->view.is_foreign &&
               (call->aim == AIM_EVERYBODY || call->user_id == cbpd_own_user(false) ||
                call->user_id == cbpd_own_user(true));
    }
}

static bool reaches_guarded(const struct handle_call *call)
{
    return reaches((uint32_t) getpid(), call) ||
           (reaches(call->self->controller_pid, call) && controller_lives());
}

/* Aims the call at the caller's own group by its id. The caller's other threads could change its group after
 * this look, but an id always means one group. False: the group has no id in the caller's namespace. */
static bool name_own_group(struct handle_call *call)
{
    struct status_facts facts;
    const uint64_t *arguments = call->entry->arguments;
    uint32_t group = call->process_group;
    if (call->view.is_foreign && cbpd_read_status(call->self, call->task->base.tid, &facts) &&
        facts.group_ids[0] == group)
        group = facts.group_ids[call->view.level];
    else if (call->view.is_foreign)
        group = 0;
    if (group == 0)
        return false;
    struct replacement by_id = {.argument_count = 3, .arguments = {arguments[0], group, arguments[2]}};
    if (call->kind == SYSCALL_KILL)
        by_id = (struct replacement){.argument_count = 2,
                                     .arguments = {(uint64_t) - (int64_t) group, arguments[1]}};
    replace_call(call, call->kind, by_id);
    return true;
}

/* Makes the signal go to all except the guarded. */
static void spare(struct handle_call *call)
{
    struct replacement instead = {.signal_for_many = (uint32_t) call->entry->arguments[1]};
    instead.group = call->aim == AIM_GROUP ? group_of(call) : 0;
    instead.reaches_caller =
        instead.group != 0 &&
        (call->process_group_ours || is_in_group(call->task->process->base.pid, instead.group));
    replace_call(call, SYSCALL_KILL, instead);
}

bool cbpd_guard_refuses(struct handle_call *call)
{
    bool is_signal = call->kind == SYSCALL_KILL || call->kind == SYSCALL_PIDFD_SEND_SIGNAL;
    if (!asks_for_more_than_facts(call))
        return false;
    /* An unknown id in the caller's own namespace means no process outside of it; a descriptor may. */
    if (call->is_unknown && (!call->view.is_foreign || call->by_descriptor))
        return true;
    if (call->process_group_ours) { /* looked up once, since each look may give another */
        call->process_group = cbpd_process_group_of(call->task->process->base.pid);
        if (call->process_group == 0) /* it is led from an outer namespace, and the two may be in it */
            return true;
    }
    bool is_safe = !reaches_guarded(call);
    if (is_safe && call->aim == AIM_GROUP && call->process_group_ours)
        is_safe = name_own_group(call);
    if (is_safe)
        return false;
    if (call->aim == AIM_ONE || call->aim == AIM_USER || !is_signal)
        return true;
    spare(call);
    return false;
}

/* ---- A signal for many, sent by the helper ---- */

/* The processes that got the signal are remembered: a second look finds those created during the first. */
struct reached {
    struct id_list pids;
    bool is_unknown; /* memory, or a list of processes, is lacking */
};

static bool has_reached(const struct reached *reached, uint32_t pid)
{
    for (size_t i = 0; i < reached->pids.count; i++)
        if (reached->pids.ids[i] == pid)
            return true;
    return false;
}

/* Follows the rules of kill(2), because the helper may have more rights than the caller. */
static bool caller_may_signal(struct tracer *self, const struct task *task, const struct status_facts *caller,
                              uint32_t pid, uint32_t number)
{
    struct status_facts target;
    if (caller->effective_user_id == 0)
        return true;
    if (number == SIGCONT && getsid((pid_t) pid) == getsid((pid_t) task->process->base.pid))
        return true;
    return cbpd_read_status(self, pid, &target) &&
           may_signal(caller->user_id, caller->effective_user_id, &target);
}

/* Looks once at all processes and signals new ones. Says whether there were any. */
static bool signal_new_ones(struct tracer *self, const struct task *task, const struct status_facts *caller,
                            const struct replacement *instead, struct reached *reached)
{
    bool any = false;
    struct id_list list;
    reached->is_unknown |= cbpd_list_ids(self, ALL_PROCESSES, &list) != KNOWN;
    for (uint32_t i = 0; i < list.count; i++) {
        uint32_t pid = list.ids[i];
        if (pid == 1 || pid == task->process->base.pid ||
            (instead->group != 0 && !is_in_group(pid, instead->group)) || cbpd_is_guarded(self, pid) ||
            has_reached(reached, pid) ||
            !caller_may_signal(self, task, caller, pid, instead->signal_for_many))
            continue;
        if (kill((pid_t) pid, (int) instead->signal_for_many) != 0)
            continue;
        any = true;
        reached->is_unknown |= !cbpd_add_id(&reached->pids, pid); /* another look would reach it again */
    }
    cbpd_free_id_list(&list);
    return any && !reached->is_unknown;
}

void cbpd_signal_the_others(struct tracer *self, struct task *task, const struct replacement *instead)
{
    struct reached reached = {.is_unknown = false};
    struct status_facts caller;
    struct id_view view;
    if (cbpd_read_status(self, task->base.tid, &caller))
        for (int i = 0; i < PASSES_MAX && signal_new_ones(self, task, &caller, instead, &reached); i++) {
        }
    bool is_sent = reached.pids.count > 0;
    cbpd_free_id_list(&reached.pids);
    if (reached.is_unknown) { /* a process may have been left out: that is no success */
        cbpd_count_lost(&self->helper);
        (void) cbpd_fail_syscall(task, EAGAIN);
        return;
    }
    /* The caller's own signal arrives before its call returns. */
    struct replacement own = {.argument_count = 2,
                              .architecture = instead->architecture,
                              .number = instead->number,
                              .arguments = {0, instead->signal_for_many}};
    uint32_t own_id = 0;
    if (instead->reaches_caller && cbpd_open_view(self, task, &view) &&
        cbpd_seen_as(self, &view, task->process->base.pid, &own_id) == KNOWN)
        own.arguments[0] = own_id;
    if (own.arguments[0] != 0)
        (void) cbpd_replace_syscall(task, &own);
    else
        (void) cbpd_fail_syscall(task, is_sent ? 0 : EPERM);
}

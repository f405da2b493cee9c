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
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "handle_calls.h"
#include "syscalls.h"
#include "tracer.h"

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
static uint32_t group_of(const struct id_view *view, const struct handle_call *call)
{
    return call->process_group_ours || !view->is_foreign ? call->process_group : 0;
}

static bool reaches(uint32_t pid, const struct id_view *view, const struct handle_call *call)
{
    switch (call->aim) {
    case AIM_ONE:
        return call->tid != 0 && call->tid <= INT_MAX && is_thread_of(pid, call->tid);
    case AIM_GROUP: {
        uint32_t group = group_of(view, call);
        return group != 0 && is_in_group(pid, group);
    }
    default: /* the two are not in the caller's other namespace */
        return !view->is_foreign && (call->aim == AIM_EVERYBODY || call->user_id == cbpd_own_user(false) ||
                                     call->user_id == cbpd_own_user(true));
    }
}

static bool reaches_guarded(struct tracer *self, const struct id_view *view, const struct handle_call *call)
{
    return reaches((uint32_t) getpid(), view, call) ||
           (reaches(self->controller_pid, view, call) && controller_lives());
}

/* Aims the call at the caller's own group by its id. The caller's other threads could change its group after
 * this look, but an id always means one group. False: the group has no id in the caller's namespace. */
static bool name_own_group(struct tracer *self, const struct task *task, const struct syscall_entry *entry,
                           const struct id_view *view, struct handle_call *call)
{
    struct status_facts facts;
    struct replacement *by_id = &call->replacement;
    bool is_signal = syscall_kind(entry->architecture, entry->number) == SYSCALL_KILL;
    uint32_t group = call->process_group;
    if (view->is_foreign && cbpd_read_status(self, task->base.tid, &facts) && facts.group_ids[0] == group)
        group = facts.group_ids[view->level];
    else if (view->is_foreign)
        group = 0;
    if (group == 0)
        return false;
    by_id->architecture = entry->architecture;
    by_id->number = entry->number;
    by_id->argument_count = is_signal ? 2 : 3;
    by_id->arguments[0] = is_signal ? (uint64_t) - (int64_t) group : entry->arguments[0];
    by_id->arguments[1] = is_signal ? entry->arguments[1] : group;
    by_id->arguments[2] = entry->arguments[2];
    return true;
}

/* Makes the signal go to all except the guarded. */
static void spare(const struct task *task, const struct syscall_entry *entry, const struct id_view *view,
                  struct handle_call *call)
{
    struct replacement *instead = &call->replacement;
    instead->argument_count = 0;
    instead->architecture = entry->architecture;
    instead->number = syscall_number_like(entry->architecture, entry->number, SYSCALL_KILL);
    instead->signal_for_many = (uint32_t) entry->arguments[1];
    instead->group = call->aim == AIM_GROUP ? group_of(view, call) : 0;
    instead->reaches_caller = instead->group != 0 && (call->process_group_ours ||
                                                      is_in_group(task->process->base.pid, instead->group));
}

bool cbpd_guard_refuses(struct tracer *self, const struct task *task, const struct syscall_entry *entry,
                        const struct id_view *view, struct handle_call *call)
{
    enum syscall_kind kind = syscall_kind(entry->architecture, entry->number);
    bool is_signal = kind == SYSCALL_KILL || kind == SYSCALL_PIDFD_SEND_SIGNAL;
    if (!asks_for_more_than_facts(call))
        return false;
    /* An unknown id in the caller's own namespace means no process outside of it; a descriptor may. */
    if (call->is_unknown && (!view->is_foreign || call->by_descriptor))
        return true;
    if (call->process_group_ours) { /* looked up once, since each look may give another */
        call->process_group = cbpd_process_group_of(task->process->base.pid);
        if (call->process_group == 0) /* it is led from an outer namespace, and the two may be in it */
            return true;
    }
    bool is_safe = !reaches_guarded(self, view, call);
    if (is_safe && call->aim == AIM_GROUP && call->process_group_ours)
        is_safe = name_own_group(self, task, entry, view, call);
    if (is_safe)
        return false;
    if (call->aim == AIM_ONE || call->aim == AIM_USER || !is_signal)
        return true;
    spare(task, entry, view, call);
    return false;
}

/* ---- A signal for many, sent by the helper ---- */

/* The processes that got the signal are remembered: a second look finds those created during the first. */
struct reached {
    uint32_t *pids;
    size_t count, capacity;
    bool is_unknown; /* memory, or a list of processes, is lacking */
};

static bool has_reached(const struct reached *reached, uint32_t pid)
{
    for (size_t i = 0; i < reached->count; i++)
        if (reached->pids[i] == pid)
            return true;
    return false;
}

static bool remember(struct reached *reached, uint32_t pid)
{
    if (reached->count == reached->capacity) {
        size_t capacity = reached->capacity == 0 ? 64 : 2 * reached->capacity;
        uint32_t *pids = realloc(reached->pids, capacity * sizeof *pids);
        if (!pids) {
            reached->is_unknown = true; /* another look would reach it again */
            return false;
        }
        reached->pids = pids;
        reached->capacity = capacity;
    }
    reached->pids[reached->count++] = pid;
    return true;
}

/* Follows the rules of kill(2), because the helper may have more rights than the caller. */
static bool may_signal(struct tracer *self, const struct task *task, const struct status_facts *caller,
                       uint32_t pid, uint32_t number)
{
    struct status_facts target;
    if (caller->effective_user_id == 0)
        return true;
    if (number == SIGCONT && getsid((pid_t) pid) == getsid((pid_t) task->process->base.pid))
        return true;
    return cbpd_read_status(self, pid, &target) &&
           (caller->effective_user_id == target.user_id ||
            caller->effective_user_id == target.saved_user_id || caller->user_id == target.user_id ||
            caller->user_id == target.saved_user_id);
}

/* Looks once at all processes and signals new ones. Says whether there were any. */
static bool signal_new_ones(struct tracer *self, const struct task *task, const struct status_facts *caller,
                            const struct replacement *instead, struct reached *reached)
{
    bool any = false;
    struct id_list list;
    reached->is_unknown |= !cbpd_list_processes(self, &list);
    for (uint32_t i = 0; i < list.count; i++) {
        uint32_t pid = list.ids[i];
        if (pid == 1 || pid == task->process->base.pid ||
            (instead->group != 0 && !is_in_group(pid, instead->group)) || cbpd_is_guarded(self, pid) ||
            has_reached(reached, pid) || !may_signal(self, task, caller, pid, instead->signal_for_many))
            continue;
        if (kill((pid_t) pid, (int) instead->signal_for_many) == 0)
            any |= remember(reached, pid);
    }
    cbpd_free_id_list(&list);
    return any && !reached->is_unknown;
}

void cbpd_signal_the_others(struct tracer *self, struct task *task, const struct replacement *instead)
{
    struct reached reached = {NULL, 0, 0, false};
    struct status_facts caller;
    struct id_view view;
    if (cbpd_read_status(self, task->base.tid, &caller))
        for (int i = 0; i < PASSES_MAX && signal_new_ones(self, task, &caller, instead, &reached); i++) {
        }
    free(reached.pids);
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
        (void) cbpd_fail_syscall(task, reached.count > 0 ? 0 : EPERM);
}

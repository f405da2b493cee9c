/* Reads system calls; see handle_calls.h. Only this file knows what each call asks for and how its arguments
 * name its target. Arguments in registers cannot change while the task is stopped. Another thread can
 * exchange a descriptor, so a signal through one goes on by process id instead.
 *
 * Source of the rights: docs/linux.md, "Handle operations". */
#include "handle_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>

#include "reading.h"
#include "syscalls.h"

/* These numbers of the kernel's interface are younger than the headers of some builds. */
enum {
    PIDFD_SIGNAL_THREAD_FLAG = 1,
    PIDFD_SIGNAL_THREAD_GROUP_FLAG = 2,
    PIDFD_SIGNAL_PROCESS_GROUP_FLAG = 4,
    PIDFD_THREAD_FLAG = O_EXCL,
    PIDFD_SELF_FIRST = -10000, /* this and the numbers below stand for the caller */
    SIGNAL_MAX = 64
};

static void ask(struct handle_call *call, uint32_t process_access, uint32_t thread_access)
{
    call->process_access = process_access;
    call->thread_access = thread_access;
}

static void note(struct handle_call *call, enum knowledge knowledge, int os_error)
{
    if (knowledge == NOT_KNOWN)
        call->is_unknown = true;
    else if (knowledge == ABSENT && call->os_error == 0)
        call->os_error = os_error;
}

/* Aims at an id. False: no process has or will have that number. */
static bool aim_at_id(struct tracer *self, struct handle_call *call, const struct id_view *view, uint64_t id)
{
    call->aim = AIM_ONE;
    if ((int) id <= 0)
        return false;
    note(call, cbpd_known_as(self, view, (uint32_t) id, &call->tid), ESRCH);
    return true;
}

static void aim_at_group(struct handle_call *call, const struct task *task, uint32_t id)
{
    call->aim = AIM_GROUP;
    call->process_group_ours = id == 0;
    call->process_group = id == 0 ? cbpd_process_group_of(task->base.tid) : id;
}

static void aim_at_user(struct tracer *self, struct handle_call *call, const struct task *task, uint32_t id)
{
    struct status_facts caller;
    call->aim = AIM_USER;
    if (id != 0)
        note(call, cbpd_user_known_as(self, task->base.tid, id, &call->user_id), ESRCH);
    else if (cbpd_read_status(self, task->base.tid, &caller))
        call->user_id = caller.user_id;
    else
        call->is_unknown = true;
}

static void aim_at_everybody(struct tracer *self, struct handle_call *call, const struct task *task)
{
    struct status_facts caller;
    call->aim = AIM_EVERYBODY;
    call->is_unknown = !cbpd_read_status(self, task->base.tid, &caller);
    call->user_id = caller.user_id;
    call->effective_user_id = caller.effective_user_id;
}

/* ---- Signals ---- */

/* Notes the rights that a signal asks for. False: the number is no signal. */
static bool ask_for_signal(struct handle_call *call, uint64_t number)
{
    switch ((int) number) {
    case 0:
    case SIGCHLD:
    case SIGURG:
    case SIGWINCH:
        ask(call, CBP_PROCESS_QUERY_LIMITED_INFORMATION, CBP_THREAD_QUERY_LIMITED_INFORMATION);
        return true;
    case SIGSTOP:
    case SIGTSTP:
    case SIGTTIN:
    case SIGTTOU:
    case SIGCONT:
        ask(call, CBP_PROCESS_SUSPEND_RESUME, CBP_THREAD_SUSPEND_RESUME);
        return true;
    default:
        ask(call, CBP_PROCESS_TERMINATE, CBP_THREAD_TERMINATE);
        return (int) number > 0 && (int) number <= SIGNAL_MAX;
    }
}

static bool read_kill(struct tracer *self, const struct task *task, const struct id_view *view,
                      const uint64_t *arguments, struct handle_call *call)
{
    int id = (int) arguments[0];
    if (id > 0)
        (void) aim_at_id(self, call, view, (uint32_t) id);
    else if (id == -1)
        aim_at_everybody(self, call, task);
    else if (id != INT_MIN)
        aim_at_group(call, task, (uint32_t) -id);
    return id != INT_MIN && ask_for_signal(call, arguments[1]);
}

static bool read_thread_signal(struct tracer *self, const struct id_view *view, uint64_t group, uint64_t id,
                               uint64_t number, struct handle_call *call)
{
    call->is_thread = true;
    if (group != 0)
        note(call, cbpd_known_as(self, view, (uint32_t) group, &call->group), ESRCH);
    return aim_at_id(self, call, view, id) && ask_for_signal(call, number);
}

/* ---- Descriptors ---- */

/* Finds the process of a folder of /proc, through which a signal can be sent, too. Its id counts in the
 * namespace that this /proc was mounted for: the helper's if it is the helper's /proc, else the caller's. */
static enum knowledge process_of_folder(struct tracer *self, const struct task *task,
                                        const struct id_view *view, int fd,
                                        const struct descriptor_facts *facts, uint32_t *tid)
{
    uint32_t id;
    bool is_ours;
    enum knowledge knowledge = cbpd_read_process_folder(self, task->base.tid, fd, facts, &id, &is_ours);
    *tid = id;
    return knowledge != KNOWN || is_ours ? knowledge : cbpd_known_as(self, view, id, tid);
}

/* Aims at what a descriptor names. False: it is one of the numbers that stand for the caller. A call whose
 * descriptor names nothing must not go on, because it could name something by then. */
static bool aim_at_descriptor(struct tracer *self, const struct task *task, uint64_t argument,
                              struct handle_call *call, struct descriptor_facts *facts)
{
    int fd = (int) argument;
    if (fd < 0)
        return false;
    call->aim = AIM_ONE;
    call->by_descriptor = true;
    enum knowledge knowledge = cbpd_read_descriptor(self, task->base.tid, fd, facts);
    note(call, knowledge, EBADF);
    if (knowledge != KNOWN || !facts->is_pidfd)
        return true;
    if (facts->pid == UINT32_MAX)
        call->os_error = ESRCH;
    else if (facts->pid == 0) /* it is outside of the helper's namespace */
        call->is_unknown = true;
    call->tid = facts->pid;
    return true;
}

/* Replaces the call by one that sends the signal by the target's id, which other threads cannot change. */
static void replace_by_id(struct tracer *self, struct handle_call *call, const struct syscall_entry *entry,
                          const struct id_view *view, int target)
{
    struct replacement *by_id = &call->replacement;
    bool has_info = entry->arguments[2] != 0;
    uint32_t count = 0;
    struct status_facts facts;
    enum syscall_kind kind = has_info ? SYSCALL_RT_SIGQUEUEINFO : SYSCALL_KILL;
    if (call->is_thread) {
        kind = has_info ? SYSCALL_RT_TGSIGQUEUEINFO : SYSCALL_TGKILL;
        uint32_t group = 0;
        if (!cbpd_read_status(self, call->tid, &facts) ||
            cbpd_seen_as(self, view, facts.group, &group) != KNOWN)
            call->is_unknown = true;
        by_id->arguments[count++] = group;
    }
    by_id->arguments[count++] = (uint64_t) (int64_t) target;
    by_id->arguments[count++] = entry->arguments[1];
    if (has_info)
        by_id->arguments[count++] = entry->arguments[2];
    by_id->argument_count = count;
    by_id->architecture = entry->architecture;
    by_id->number = syscall_number_like(entry->architecture, entry->number, kind);
}

/* Reads a signal to the caller's own group, if the number says so and the caller leads the group: then its id
 * always means that group. */
static bool read_signal_to_own_group(struct tracer *self, const struct task *task, const struct id_view *view,
                                     int number, struct handle_call *call)
{
    uint32_t id = 0;
    if (number > PIDFD_SELF_FIRST)
        return false;
    note(call, cbpd_seen_as(self, view, task->process->base.pid, &id), ESRCH);
    aim_at_group(call, task, id);
    call->process_group_ours = false;
    return true;
}

static bool read_pidfd_signal(struct tracer *self, const struct task *task, const struct syscall_entry *entry,
                              const struct id_view *view, struct handle_call *call)
{
    uint32_t flags = (uint32_t) entry->arguments[3], id = 0;
    struct descriptor_facts facts = {.is_pidfd = false};
    int fd = (int) entry->arguments[0];
    if (!ask_for_signal(call, entry->arguments[1]) || (flags & (flags - 1)) != 0 ||
        flags > PIDFD_SIGNAL_PROCESS_GROUP_FLAG)
        return false;
    if (fd < 0 && flags == PIDFD_SIGNAL_PROCESS_GROUP_FLAG)
        return read_signal_to_own_group(self, task, view, fd, call);
    if (!aim_at_descriptor(self, task, entry->arguments[0], call, &facts))
        return false;
    if (call->os_error == 0 && !call->is_unknown && !facts.is_pidfd)
        note(call, process_of_folder(self, task, view, fd, &facts, &call->tid), EBADF);
    if (call->os_error != 0 || call->is_unknown)
        return true;
    note(call, cbpd_seen_as(self, view, call->tid, &id),
         EINVAL); /* it is outside of the caller's namespace */
    bool names_thread = facts.is_pidfd && (facts.flags & PIDFD_THREAD_FLAG) != 0;
    call->is_thread = flags == PIDFD_SIGNAL_THREAD_FLAG || (flags == 0 && names_thread);
    int target = (int) id;
    if (flags == PIDFD_SIGNAL_PROCESS_GROUP_FLAG) {
        aim_at_group(call, task, id);
        target = -target;
    }
    replace_by_id(self, call, entry, view, target);
    return true;
}

static bool read_pidfd_operation(struct tracer *self, const struct task *task,
                                 const struct syscall_entry *entry, uint32_t process_access,
                                 struct handle_call *call)
{
    struct descriptor_facts facts = {.is_pidfd = false};
    ask(call, process_access, 0);
    call->keeps_descriptor = true;
    if (!aim_at_descriptor(self, task, entry->arguments[0], call, &facts))
        return false;
    if (call->os_error == 0 && !call->is_unknown && !facts.is_pidfd)
        call->os_error = EBADF;
    return true;
}

/* ---- Priorities ---- */

static bool read_priority(struct tracer *self, const struct task *task, const struct id_view *view, int which,
                          int group_value, int user_value, uint64_t who, struct handle_call *call)
{
    ask(call, CBP_PROCESS_SET_INFORMATION, CBP_THREAD_SET_INFORMATION);
    call->becomes_thread = true;
    if (which != group_value && which != user_value)
        return aim_at_id(self, call, view, who);
    if (which == group_value)
        aim_at_group(call, task, (uint32_t) who);
    else
        aim_at_user(self, call, task, (uint32_t) who);
    return true;
}

static bool read_sched(struct tracer *self, const struct id_view *view, uint64_t id, struct handle_call *call)
{
    ask(call, 0, CBP_THREAD_SET_INFORMATION);
    call->is_thread = true;
    return aim_at_id(self, call, view, id);
}

/* Reads a call that lets a thread or process share a processor's core with no other, or with the caller. A
 * group is named by a member, which may be in another group by the time of the call. No other call can
 * replace that, so it fails. */
static bool read_core(struct tracer *self, const struct id_view *view, const uint64_t *arguments,
                      struct handle_call *call)
{
    enum { OF_THREAD, OF_PROCESS, OF_GROUP };
    int type = (int) arguments[3];
    ask(call, CBP_PROCESS_SET_INFORMATION, CBP_THREAD_SET_INFORMATION);
    call->is_thread = type == OF_THREAD;
    if (type == OF_GROUP)
        call->os_error = EPERM;
    return type == OF_GROUP || ((type == OF_THREAD || type == OF_PROCESS) && arguments[4] == 0 &&
                                aim_at_id(self, call, view, arguments[2]));
}

/* ---- Owners, which get signals about a descriptor ---- */

enum { OWNER_IS_PROCESS = 1, OWNER_IS_GROUP = 2 };

/* fcntl takes an owner in this form. Source: fcntl(2), F_SETOWN_EX. */
struct owner {
    int32_t type, id;
};

/* Aims at an owner. Another or a later call chooses the signal, so it may be any. */
static bool aim_at_owner(struct tracer *self, struct handle_call *call, const struct task *task,
                         const struct id_view *view, int owner)
{
    ask(call, CBP_PROCESS_TERMINATE | CBP_PROCESS_SUSPEND_RESUME, 0);
    if (owner > 0)
        return aim_at_id(self, call, view, (uint32_t) owner);
    if (owner == 0 || owner == INT_MIN)
        return false;
    aim_at_group(call, task, (uint32_t) -owner);
    return true;
}

/* Reads an owner in memory, where it can change before the call. Another call takes its place that has the
 * owner as an argument. For a single thread there is no such call. */
static bool read_owner_in_memory(struct tracer *self, const struct task *task,
                                 const struct syscall_entry *entry, const struct id_view *view, bool is_typed,
                                 struct handle_call *call)
{
    struct owner owner = {.type = OWNER_IS_PROCESS};
    void *place = is_typed ? (void *) &owner : (void *) &owner.id;
    size_t size = is_typed ? sizeof owner : sizeof owner.id;
    bool is_read = cbpd_read_memory(task->base.tid, entry->arguments[2], place, size) == size;
    bool is_group = is_typed && owner.type == OWNER_IS_GROUP;
    call->by_descriptor = true;
    if (is_read && is_typed && (owner.type < 0 || owner.type > OWNER_IS_GROUP || owner.id < 0)) {
        call->os_error = EINVAL;
        return true;
    }
    if (!aim_at_owner(self, call, task, view, is_group ? -owner.id : owner.id)) {
        call->aim = AIM_ONE; /* the descriptor gets no owner, which concerns only the caller */
        call->tid = task->base.tid;
    }
    call->is_unknown |= !is_read || (owner.type != OWNER_IS_PROCESS && !is_group);
    call->replacement = (struct replacement){
        .argument_count = 3,
        .architecture = entry->architecture,
        .number = syscall_number_like(entry->architecture, entry->number, SYSCALL_FCNTL),
        .arguments = {entry->arguments[0], F_SETOWN, (uint64_t) (int64_t) (is_group ? -owner.id : owner.id)}};
    return true;
}

/* ---- All of them ---- */

static bool read_by_id(struct tracer *self, enum syscall_kind kind, const struct id_view *view,
                       const uint64_t *arguments, struct handle_call *call)
{
    const uint32_t attach =
        CBP_PROCESS_VM_READ | CBP_PROCESS_VM_WRITE | CBP_PROCESS_VM_OPERATION | CBP_PROCESS_SUSPEND_RESUME;
    if (!aim_at_id(self, call, view, arguments[kind == SYSCALL_PTRACE || kind == SYSCALL_PERF_EVENT_OPEN]))
        return false;
    switch (kind) {
    case SYSCALL_PTRACE:
        call->becomes_thread = true;
        ask(call, attach, CBP_THREAD_GET_CONTEXT | CBP_THREAD_SET_CONTEXT | CBP_THREAD_SUSPEND_RESUME);
        return true;
    case SYSCALL_PERF_EVENT_OPEN: /* samples registers and stack, and can send a signal */
        call->becomes_thread = true;
        ask(call, CBP_PROCESS_VM_READ | CBP_PROCESS_TERMINATE, CBP_THREAD_GET_CONTEXT | CBP_THREAD_TERMINATE);
        return true;
    case SYSCALL_MOVE_PAGES: /* without nodes it only asks where the pages are */
        ask(call,
            arguments[3] != 0 ? (uint32_t) CBP_PROCESS_VM_OPERATION
                              : (uint32_t) CBP_PROCESS_QUERY_INFORMATION,
            0);
        return true;
    case SYSCALL_MIGRATE_PAGES:
        ask(call, CBP_PROCESS_VM_OPERATION, 0);
        return true;
    case SYSCALL_GET_ROBUST_LIST:
        ask(call, CBP_PROCESS_QUERY_INFORMATION, 0);
        return true;
    case SYSCALL_PROCESS_VM_READV:
        ask(call, CBP_PROCESS_VM_READ, 0);
        return true;
    case SYSCALL_PROCESS_VM_WRITEV:
        ask(call, CBP_PROCESS_VM_WRITE | CBP_PROCESS_VM_OPERATION, 0);
        return true;
    case SYSCALL_PRLIMIT64:
        ask(call,
            (arguments[2] != 0 ? (uint32_t) CBP_PROCESS_SET_QUOTA : 0) |
                (arguments[3] != 0 ? (uint32_t) CBP_PROCESS_QUERY_INFORMATION : 0),
            0);
        return call->process_access != 0;
    case SYSCALL_PIDFD_OPEN:
        call->is_thread = ((uint32_t) arguments[1] & PIDFD_THREAD_FLAG) != 0;
        ask(call, CBP_PROCESS_QUERY_LIMITED_INFORMATION | CBP_PROCESS_SYNCHRONIZE,
            CBP_THREAD_QUERY_LIMITED_INFORMATION | CBP_THREAD_SYNCHRONIZE);
        call->wants_first_thread = !call->is_thread;
        call->group = call->is_thread ? 0 : call->tid;
        return ((uint32_t) arguments[1] & ~(uint32_t) (O_NONBLOCK | PIDFD_THREAD_FLAG)) == 0;
    default:
        return false;
    }
}

bool cbpd_read_handle_call(struct tracer *self, struct task *task, const struct syscall_entry *entry,
                           const struct id_view *view, struct handle_call *call)
{
    enum syscall_kind kind = syscall_kind(entry->architecture, entry->number);
    const uint64_t *arguments = entry->arguments;
    memset(call, 0, sizeof *call);
    switch (kind) {
    case SYSCALL_KILL:
        return read_kill(self, task, view, arguments, call);
    case SYSCALL_RT_SIGQUEUEINFO:
        return (int) arguments[0] > 0 && read_kill(self, task, view, arguments, call);
    case SYSCALL_TKILL:
        return read_thread_signal(self, view, 0, arguments[0], arguments[1], call);
    case SYSCALL_TGKILL:
    case SYSCALL_RT_TGSIGQUEUEINFO:
        return (int) arguments[0] > 0 &&
               read_thread_signal(self, view, arguments[0], arguments[1], arguments[2], call);
    case SYSCALL_PIDFD_SEND_SIGNAL:
        return read_pidfd_signal(self, task, entry, view, call);
    case SYSCALL_PIDFD_GETFD:
        call->is_duplication = true;
        return read_pidfd_operation(self, task, entry, CBP_PROCESS_DUP_HANDLE, call);
    case SYSCALL_PROCESS_MADVISE:
    case SYSCALL_PROCESS_MRELEASE:
        return read_pidfd_operation(self, task, entry, CBP_PROCESS_VM_OPERATION, call);
    case SYSCALL_SETPRIORITY:
        return read_priority(self, task, view, (int) arguments[0], PRIO_PGRP, PRIO_USER, arguments[1], call);
    case SYSCALL_IOPRIO_SET:
        return read_priority(self, task, view, (int) arguments[0], IOPRIO_GROUP, IOPRIO_USER, arguments[1],
                             call);
    case SYSCALL_SCHED_SETAFFINITY:
    case SYSCALL_SCHED_SETPARAM:
    case SYSCALL_SCHED_SETSCHEDULER:
    case SYSCALL_SCHED_SETATTR:
        return read_sched(self, view, arguments[0], call);
    case SYSCALL_FCNTL:
    case SYSCALL_FCNTL64:
        return (uint32_t) arguments[1] == F_SETOWN
                   ? aim_at_owner(self, call, task, view, (int) arguments[2])
                   : read_owner_in_memory(self, task, entry, view, true, call);
    case SYSCALL_IOCTL:
        return read_owner_in_memory(self, task, entry, view, false, call);
    case SYSCALL_PRCTL:
        return read_core(self, view, arguments, call);
    case SYSCALL_KCMP:
        ask(call, CBP_PROCESS_QUERY_INFORMATION, 0);
        if (!aim_at_id(self, call, view, arguments[0]) || (int) arguments[1] <= 0)
            return false;
        note(call, cbpd_known_as(self, view, (uint32_t) arguments[1], &call->other_tid), ESRCH);
        return true;
    default:
        return read_by_id(self, kind, view, arguments, call);
    }
}

enum knowledge cbpd_is_aimed_at(struct tracer *self, const struct handle_call *call,
                                const struct id_view *view, uint32_t pid, const struct status_facts *facts)
{
    if (call->aim == AIM_GROUP && call->process_group_ours)
        return facts->group_ids[0] == call->process_group ? KNOWN : ABSENT;
    enum knowledge visible = cbpd_is_visible(self, view, pid, facts);
    bool is_aimed;
    if (visible == ABSENT)
        return ABSENT;
    switch (call->aim) {
    case AIM_GROUP:
        is_aimed = facts->group_ids[view->level] == call->process_group;
        break;
    case AIM_USER:
        is_aimed = facts->user_id == call->user_id;
        break;
    case AIM_EVERYBODY:
        is_aimed = facts->ids[view->level] > 1 &&
                   (call->effective_user_id == 0 || call->user_id == facts->user_id ||
                    call->user_id == facts->saved_user_id || call->effective_user_id == facts->user_id ||
                    call->effective_user_id == facts->saved_user_id);
        break;
    default:
        return ABSENT;
    }
    return is_aimed ? visible : ABSENT;
}

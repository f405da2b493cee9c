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
#include <sys/resource.h>

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
static bool aim_at_id(struct handle_call *call, uint64_t id)
{
    call->aim = AIM_ONE;
    if ((int) id <= 0)
        return false;
    note(call, cbpd_known_as(call->self, &call->view, (uint32_t) id, &call->tid), ESRCH);
    return true;
}

static void aim_at_group(struct handle_call *call, uint32_t id)
{
    call->aim = AIM_GROUP;
    call->process_group_ours = id == 0;
    call->process_group = id == 0 ? cbpd_process_group_of(call->task->base.tid) : id;
}

static void aim_at_user(struct handle_call *call, uint32_t id)
{
    struct status_facts caller;
    uint32_t tid = call->task->base.tid;
    call->aim = AIM_USER;
    if (id != 0)
        note(call, cbpd_user_known_as(call->self, tid, id, &call->user_id), ESRCH);
    else if (cbpd_read_status(call->self, tid, &caller))
        call->user_id = caller.user_id;
    else
        call->is_unknown = true;
}

static void aim_at_everybody(struct handle_call *call)
{
    struct status_facts caller;
    call->aim = AIM_EVERYBODY;
    call->is_unknown = !cbpd_read_status(call->self, call->task->base.tid, &caller);
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

static bool read_kill(struct handle_call *call)
{
    int id = (int) call->entry->arguments[0];
    if (id > 0)
        (void) aim_at_id(call, (uint32_t) id);
    else if (id == -1)
        aim_at_everybody(call);
    else if (id != INT_MIN)
        aim_at_group(call, (uint32_t) -id);
    return id != INT_MIN && ask_for_signal(call, call->entry->arguments[1]);
}

static bool read_thread_signal(struct handle_call *call, uint64_t group, uint64_t id, uint64_t number)
{
    call->is_thread = true;
    if (group != 0)
        note(call, cbpd_known_as(call->self, &call->view, (uint32_t) group, &call->group), ESRCH);
    return aim_at_id(call, id) && ask_for_signal(call, number);
}

/* ---- Descriptors ---- */

/* Finds the process of a folder of /proc, through which a signal can be sent, too. Its id counts in the
 * namespace that this /proc was mounted for: the helper's if it is the helper's /proc, else the caller's. */
static enum knowledge find_process_of_folder(struct handle_call *call, int fd, struct descriptor_facts *facts)
{
    enum knowledge knowledge = cbpd_read_process_folder(call->self, call->task->base.tid, fd, facts);
    call->tid = facts->pid;
    return knowledge != KNOWN || facts->is_our_folder
               ? knowledge
               : cbpd_known_as(call->self, &call->view, facts->pid, &call->tid);
}

/* Aims at what a descriptor names. False: it is one of the numbers that stand for the caller. A call whose
 * descriptor names nothing must not go on, because it could name something by then. */
static bool aim_at_descriptor(struct handle_call *call, struct descriptor_facts *facts)
{
    int fd = (int) call->entry->arguments[0];
    if (fd < 0)
        return false;
    call->aim = AIM_ONE;
    call->by_descriptor = true;
    enum knowledge knowledge = cbpd_read_descriptor(call->self, call->task->base.tid, fd, facts);
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
static void replace_by_id(struct handle_call *call, int target)
{
    const uint64_t *arguments = call->entry->arguments;
    bool has_info = arguments[2] != 0;
    enum syscall_kind kind = has_info ? SYSCALL_RT_SIGQUEUEINFO : SYSCALL_KILL;
    struct replacement by_id = {.argument_count = 0};
    struct status_facts facts;
    if (call->is_thread) {
        kind = has_info ? SYSCALL_RT_TGSIGQUEUEINFO : SYSCALL_TGKILL;
        uint32_t group = 0;
        if (!cbpd_read_status(call->self, call->tid, &facts) ||
            cbpd_seen_as(call->self, &call->view, facts.group, &group) != KNOWN)
            call->is_unknown = true;
        by_id.arguments[by_id.argument_count++] = group;
    }
    by_id.arguments[by_id.argument_count++] = (uint64_t) (int64_t) target;
    by_id.arguments[by_id.argument_count++] = arguments[1];
    if (has_info)
        by_id.arguments[by_id.argument_count++] = arguments[2];
    replace_call(call, kind, by_id);
}

/* Reads a signal to the caller's own group, if the number says so and the caller leads the group: then its id
 * always means that group. */
static bool read_signal_to_own_group(struct handle_call *call, int number)
{
    uint32_t id = 0;
    if (number > PIDFD_SELF_FIRST)
        return false;
    note(call, cbpd_seen_as(call->self, &call->view, call->task->process->base.pid, &id), ESRCH);
    aim_at_group(call, id);
    call->process_group_ours = false;
    return true;
}

static bool read_pidfd_signal(struct handle_call *call)
{
    uint32_t flags = (uint32_t) call->entry->arguments[3], id = 0;
    struct descriptor_facts facts = {.is_pidfd = false};
    int fd = (int) call->entry->arguments[0];
    if (!ask_for_signal(call, call->entry->arguments[1]) || (flags & (flags - 1)) != 0 ||
        flags > PIDFD_SIGNAL_PROCESS_GROUP_FLAG)
        return false;
    if (fd < 0 && flags == PIDFD_SIGNAL_PROCESS_GROUP_FLAG)
        return read_signal_to_own_group(call, fd);
    if (!aim_at_descriptor(call, &facts))
        return false;
    if (call->os_error == 0 && !call->is_unknown && !facts.is_pidfd)
        note(call, find_process_of_folder(call, fd, &facts), EBADF);
    if (call->os_error != 0 || call->is_unknown)
        return true;
    /* EINVAL: it is outside of the caller's namespace. */
    note(call, cbpd_seen_as(call->self, &call->view, call->tid, &id), EINVAL);
    bool names_thread = facts.is_pidfd && (facts.flags & PIDFD_THREAD_FLAG) != 0;
    call->is_thread = flags == PIDFD_SIGNAL_THREAD_FLAG || (flags == 0 && names_thread);
    int target = (int) id;
    if (flags == PIDFD_SIGNAL_PROCESS_GROUP_FLAG) {
        aim_at_group(call, id);
        target = -target;
    }
    replace_by_id(call, target);
    return true;
}

static bool read_pidfd_operation(struct handle_call *call, uint32_t process_access)
{
    struct descriptor_facts facts = {.is_pidfd = false};
    ask(call, process_access, 0);
    call->keeps_descriptor = true;
    if (!aim_at_descriptor(call, &facts))
        return false;
    if (call->os_error == 0 && !call->is_unknown && !facts.is_pidfd)
        call->os_error = EBADF;
    return true;
}

/* ---- Priorities ---- */

static bool read_priority(struct handle_call *call, int group_value, int user_value)
{
    int which = (int) call->entry->arguments[0];
    uint64_t who = call->entry->arguments[1];
    ask(call, CBP_PROCESS_SET_INFORMATION, CBP_THREAD_SET_INFORMATION);
    call->becomes_thread = true;
    if (which != group_value && which != user_value)
        return aim_at_id(call, who);
    if (which == group_value)
        aim_at_group(call, (uint32_t) who);
    else
        aim_at_user(call, (uint32_t) who);
    return true;
}

/* Reads a call that lets a thread or process share a processor's core with no other, or with the caller. A
 * group is named by a member, which may be in another group by the time of the call. No other call can
 * replace that, so it fails. */
static bool read_core(struct handle_call *call)
{
    enum { OF_THREAD, OF_PROCESS, OF_GROUP };
    const uint64_t *arguments = call->entry->arguments;
    int type = (int) arguments[3];
    ask(call, CBP_PROCESS_SET_INFORMATION, CBP_THREAD_SET_INFORMATION);
    call->is_thread = type == OF_THREAD;
    if (type == OF_GROUP)
        call->os_error = EPERM;
    return type == OF_GROUP ||
           ((type == OF_THREAD || type == OF_PROCESS) && arguments[4] == 0 && aim_at_id(call, arguments[2]));
}

/* ---- Owners, which get signals about a descriptor ---- */

enum { OWNER_IS_PROCESS = 1, OWNER_IS_GROUP = 2 };

/* fcntl takes an owner in this form. Source: fcntl(2), F_SETOWN_EX. */
struct owner {
    int32_t type, id;
};

/* Aims at an owner. Another or a later call chooses the signal, so it may be any. */
static bool aim_at_owner(struct handle_call *call, int owner)
{
    ask(call, CBP_PROCESS_TERMINATE | CBP_PROCESS_SUSPEND_RESUME, 0);
    if (owner > 0)
        return aim_at_id(call, (uint32_t) owner);
    if (owner == 0 || owner == INT_MIN)
        return false;
    aim_at_group(call, (uint32_t) -owner);
    return true;
}

/* Reads an owner in memory, where it can change before the call. Another call takes its place that has the
 * owner as an argument. For a single thread there is no such call. */
static bool read_owner_in_memory(struct handle_call *call, bool is_typed)
{
    const uint64_t *arguments = call->entry->arguments;
    struct owner owner = {.type = OWNER_IS_PROCESS};
    void *place = is_typed ? (void *) &owner : (void *) &owner.id;
    size_t size = is_typed ? sizeof owner : sizeof owner.id;
    bool is_read = cbpd_read_memory(call->task->base.tid, arguments[2], place, size) == size;
    bool is_group = is_typed && owner.type == OWNER_IS_GROUP;
    call->by_descriptor = true;
    if (is_read && is_typed && (owner.type < 0 || owner.type > OWNER_IS_GROUP || owner.id < 0)) {
        call->os_error = EINVAL;
        return true;
    }
    int id = is_group ? -owner.id : owner.id;
    if (!aim_at_owner(call, id)) {
        call->aim = AIM_ONE; /* the descriptor gets no owner, which concerns only the caller */
        call->tid = call->task->base.tid;
    }
    call->is_unknown |= !is_read || (owner.type != OWNER_IS_PROCESS && !is_group);
    replace_call(call, SYSCALL_FCNTL,
                 (struct replacement){.argument_count = 3,
                                      .arguments = {arguments[0], F_SETOWN, (uint64_t) (int64_t) id}});
    return true;
}

/* ---- All of them ---- */

/* Reads a call that names its one target by an id. */
static bool read_by_id(struct handle_call *call)
{
    const uint64_t *arguments = call->entry->arguments;
    uint64_t id = arguments[call->kind == SYSCALL_PTRACE || call->kind == SYSCALL_PERF_EVENT_OPEN];
    if (!aim_at_id(call, id))
        return false;
    switch (call->kind) {
    case SYSCALL_PTRACE:
        call->becomes_thread = true;
        ask(call,
            CBP_PROCESS_VM_READ | CBP_PROCESS_VM_WRITE | CBP_PROCESS_VM_OPERATION |
                CBP_PROCESS_SUSPEND_RESUME,
            CBP_THREAD_GET_CONTEXT | CBP_THREAD_SET_CONTEXT | CBP_THREAD_SUSPEND_RESUME);
        return true;
    case SYSCALL_PERF_EVENT_OPEN: /* samples registers and stack, and can send a signal */
        call->becomes_thread = true;
        ask(call, CBP_PROCESS_VM_READ | CBP_PROCESS_TERMINATE, CBP_THREAD_GET_CONTEXT | CBP_THREAD_TERMINATE);
        return true;
    case SYSCALL_SCHED_SETAFFINITY:
    case SYSCALL_SCHED_SETPARAM:
    case SYSCALL_SCHED_SETSCHEDULER:
    case SYSCALL_SCHED_SETATTR:
        call->is_thread = true;
        ask(call, 0, CBP_THREAD_SET_INFORMATION);
        return true;
    case SYSCALL_MOVE_PAGES: /* without nodes it only asks where the pages are */
        ask(call, arguments[3] != 0 ? CBP_PROCESS_VM_OPERATION : CBP_PROCESS_QUERY_INFORMATION, 0);
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
    case SYSCALL_KCMP:
        ask(call, CBP_PROCESS_QUERY_INFORMATION, 0);
        if ((int) arguments[1] <= 0)
            return false;
        note(call, cbpd_known_as(call->self, &call->view, (uint32_t) arguments[1], &call->other_tid), ESRCH);
        return true;
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

bool cbpd_read_handle_call(struct handle_call *call)
{
    const uint64_t *arguments = call->entry->arguments;
    switch (call->kind) {
    case SYSCALL_KILL:
        return read_kill(call);
    case SYSCALL_RT_SIGQUEUEINFO:
        return (int) arguments[0] > 0 && read_kill(call);
    case SYSCALL_TKILL:
        return read_thread_signal(call, 0, arguments[0], arguments[1]);
    case SYSCALL_TGKILL:
    case SYSCALL_RT_TGSIGQUEUEINFO:
        return (int) arguments[0] > 0 && read_thread_signal(call, arguments[0], arguments[1], arguments[2]);
    case SYSCALL_PIDFD_SEND_SIGNAL:
        return read_pidfd_signal(call);
    case SYSCALL_PIDFD_GETFD:
        call->is_duplication = true;
        return read_pidfd_operation(call, CBP_PROCESS_DUP_HANDLE);
    case SYSCALL_PROCESS_MADVISE:
    case SYSCALL_PROCESS_MRELEASE:
        return read_pidfd_operation(call, CBP_PROCESS_VM_OPERATION);
    case SYSCALL_SETPRIORITY:
        return read_priority(call, PRIO_PGRP, PRIO_USER);
    case SYSCALL_IOPRIO_SET:
        return read_priority(call, IOPRIO_GROUP, IOPRIO_USER);
    case SYSCALL_FCNTL:
    case SYSCALL_FCNTL64:
        return (uint32_t) arguments[1] == F_SETOWN ? aim_at_owner(call, (int) arguments[2])
                                                   : read_owner_in_memory(call, true);
    case SYSCALL_IOCTL:
        return read_owner_in_memory(call, false);
    case SYSCALL_PRCTL:
        return read_core(call);
    default:
        return read_by_id(call);
    }
}

enum knowledge cbpd_is_aimed_at(const struct handle_call *call, uint32_t pid,
                                const struct status_facts *facts)
{
    if (call->aim == AIM_GROUP && call->process_group_ours)
        return facts->group_ids[0] == call->process_group ? KNOWN : ABSENT;
    enum knowledge visible = cbpd_is_visible(call->self, &call->view, pid, facts);
    bool is_aimed = false;
    if (visible == ABSENT)
        return ABSENT;
    if (call->aim == AIM_GROUP)
        is_aimed = facts->group_ids[call->view.level] == call->process_group;
    else if (call->aim == AIM_USER)
        is_aimed = facts->user_id == call->user_id;
    else if (call->aim == AIM_EVERYBODY)
        is_aimed =
            facts->ids[call->view.level] > 1 && may_signal(call->user_id, call->effective_user_id, facts);
    return is_aimed ? visible : ABSENT;
}

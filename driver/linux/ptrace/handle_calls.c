/* See handle_calls.h. The only place that knows what each system call asks for and how its arguments name its
 * target. Arguments in registers cannot change while the task is stopped; a descriptor can come to mean
 * something else if another thread swaps it, so that signals through one go on by process id instead.
 *
 * Source of the rights: docs/linux.md, "Handle operations". */
#include "handle_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "syscalls.h"

/* Of the kernel's interface; younger than the headers that this is built with. */
enum {
    PIDFD_SIGNAL_THREAD_FLAG = 1,
    PIDFD_SIGNAL_THREAD_GROUP_FLAG = 2,
    PIDFD_SIGNAL_PROCESS_GROUP_FLAG = 4,
    PIDFD_THREAD_FLAG = O_EXCL,
    SIGNAL_MAX = 64
};

static void ask(struct handle_call *call, uint32_t process_access, uint32_t thread_access)
{
    call->process_access = process_access;
    call->thread_access = thread_access;
}

static void aim_at_id(struct handle_call *call, const struct id_view *view, uint64_t id)
{
    call->aim = AIM_ONE;
    call->tid = known_as(view, (uint32_t) id);
}

static void aim_at_own_group(struct handle_call *call, const struct task *task)
{
    struct status_facts facts;
    call->aim = AIM_GROUP;
    call->process_group_ours = true;
    call->process_group = read_status(task->tid, &facts) ? facts.group_ids[0] : 0;
}

static void aim_at_group(struct handle_call *call, const struct task *task, uint32_t id)
{
    if (id == 0) {
        aim_at_own_group(call, task);
        return;
    }
    call->aim = AIM_GROUP;
    call->process_group = id;
}

/* ---- Signals ---- */

/* False for a number that is no signal. */
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

static bool read_kill(const struct task *task, const struct id_view *view, const uint64_t *arguments,
                      struct handle_call *call)
{
    int id = (int) arguments[0];
    if (id > 0)
        aim_at_id(call, view, (uint32_t) id);
    else if (id == -1)
        call->aim = AIM_EVERYBODY;
    else if (id != INT_MIN)
        aim_at_group(call, task, (uint32_t) -id);
    return id != INT_MIN && ask_for_signal(call, arguments[1]);
}

static bool read_thread_signal(const struct id_view *view, uint64_t group, uint64_t id, uint64_t number,
                               struct handle_call *call)
{
    call->is_thread = true;
    aim_at_id(call, view, id);
    if (group != 0)
        call->group = known_as(view, (uint32_t) group);
    return (int) id > 0 && (group == 0 || call->group != 0) && ask_for_signal(call, number);
}

/* ---- Descriptors ---- */

/* The process that a folder of /proc stands for, as a signal may be sent through one; 0: it is none. Its name
 * is an id of the namespace that this /proc was mounted for: ours if it is the one that we have, else the
 * caller's. */
static uint32_t process_of_folder(uint32_t tid, int fd, const struct id_view *view)
{
    char link[64], path[64], *end = NULL;
    struct stat folder, ours;
    struct statfs system;
    snprintf(link, sizeof link, "/proc/%u/fd/%d", tid, fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    path[size > 0 ? size : 0] = 0;
    const char *name = strrchr(path, '/');
    unsigned long id = name != NULL ? strtoul(name + 1, &end, 10) : 0;
    if (id == 0 || *end != 0 || statfs(link, &system) != 0 || system.f_type != PROC_SUPER_MAGIC ||
        stat(link, &folder) != 0 || stat("/proc", &ours) != 0)
        return 0;
    return folder.st_dev == ours.st_dev ? (uint32_t) id : known_as(view, (uint32_t) id);
}

/* Aims at what a pidfd names. False: it names nothing that lives (the call will fail), or the caller itself.
 */
static bool aim_at_descriptor(const struct task *task, const struct id_view *view, uint64_t argument,
                              struct handle_call *call, bool *names_thread)
{
    struct descriptor_facts facts;
    int fd = (int) argument;
    *names_thread = false;
    if (fd < 0) /* no descriptor, or one of the numbers that stand for the caller */
        return false;
    call->aim = AIM_ONE;
    if (!read_descriptor(task->tid, fd, &facts)) {
        call->os_error = EBADF;
        return true;
    }
    call->tid = facts.is_pidfd ? facts.pid : process_of_folder(task->tid, fd, view);
    *names_thread = facts.is_pidfd && (facts.flags & PIDFD_THREAD_FLAG) != 0;
    if (call->tid == UINT32_MAX)
        call->os_error = ESRCH;
    else if (call->tid == 0)
        call->os_error = EBADF;
    return true;
}

/* The same signal to the same target, by its id: what the descriptor means can then change no more. */
static void replace_by_id(struct handle_call *call, const struct syscall_entry *entry,
                          const struct id_view *view, int target)
{
    struct replacement *by_id = &call->replacement;
    bool has_info = entry->arguments[2] != 0;
    uint32_t count = 0;
    struct status_facts facts;
    enum syscall_kind kind = has_info ? SYSCALL_RT_SIGQUEUEINFO : SYSCALL_KILL;
    if (call->is_thread) {
        kind = has_info ? SYSCALL_RT_TGSIGQUEUEINFO : SYSCALL_TGKILL;
        by_id->arguments[count++] = read_status(call->tid, &facts) ? seen_as(view, facts.group) : 0;
    }
    by_id->arguments[count++] = (uint64_t) (int64_t) target;
    by_id->arguments[count++] = entry->arguments[1];
    if (has_info)
        by_id->arguments[count++] = entry->arguments[2];
    by_id->argument_count = count;
    by_id->architecture = entry->architecture;
    by_id->number = syscall_number_like(entry->architecture, entry->number, kind);
}

static bool read_pidfd_signal(const struct task *task, const struct syscall_entry *entry,
                              const struct id_view *view, struct handle_call *call)
{
    uint32_t flags = (uint32_t) entry->arguments[3];
    bool names_thread;
    if (!ask_for_signal(call, entry->arguments[1]) ||
        !aim_at_descriptor(task, view, entry->arguments[0], call, &names_thread))
        return false;
    if (call->os_error != 0)
        return true;
    int target = (int) seen_as(view, call->tid);
    if (target == 0) {
        call->os_error = EINVAL; /* it lies outside of the caller's namespace */
        return true;
    }
    call->is_thread = flags == PIDFD_SIGNAL_THREAD_FLAG || (flags == 0 && names_thread);
    if (flags == PIDFD_SIGNAL_PROCESS_GROUP_FLAG) {
        aim_at_group(call, task, (uint32_t) target);
        target = -target;
    } else if (flags != 0 && flags != PIDFD_SIGNAL_THREAD_FLAG && flags != PIDFD_SIGNAL_THREAD_GROUP_FLAG) {
        return false;
    }
    replace_by_id(call, entry, view, target);
    return true;
}

static bool read_pidfd_operation(const struct task *task, const struct syscall_entry *entry,
                                 const struct id_view *view, uint32_t process_access,
                                 struct handle_call *call)
{
    bool names_thread;
    ask(call, process_access, 0);
    /* A number that names nothing is left to the call itself. */
    return aim_at_descriptor(task, view, entry->arguments[0], call, &names_thread) && call->os_error == 0;
}

/* ---- Priorities ---- */

static bool read_priority(const struct task *task, const struct id_view *view, int which, int group_value,
                          int user_value, uint64_t who, struct handle_call *call)
{
    struct status_facts facts;
    ask(call, CBP_PROCESS_SET_INFORMATION, CBP_THREAD_SET_INFORMATION);
    call->becomes_thread = true;
    if (which == group_value) {
        aim_at_group(call, task, (uint32_t) who);
        return true;
    }
    if (which == user_value) {
        call->aim = AIM_USER;
        call->user_id = who == 0 && read_status(task->tid, &facts) ? facts.user_id
                                                                   : user_known_as(task->tid, (uint32_t) who);
        return true;
    }
    aim_at_id(call, view, who);
    return who != 0;
}

static bool read_sched(const struct id_view *view, uint64_t id, struct handle_call *call)
{
    ask(call, 0, CBP_THREAD_SET_INFORMATION);
    call->is_thread = true;
    aim_at_id(call, view, id);
    return true;
}

/* ---- All of them ---- */

static bool read_by_id(enum syscall_kind kind, const struct id_view *view, const uint64_t *arguments,
                       struct handle_call *call)
{
    const uint32_t attach =
        CBP_PROCESS_VM_READ | CBP_PROCESS_VM_WRITE | CBP_PROCESS_VM_OPERATION | CBP_PROCESS_SUSPEND_RESUME;
    aim_at_id(call, view, arguments[kind == SYSCALL_PTRACE ? 1 : 0]);
    switch (kind) {
    case SYSCALL_PTRACE:
        call->becomes_thread = true;
        ask(call, attach, CBP_THREAD_GET_CONTEXT | CBP_THREAD_SET_CONTEXT | CBP_THREAD_SUSPEND_RESUME);
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
    case SYSCALL_PIDFD_OPEN: {
        call->is_thread = ((uint32_t) arguments[1] & PIDFD_THREAD_FLAG) != 0;
        ask(call, CBP_PROCESS_QUERY_LIMITED_INFORMATION | CBP_PROCESS_SYNCHRONIZE,
            CBP_THREAD_QUERY_LIMITED_INFORMATION | CBP_THREAD_SYNCHRONIZE);
        call->group = call->is_thread ? 0 : call->tid; /* only a first thread stands for its process */
        return true;
    }
    default:
        return false;
    }
}

bool read_handle_call(struct task *task, const struct syscall_entry *entry, const struct id_view *view,
                      struct handle_call *call)
{
    enum syscall_kind kind = syscall_kind(entry->architecture, entry->number);
    const uint64_t *arguments = entry->arguments;
    memset(call, 0, sizeof *call);
    switch (kind) {
    case SYSCALL_KILL:
        return read_kill(task, view, arguments, call);
    case SYSCALL_RT_SIGQUEUEINFO:
        return (int) arguments[0] > 0 && read_kill(task, view, arguments, call);
    case SYSCALL_TKILL:
        return read_thread_signal(view, 0, arguments[0], arguments[1], call);
    case SYSCALL_TGKILL:
    case SYSCALL_RT_TGSIGQUEUEINFO:
        return (int) arguments[0] > 0 &&
               read_thread_signal(view, arguments[0], arguments[1], arguments[2], call);
    case SYSCALL_PIDFD_SEND_SIGNAL:
        return read_pidfd_signal(task, entry, view, call);
    case SYSCALL_PIDFD_GETFD:
        call->is_duplication = true;
        return read_pidfd_operation(task, entry, view, CBP_PROCESS_DUP_HANDLE, call);
    case SYSCALL_PROCESS_MADVISE:
    case SYSCALL_PROCESS_MRELEASE:
        return read_pidfd_operation(task, entry, view, CBP_PROCESS_VM_OPERATION, call);
    case SYSCALL_SETPRIORITY:
        return read_priority(task, view, (int) arguments[0], PRIO_PGRP, PRIO_USER, arguments[1], call);
    case SYSCALL_IOPRIO_SET:
        return read_priority(task, view, (int) arguments[0], IOPRIO_GROUP, IOPRIO_USER, arguments[1], call);
    case SYSCALL_SCHED_SETAFFINITY:
    case SYSCALL_SCHED_SETPARAM:
    case SYSCALL_SCHED_SETSCHEDULER:
    case SYSCALL_SCHED_SETATTR:
        return read_sched(view, arguments[0], call);
    default:
        return read_by_id(kind, view, arguments, call);
    }
}

bool is_aimed_at(const struct handle_call *call, const struct id_view *view, const struct task *task,
                 uint32_t pid, const struct status_facts *facts)
{
    struct status_facts caller;
    switch (call->aim) {
    case AIM_GROUP:
        return call->process_group != 0 &&
               (call->process_group_ours
                    ? facts->group_ids[0] == call->process_group
                    : is_visible(view, pid, facts) && facts->group_ids[view->level] == call->process_group);
    case AIM_USER:
        return facts->user_id == call->user_id && is_visible(view, pid, facts);
    case AIM_EVERYBODY:
        return is_visible(view, pid, facts) && facts->ids[view->level] > 1 &&
               read_status(task->tid, &caller) &&
               (caller.effective_user_id == 0 || caller.user_id == facts->user_id ||
                caller.user_id == facts->saved_user_id || caller.effective_user_id == facts->user_id ||
                caller.effective_user_id == facts->saved_user_id);
    default:
        return false;
    }
}

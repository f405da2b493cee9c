/* Says what a system call asks for, and at whom it aims. Source of the rights: docs/linux.md, "Handle operations".
 * Knows nothing of what is done about it. */
#ifndef CBP_AIMS_H
#define CBP_AIMS_H

#include "calls.h"
#include "handles.h"

enum { PTRACE_ATTACH = 16, PTRACE_SEIZE = 0x4206 };
enum { F_SETOWN = 8, F_SETOWN_EX = 15, FIOSETOWN = 0x8901, SIOCSPGRP = 0x8902 };
enum { OWNER_IS_THREAD, OWNER_IS_PROCESS, OWNER_IS_GROUP };
enum { PRIO_PROCESS, PRIO_GROUP, IOPRIO_PROCESS = 1, IOPRIO_GROUP };
enum { SCHED_CORE = 62, SCHED_CORE_CREATE = 1, SCHED_CORE_SHARE_TO, CORE_OF_THREAD = 0, CORE_OF_PROCESS };
enum { PIDFD_THREAD = 128, SIGNAL_TO_THREAD = 1, SIGNAL_TO_PROCESS = 2, SIGNAL_TO_GROUP = 4 };
enum { FILE_READ = 1, FILE_WRITE = 2 };

#define EVERYTHING_OF_PROCESS                                                                                \
    (CBP_PROCESS_VM_READ | CBP_PROCESS_VM_WRITE | CBP_PROCESS_VM_OPERATION | CBP_PROCESS_SUSPEND_RESUME)
#define EVERYTHING_OF_THREAD (CBP_THREAD_GET_CONTEXT | CBP_THREAD_SET_CONTEXT | CBP_THREAD_SUSPEND_RESUME)

enum aim_kind { AIM_AT_ONE, AIM_AT_GROUP, AIM_AT_MANY };

struct aim {
    struct operation operation; /* without its target */
    uint64_t id;                /* of a group: 0 is the caller's */
    enum aim_kind kind;
};

/* Reads a call that names its target by the id that is its first or second argument, and what it asks for.
 * False: it asks for nothing. */
INLINE bool read_by_id(const struct call *call, struct aim *aim)
{
    const uint64_t *arguments = call->arguments;
    struct operation *operation = &aim->operation;
    uint32_t access = 0;
    aim->id = arguments[0];
    switch (call->kind) {
    case CALL_PTRACE:
    case CALL_PERF_EVENT_OPEN:
        aim->id = arguments[1];
        operation->becomes_thread = true;
        access = call->kind == CALL_PTRACE ? EVERYTHING_OF_PROCESS
                                           : (uint32_t) (CBP_PROCESS_VM_READ | CBP_PROCESS_TERMINATE);
        operation->thread_access = call->kind == CALL_PTRACE
                                       ? (uint32_t) EVERYTHING_OF_THREAD
                                       : (uint32_t) (CBP_THREAD_GET_CONTEXT | CBP_THREAD_TERMINATE);
        operation->process_access = access;
        return call->kind != CALL_PTRACE || arguments[0] == PTRACE_ATTACH || arguments[0] == PTRACE_SEIZE;
    case CALL_SCHED_SETAFFINITY:
    case CALL_SCHED_SETPARAM:
    case CALL_SCHED_SETSCHEDULER:
    case CALL_SCHED_SETATTR:
        operation->is_thread = true;
        operation->thread_access = CBP_THREAD_SET_INFORMATION;
        return true;
    case CALL_PIDFD_OPEN:
        operation->is_thread = arguments[1] & PIDFD_THREAD;
        operation->thread_access = CBP_THREAD_QUERY_LIMITED_INFORMATION | CBP_THREAD_SYNCHRONIZE;
        access = CBP_PROCESS_QUERY_LIMITED_INFORMATION | CBP_PROCESS_SYNCHRONIZE;
        break;
    case CALL_MOVE_PAGES:
        access = arguments[3] ? CBP_PROCESS_VM_OPERATION : CBP_PROCESS_QUERY_INFORMATION;
        break;
    case CALL_MIGRATE_PAGES:
        access = CBP_PROCESS_VM_OPERATION;
        break;
    case CALL_GET_ROBUST_LIST:
    case CALL_KCMP:
        access = CBP_PROCESS_QUERY_INFORMATION;
        break;
    case CALL_PROCESS_VM_READV:
        access = CBP_PROCESS_VM_READ;
        break;
    case CALL_PROCESS_VM_WRITEV:
        access = CBP_PROCESS_VM_WRITE | CBP_PROCESS_VM_OPERATION;
        break;
    case CALL_PRLIMIT64:
        access = (arguments[2] ? (uint32_t) CBP_PROCESS_SET_QUOTA : 0) |
                 (arguments[3] ? (uint32_t) CBP_PROCESS_QUERY_INFORMATION : 0);
        break;
    default:
        break;
    }
    operation->process_access = access;
    return access != 0;
}

/* Aims at the process or group that a number below zero stands for, as kill(2) and fcntl(2) have it. */
INLINE bool aim_at_signed(struct aim *aim, int32_t id)
{
    aim->kind = id > 0 ? AIM_AT_ONE : id == -1 ? AIM_AT_MANY : AIM_AT_GROUP;
    aim->id = (uint32_t) (id > 0 ? id : -id);
    return true;
}

INLINE bool read_owner(const struct call *call, struct aim *aim)
{
    struct {
        int32_t type, id;
    } owner = {.type = OWNER_IS_PROCESS, .id = (int32_t) call->arguments[2]};
    uint64_t command = call->arguments[1];
    void *place = (void *) call->arguments[2];
    if (call->kind == CALL_IOCTL ? command != FIOSETOWN && command != SIOCSPGRP
                                 : command != F_SETOWN && command != F_SETOWN_EX)
        return false;
    if (command == F_SETOWN_EX && bpf_probe_read_user(&owner, sizeof owner, place) != 0)
        return false;
    if (call->kind == CALL_IOCTL && bpf_probe_read_user(&owner.id, sizeof owner.id, place) != 0)
        return false;
    aim->operation.process_access = CBP_PROCESS_TERMINATE | CBP_PROCESS_SUSPEND_RESUME;
    return owner.id != 0 && aim_at_signed(aim, owner.type == OWNER_IS_GROUP ? -owner.id : owner.id);
}

INLINE bool read_priority(const struct call *call, struct aim *aim)
{
    bool is_of_disk = call->kind == CALL_IOPRIO_SET;
    uint64_t which = call->arguments[0];
    aim->id = call->arguments[1];
    aim->operation.process_access = CBP_PROCESS_SET_INFORMATION;
    aim->operation.thread_access = CBP_THREAD_SET_INFORMATION;
    aim->operation.becomes_thread = true;
    if (which == (is_of_disk ? IOPRIO_GROUP : PRIO_GROUP))
        aim->kind = AIM_AT_GROUP;
    else if (which != (is_of_disk ? IOPRIO_PROCESS : PRIO_PROCESS))
        aim->kind = AIM_AT_MANY;
    return true;
}

INLINE bool read_core(const struct call *call, struct aim *aim)
{
    const uint64_t *arguments = call->arguments;
    aim->id = arguments[2];
    aim->operation.process_access = CBP_PROCESS_SET_INFORMATION;
    aim->operation.thread_access = CBP_THREAD_SET_INFORMATION;
    aim->operation.is_thread = arguments[3] == CORE_OF_THREAD;
    return arguments[0] == SCHED_CORE &&
           (arguments[1] == SCHED_CORE_CREATE || arguments[1] == SCHED_CORE_SHARE_TO) &&
           arguments[3] <= CORE_OF_PROCESS;
}

/* Reads a call that names its target by a number. False: it is no operation on others. */
INLINE bool read_aim(const struct call *call, struct aim *aim)
{
    const uint64_t *arguments = call->arguments;
    switch (call->kind) {
    case CALL_KILL:
        return ask_for_signal(&aim->operation, arguments[1]) && aim_at_signed(aim, (int32_t) arguments[0]);
    case CALL_RT_SIGQUEUEINFO:
        aim->id = arguments[0];
        return ask_for_signal(&aim->operation, arguments[1]);
    case CALL_TKILL:
        aim->operation.is_thread = true;
        aim->id = arguments[0];
        return ask_for_signal(&aim->operation, arguments[1]);
    case CALL_TGKILL:
    case CALL_RT_TGSIGQUEUEINFO:
        aim->operation.is_thread = true;
        aim->id = arguments[1];
        return ask_for_signal(&aim->operation, arguments[2]);
    case CALL_SETPRIORITY:
    case CALL_IOPRIO_SET:
        return read_priority(call, aim);
    case CALL_FCNTL:
    case CALL_FCNTL64:
    case CALL_IOCTL:
        return read_owner(call, aim);
    case CALL_PRCTL:
        return read_core(call, aim);
    default:
        return read_by_id(call, aim);
    }
}

/* Says whether the call's first argument is a pidfd. */
INLINE bool names_by_descriptor(enum call_kind kind)
{
    return kind == CALL_PIDFD_SEND_SIGNAL || kind == CALL_PIDFD_GETFD || kind == CALL_PROCESS_MADVISE ||
           kind == CALL_PROCESS_MRELEASE;
}

/* Says whether the pidfd is one of a thread. */
INLINE bool names_thread(uint64_t descriptor)
{
    struct file *file = file_of(descriptor);
    return file && pid_of_pidfd(file) && (READ(file->f_flags) & PIDFD_THREAD);
}

/* Reads what such a call asks for. */
INLINE bool read_descriptor(const struct call *call, struct aim *aim)
{
    const uint64_t *arguments = call->arguments;
    switch (call->kind) {
    case CALL_PIDFD_SEND_SIGNAL:
        aim->operation.is_thread =
            arguments[3] == SIGNAL_TO_THREAD || (arguments[3] == 0 && names_thread(arguments[0]));
        aim->kind = arguments[3] & SIGNAL_TO_GROUP ? AIM_AT_GROUP : AIM_AT_ONE;
        return ask_for_signal(&aim->operation, arguments[1]);
    case CALL_PIDFD_GETFD:
        aim->operation.is_duplication = true;
        aim->operation.process_access = CBP_PROCESS_DUP_HANDLE;
        return true;
    case CALL_PROCESS_MADVISE:
    case CALL_PROCESS_MRELEASE:
        aim->operation.process_access = CBP_PROCESS_VM_OPERATION;
        return true;
    default:
        return false;
    }
}

/* Reads what the call asks for. False: it is no operation on others. */
INLINE bool read_request(const struct call *call, struct aim *aim)
{
    aim->operation.system_call = call->number;
    if (!read_descriptor(call, aim) && !read_aim(call, aim))
        return false;
    if (aim->kind != AIM_AT_ONE)
        aim->operation.becomes_thread = false;
    return true;
}

/* Reads what the opening of a process's memory file asks for. */
INLINE void read_memory_request(struct file *file, struct operation *operation)
{
    uint32_t mode = READ(file->f_mode);
    if (mode & FILE_READ)
        operation->process_access |= CBP_PROCESS_VM_READ;
    if (mode & FILE_WRITE)
        operation->process_access |= CBP_PROCESS_VM_WRITE | CBP_PROCESS_VM_OPERATION;
}

#endif

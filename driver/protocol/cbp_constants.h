/* Defines every constant on which two parts agree: event bits, access rights, error codes, rule actions,
 * capability bits. Each list is the only definition: C enumerators, the rows of cbp_abi_rows() and Python's
 * cbprocess/constants.py are made from it. Knows no OS call and no library.
 *
 * A list entry is X(NAME, value, "one sentence"). C sees CBP_NAME; Python sees NAME. */
#ifndef CBP_CONSTANTS_H
#define CBP_CONSTANTS_H

#include "cbp_types.h"

/* An event has one of these types; the EventsToFire setting has bits of them. Source: class reference. */
#define CBP_EVENT_LIST(X)                                                                                    \
    X(PROC_EVT_NONE, 0x00u, "No operation fires.")                                                           \
    X(PROC_EVT_PROCESS_CREATION, 0x01u, "A process is being created.")                                       \
    X(PROC_EVT_PROCESS_TERMINATION, 0x02u, "A process is terminating.")                                      \
    X(PROC_EVT_PROCESS_HANDLE_OPERATION, 0x04u, "A process handle is being opened or duplicated.")           \
    X(PROC_EVT_THREAD_CREATION, 0x08u, "A thread is being created.")                                         \
    X(PROC_EVT_THREAD_TERMINATION, 0x10u, "A thread is terminating.")                                        \
    X(PROC_EVT_THREAD_HANDLE_OPERATION, 0x20u, "A thread handle is being opened or duplicated.")             \
    X(PROC_EVT_ALL, -1, "Every operation fires.")

/* This product reports these Win32 error codes. Source: class reference and winerror.h. */
#define CBP_ERROR_LIST(X)                                                                                    \
    X(ERROR_SUCCESS, 0u, "No error.")                                                                        \
    X(ERROR_FILE_NOT_FOUND, 2u, "The driver, file or program was not found.")                                \
    X(ERROR_PATH_NOT_FOUND, 3u, "A folder of the path was not found.")                                       \
    X(ERROR_TOO_MANY_OPEN_FILES, 4u, "The process or the system is out of file descriptors.")                \
    X(ERROR_ACCESS_DENIED, 5u, "Access is denied.")                                                          \
    X(ERROR_NOT_ENOUGH_MEMORY, 8u, "There is not enough memory.")                                            \
    X(ERROR_BAD_FORMAT, 11u, "The file has the wrong format.")                                               \
    X(ERROR_INVALID_DATA, 13u, "The data is malformed.")                                                     \
    X(ERROR_NOT_READY, 21u, "The instance is not initialized, or its process was forked.")                   \
    X(ERROR_GEN_FAILURE, 31u, "The operating system refused a call that should have succeeded.")             \
    X(ERROR_NOT_SUPPORTED, 50u, "This driver or platform does not offer the operation.")                     \
    X(ERROR_INVALID_PARAMETER, 87u, "A parameter is wrong.")                                                 \
    X(ERROR_BROKEN_PIPE, 109u, "The helper or the kernel driver has gone.")                                  \
    X(ERROR_INSUFFICIENT_BUFFER, 122u, "The buffer is too small.")                                           \
    X(ERROR_BUSY, 170u, "The process is traced or filtered by another controller.")                          \
    X(ERROR_ALREADY_EXISTS, 183u, "Another driver has the altitude, or the service's name, already.")        \
    X(ERROR_INVALID_KERNEL_INFO_VERSION, 340u, "The driver is older than the library.")                      \
    X(ERROR_UNHANDLED_EXCEPTION, 574u, "An event handler raised an exception.")                              \
    X(ERROR_APP_INIT_FAILURE, 575u, "The driver's handshake or the first worker thread failed.")             \
    X(ERROR_INVALID_IMAGE_HASH, 577u, "The driver's signature is missing or does not hold.")                 \
    X(ERROR_FS_DRIVER_REQUIRED, 588u, "The product is registered but its driver is missing or damaged.")     \
    X(ERROR_NO_CALLBACK_ACTIVE, 614u, "The call is possible only inside an event handler.")                  \
    X(ERROR_OPERATION_ABORTED, 995u, "The operation ended because the filter stopped.")                      \
    X(ERROR_SERVICE_REQUEST_TIMEOUT, 1053u, "The helper does not answer: it is stopped, or busy.")           \
    X(ERROR_POSSIBLE_DEADLOCK, 1131u, "The call is not possible inside an event handler.")                   \
    X(ERROR_NOT_FOUND, 1168u, "There is no such rule, event or setting.")                                    \
    X(ERROR_CONNECTION_ACTIVE, 1230u, "The call is not possible while the filter is active.")                \
    X(ERROR_IMPLEMENTATION_LIMIT, 1292u, "The timeout is neither 0 nor at least 3000 ms.")                   \
    X(ERROR_PRIVILEGE_NOT_HELD, 1314u, "A required privilege is not held.")                                  \
    X(ERROR_TIMEOUT, 1460u, "The deadline passed.")                                                          \
    X(ERROR_NO_SYSTEM_RESOURCES, 1450u, "The system, or a table of this product, is full.")

/* Process handles have these access rights. Source: Microsoft, "Process Security and Access Rights". */
#define CBP_PROCESS_ACCESS_LIST(X)                                                                           \
    X(PROCESS_TERMINATE, 0x0001u, "End the process.")                                                        \
    X(PROCESS_CREATE_THREAD, 0x0002u, "Create a thread in the process.")                                     \
    X(PROCESS_SET_SESSIONID, 0x0004u, "Set the session of the process.")                                     \
    X(PROCESS_VM_OPERATION, 0x0008u, "Change the address space of the process.")                             \
    X(PROCESS_VM_READ, 0x0010u, "Read the memory of the process.")                                           \
    X(PROCESS_VM_WRITE, 0x0020u, "Write the memory of the process.")                                         \
    X(PROCESS_DUP_HANDLE, 0x0040u, "Duplicate a handle of the process.")                                     \
    X(PROCESS_CREATE_PROCESS, 0x0080u, "Use the process as a parent of a new one.")                          \
    X(PROCESS_SET_QUOTA, 0x0100u, "Set limits of the process.")                                              \
    X(PROCESS_SET_INFORMATION, 0x0200u, "Set properties such as the priority.")                              \
    X(PROCESS_QUERY_INFORMATION, 0x0400u, "Query properties of the process.")                                \
    X(PROCESS_SUSPEND_RESUME, 0x0800u, "Stop or continue the process.")                                      \
    X(PROCESS_QUERY_LIMITED_INFORMATION, 0x1000u, "Query a few properties of the process.")                  \
    X(PROCESS_SYNCHRONIZE, 0x00100000u, "Wait for the process to end.")

/* Thread handles have these access rights. Source: Microsoft, "Thread Security and Access Rights". */
#define CBP_THREAD_ACCESS_LIST(X)                                                                            \
    X(THREAD_TERMINATE, 0x0001u, "End the thread.")                                                          \
    X(THREAD_SUSPEND_RESUME, 0x0002u, "Stop or continue the thread.")                                        \
    X(THREAD_GET_CONTEXT, 0x0008u, "Read the registers of the thread.")                                      \
    X(THREAD_SET_CONTEXT, 0x0010u, "Write the registers of the thread.")                                     \
    X(THREAD_SET_INFORMATION, 0x0020u, "Set properties of the thread.")                                      \
    X(THREAD_QUERY_INFORMATION, 0x0040u, "Query properties of the thread.")                                  \
    X(THREAD_SET_THREAD_TOKEN, 0x0080u, "Set the impersonation token of the thread.")                        \
    X(THREAD_IMPERSONATE, 0x0100u, "Use the security information of the thread.")                            \
    X(THREAD_DIRECT_IMPERSONATION, 0x0200u, "Let a server impersonate the thread.")                          \
    X(THREAD_SET_LIMITED_INFORMATION, 0x0400u, "Set a few properties of the thread.")                        \
    X(THREAD_QUERY_LIMITED_INFORMATION, 0x0800u, "Query a few properties of the thread.")                    \
    X(THREAD_RESUME, 0x1000u, "Continue the thread.")                                                        \
    X(THREAD_SYNCHRONIZE, 0x00100000u, "Wait for the thread to end.")

/* A rule does one of these things with the operations that it matches. */
#define CBP_ACTION_LIST(X)                                                                                   \
    X(ACTION_ASK, 0u, "A handler decides (the reference's filtered process).")                               \
    X(ACTION_IGNORE, 1u, "Nothing that the program does fires (the reference's ignored process).")           \
    X(ACTION_ALLOW, 2u, "Goes on at once; the event is delivered afterwards.")                               \
    X(ACTION_DENY, 3u, "Refused with the rule's code; the event is delivered afterwards.")                   \
    X(ACTION_STRIP, 4u, "Nobody gets the rule's rights to the process; delivered afterwards.")

/* A rule may have these flags. */
#define CBP_RULE_FLAG_LIST(X)                                                                                \
    X(RULE_FLAG_CHILDREN, 0x01u, "It extends to descendants, alive now and to come.")                        \
    X(RULE_FLAG_ATTACH, 0x02u, "A tree driver takes the processes that it matches now under the filter.")

/* A process creation whose deadline passes ends in one of these ways (config TimeoutAction). */
#define CBP_TIMEOUT_ACTION_LIST(X)                                                                           \
    X(TIMEOUT_ACTION_ALLOW, 0u, "It goes on as if there were no handler.")                                   \
    X(TIMEOUT_ACTION_DENY, 1u, "It is refused with ERROR_TIMEOUT.")

/* A tree driver refuses the execution of a program in one of these ways (config RefuseWith). */
#define CBP_REFUSE_LIST(X)                                                                                   \
    X(REFUSE_WITH_ERRNO, 0u, "The execve fails; needs a seccomp filter in the tree.")                        \
    X(REFUSE_WITH_KILL, 1u, "The process is killed before the new image's first instruction.")

/* An event may have these marks. */
#define CBP_EVENT_FLAG_LIST(X)                                                                               \
    X(EVENT_FLAG_HELD, 0x01u, "The operation waits for the answer.")                                         \
    X(EVENT_FLAG_DECIDED_BY_RULE, 0x02u, "A rule has decided; an answer changes nothing.")                   \
    X(EVENT_FLAG_REFUSABLE, 0x04u, "A result code refuses the operation.")                                   \
    X(EVENT_FLAG_TIMED_OUT, 0x08u, "The deadline passed before a handler saw it.")                           \
    X(EVENT_FLAG_DUPLICATION, 0x10u, "A handle is being duplicated, not opened.")                            \
    X(EVENT_FLAG_CHANGED, 0x20u, "The image changed after an earlier decision; this is what runs.")          \
    X(EVENT_FLAG_ARGUMENTS_TRUNCATED, 0x40u, "The argument list could not be read whole.")                   \
    X(EVENT_FLAG_FORK, 0x80u, "A fork without an execution (config ForkIsCreation).")                        \
    X(EVENT_FLAG_IMAGE_DELETED, 0x100u, "The program's file was gone when the driver looked at it.")

/* A process of a snapshot may have these marks. */
#define CBP_SNAPSHOT_FLAG_LIST(X)                                                                            \
    X(SNAPSHOT_FLAG_IMAGE_DELETED, 0x01u, "The program's file has been deleted, or replaced by another.")    \
    X(SNAPSHOT_FLAG_SHORT_NAME, 0x02u, "The name is not a path: the system does not tell that.")             \
    X(SNAPSHOT_FLAG_ENDED, 0x04u, "It has ended or is about to: only its parent has yet to hear of it.")

/* A snapshot may be asked for with these bits. Without the FROM bits the library chooses. */
#define CBP_SNAPSHOT_OPTION_LIST(X)                                                                          \
    X(SNAPSHOT_WITH_ARGUMENTS, 0x01u, "The processes' arguments are in it.")                                 \
    X(SNAPSHOT_FROM_FILES, 0x02u, "It is made as the system lists processes for anybody (Linux: /proc).")    \
    X(SNAPSHOT_FROM_DRIVER, 0x04u, "A driver lists the processes: faster, but few may do it.")

/* A driver may be able to see, hold and refuse these operations. */
#define CBP_CAPABILITY_LIST(X)                                                                               \
    X(CAP_SEE_PROCESS_CREATION, 0x00000001u, "sees process creations")                                       \
    X(CAP_HOLD_PROCESS_CREATION, 0x00000002u, "holds process creations")                                     \
    X(CAP_REFUSE_PROCESS_CREATION, 0x00000004u, "refuses process creations with an error")                   \
    X(CAP_KILL_PROCESS_CREATION, 0x00000008u, "refuses process creations by ending the new process")         \
    X(CAP_SEE_PROCESS_TERMINATION, 0x00000010u, "sees process terminations")                                 \
    X(CAP_HOLD_PROCESS_TERMINATION, 0x00000020u, "holds process terminations")                               \
    X(CAP_SEE_THREAD_CREATION, 0x00000040u, "sees thread creations")                                         \
    X(CAP_HOLD_THREAD_CREATION, 0x00000080u, "holds thread creations")                                       \
    X(CAP_SEE_THREAD_TERMINATION, 0x00000100u, "sees thread terminations")                                   \
    X(CAP_HOLD_THREAD_TERMINATION, 0x00000200u, "holds thread terminations")                                 \
    X(CAP_SEE_PROCESS_HANDLE, 0x00000400u, "sees process handle operations")                                 \
    X(CAP_HOLD_PROCESS_HANDLE, 0x00000800u, "holds process handle operations")                               \
    X(CAP_STRIP_PROCESS_HANDLE, 0x00001000u, "takes rights out of process handles")                          \
    X(CAP_SEE_THREAD_HANDLE, 0x00002000u, "sees thread handle operations")                                   \
    X(CAP_HOLD_THREAD_HANDLE, 0x00004000u, "holds thread handle operations")                                 \
    X(CAP_STRIP_THREAD_HANDLE, 0x00008000u, "takes rights out of thread handles")                            \
    X(CAP_ATTACH, 0x00010000u, "takes running processes under the filter")                                   \
    X(CAP_LAUNCH, 0x00020000u, "starts programs under the filter")                                           \
    X(CAP_WHOLE_MACHINE, 0x00040000u, "sees every process of the machine")                                   \
    X(CAP_DECIDE_BY_RULE, 0x00080000u, "decides by rules without asking anybody")                            \
    X(CAP_OWN_REQUESTS, 0x00100000u, "sees the controller's own requests")

/* The ptrace driver offers these at best; its probe takes away what a machine lacks. */
#define CBP_PTRACE_CAPABILITIES                                                                              \
    (CBP_CAP_SEE_PROCESS_CREATION | CBP_CAP_HOLD_PROCESS_CREATION | CBP_CAP_REFUSE_PROCESS_CREATION |        \
     CBP_CAP_KILL_PROCESS_CREATION | CBP_CAP_SEE_PROCESS_TERMINATION | CBP_CAP_HOLD_PROCESS_TERMINATION |    \
     CBP_CAP_SEE_THREAD_CREATION | CBP_CAP_HOLD_THREAD_CREATION | CBP_CAP_SEE_THREAD_TERMINATION |           \
     CBP_CAP_HOLD_THREAD_TERMINATION | CBP_CAP_SEE_PROCESS_HANDLE | CBP_CAP_HOLD_PROCESS_HANDLE |            \
     CBP_CAP_STRIP_PROCESS_HANDLE | CBP_CAP_SEE_THREAD_HANDLE | CBP_CAP_HOLD_THREAD_HANDLE |                 \
     CBP_CAP_STRIP_THREAD_HANDLE | CBP_CAP_ATTACH | CBP_CAP_LAUNCH | CBP_CAP_DECIDE_BY_RULE)

/* These need a seccomp filter in the process that acts. */
#define CBP_PTRACE_FILTER_CAPABILITIES (CBP_CAP_REFUSE_PROCESS_CREATION | CBP_PTRACE_HANDLE_CAPABILITIES)
#define CBP_PTRACE_HANDLE_CAPABILITIES                                                                       \
    (CBP_CAP_SEE_PROCESS_HANDLE | CBP_CAP_HOLD_PROCESS_HANDLE | CBP_CAP_STRIP_PROCESS_HANDLE |               \
     CBP_CAP_SEE_THREAD_HANDLE | CBP_CAP_HOLD_THREAD_HANDLE | CBP_CAP_STRIP_THREAD_HANDLE)

/* The debug driver offers these; handle operations need the kernel driver. */
#define CBP_DEBUG_CAPABILITIES                                                                               \
    (CBP_CAP_SEE_PROCESS_CREATION | CBP_CAP_HOLD_PROCESS_CREATION | CBP_CAP_KILL_PROCESS_CREATION |          \
     CBP_CAP_SEE_PROCESS_TERMINATION | CBP_CAP_HOLD_PROCESS_TERMINATION | CBP_CAP_SEE_THREAD_CREATION |      \
     CBP_CAP_HOLD_THREAD_CREATION | CBP_CAP_SEE_THREAD_TERMINATION | CBP_CAP_HOLD_THREAD_TERMINATION |       \
     CBP_CAP_ATTACH | CBP_CAP_LAUNCH | CBP_CAP_DECIDE_BY_RULE)

/* The kernel driver of Windows offers these, for every process of the machine. */
#define CBP_KERNEL_CAPABILITIES                                                                              \
    (CBP_CAP_SEE_PROCESS_CREATION | CBP_CAP_HOLD_PROCESS_CREATION | CBP_CAP_REFUSE_PROCESS_CREATION |        \
     CBP_CAP_SEE_PROCESS_TERMINATION | CBP_CAP_HOLD_PROCESS_TERMINATION | CBP_CAP_SEE_THREAD_CREATION |      \
     CBP_CAP_HOLD_THREAD_CREATION | CBP_CAP_SEE_THREAD_TERMINATION | CBP_CAP_HOLD_THREAD_TERMINATION |       \
     CBP_CAP_SEE_PROCESS_HANDLE | CBP_CAP_HOLD_PROCESS_HANDLE | CBP_CAP_STRIP_PROCESS_HANDLE |               \
     CBP_CAP_SEE_THREAD_HANDLE | CBP_CAP_HOLD_THREAD_HANDLE | CBP_CAP_STRIP_THREAD_HANDLE | CBP_CAP_LAUNCH | \
     CBP_CAP_WHOLE_MACHINE | CBP_CAP_DECIDE_BY_RULE | CBP_CAP_OWN_REQUESTS)

/* get_driver_status reports one of these. Source: class reference (SERVICE_STATUS.dwCurrentState). */
#define CBP_MODULE_STATUS_LIST(X)                                                                            \
    X(MODULE_STATUS_NOT_PRESENT, 0u, "The driver is not installed.")                                         \
    X(MODULE_STATUS_STOPPED, 1u, "The driver is installed and stopped.")                                     \
    X(MODULE_STATUS_RUNNING, 4u, "The driver is running.")

/* install takes these flags. Some of them concern products for files, whose programs may pass them: they
 * change nothing here. Source: class reference. */
#define CBP_INSTALL_LIST(X)                                                                                  \
    X(INSTALL_REMOVE_OLD_VERSIONS, 0x00000001u, "Drivers of earlier versions are uninstalled.")              \
    X(INSTALL_KEEP_START_TYPE, 0x00000002u, "The driver's start type stays as it is.")                       \
    X(INSTALL_REQUESTS_VIA_DRIVER_STACK, 0x00000004u, "Concerns file systems; nothing here.")                \
    X(INSTALL_ALWAYS_PREPARE_FILES, 0x00010000u, "Concerns open files; nothing here.")                       \
    X(INSTALL_FORCE_APP_PERMISSION_CHECK, 0x00020000u, "Concerns opening of files; nothing here.")           \
    X(INSTALL_FORCE_SECURITY_CHECKS, 0x00040000u, "Concerns opening of files; nothing here.")

/* uninstall takes these flags. Source: class reference. */
#define CBP_UNINSTALL_LIST(X)                                                                                \
    X(UNINSTALL_VERSION_PREVIOUS, 0x00000001u, "Drivers of earlier versions are uninstalled.")               \
    X(UNINSTALL_VERSION_CURRENT, 0x00000002u, "The driver of this version is uninstalled.")                  \
    X(UNINSTALL_VERSION_ALL, 0x00000003u, "Drivers of all versions are uninstalled.")

/* The serialize_events property has one of these values. Source: class reference. */
#define CBP_SERIALIZE_LIST(X)                                                                                \
    X(SERIALIZE_ON_MULTIPLE_THREADS, 0u, "Events fire on several worker threads.")                           \
    X(SERIALIZE_ON_ONE_WORKER_THREAD, 1u, "Events fire on one worker thread.")

/* Both sides of a boundary use these limits and sizes. */
#define CBP_LIMIT_LIST(X)                                                                                    \
    X(TIMEOUT_MIN_MS, 3000u, "The shortest deadline that start_filter accepts, in ms.")                      \
    X(HEARTBEAT_LIMIT_MS, 60000u, "A controller silent for this long counts as dead, in ms.")                \
    X(SESSION_MAX, 16u, "Sessions that one controller process can have active.")                             \
    X(BATCH_MAX, 4u, "Events that one message can carry.")                                                   \
    X(PATTERN_SIZE_MAX, 4096u, "Bytes of a name pattern, the ending NUL not counted.")                       \
    X(ARGUMENTS_SIZE_MAX, 6291456u, "Bytes of an argument list: what Linux's execve accepts at most.")

/* Generators and the ABI table read all lists from here, each with a name for its group. */
#define CBP_CONSTANT_GROUPS(G)                                                                               \
    G(event, CBP_EVENT_LIST)                                                                                 \
    G(error, CBP_ERROR_LIST)                                                                                 \
    G(process_access, CBP_PROCESS_ACCESS_LIST)                                                               \
    G(thread_access, CBP_THREAD_ACCESS_LIST)                                                                 \
    G(action, CBP_ACTION_LIST)                                                                               \
    G(rule_flag, CBP_RULE_FLAG_LIST)                                                                         \
    G(timeout_action, CBP_TIMEOUT_ACTION_LIST)                                                               \
    G(refuse, CBP_REFUSE_LIST)                                                                               \
    G(event_flag, CBP_EVENT_FLAG_LIST)                                                                       \
    G(snapshot_flag, CBP_SNAPSHOT_FLAG_LIST)                                                                 \
    G(snapshot_option, CBP_SNAPSHOT_OPTION_LIST)                                                             \
    G(capability, CBP_CAPABILITY_LIST)                                                                       \
    G(module_status, CBP_MODULE_STATUS_LIST)                                                                 \
    G(install, CBP_INSTALL_LIST)                                                                             \
    G(uninstall, CBP_UNINSTALL_LIST)                                                                         \
    G(serialize, CBP_SERIALIZE_LIST)                                                                         \
    G(limit, CBP_LIMIT_LIST)

#define CBP_ENUMERATOR_(name, value, text) CBP_##name = (value),
#define CBP_ENUM_(group, LIST) enum cbp_##group##_constant{LIST(CBP_ENUMERATOR_)};
CBP_CONSTANT_GROUPS(CBP_ENUM_)

#endif

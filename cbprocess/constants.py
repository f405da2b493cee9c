"""Constants by their bare names, as plain ints. enums.py has them as enumerations.

Made by tools/generate_constants.py from driver/protocol/cbp_constants.h; not to be edited.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

PROC_EVT_NONE: Final = 0x00  # No operation fires.
PROC_EVT_PROCESS_CREATION: Final = 0x01  # A process is being created.
PROC_EVT_PROCESS_TERMINATION: Final = 0x02  # A process is terminating.
PROC_EVT_PROCESS_HANDLE_OPERATION: Final = 0x04  # A process handle is being opened or duplicated.
PROC_EVT_THREAD_CREATION: Final = 0x08  # A thread is being created.
PROC_EVT_THREAD_TERMINATION: Final = 0x10  # A thread is terminating.
PROC_EVT_THREAD_HANDLE_OPERATION: Final = 0x20  # A thread handle is being opened or duplicated.
PROC_EVT_ALL: Final = -1  # Every operation fires.

ERROR_SUCCESS = 0  # No error.
ERROR_FILE_NOT_FOUND = 2  # The driver, file or program was not found.
ERROR_PATH_NOT_FOUND = 3  # A folder of the path was not found.
ERROR_TOO_MANY_OPEN_FILES = 4  # The process or the system is out of file descriptors.
ERROR_ACCESS_DENIED = 5  # Access is denied.
ERROR_NOT_ENOUGH_MEMORY = 8  # There is not enough memory.
ERROR_BAD_FORMAT = 11  # The file has the wrong format.
ERROR_INVALID_DATA = 13  # The data is malformed.
ERROR_NOT_READY = 21  # The instance is not initialized, or its process was forked.
ERROR_GEN_FAILURE = 31  # The operating system refused a call that should have succeeded.
ERROR_NOT_SUPPORTED = 50  # This driver or platform does not offer the operation.
ERROR_INVALID_PARAMETER = 87  # A parameter is wrong.
ERROR_BROKEN_PIPE = 109  # The helper or the kernel driver has gone.
ERROR_INSUFFICIENT_BUFFER = 122  # The buffer is too small.
ERROR_BUSY = 170  # The process is traced or filtered by another controller.
ERROR_ALREADY_EXISTS = 183  # Another driver has the altitude, or the service's name, already.
ERROR_INVALID_KERNEL_INFO_VERSION = 340  # The driver is older than the library.
ERROR_UNHANDLED_EXCEPTION = 574  # An event handler raised an exception.
ERROR_APP_INIT_FAILURE = 575  # The driver's handshake or the first worker thread failed.
ERROR_INVALID_IMAGE_HASH = 577  # The driver's signature is missing or does not hold.
ERROR_FS_DRIVER_REQUIRED = 588  # The product is registered but its driver is missing or damaged.
ERROR_NO_CALLBACK_ACTIVE = 614  # The call is possible only inside an event handler.
ERROR_OPERATION_ABORTED = 995  # The operation ended because the filter stopped.
ERROR_SERVICE_REQUEST_TIMEOUT = 1053  # The helper does not answer: it is stopped, or busy.
ERROR_POSSIBLE_DEADLOCK = 1131  # The call is not possible inside an event handler.
ERROR_NOT_FOUND = 1168  # There is no such rule, event or setting.
ERROR_CONNECTION_ACTIVE = 1230  # The call is not possible while the filter is active.
ERROR_IMPLEMENTATION_LIMIT = 1292  # The timeout is neither 0 nor at least 3000 ms.
ERROR_PRIVILEGE_NOT_HELD = 1314  # A required privilege is not held.
ERROR_TIMEOUT = 1460  # The deadline passed.
ERROR_NO_SYSTEM_RESOURCES = 1450  # The system, or a table of this product, is full.

PROCESS_TERMINATE = 0x0001  # End the process.
PROCESS_CREATE_THREAD = 0x0002  # Create a thread in the process.
PROCESS_SET_SESSIONID = 0x0004  # Set the session of the process.
PROCESS_VM_OPERATION = 0x0008  # Change the address space of the process.
PROCESS_VM_READ = 0x0010  # Read the memory of the process.
PROCESS_VM_WRITE = 0x0020  # Write the memory of the process.
PROCESS_DUP_HANDLE = 0x0040  # Duplicate a handle of the process.
PROCESS_CREATE_PROCESS = 0x0080  # Use the process as a parent of a new one.
PROCESS_SET_QUOTA = 0x0100  # Set limits of the process.
PROCESS_SET_INFORMATION = 0x0200  # Set properties such as the priority.
PROCESS_QUERY_INFORMATION = 0x0400  # Query properties of the process.
PROCESS_SUSPEND_RESUME = 0x0800  # Stop or continue the process.
PROCESS_QUERY_LIMITED_INFORMATION = 0x1000  # Query a few properties of the process.
PROCESS_SYNCHRONIZE = 0x00100000  # Wait for the process to end.

THREAD_TERMINATE = 0x0001  # End the thread.
THREAD_SUSPEND_RESUME = 0x0002  # Stop or continue the thread.
THREAD_GET_CONTEXT = 0x0008  # Read the registers of the thread.
THREAD_SET_CONTEXT = 0x0010  # Write the registers of the thread.
THREAD_SET_INFORMATION = 0x0020  # Set properties of the thread.
THREAD_QUERY_INFORMATION = 0x0040  # Query properties of the thread.
THREAD_SET_THREAD_TOKEN = 0x0080  # Set the impersonation token of the thread.
THREAD_IMPERSONATE = 0x0100  # Use the security information of the thread.
THREAD_DIRECT_IMPERSONATION = 0x0200  # Let a server impersonate the thread.
THREAD_SET_LIMITED_INFORMATION = 0x0400  # Set a few properties of the thread.
THREAD_QUERY_LIMITED_INFORMATION = 0x0800  # Query a few properties of the thread.
THREAD_RESUME = 0x1000  # Continue the thread.
THREAD_SYNCHRONIZE = 0x00100000  # Wait for the thread to end.

ACTION_ASK = 0  # A handler decides (the reference's filtered process).
ACTION_IGNORE = 1  # Nothing that the program does fires (the reference's ignored process).
ACTION_ALLOW = 2  # Goes on at once; the event is delivered afterwards.
ACTION_DENY = 3  # Refused with the rule's code; the event is delivered afterwards.
ACTION_STRIP = 4  # Nobody gets the rule's rights to the process; delivered afterwards.

RULE_FLAG_CHILDREN = 0x01  # It extends to descendants, alive now and to come.
RULE_FLAG_ATTACH = 0x02  # A tree driver takes the processes that it matches now under the filter.

TIMEOUT_ACTION_ALLOW = 0  # It goes on as if there were no handler.
TIMEOUT_ACTION_DENY = 1  # It is refused with ERROR_TIMEOUT.

REFUSE_WITH_ERRNO = 0  # The execve fails; needs a seccomp filter in the tree.
REFUSE_WITH_KILL = 1  # The process is killed before the new image's first instruction.

EVENT_FLAG_HELD = 0x01  # The operation waits for the answer.
EVENT_FLAG_DECIDED_BY_RULE = 0x02  # A rule has decided; an answer changes nothing.
EVENT_FLAG_REFUSABLE = 0x04  # A result code refuses the operation.
EVENT_FLAG_TIMED_OUT = 0x08  # The deadline passed before a handler saw it.
EVENT_FLAG_DUPLICATION = 0x10  # A handle is being duplicated, not opened.
EVENT_FLAG_CHANGED = 0x20  # The image changed after an earlier decision; this is what runs.
EVENT_FLAG_ARGUMENTS_TRUNCATED = 0x40  # The argument list could not be read whole.
EVENT_FLAG_FORK = 0x80  # A fork without an execution (config ForkIsCreation).
EVENT_FLAG_IMAGE_DELETED = 0x100  # The program's file was gone when the driver looked at it.

SNAPSHOT_FLAG_IMAGE_DELETED = 0x01  # The program's file has been deleted, or replaced by another.
SNAPSHOT_FLAG_SHORT_NAME = 0x02  # The name is not a path: the system does not tell that.
SNAPSHOT_FLAG_ENDED = 0x04  # It has ended or is about to: only its parent has yet to hear of it.

SNAPSHOT_WITH_ARGUMENTS = 0x01  # The processes' arguments are in it.
SNAPSHOT_FROM_FILES = 0x02  # It is made as the system lists processes for anybody (Linux: /proc).
SNAPSHOT_FROM_DRIVER = 0x04  # A driver lists the processes: faster, but few may do it.

CAP_SEE_PROCESS_CREATION = 0x00000001  # sees process creations
CAP_HOLD_PROCESS_CREATION = 0x00000002  # holds process creations
CAP_REFUSE_PROCESS_CREATION = 0x00000004  # refuses process creations with an error
CAP_KILL_PROCESS_CREATION = 0x00000008  # refuses process creations by ending the new process
CAP_SEE_PROCESS_TERMINATION = 0x00000010  # sees process terminations
CAP_HOLD_PROCESS_TERMINATION = 0x00000020  # holds process terminations
CAP_SEE_THREAD_CREATION = 0x00000040  # sees thread creations
CAP_HOLD_THREAD_CREATION = 0x00000080  # holds thread creations
CAP_SEE_THREAD_TERMINATION = 0x00000100  # sees thread terminations
CAP_HOLD_THREAD_TERMINATION = 0x00000200  # holds thread terminations
CAP_SEE_PROCESS_HANDLE = 0x00000400  # sees process handle operations
CAP_HOLD_PROCESS_HANDLE = 0x00000800  # holds process handle operations
CAP_STRIP_PROCESS_HANDLE = 0x00001000  # takes rights out of process handles
CAP_SEE_THREAD_HANDLE = 0x00002000  # sees thread handle operations
CAP_HOLD_THREAD_HANDLE = 0x00004000  # holds thread handle operations
CAP_STRIP_THREAD_HANDLE = 0x00008000  # takes rights out of thread handles
CAP_ATTACH = 0x00010000  # takes running processes under the filter
CAP_LAUNCH = 0x00020000  # starts programs under the filter
CAP_WHOLE_MACHINE = 0x00040000  # sees every process of the machine
CAP_DECIDE_BY_RULE = 0x00080000  # decides by rules without asking anybody
CAP_OWN_REQUESTS = 0x00100000  # sees the controller's own requests

MODULE_STATUS_NOT_PRESENT = 0  # The driver is not installed.
MODULE_STATUS_STOPPED = 1  # The driver is installed and stopped.
MODULE_STATUS_RUNNING = 4  # The driver is running.

INSTALL_REMOVE_OLD_VERSIONS = 0x00000001  # Drivers of earlier versions are uninstalled.
INSTALL_KEEP_START_TYPE = 0x00000002  # The driver's start type stays as it is.
INSTALL_REQUESTS_VIA_DRIVER_STACK = 0x00000004  # Concerns file systems; nothing here.
INSTALL_ALWAYS_PREPARE_FILES = 0x00010000  # Concerns open files; nothing here.
INSTALL_FORCE_APP_PERMISSION_CHECK = 0x00020000  # Concerns opening of files; nothing here.
INSTALL_FORCE_SECURITY_CHECKS = 0x00040000  # Concerns opening of files; nothing here.

UNINSTALL_VERSION_PREVIOUS = 0x00000001  # Drivers of earlier versions are uninstalled.
UNINSTALL_VERSION_CURRENT = 0x00000002  # The driver of this version is uninstalled.
UNINSTALL_VERSION_ALL = 0x00000003  # Drivers of all versions are uninstalled.

SERIALIZE_ON_MULTIPLE_THREADS = 0  # Events fire on several worker threads.
SERIALIZE_ON_ONE_WORKER_THREAD = 1  # Events fire on one worker thread.

TIMEOUT_MIN_MS = 3000  # The shortest deadline that start_filter accepts, in ms.
HEARTBEAT_LIMIT_MS = 60000  # A controller silent for this long counts as dead, in ms.
SESSION_MAX = 16  # Sessions that one controller process can have active.
BATCH_MAX = 4  # Events that one message can carry.
PATTERN_SIZE_MAX = 4096  # Bytes of a name pattern, the ending NUL not counted.
ARGUMENTS_SIZE_MAX = 6291456  # Bytes of an argument list: what Linux's execve accepts at most.

if not TYPE_CHECKING:
    # A type checker takes every name, and cannot compute a list.
    __all__ = sorted(name for name in globals() if name.isupper() and name != "TYPE_CHECKING")

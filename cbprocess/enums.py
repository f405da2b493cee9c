"""The constants as IntFlag and IntEnum classes; a member is equal to the plain constant.

Made by tools/generate_constants.py from driver/protocol/cbp_constants.h; not to be edited.
"""

from enum import IntEnum, IntFlag


class EventType(IntFlag):
    """Kinds of operations."""

    NONE = 0x00  # No operation fires.
    PROCESS_CREATION = 0x01  # A process is being created.
    PROCESS_TERMINATION = 0x02  # A process is terminating.
    PROCESS_HANDLE_OPERATION = 0x04  # A process handle is being opened or duplicated.
    THREAD_CREATION = 0x08  # A thread is being created.
    THREAD_TERMINATION = 0x10  # A thread is terminating.
    THREAD_HANDLE_OPERATION = 0x20  # A thread handle is being opened or duplicated.
    ALL = 0x3F  # Every operation fires.


class ErrorCode(IntEnum):
    """Codes of CBProcessError."""

    SUCCESS = 0  # No error.
    FILE_NOT_FOUND = 2  # The driver, file or program was not found.
    PATH_NOT_FOUND = 3  # A folder of the path was not found.
    TOO_MANY_OPEN_FILES = 4  # The process or the system is out of file descriptors.
    ACCESS_DENIED = 5  # Access is denied.
    NOT_ENOUGH_MEMORY = 8  # There is not enough memory.
    BAD_FORMAT = 11  # The file has the wrong format.
    INVALID_DATA = 13  # The data is malformed.
    NOT_READY = 21  # The instance is not initialized, or its process was forked.
    GEN_FAILURE = 31  # The operating system refused a call that should have succeeded.
    NOT_SUPPORTED = 50  # This driver or platform does not offer the operation.
    INVALID_PARAMETER = 87  # A parameter is wrong.
    BROKEN_PIPE = 109  # The helper or the kernel driver has gone.
    INSUFFICIENT_BUFFER = 122  # The buffer is too small.
    BUSY = 170  # The process is traced or filtered by another controller.
    ALREADY_EXISTS = 183  # Another driver has the altitude, or the service's name, already.
    INVALID_KERNEL_INFO_VERSION = 340  # The driver is older than the library.
    UNHANDLED_EXCEPTION = 574  # An event handler raised an exception.
    APP_INIT_FAILURE = 575  # The driver's handshake or the first worker thread failed.
    INVALID_IMAGE_HASH = 577  # The driver's signature is missing or does not hold.
    FS_DRIVER_REQUIRED = 588  # The product is registered but its driver is missing or damaged.
    NO_CALLBACK_ACTIVE = 614  # The call is possible only inside an event handler.
    OPERATION_ABORTED = 995  # The operation ended because the filter stopped.
    SERVICE_REQUEST_TIMEOUT = 1053  # The helper does not answer: it is stopped, or busy.
    POSSIBLE_DEADLOCK = 1131  # The call is not possible inside an event handler.
    NOT_FOUND = 1168  # There is no such rule, event or setting.
    CONNECTION_ACTIVE = 1230  # The call is not possible while the filter is active.
    IMPLEMENTATION_LIMIT = 1292  # The timeout is neither 0 nor at least 3000 ms.
    PRIVILEGE_NOT_HELD = 1314  # A required privilege is not held.
    TIMEOUT = 1460  # The deadline passed.
    NO_SYSTEM_RESOURCES = 1450  # The system, or a table of this product, is full.


class ProcessAccess(IntFlag):
    """Rights of a process handle."""

    TERMINATE = 0x0001  # End the process.
    CREATE_THREAD = 0x0002  # Create a thread in the process.
    SET_SESSIONID = 0x0004  # Set the session of the process.
    VM_OPERATION = 0x0008  # Change the address space of the process.
    VM_READ = 0x0010  # Read the memory of the process.
    VM_WRITE = 0x0020  # Write the memory of the process.
    DUP_HANDLE = 0x0040  # Duplicate a handle of the process.
    CREATE_PROCESS = 0x0080  # Use the process as a parent of a new one.
    SET_QUOTA = 0x0100  # Set limits of the process.
    SET_INFORMATION = 0x0200  # Set properties such as the priority.
    QUERY_INFORMATION = 0x0400  # Query properties of the process.
    SUSPEND_RESUME = 0x0800  # Stop or continue the process.
    QUERY_LIMITED_INFORMATION = 0x1000  # Query a few properties of the process.
    SYNCHRONIZE = 0x00100000  # Wait for the process to end.


class ThreadAccess(IntFlag):
    """Rights of a thread handle."""

    TERMINATE = 0x0001  # End the thread.
    SUSPEND_RESUME = 0x0002  # Stop or continue the thread.
    GET_CONTEXT = 0x0008  # Read the registers of the thread.
    SET_CONTEXT = 0x0010  # Write the registers of the thread.
    SET_INFORMATION = 0x0020  # Set properties of the thread.
    QUERY_INFORMATION = 0x0040  # Query properties of the thread.
    SET_THREAD_TOKEN = 0x0080  # Set the impersonation token of the thread.
    IMPERSONATE = 0x0100  # Use the security information of the thread.
    DIRECT_IMPERSONATION = 0x0200  # Let a server impersonate the thread.
    SET_LIMITED_INFORMATION = 0x0400  # Set a few properties of the thread.
    QUERY_LIMITED_INFORMATION = 0x0800  # Query a few properties of the thread.
    RESUME = 0x1000  # Continue the thread.
    SYNCHRONIZE = 0x00100000  # Wait for the thread to end.


class Action(IntEnum):
    """Actions of rules."""

    ASK = 0  # A handler decides (the reference's filtered process).
    IGNORE = 1  # Nothing that the program does fires (the reference's ignored process).
    ALLOW = 2  # Goes on at once; the event is delivered afterwards.
    DENY = 3  # Refused with the rule's code; the event is delivered afterwards.
    STRIP = 4  # Nobody gets the rule's rights to the process; delivered afterwards.


class TimeoutAction(IntEnum):
    """Ends of a creation at its deadline."""

    ALLOW = 0  # It goes on as if there were no handler.
    DENY = 1  # It is refused with ERROR_TIMEOUT.


class RefuseWith(IntEnum):
    """Ways to refuse an execution, of a tree driver."""

    ERRNO = 0  # The execve fails; needs a seccomp filter in the tree.
    KILL = 1  # The process is killed before the new image's first instruction.


class EventFlag(IntFlag):
    """Marks of one event."""

    HELD = 0x01  # The operation waits for the answer.
    DECIDED_BY_RULE = 0x02  # A rule has decided; an answer changes nothing.
    REFUSABLE = 0x04  # A result code refuses the operation.
    TIMED_OUT = 0x08  # The deadline passed before a handler saw it.
    DUPLICATION = 0x10  # A handle is being duplicated, not opened.
    CHANGED = 0x20  # The image changed after an earlier decision; this is what runs.
    ARGUMENTS_TRUNCATED = 0x40  # The argument list could not be read whole.
    FORK = 0x80  # A fork without an execution (config ForkIsCreation).
    IMAGE_DELETED = 0x100  # The program's file was gone when the driver looked at it.


class Capability(IntFlag):
    """Abilities of a driver."""

    SEE_PROCESS_CREATION = 0x00000001  # sees process creations
    HOLD_PROCESS_CREATION = 0x00000002  # holds process creations
    REFUSE_PROCESS_CREATION = 0x00000004  # refuses process creations with an error
    KILL_PROCESS_CREATION = 0x00000008  # refuses process creations by ending the new process
    SEE_PROCESS_TERMINATION = 0x00000010  # sees process terminations
    HOLD_PROCESS_TERMINATION = 0x00000020  # holds process terminations
    SEE_THREAD_CREATION = 0x00000040  # sees thread creations
    HOLD_THREAD_CREATION = 0x00000080  # holds thread creations
    SEE_THREAD_TERMINATION = 0x00000100  # sees thread terminations
    HOLD_THREAD_TERMINATION = 0x00000200  # holds thread terminations
    SEE_PROCESS_HANDLE = 0x00000400  # sees process handle operations
    HOLD_PROCESS_HANDLE = 0x00000800  # holds process handle operations
    STRIP_PROCESS_HANDLE = 0x00001000  # takes rights out of process handles
    SEE_THREAD_HANDLE = 0x00002000  # sees thread handle operations
    HOLD_THREAD_HANDLE = 0x00004000  # holds thread handle operations
    STRIP_THREAD_HANDLE = 0x00008000  # takes rights out of thread handles
    ATTACH = 0x00010000  # takes running processes under the filter
    LAUNCH = 0x00020000  # starts programs under the filter
    WHOLE_MACHINE = 0x00040000  # sees every process of the machine
    DECIDE_BY_RULE = 0x00080000  # decides by rules without asking anybody
    OWN_REQUESTS = 0x00100000  # sees the controller's own requests


class ModuleStatus(IntEnum):
    """Status of a driver."""

    NOT_PRESENT = 0  # The driver is not installed.
    STOPPED = 1  # The driver is installed and stopped.
    RUNNING = 4  # The driver is running.


class InstallFlag(IntFlag):
    """Flags of install."""

    REMOVE_OLD_VERSIONS = 0x00000001  # Drivers of earlier versions are uninstalled.
    KEEP_START_TYPE = 0x00000002  # The driver's start type stays as it is.
    REQUESTS_VIA_DRIVER_STACK = 0x00000004  # Concerns file systems; nothing here.
    ALWAYS_PREPARE_FILES = 0x00010000  # Concerns open files; nothing here.
    FORCE_APP_PERMISSION_CHECK = 0x00020000  # Concerns opening of files; nothing here.
    FORCE_SECURITY_CHECKS = 0x00040000  # Concerns opening of files; nothing here.


class UninstallFlag(IntFlag):
    """Flags of uninstall."""

    VERSION_PREVIOUS = 0x00000001  # Drivers of earlier versions are uninstalled.
    VERSION_CURRENT = 0x00000002  # The driver of this version is uninstalled.
    VERSION_ALL = 0x00000003  # Drivers of all versions are uninstalled.


class Serialize(IntEnum):
    """Values of serialize_events."""

    ON_MULTIPLE_THREADS = 0  # Events fire on several worker threads.
    ON_ONE_WORKER_THREAD = 1  # Events fire on one worker thread.


__all__ = [
    "Action",
    "Capability",
    "ErrorCode",
    "EventFlag",
    "EventType",
    "InstallFlag",
    "ModuleStatus",
    "ProcessAccess",
    "RefuseWith",
    "Serialize",
    "ThreadAccess",
    "TimeoutAction",
    "UninstallFlag",
]

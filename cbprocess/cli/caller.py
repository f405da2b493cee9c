"""The state of our caller that a command shall have as it was: signals, environment, descriptors. CPython has
changed some of that before any code of ours runs, and we change some for ourselves. If the program
`cbprocess` was called, it has left a note of it (native/front/front.c). Not on Windows.

Knows neither filters nor commands."""

from __future__ import annotations

import ctypes
import os

from .._lean import signal, suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

PR_GET_PDEATHSIG = 2
PR_SET_NAME = 15
PR_GET_CHILD_SUBREAPER = 37

# The program `cbprocess` has noted "PROCESS MASK IGNORED", hexadecimal numbers.
NOTE_VARIABLE = "CBPROCESS_CALLER"
# CPython ignores these from its start on.
IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


class Caller:
    def __init__(self, is_alone: bool) -> None:
        """The caller as it can be seen now."""
        ignored = [
            number
            for number in signal.valid_signals()
            if number not in IGNORED_BY_PYTHON and signal.getsignal(number) is signal.SIG_IGN
        ]
        self.mask = bits(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        """The signals that it has blocked; signal 1 is the lowest bit."""
        self.ignored = bits(ignored)
        """The signals that it ignores."""
        library = ctypes.CDLL(None)
        self.death_signal = _process_control(library, PR_GET_PDEATHSIG)
        """The signal that it gets when its parent dies; 0: none."""
        self.is_reaper = _process_control(library, PR_GET_CHILD_SUBREAPER) != 0
        """Whether orphans among its descendants come to it."""
        self.listens = _sockets_are_ours()
        """Whether sockets were handed to this process, by its id."""
        self.is_alone = is_alone
        """Whether this process is the command line's own, from its start to its end."""

    def words(self) -> str:
        """Words for the launcher: see launch_steps.h."""
        numbers = (self.mask, self.ignored, self.death_signal, self.is_reaper, self.listens)
        return "".join(f" {number:x}" for number in numbers)


_taken_over: Caller | None = None


def take_over() -> None:
    """Looks at the start of a process that is the command line's own: notes what it has been given, and puts
    right what would stand in our way."""
    global _taken_over
    _fill_standard_descriptors()
    note = _take_note()
    _restore_environment()
    # A traceback of our code would tell nothing to its reader.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    _taken_over = Caller(is_alone=True)
    if note is not None:
        _taken_over.mask, _taken_over.ignored = note
        # The process would have the name of the script that Python executes.
        ctypes.CDLL(None).prctl(PR_SET_NAME, b"cbprocess", 0, 0, 0)
        # SIGINT was blocked until now. One that has come meanwhile ends us here.
        if not note[0] & bits([signal.SIGINT]):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    # A process that ignores the ends of its children never learns how they ended.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def caller() -> Caller:
    """The caller as take_over() has found it, or as it is now."""
    return _taken_over or Caller(is_alone=False)


def bits(numbers: Iterable[int]) -> int:
    """The set of these signals."""
    return sum(1 << (number - 1) for number in set(numbers))


def _take_note() -> tuple[int, int] | None:
    """The caller's mask and ignored signals. The variable is gone then. An inherited one means nothing."""
    with suppress(ValueError):
        process_id, mask, ignored = (int(word, 16) for word in os.environ.pop(NOTE_VARIABLE, "").split(" "))
        if process_id == os.getpid():
            return mask, ignored
    return None


def _fill_standard_descriptors() -> None:
    """Opens closed standard descriptors, so that nothing of ours takes their place. The command finds them
    closed."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # This one is not inheritable, and the lowest that is free.
            os.open(os.devnull if os.path.exists(os.devnull) else "/", os.O_RDONLY)


def _restore_environment() -> None:
    """Undoes CPython's change: it has put LC_CTYPE there where the locale is C (PEP 538). The rest of the
    environment it leaves alone, also entries that are no NAME=VALUE or that are there twice."""
    try:
        with open("/proc/self/environ", "rb") as file:
            entries = file.read().split(b"\0")
    except OSError:
        return
    for entry in entries:
        if entry.startswith(b"LC_CTYPE="):
            os.environ["LC_CTYPE"] = os.fsdecode(entry.partition(b"=")[2])
            return
    os.environ.pop("LC_CTYPE", None)


def _sockets_are_ours() -> bool:
    """Whether sd_listen_fds() would find sockets in this process. The command is another process."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return False
    # This is the number of a descriptor of this very process. Without it LISTEN_PID alone counts.
    os.environ.pop("LISTEN_PIDFDID", None)
    return True


def _process_control(library: ctypes.CDLL, what: int) -> int:
    """The number that prctl(2) gives."""
    value = ctypes.c_int()
    return value.value if library.prctl(what, ctypes.byref(value), 0, 0, 0) == 0 else 0

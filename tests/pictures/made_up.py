"""Chronicles made of events that never happened, of any size."""

from __future__ import annotations

import ctypes
from typing import Any

from unit.event_blocks import dispatch_for, make_event

from cbprocess import constants
from cbprocess._binding.hooks import Hooks
from cbprocess.cli.chronicle import Chronicle

START_NS = 1_700_000_000_000_000_000
MS = 1_000_000


class Author:
    """Tells a chronicle what happened; times are milliseconds from the start."""

    failure = ""

    def __init__(self) -> None:
        self.chronicle = Chronicle()
        self._memory = make_event(memory=ctypes.create_string_buffer(1 << 18))
        hooks = Hooks()
        hooks.handlers[:] = [self.chronicle.add] * len(hooks.handlers)
        hooks.error = self._failed
        self._dispatch = dispatch_for(hooks, self._memory)

    def _failed(self, params: Any) -> None:
        self.failure = params.description

    def _tell(self, kind: int, process_id: int, at_ms: float, **more: Any) -> None:
        fields = {"result_code": 0, "flags": 0, **more}
        time_ns = START_NS + int(at_ms * MS)
        make_event(kind, process_id=process_id, time_ns=time_ns, memory=self._memory, **fields)
        self._dispatch()
        assert not self.failure, self.failure

    def execute(
        self,
        process_id: int,
        creator_id: int,
        at_ms: float,
        *arguments: bytes,
        code: int = 0,
        flags: int = 0,
        name: bytes = b"",
    ) -> None:
        self._tell(
            constants.PROC_EVT_PROCESS_CREATION,
            process_id,
            at_ms,
            originator_process_id=creator_id,
            arguments=arguments,
            process_name=name or b"/usr/bin/" + arguments[0],
            result_code=code,
            flags=flags,
        )

    def fork(self, process_id: int, creator_id: int, at_ms: float) -> None:
        self.thread(process_id, process_id, at_ms, creator_id)

    def thread(self, process_id: int, thread_id: int, at_ms: float, creator_id: int = 0) -> None:
        kind = constants.PROC_EVT_THREAD_CREATION
        creator_id = creator_id or process_id
        self._tell(kind, process_id, at_ms, thread_id=thread_id, originator_process_id=creator_id)

    def thread_ends(self, process_id: int, thread_id: int, at_ms: float) -> None:
        self._tell(constants.PROC_EVT_THREAD_TERMINATION, process_id, at_ms, thread_id=thread_id)

    def end(self, process_id: int, at_ms: float, wait_status: int = 0) -> None:
        self._tell(constants.PROC_EVT_PROCESS_TERMINATION, process_id, at_ms, exit_status=wait_status)


def small_build() -> Chronicle:
    """A make that starts a compiler (which forks an assembler and has threads), one that is refused, one that
    times out, one that fails, and one that goes on running."""
    author = Author()
    author.execute(10, 1, 10, b"make", b"-j4")
    author.execute(11, 10, 100, b"cc", b"-c", b"a file.c")
    author.thread(11, 111, 120)
    author.thread_ends(11, 111, 200)
    author.fork(12, 11, 150)
    author.execute(12, 12, 200, b"as", b"a.s")
    author.end(12, 300)
    author.end(11, 400)
    author.execute(13, 10, 410, b"curl", b"evil", code=constants.ERROR_ACCESS_DENIED)
    author.end(13, 450, 126 << 8)
    author.execute(14, 10, 460, b"slow", flags=constants.EVENT_FLAG_TIMED_OUT)
    author.end(14, 500)
    author.execute(15, 10, 510, b"false", b"</script><b>\xff\x1b[31m")
    author.end(15, 600, 9)
    author.execute(16, 10, 610, b"sleep", b"1000")
    author.thread(16, 116, 700)
    author.execute(11, 10, 800, b"ld")  # the id is used again
    author.end(11, 900)
    return author.chronicle


def large_build(count: int) -> Chronicle:
    """Processes in trees of a hundred: a shell and 99 compilers, four at a time."""
    author = Author()
    author.execute(1, 0, 0, b"make")
    for number in range(count - 1):
        shell = 2 + number - number % 100
        begin_ms = 5.0 * (number // 4)
        author.execute(2 + number, 1 if number % 100 == 0 else shell, begin_ms, b"cc", b"%d.c" % number)
        if number % 100:
            author.end(2 + number, begin_ms + 18)
        if number % 100 == 99 or number == count - 2:
            author.end(shell, begin_ms + 20)
    author.end(1, 5.0 * (count // 4) + 50)
    return author.chronicle

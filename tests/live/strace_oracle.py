"""What strace says about a command: the independent tracer that the product's events are compared with.

Knows nothing of cbprocess. The parser is strict: a line that it does not understand is an error, so that a
format it was not written for cannot pass as "nothing happened".
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from process_tree import Process

_CALLS = "execve,execveat,clone,clone3,fork,vfork"
_OPTIONS = ["-f", "-xx", "-v", "-s", "200000", "-e", "trace=" + _CALLS]

_LINE = re.compile(r"(\d+) +(.*)", re.DOTALL)
_RESUMED = re.compile(r"<\.\.\. \w+ resumed>(.*)", re.DOTALL)
_SUPERSEDED = re.compile(r"\+\+\+ superseded by execve in pid (\d+) \+\+\+")
_EXITED = re.compile(r"\+\+\+ exited with (\d+) \+\+\+")
_KILLED = re.compile(r"\+\+\+ killed by (\w+)(?: \(core dumped\))? \+\+\+")
_CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+|\?)([^=]*)", re.DOTALL)
_TEXT = r'"(?:\\x[0-9a-f]{2})*"'
_EXECUTION = re.compile(r"(?:-?\d+|AT_FDCWD)?(?:, )?(" + _TEXT + r"), (NULL|\[(?:" + _TEXT + r"(?:, )?)*\]),")


class _Task:
    """One thread as strace sees it. Its maker is known only when the call that made it has returned."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.maker: _Task | None = None
        self.is_thread = False
        self.images: list[tuple[str, ...]] = []
        self.end: int | None = None


class _Reader:
    """Turns the lines of one strace output into tasks."""

    def __init__(self, scripts_by_path: bool) -> None:
        self.scripts_by_path = scripts_by_path
        self.tasks: list[_Task] = []
        self.latest: dict[int, _Task] = {}
        self.unfinished: dict[int, str] = {}

    def task(self, number: int) -> _Task:
        """The task that has this number now; one whose maker has not returned yet is made here."""
        found = self.latest.get(number)
        if found is None or (found.end is not None and (found.maker is not None or found is self.tasks[0])):
            found = self.latest[number] = _Task(number)
            self.tasks.append(found)
        return found

    def line(self, text: str) -> None:
        match = _LINE.fullmatch(text)
        if match is None:
            raise ValueError(f"not a line of strace -f: {text[:200]!r}")
        number, rest = int(match.group(1)), match.group(2)
        if rest.endswith("<unfinished ...>"):
            self.unfinished[number] = rest[: -len("<unfinished ...>")].rstrip(" ")
        elif rest.startswith("<..."):
            self._resumed(number, rest)
        elif rest.startswith("+++"):
            self._ended(number, rest)
        elif not rest.startswith(("--- ", "strace: ", "[ Process PID=")):
            self._call(number, rest)

    def _resumed(self, number: int, rest: str) -> None:
        if rest.startswith("<... ??? resumed"):
            return  # as in _call
        match = _RESUMED.fullmatch(rest)
        if match is None or number not in self.unfinished:
            raise ValueError(f"a call is resumed that never began: {rest[:200]!r}")
        if not match.group(1).endswith("<unfinished ...>) = ?"):
            self._call(number, self.unfinished.pop(number) + match.group(1))

    def _ended(self, number: int, rest: str) -> None:
        superseded, exited, killed = _SUPERSEDED.match(rest), _EXITED.match(rest), _KILLED.match(rest)
        if superseded:
            # The thread that executes takes the number of the first thread; its own is gone.
            executing = int(superseded.group(1))
            self.unfinished[number] = self.unfinished.pop(executing)
            self.task(executing).end = 0
        elif exited:
            self.task(number).end = int(exited.group(1))
        elif killed:
            self.task(number).end = -signal.Signals[killed.group(1)].value
        else:
            raise ValueError(f"an end of an unknown kind: {rest!r}")

    def _call(self, number: int, rest: str) -> None:
        if rest.startswith("???("):
            return  # the task was killed before strace could read what it had called
        match = _CALL.fullmatch(rest)
        if match is None:
            raise ValueError(f"not a system call: {rest[:200]!r}")
        name, arguments, result = match.group(1), match.group(2), match.group(3)
        if name not in _CALLS.split(","):
            raise ValueError(f"a system call that was not asked for: {name}")
        task = self.task(number)
        if result == "?" or int(result) < 0:
            return
        if name.startswith("exec"):
            task.images.append(_image_of(arguments, self.scripts_by_path))
        else:
            self._made(task, int(result), "CLONE_THREAD" in arguments, "CLONE_UNTRACED" in arguments)

    def _made(self, maker: _Task, number: int, is_thread: bool, is_untraced: bool) -> None:
        if is_untraced:
            return
        made = self.latest.get(number)
        if made is None or made.maker is not None or made is self.tasks[0]:
            made = self.latest[number] = _Task(number)
            self.tasks.append(made)
        made.maker, made.is_thread = maker, is_thread


def _decoded(text: str) -> str:
    return os.fsdecode(bytes.fromhex(text[1:-1].replace("\\x", "")))


def _is_script(path: str) -> bool:
    try:
        with Path(path).open("rb") as file:
            return file.read(2) == b"#!"
    except OSError:
        return False


def _image_of(text: str, scripts_by_path: bool) -> tuple[str, ...]:
    """The argument list among the arguments of execve or execveat."""
    match = _EXECUTION.match(text)
    if match is None:
        raise ValueError(f"not the arguments of an execution: {text[:300]!r}")
    arguments = tuple(_decoded(item.group(0)) for item in re.finditer(_TEXT, match.group(2)))
    path = _decoded(match.group(1))
    return (path, *arguments[1:]) if scripts_by_path and _is_script(path) else arguments


def _process_of(task: _Task, processes: dict[int, Process]) -> Process:
    while task.is_thread:
        assert task.maker is not None
        task = task.maker
    return processes[id(task)]


def parse(output: str, scripts_by_path: bool = False) -> Process:
    """The tree of processes that an output of strace (with this module's options) describes.

    scripts_by_path puts the path of a script in the place of its argv[0], which the kernel drops: who looks
    only after the execution cannot know it. The scripts must still be there.
    """
    reader = _Reader(scripts_by_path)
    for line in output.splitlines():
        reader.line(line)
    if not reader.tasks:
        raise ValueError("strace saw nothing")
    processes: dict[int, Process] = {}
    for task in reader.tasks:
        if not task.is_thread:
            process = processes[id(task)] = Process(task.number)
            process.images, process.end = list(task.images), task.end
    for task in reader.tasks[1:]:
        if task.maker is None:
            raise ValueError(f"strace does not say who made {task.number}")
        maker = _process_of(task.maker, processes)
        if task.is_thread:
            maker.thread_count += 1
        else:
            child = processes[id(task)]
            child.creator = maker
            maker.children.append(child)
    return processes[id(reader.tasks[0])]


def run(
    line: Sequence[str | bytes], output: Path, timeout: float = 120, **options: Any
) -> tuple[str, subprocess.CompletedProcess[bytes]]:
    """Runs a line of strace that writes to output. Gives what it wrote, and how it ended.

    A run in which strace itself fails is made again: strace takes EIO for an answer to PTRACE_LISTEN, which a
    task gives that is killed just after it was stopped, for an error of its own and ends with 1.
    """
    for _ in range(5):
        done = subprocess.run(line, capture_output=True, timeout=timeout, **options)
        if not done.stderr.startswith(b"strace: ptrace("):
            break
    return output.read_text(encoding="ascii", errors="replace"), done


def trace(
    command: Sequence[str | bytes], output: Path, timeout: float = 120, **options: Any
) -> tuple[str, subprocess.CompletedProcess[bytes]]:
    """Runs command under strace. Gives what parse() takes, and how it ended: with the command's status."""
    return run(["strace", *_OPTIONS, "-o", str(output), "--", *command], output, timeout, **options)

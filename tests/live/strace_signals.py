"""What strace says about the signals that the processes of a command send one another: the independent tracer
that handle events are compared with.

Knows nothing of cbprocess. A process is named by its place in the tree: the numbers of its ancestors and its
own, each among its creator's children, in the order of their creation.
"""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

import strace_oracle
from process_tree import Process
from strace_oracle import _CALL, _CALLS, _OPTIONS, _process_of, _Reader, _Task

_SENDERS = "kill,tkill,tgkill,rt_sigqueueinfo,rt_tgsigqueueinfo,pidfd_send_signal"
_MORE = ("-e", f"trace={_CALLS},{_SENDERS},setpgid,setsid", "-e", "decode-fds=pidfd")

Path_ = tuple[int, ...]
OUTSIDE: Path_ = (-1,)


class Target(NamedTuple):
    """One process or thread that a call sends a signal to."""

    process: Path_
    is_thread: bool


class Sending(NamedTuple):
    """One call: whom it must have reached, and whom it may have (those that were ending)."""

    number: int
    certain: tuple[Target, ...]
    possible: tuple[Target, ...]


class _Call(NamedTuple):
    """As Sending, with the tasks in place of their names, which are known only at the end."""

    number: int
    is_thread: bool
    certain: list[Optional[_Task]]
    possible: list[_Task]


class _SignalReader(_Reader):
    """Follows process groups besides, and collects what is sent."""

    def __init__(self) -> None:
        super().__init__(scripts_by_path=False)
        self.groups: dict[int, int] = {}  # id() of a task -> its process group
        self.dying: set[int] = set()  # ids of tasks that have been sent something that ends them
        self.sent: list[tuple[_Task, _Call]] = []

    def _call(self, number: int, rest: str) -> None:
        match = _CALL.fullmatch(rest)
        if match is None:
            raise ValueError(f"not a system call: {rest[:200]!r}")
        name, arguments, result = match.group(1), match.group(2).split(", "), match.group(3)
        if name in _CALLS.split(","):
            super()._call(number, rest)
            return
        if result != "?" and int(result) < 0:  # a call without a result is the end of its caller
            if "EPERM" in rest or "EACCES" in rest:
                raise ValueError(f"a call that was not allowed: {rest!r}")
            return
        task = self.task(number)
        if name == "setsid":
            self.groups[id(task)] = int(result)
        elif name == "setpgid":
            target = self.latest.get(int(arguments[0])) if arguments[0] != "0" else task
            if target is not None:
                self.groups[id(target)] = int(arguments[1]) or target.number
        else:
            self._sends(task, name, arguments)

    def _made(self, maker: _Task, number: int, is_thread: bool, is_untraced: bool) -> None:
        super()._made(maker, number, is_thread, is_untraced)
        made = self.latest.get(number)
        if made is not None:
            self.groups.setdefault(id(made), self._group_of(maker))

    def _group_of(self, task: _Task) -> int:
        while task.is_thread and task.maker is not None:
            task = task.maker
        return self.groups.get(id(task), 0)  # the command's own group, which it has inherited

    def _sends(self, caller: _Task, name: str, arguments: list[str]) -> None:
        number = _signal_number(arguments[2 if name in ("tgkill", "rt_tgsigqueueinfo") else 1])
        is_thread = name in ("tkill", "tgkill", "rt_tgsigqueueinfo")
        if name == "pidfd_send_signal":
            found = re.search(r"<pid:(\d+)>", arguments[0])
            if found is None:
                raise ValueError(f"whose pidfd is this: {arguments[0]!r}?")
            target = int(found.group(1))
        else:
            target = int(arguments[1 if name in ("tgkill", "rt_tgsigqueueinfo") else 0])
        if target > 0:
            certain: list[Optional[_Task]] = [self.latest.get(target)]
            possible: list[_Task] = []
        else:
            group = self._group_of(caller) if target == 0 else -target
            members = [
                task
                for task in self.tasks
                if not task.is_thread and self._group_of(task) == group and not _are_one(task, caller)
            ]
            certain = [task for task in members if id(task) not in self.dying and task.end is None]
            possible = [task for task in members if task not in certain]
        self.sent.append((caller, _Call(number, is_thread, certain, possible)))
        if number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self.dying.update(id(task) for task in certain if task is not None)


def _are_one(first: _Task, second: _Task) -> bool:
    """Whether two tasks are of one process."""
    ends = []
    for task in (first, second):
        while task.is_thread and task.maker is not None:
            task = task.maker
        ends.append(task)
    return ends[0] is ends[1]


def _signal_number(text: str) -> int:
    if text.startswith("SIGRT"):
        return int(signal.SIGRTMIN) + int(text.partition("_")[2] or 0)
    return int(text) if text.isdigit() else int(signal.Signals[text])


def places(root: Process) -> dict[int, Path_]:
    """id() of each process of a tree -> its place in it."""
    found: dict[int, Path_] = {id(root): ()}
    for process in root.walk():
        for position, child in enumerate(process.children):
            found[id(child)] = (*found[id(process)], position)
    return found


def parse(output: str) -> dict[Path_, list[Sending]]:
    """What each process has sent to others, in its order; nothing of what it sent to itself."""
    reader = _SignalReader()
    for line in output.splitlines():
        reader.line(line)
    processes: dict[int, Process] = {}
    for task in reader.tasks:
        if not task.is_thread:
            processes[id(task)] = Process(task.number)
    for task in reader.tasks[1:]:
        if not task.is_thread:
            assert task.maker is not None, task.number
            maker, child = _process_of(task.maker, processes), processes[id(task)]
            child.creator = maker
            maker.children.append(child)
    names = places(processes[id(reader.tasks[0])])
    found: dict[Path_, list[Sending]] = {}
    for caller, call in reader.sent:
        own = names[id(_process_of(caller, processes))]

        def named(task: Optional[_Task], call: _Call = call) -> Target:
            process = OUTSIDE if task is None else names[id(_process_of(task, processes))]
            return Target(process, call.is_thread)

        certain = tuple(target for target in map(named, call.certain) if target.process != own)
        possible = tuple(named(task) for task in call.possible)
        if certain or possible:
            found.setdefault(own, []).append(Sending(call.number, certain, possible))
    return found


def trace(
    command: Sequence[str], output: Path, timeout: float = 120, **options: Any
) -> tuple[str, subprocess.CompletedProcess[bytes]]:
    """Runs command under strace. Gives what parse() takes, and how it ended: with the command's status."""
    assert _OPTIONS[-2:] == ["-e", "trace=" + strace_oracle._CALLS]
    line = ["strace", *_OPTIONS[:-2], *_MORE, "-o", str(output), "--", *command]
    return strace_oracle.run(line, output, timeout, **options)

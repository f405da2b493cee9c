"""Runs programs under `cbprocess run --json` and turns its events into a tree of processes.

Checks on the way what has to hold for any run: that the sequence has no gap, that every thread and process
ends once and in order, and that an event's identity fields agree with one another.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from process_tree import Process

from cbprocess.records import exact

COMMAND_LINE = [sys.executable, "-m", "cbprocess"]
EVENT_NAMES = {"process_creation", "process_termination", "thread_creation", "thread_termination"}
HANDLE_EVENT_NAMES = {"process_handle_operation", "thread_handle_operation"}

Event = dict[str, Any]


def run(
    command: Sequence[str | bytes],
    output: Path,
    *options: str | bytes,
    timeout: float = 120,
    **more: Any,
) -> tuple[list[Event], subprocess.CompletedProcess[bytes]]:
    """Runs command supervised, its events going to the file output; gives the events and how it ended."""
    line = [*COMMAND_LINE, "run", "--json", "--output", str(output), *options, "--", *command]
    done = subprocess.run(line, capture_output=True, timeout=timeout, **more)
    return read(output), done


def read(output: Path) -> list[Event]:
    """The events of a JSON Lines file."""
    return [json.loads(line) for line in output.read_text(encoding="ascii").splitlines()]


class _Builder:
    """Follows the events in their order."""

    def __init__(self) -> None:
        self.root: Process | None = None
        self.latest: dict[int, Process] = {}  # by process id; the number may be used again later
        self.threads: dict[int, set[int]] = {}  # of each living process
        self.first_threads_to_come: set[int] = set()
        self.start_times: dict[int, int] = {}

    def start(self, event: Event) -> Process:
        number = event["process_id"]
        creator = None if self.root is None else self.latest[event["creating_process_id"]]
        process = self.latest[number] = Process(number, creator)
        self.root = self.root or process
        self.threads[number] = {number}
        return process

    def process_creation(self, event: Event) -> None:
        number = event["process_id"]
        if number not in self.threads:  # the program itself, or after a vfork: the first thread is told next
            self.start(event)
            self.first_threads_to_come.add(number)
        process = self.latest[number]
        if process is not self.root or process.images:
            maker = process if process.images else process.creator
            assert maker is not None and event["creating_process_id"] == maker.process_id, event
        assert process.end is None, f"a program is executed in a process that has ended: {event}"
        # What strace shows are bytes, not all of which are text.
        process.images.append(tuple(map(os.fsdecode, exact(event, "arguments"))))

    def thread_creation(self, event: Event) -> None:
        number, thread = event["process_id"], event["thread_id"]
        if number != thread:
            assert thread not in self.threads[number], f"the thread lives already: {event}"
            assert event["creating_process_id"] == number, event
            self.latest[number].thread_count += 1
            self.threads[number].add(thread)
        elif number not in self.threads:
            self.start(event)
        elif number in self.first_threads_to_come:
            self.first_threads_to_come.remove(number)
        else:
            # A thread that executes a program goes on under the first one's id, whose end was told before.
            assert self.latest[number].thread_count and thread not in self.threads[number], event
            self.threads[number].add(thread)

    def thread_termination(self, event: Event) -> None:
        threads = self.threads[event["process_id"]]
        assert event["thread_id"] in threads, f"the thread does not live: {event}"
        threads.remove(event["thread_id"])

    def process_termination(self, event: Event) -> None:
        number = event["process_id"]
        left = self.threads.pop(number)
        assert not left, f"threads that outlive their process: {left}, {event}"
        assert self.latest[number].end is None
        self.latest[number].end = event["exit_status"]
        self.start_times.pop(number, None)

    def process_handle_operation(self, event: Event) -> None:
        """What one process does to another changes nothing in the tree; who does it lives."""
        maker, target = event["originator_process_id"], event["process_id"]
        assert event["originator_thread_id"] in self.threads[maker], event
        assert maker != target, f"an operation on oneself: {event}"

    thread_handle_operation = process_handle_operation

    def check_identity(self, event: Event) -> None:
        number = event["process_id"]
        assert int(event["start_time"]) > 0, event
        assert self.start_times.setdefault(number, event["start_time"]) == event["start_time"], event


def tree(events: Sequence[Event]) -> Process:
    """The tree that the events of a complete run describe."""
    assert events, "no events at all"
    builder = _Builder()
    first = events[0]["sequence"]
    for position, event in enumerate(events):
        assert event["sequence"] == first + position, f"a gap in the sequence before {event}"
        assert event["event"] in EVENT_NAMES | HANDLE_EVENT_NAMES, event
        if event["process_id"] in builder.threads or event["event"] in EVENT_NAMES:
            builder.check_identity(event)
        getattr(builder, event["event"])(event)
    assert builder.root is not None
    assert not builder.first_threads_to_come, "processes whose first thread was never told"
    return builder.root

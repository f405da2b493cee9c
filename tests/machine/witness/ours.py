"""What cbprocess says of the whole machine, by monitor_process.py.

Knows what that program writes. A process is known by its id and the time of its start, so nothing is assumed
about the order of events here: other tests check that.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lives import Image, Life, Observed

from cbprocess.constants import EVENT_FLAG_ARGUMENTS_TRUNCATED

PROGRAM = Path(__file__).with_name("monitor_process.py")
# With these, other tests see to it that nothing but their own is observed.
NOT_INHERITED = ("CBPROCESS_TEST_ONLY_DESCENDANTS", "CBPROCESS_TEST_ROOT")
END_LIMIT_S = 200

Event = dict[str, Any]


class Monitor:
    """A running monitor_process.py."""

    def __init__(self, output: Path) -> None:
        self._output = output
        environment = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
        line = [sys.executable, "-X", "faulthandler", str(PROGRAM), str(output)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            line, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment
        )
        assert self.process.stdout is not None
        if self.process.stdout.readline() != "ready\n":
            raise AssertionError(f"the monitor does not run: {self.process.communicate(timeout=30)[1]}")

    def stop(self) -> tuple[list[Event], Event]:
        """What it was told until now, in order, and its last words."""
        mark = f"last-{os.getpid()}-{time.monotonic_ns()}"
        subprocess.run(["/bin/true", mark], timeout=60)
        output, errors = self.process.communicate(mark + "\n", timeout=END_LIMIT_S)
        assert (self.process.returncode, errors) == (0, ""), errors
        with self._output.open(encoding="ascii") as stream:
            events = [json.loads(line) for line in stream]
        return sorted(events, key=lambda event: int(event["sequence"])), json.loads(output)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate(timeout=30)


@contextlib.contextmanager
def monitoring(output: Path) -> Iterator[Monitor]:
    monitor = Monitor(output)
    try:
        yield monitor
    finally:
        monitor.end()


def assert_nothing_lost(events: list[Event], words: Event) -> None:
    """No event is missing, and none has made its operation wait."""
    assert words["errors"] == []
    assert (words["lost"], words["timed_out"], words["refused"]) == (0, 0, 0)
    assert words["delivered"] == len(events)
    assert [event for event in events if event["held"]] == []


def observed(events: list[Event]) -> Observed:
    lives: dict[tuple[int, int], Life] = {}
    for place, event in enumerate(events):
        process_id, kind = event["process_id"], event["event"]
        life = lives.setdefault((process_id, event["start_time"]), Life(process_id))
        life.add(place)
        if kind == "process_creation":
            arguments = [os.fsencode(text) for text in event["arguments"]]
            life.images.append(Image.of(arguments, bool(event["flags"] & EVENT_FLAG_ARGUMENTS_TRUNCATED)))
        elif kind == "process_termination":
            assert life.end is None, f"a process ends twice: {event}"
            life.end = event["exit_status"]
        elif kind == "thread_creation" and event["thread_id"] != process_id:
            life.further_threads += 1
        elif kind == "thread_creation" and life.creator is None:
            life.creator = event["creating_process_id"]
    return Observed("cbprocess", list(lives.values()))

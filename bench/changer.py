"""Changes one rule among many while a crowd of processes lives under the filter: a measured controller.

    changer.py --rules N --changes N --names FILE -- CROWD

CROWD is programs/crowd.c, and FILE has the names that its processes go by. Prints one line of JSON: the
milliseconds of each change, of adding all rules one by one, removing them so and at once, and of starting
with them, and what the crowd says about its own pace with and without changes. A process of its own, so that
one measurement leaves nothing behind."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, Callable

from rule_patterns import NAME_SIZE, Maker

from cbprocess import (
    PROC_EVT_PROCESS_CREATION,
    PROC_EVT_PROCESS_TERMINATION,
    PROC_EVT_THREAD_CREATION,
    PROC_EVT_THREAD_TERMINATION,
    CBProcess,
)

PRODUCT_GUID = "{6F0C2B1E-93A5-4D5B-8A77-1F2E3D4C5B6A}"
DEADLINE_MS = 30000
EVENTS = (
    PROC_EVT_PROCESS_CREATION
    | PROC_EVT_PROCESS_TERMINATION
    | PROC_EVT_THREAD_CREATION
    | PROC_EVT_THREAD_TERMINATION
)
SETTLE_S = 1.0  # events that rules have decided are told after the operations
QUIET_S = 2.0
ACTIONS = ("ask", "allow")

Spent = dict[str, list[float]]


def milliseconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - begin) / 1e6


class Changer:
    """The filter with its rules, and a handler that counts."""

    def __init__(self, rule_count: int) -> None:
        self.patterns = Maker(1).patterns(rule_count)
        self.event_count = 0
        self.process = CBProcess()
        self.process.initialize(PRODUCT_GUID)
        self.process.config("Driver=ptrace")
        self.process.config(f"EventsToFire={EVENTS}")
        for event in ("process_creation", "process_termination", "thread_creation", "thread_termination"):
            setattr(self.process, f"on_{event}", self.handle)

    def handle(self, params: Any) -> None:
        self.event_count += 1
        params.result_code = 0

    def add(self, number: int, include_children: bool = False) -> None:
        self.process.add_rule(
            name=self.patterns[number],
            action=ACTIONS[number % len(ACTIONS)],
            include_children=include_children,
        )

    def remove(self, number: int) -> None:
        self.process.remove_rule(name=self.patterns[number], action=ACTIONS[number % len(ACTIONS)])

    def add_new(self, name: str, include_children: bool) -> None:
        self.process.add_rule(name=name, include_children=include_children)

    def remove_new(self, name: str) -> None:
        self.process.remove_rule(name=name)

    def add_all(self) -> None:
        for number in range(len(self.patterns)):
            self.add(number)

    def remove_one_by_one(self) -> None:
        for number in range(len(self.patterns)):
            self.remove(number)

    def remove_at_once(self) -> None:
        for first, action in enumerate(ACTIONS):
            self.process.remove_rules(names=self.patterns[first :: len(ACTIONS)], action=action)

    def start(self) -> None:
        self.process.start_filter(DEADLINE_MS)

    def change(self, names: list[str], count: int) -> Spent:
        """Rules for the crowd's own programs come and go, then some of the oldest ones do."""
        spent: Spent = {}

        def timed(what: str, include_children: bool, call: Callable[..., None], *arguments: object) -> None:
            scope = "with children" if include_children else "alone"
            spent.setdefault(f"{what}, {scope}", []).append(milliseconds(partial(call, *arguments)))

        for number in range(2 * count):
            children = number >= count
            timed("new rule", children, self.add_new, names[number % count], children)
            timed("new rule removed", children, self.remove_new, names[number % count])
            timed("old rule replaced", children, self.add, number, children)
            timed("old rule removed", children, self.remove, number)
        return spent


class Crowd:
    """The processes under the filter."""

    def __init__(self, process: CBProcess, command: list[str]) -> None:
        self._child: subprocess.Popen[Any] = process.popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def _read(self) -> str:
        line: str = self._child.stdout.readline()
        if not line:
            raise RuntimeError("the crowd has ended by itself")
        return line

    def wait_until_ready(self) -> None:
        self._read()

    def pace(self) -> dict[str, float]:
        """Of its forks since the last call: how many, and their median and longest time."""
        self._child.stdin.write(".")
        self._child.stdin.flush()
        count, median_ns, longest_ns = map(int, self._read().split())
        return {"count": count, "median_us": median_ns / 1e3, "longest_ms": longest_ns / 1e6}

    def end(self) -> int:
        self._child.stdin.close()
        return int(self._child.wait())


def measure(changer: Changer, options: argparse.Namespace) -> dict[str, Any]:
    records = Path(options.names).read_bytes()
    paths = [records[at : at + NAME_SIZE].rstrip(b"\0") for at in range(0, len(records), NAME_SIZE)]
    names = [path.decode().rpartition("/")[2] for path in paths]
    changer.start()
    add_all_ms = milliseconds(changer.add_all)
    remove_each_ms = milliseconds(changer.remove_one_by_one)
    changer.add_all()
    remove_all_ms = milliseconds(changer.remove_at_once)
    changer.add_all()
    changer.process.stop_filter()
    start_ms = milliseconds(changer.start)
    crowd = Crowd(changer.process, [*options.command, options.names])
    try:
        crowd.wait_until_ready()
        time.sleep(SETTLE_S)
        supervised = changer.process.statistics().supervised
        crowd.pace()
        time.sleep(QUIET_S)
        quiet = crowd.pace()
        handled = changer.event_count
        changes_ms = changer.change(names, options.changes)
        busy = crowd.pace()
        handled = changer.event_count - handled
    finally:
        status = crowd.end()
    return {
        "add_all_ms": add_all_ms,
        "remove_each_ms": remove_each_ms,
        "remove_all_ms": remove_all_ms,
        "start_ms": start_ms,
        "supervised": supervised,
        "changes_ms": changes_ms,
        "quiet": quiet,
        "busy": busy,
        "handled": handled,
        "lost": changer.process.statistics().lost,
        "status": status,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Changes rules while many processes live under the filter.")
    parser.add_argument("--rules", type=int, required=True)
    parser.add_argument("--changes", type=int, required=True, help="of each kind")
    parser.add_argument("--names", required=True, metavar="FILE")
    parser.add_argument("command", nargs="+", metavar="CROWD")
    options = parser.parse_args()
    changer = Changer(options.rules)
    try:
        print(json.dumps(measure(changer, options)))
    finally:
        changer.process.stop_filter()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Runs a program under cbprocess with a Python handler for each of four operations: the measured controller.

    controller.py --events BITS --refuse-with errno|kill --action ask|allow|protect|ask-other|allow-other
                  [--driver ptrace|bpf] [--hold-path FOLDER] [--observed descendants|machine]
                  -- PROGRAM [ARGUMENT...]

The driver bpf sees only descendants of this process, unless the machine is observed, and holds executions on
the file system of --hold-path. The actions for others have one rule, about a process that does nothing.
Prints one line of JSON: the events handled of each type, those lost, and how many different programs were
seen with the right command line. A process of its own, so that one measurement leaves nothing behind."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator

from cbprocess import (
    PROCESS_SUSPEND_RESUME,
    PROCESS_TERMINATE,
    PROCESS_VM_WRITE,
    CBProcess,
    CBProcessProcessCreationEventParams,
    CBProcessProcessTerminationEventParams,
    CBProcessThreadCreationEventParams,
    CBProcessThreadTerminationEventParams,
)

# The driver bpf runs from the library's own folder for this one, and needs no installation.
PRODUCT_GUID = "{00000000-0000-0000-0000-000000000000}"
DEADLINE_MS = 30000
ACTIONS = ("ask", "allow", "protect", "ask-other", "allow-other")
PROTECTED_ACCESS = PROCESS_TERMINATE | PROCESS_SUSPEND_RESUME | PROCESS_VM_WRITE
DELIVERY_LIMIT_S = 5.0
RIGHT_COMMAND_LINE = re.compile(r"tiny (tag-\d+) '--option=a b'")


class Watcher:
    """Handlers that read what a monitor reads, keep one thing of it, and let the operation pass."""

    def __init__(self) -> None:
        self.command_lines: list[str] = []
        self.ended_names: list[str] = []
        self.started_threads: list[int] = []
        self.ended_threads: list[int] = []

    def on_process_creation(self, params: CBProcessProcessCreationEventParams) -> None:
        _ = params.process_id
        _ = params.process_name
        self.command_lines.append(params.command_line)
        params.result_code = 0

    def on_process_termination(self, params: CBProcessProcessTerminationEventParams) -> None:
        _ = params.process_id
        self.ended_names.append(params.process_name)
        params.result_code = 0

    def on_thread_creation(self, params: CBProcessThreadCreationEventParams) -> None:
        _ = params.process_id
        self.started_threads.append(params.thread_id)
        params.result_code = 0

    def on_thread_termination(self, params: CBProcessThreadTerminationEventParams) -> None:
        _ = params.process_id
        self.ended_threads.append(params.thread_id)
        params.result_code = 0

    def handled(self) -> int:
        events = (self.command_lines, self.ended_names, self.started_threads, self.ended_threads)
        return sum(map(len, events))

    def report(self, lost: int) -> str:
        right: set[str] = set()
        for command_line in self.command_lines:
            match = RIGHT_COMMAND_LINE.fullmatch(command_line)
            if match:
                right.add(match[1])
        return json.dumps(
            {
                "process_creation": len(self.command_lines),
                "process_termination": len(self.ended_names),
                "thread_creation": len(self.started_threads),
                "thread_termination": len(self.ended_threads),
                "lost": lost,
                "right_command_lines": len(right),
            }
        )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A controller with one Python handler for each operation.")
    parser.add_argument("--events", type=int, required=True, help="the EventsToFire setting")
    parser.add_argument("--refuse-with", choices=("errno", "kill"), required=True)
    parser.add_argument("--action", choices=ACTIONS, required=True)
    parser.add_argument("--driver", choices=("ptrace", "bpf"), default="ptrace")
    parser.add_argument("--hold-path")
    parser.add_argument("--observed", choices=("descendants", "machine"), default="descendants")
    parser.add_argument("command", nargs="+", metavar="PROGRAM")
    return parser.parse_args()


def wait_for_deliveries(watcher: Watcher) -> None:
    """Events that a rule has decided come after the operation: waits until no more arrive."""
    end = time.monotonic() + DELIVERY_LIMIT_S
    handled = -1
    while handled != watcher.handled() and time.monotonic() < end:
        handled = watcher.handled()
        time.sleep(0.02)


def make_controller(options: argparse.Namespace, watcher: Watcher) -> CBProcess:
    controller = CBProcess()
    controller.initialize(PRODUCT_GUID)
    controller.config(f"Driver={options.driver}")
    controller.config(f"EventsToFire={options.events}")
    controller.config(f"RefuseWith={options.refuse_with}")
    if options.hold_path:
        controller.config(f"HoldPaths={options.hold_path}")
    controller.on_process_creation = watcher.on_process_creation
    controller.on_process_termination = watcher.on_process_termination
    controller.on_thread_creation = watcher.on_thread_creation
    controller.on_thread_termination = watcher.on_thread_termination
    return controller


@contextlib.contextmanager
def rule(controller: CBProcess, options: argparse.Namespace) -> Iterator[None]:
    """Adds the rule of the measurement. The tree driver's popen() adds one that asks."""
    whole_machine = options.driver == "bpf"
    if options.action == "allow":
        controller.add_rule(**{"process_id": -1} if whole_machine else {"name": "*"}, action="allow")
    elif options.action == "protect":
        controller.add_rule(name="*", action="strip", access=PROTECTED_ACCESS)
    elif options.action == "ask" and whole_machine:
        controller.add_filtered_process_by_id(-1, True)
    if not options.action.endswith("-other"):
        yield
        return
    action, _, _ = options.action.partition("-")
    with subprocess.Popen(["sleep", "600"]) as other:
        controller.add_rule(process_id=other.pid, action=action, include_children=True)
        try:
            yield
        finally:
            other.kill()


def run_program(controller: CBProcess, options: argparse.Namespace) -> int:
    if options.driver == "bpf":
        return subprocess.run(options.command, check=False).returncode
    return int(controller.popen(options.command).wait())


def main() -> int:
    options = parse_arguments()
    watcher = Watcher()
    if options.observed == "descendants":
        os.environ["CBPROCESS_TEST_ONLY_DESCENDANTS"] = "1"
    controller = make_controller(options, watcher)
    with rule(controller, options):
        controller.start_filter(DEADLINE_MS)
        status = run_program(controller, options)
        wait_for_deliveries(watcher)
        lost = controller.statistics().lost
        controller.stop_filter()
    print(watcher.report(lost))
    return status


if __name__ == "__main__":
    sys.exit(main())

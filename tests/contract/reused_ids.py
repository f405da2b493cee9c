"""reused_ids.py DRIVER: a process has rules and a child and ends, and another gets its number; prints with
which codes both are refused what they execute, as rules for that number come and go, a line each.

For the driver "ptrace" it has to run in a PID namespace of its own, where it may choose ids."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from typing import Any

from cbprocess import CBProcess, CBProcessError
from cbprocess.testing import Simulator

GUID = "{8A2C35C1-52BE-43C5-8C9B-2A4C60D3D9E7}"
NEXT_ID = "/proc/sys/kernel/ns_last_pid"
# The shell's statuses of a program that is executed, or refused with EACCES or ENOENT.
CODES = {"0": 0, "126": 5, "127": 2}
LOOP = "while read line; do /bin/true 2>/dev/null; echo $?; done"


class Real:
    """Shells that execute a program for each line that they read."""

    def __init__(self) -> None:
        self.process = CBProcess()
        self.process.initialize(GUID)
        self.process.config("Driver=ptrace")
        self.process.config("EventsToFire=-1")
        self.process.start_filter(0)
        self._pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._asked, self._orders = os.pipe()
        self._answers, self._answered = os.pipe()
        self._programs: dict[str, subprocess.Popen[str]] = {}

    def _start(self, script: str, descriptors: tuple[int, ...] = ()) -> subprocess.Popen[str]:
        # Without the rule that popen() would add.
        return self.process._popen(False, ["sh", "-c", script], pass_fds=descriptors, **self._pipes)

    def begin(self) -> int:
        script = f"({LOOP}) <&{self._asked} >&{self._answered} & read line; exit 0"
        program = self._programs["first"] = self._start(script, (self._asked, self._answered))
        assert self.ask("child") == 0
        return program.pid

    def end(self) -> None:
        program = self._programs.pop("first")
        # Start times count in ticks: nobody gets a number again in the one in which it was given out.
        with open(f"/proc/{program.pid}/stat", encoding="ascii") as file:
            started = int(file.read().rpartition(")")[2].split()[19])
        while time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK") < started + 2:
            time.sleep(0.001)
        program.communicate("\n", timeout=60)

    def begin_again(self, process_id: int) -> None:
        for _ in range(1000):
            with open(NEXT_ID, "w", encoding="ascii") as file:
                file.write(str(process_id - 1))
            program = self._start(LOOP)
            if program.pid == process_id:
                self._programs["second"] = program
                return
            program.communicate(timeout=60)
        raise AssertionError("nobody gets the number again")

    def ask(self, whom: str) -> int:
        if whom == "child":
            os.write(self._orders, b"\n")
            return CODES[os.read(self._answers, 16).decode().strip()]
        program = self._programs[whom]
        assert program.stdin is not None and program.stdout is not None
        program.stdin.write("\n")
        program.stdin.flush()
        return CODES[program.stdout.readline().strip()]

    def close(self) -> None:
        for descriptor in (self._orders, self._asked, self._answers, self._answered):
            os.close(descriptor)
        for program in self._programs.values():
            program.communicate(timeout=60)
        self.process.stop_filter()


class Simulated:
    """Nobody in the script has a start time: only the driver knows who is who."""

    def __init__(self) -> None:
        self.process = CBProcess()
        self.process.initialize(GUID)
        self._simulator = Simulator(self.process)
        self._ids = {"child": 11, "second": 10}

    def begin(self) -> int:
        self._simulator.process_creation(process_id=10, process_name="/bin/sh")
        self._simulator.thread_creation(process_id=11, thread_id=11, creating_process_id=10)
        return 10

    def end(self) -> None:
        self._simulator.process_termination(process_id=10, process_name="/bin/sh")

    def begin_again(self, process_id: int) -> None:
        self._simulator.process_creation(process_id=process_id, process_name="/bin/sh")

    def ask(self, whom: str) -> int:
        own = self._ids[whom]
        verdict = self._simulator.process_creation(
            process_id=own, creating_process_id=own, process_name="/bin/true"
        )
        return int(verdict.result_code)

    def close(self) -> None:
        self._simulator.close(check=False)


def tell(stage: Real | Simulated, what: str, whom: tuple[str, ...] = ("child", "second")) -> None:
    print(what, *itertools.chain.from_iterable((name, stage.ask(name)) for name in whom))


def take_out(stage: Real | Simulated, number: int) -> str:
    try:
        stage.process.remove_rule(process_id=number, action="deny")
    except CBProcessError as error:
        return f"error {error.code}"
    return "taken out:"


def play(stage: Real | Simulated, include_children: bool) -> None:
    number = stage.begin()

    def add(code: int) -> None:
        stage.process.add_rule(process_id=number, action="deny", code=code, include_children=include_children)

    # The second is the same rule, which takes the place of the first.
    add(2)
    add(5)
    tell(stage, "first:", ("child",))
    stage.end()
    stage.begin_again(number)
    tell(stage, "another:")
    add(2)
    tell(stage, "added:")
    for _ in range(2):
        tell(stage, take_out(stage, number))
    print(take_out(stage, number))
    add(5)
    tell(stage, "added:")


if __name__ == "__main__":
    for include_children in (True, False):
        made = Real() if sys.argv[1] == "ptrace" else Simulated()
        try:
            play(made, include_children)
        finally:
            made.close()

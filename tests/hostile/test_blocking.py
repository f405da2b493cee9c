"""Trees that try to make the helper wait for ever, by a file system that does not answer.

Needs /dev/fuse: as root, or where an ordinary user may mount in a namespace of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from live_tools import is_alive, recording, run_checked

import cbprocess

Attack = Callable[..., str]
# More than a look may last, a few times over: what a test may take until everybody has come out.
PATIENCE_S = 20
# What everybody else may take meanwhile. On a busy machine, too, far less than a look may last.
SOON_S = 1.5


class Attacker:
    """One program that serves a file system and executes something from it."""

    def __init__(self, start: Callable[..., Any], line: list[str], folder: Path, case: str) -> None:
        (folder / case).mkdir()
        (folder / case / "mount").mkdir()
        self.case = case
        command = [*line, str(folder / case / "mount"), case, str(folder / case)]
        self.process = start(command, stdout=subprocess.PIPE, text=True)
        self.server = 0

    def wait_until_mounted(self) -> None:
        first = self.process.stdout.readline().split()
        if first[:1] != ["server"]:
            self.process.wait(timeout=PATIENCE_S)
            pytest.skip("no such file system can be mounted here: " + " ".join(first))
        self.server = int(first[1])
        assert self.process.stdout.readline() == "now\n"

    def outcome(self) -> tuple[int, str]:
        output = self.process.communicate(timeout=PATIENCE_S)[0]
        return self.process.returncode, output

    def end(self) -> None:
        """The file system goes with its server, and then nobody waits for it any more. A server that stands
        at its exit, for a tracer that waits for it, needs a second signal."""
        deadline = time.monotonic() + 5
        while self.server != 0 and is_alive(self.server) and time.monotonic() < deadline:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.server, signal.SIGKILL)
            time.sleep(0.02)
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()


@contextlib.contextmanager
def attackers(
    start: Callable[..., Any], program: str, folder: Path, cases: list[str]
) -> Iterator[list[Attacker]]:
    started: list[Attacker] = []
    try:
        started.extend(Attacker(start, [program], folder, case) for case in cases)
        for attacker in started:
            attacker.wait_until_mounted()
        yield started
    finally:
        for attacker in started:
            attacker.end()
        for attacker in started:
            attacker.process.communicate(timeout=PATIENCE_S)


def test_attaching_to_a_process_that_cannot_execute_its_program_ends(attack: Attack, tmp_path: Path) -> None:
    """The kernel lets a tracer wait until an execve is over: here for ever."""
    with (
        recording() as recorder,
        attackers(subprocess.Popen, attack("silent_files"), tmp_path, ["stuck"]) as attacking,
    ):
        start = time.monotonic()
        with pytest.raises(cbprocess.CBProcessError) as caught:
            recorder.filter.add_filtered_process_by_id(attacking[0].process.pid, False)
        assert caught.value.code == 170
        assert time.monotonic() - start < 1 + SOON_S
        assert run_checked(recorder, ["/bin/echo", "here"])[1] == "here\n"

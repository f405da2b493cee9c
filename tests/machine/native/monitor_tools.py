"""`cbprocess monitor` as a running program, for tests that start it. Knows the command line only."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from machine import own_place

START_LIMIT_S = 60
JSON = ("--json",)


def environment(**more: str) -> dict[str, str]:
    """The tests' own, but the whole machine counts."""
    kept = {name: value for name, value in os.environ.items() if name != own_place.ONLY_DESCENDANTS}
    return {**kept, **more}


def command(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "cbprocess", *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=100, env=environment(**more))


def wait_until(condition: Callable[[], object], limit_s: float, what: str) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"not after {limit_s} s: {what}"
        time.sleep(0.05)


def read_lines(text: str) -> list[dict[str, Any]]:
    """The whole lines of JSON; the last one may be half written."""
    return [json.loads(line) for line in text.splitlines(True) if line.endswith("\n")]


class Monitor:
    """A command that is running. What it prints, and what it spools, are in its folder."""

    def __init__(
        self, folder: Path, arguments: tuple[str, ...], style: tuple[str, ...], more: dict[str, str]
    ) -> None:
        self.output = folder / "output"
        self.errors = folder / "errors"
        self.spool = folder / "spool"
        output = ("--spool", str(self.spool)) if "--spool" in style else (*style, "-o", str(self.output))
        line = [sys.executable, "-m", "cbprocess", "monitor", *output, *arguments]
        with open(self.errors, "wb") as errors:
            self.process = subprocess.Popen(line, stderr=errors, env=environment(**more))

    def text(self) -> str:
        """Everything so far, in the order in which it was written."""
        files = [self.output, *sorted(self.spool.glob("*/*.jsonl"))]
        return "".join(path.read_text() for path in files if path.exists())

    def events(self) -> list[dict[str, Any]]:
        return read_lines(self.text())

    def wait_for(self, mark: str) -> None:
        wait_until(lambda: mark in self.text(), START_LIMIT_S, f"{mark} in the output")

    def wait_for_start(self, program: str = "/bin/true") -> None:
        """Executes something until that is told."""
        marks: list[str] = []

        def is_seen() -> bool:
            assert self.process.poll() is None, self.errors.read_text()
            marks.append(run_marked(program))
            text = self.text()
            return any(mark in text for mark in marks)

        wait_until(is_seen, START_LIMIT_S, "the monitor sees processes")

    def stop(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


def run_marked(program: str = "/bin/true") -> str:
    mark = uuid.uuid4().hex
    subprocess.run([program, mark], check=True)
    return mark


def run_marked_shells(count: int) -> list[str]:
    """Runs so many programs one after another, each with a mark among its arguments; it ends with its number
    as status."""
    marks = [uuid.uuid4().hex for _ in range(count)]
    for number, mark in enumerate(marks):
        subprocess.run(["/bin/sh", "-c", f"exit {number}", mark])
    return marks


def write_rules(path: Path, *rules: dict[str, Any]) -> None:
    """As editors do: beside it, and then in its place."""
    (path.parent / "new").write_text(json.dumps({"rules": rules}))
    os.replace(path.parent / "new", path)


def read_again(watching: Monitor, told: str) -> None:
    """Sends SIGHUP, and waits for what is said of the reading."""
    before = watching.errors.read_text()
    watching.process.send_signal(signal.SIGHUP)
    wait_until(lambda: told in watching.errors.read_text()[len(before) :], START_LIMIT_S, told)


Starting = Callable[..., Monitor]


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[Starting]:
    """monitor(*arguments, **environment) -> a monitor that sees already what is executed."""
    started: list[Monitor] = []

    def start(*arguments: str, waits: bool = True, style: tuple[str, ...] = JSON, **more: str) -> Monitor:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        made = Monitor(folder, arguments, style, more)
        started.append(made)
        if waits:
            made.wait_for_start()
        return made

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program that rules can name without meaning another one."""
    made = tmp_path / "program-of-the-rules"
    made.write_bytes(Path("/bin/true").read_bytes())
    made.chmod(0o755)
    return made

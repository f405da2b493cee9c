"""Programs that root runs as another user have a session and a terminal of their own, and nothing of root's
environment."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pwd
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile_tools import FOLDER
from live_tools import PROGRAMS, wait_until
from terminals import open_terminal

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="--user is root's")

USER = "nobody"
# A Python that any user can execute.
PYTHON = "/usr/bin/python3"
COMMAND = [sys.executable, "-m", "cbprocess", "run", "--output", os.devnull, "--user", USER]


class Screen:
    """Root's terminal, with a program that has it as its controlling one."""

    def __init__(self) -> None:
        self.master, self.slave = open_terminal()
        self.name = os.ttyname(self.slave)
        self.modes = termios.tcgetattr(self.slave)
        self.text = b""
        self._child: subprocess.Popen[bytes] | None = None

    def start(self, *line: str, **streams: Any) -> subprocess.Popen[bytes]:
        keywords = {"stdin": self.slave, "stdout": self.slave, "stderr": self.slave, **streams}
        program = [sys.executable, str(PROGRAMS / "at_terminal.py"), *line]
        self._child = subprocess.Popen(program, **keywords)
        return self._child

    def read(self, wanted: bytes, limit_s: float = 30) -> None:
        """Waits until that has been printed; what came before is forgotten."""
        end = time.monotonic() + limit_s
        while wanted not in self.text:
            assert time.monotonic() < end, self.text
            if select.select([self.master], [], [], 0.1)[0]:
                self.text += os.read(self.master, 4096)
        self.text = self.text.partition(wanted)[2]

    def type(self, text: bytes) -> None:
        os.write(self.master, text)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def was_typed_into(self) -> bool:
        return bool(select.select([self.slave], [], [], 0)[0])

    def close(self) -> None:
        if self._child is not None:
            if self._child.poll() is None:
                self._child.kill()
            self._child.wait(10)
        for fd in (self.master, self.slave):
            with contextlib.suppress(OSError):
                os.close(fd)


@pytest.fixture
def screen() -> Iterator[Screen]:
    made = Screen()
    yield made
    made.close()


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """A file that the other user can write to."""
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o711)
    path = tmp_path / "report"
    path.touch()
    path.chmod(0o666)
    return path


def attack(report: Path) -> list[str]:
    # The other user may not be able to read the checkout.
    program = report.with_name("type_into.py")
    program.write_text((FOLDER / "programs" / "type_into.py").read_text())
    program.chmod(0o644)
    return [PYTHON, str(program), str(report)]


def found_by(report: Path) -> dict[str, Any]:
    return dict(json.loads(report.read_text()))


def test_the_terminal_is_not_roots(screen: Screen, report: Path) -> None:
    child = screen.start(*COMMAND, "--", *attack(report), cwd="/")
    assert child.wait(60) == 0
    found = found_by(report)
    assert found["leads_its_session"]
    assert screen.name not in [*found["standard"], found["controlling"]]
    assert found["standard"] == [found["standard"][0]] * 3 and found["standard"][0].startswith("/dev/pts/")
    assert found["controlling"] == "/dev/tty"
    assert not screen.was_typed_into()
    assert termios.tcgetattr(screen.slave) == screen.modes


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_one_terminal_among_the_standard_descriptors(screen: Screen, report: Path, kept: int) -> None:
    names = ("stdin", "stdout", "stderr")
    streams = {name: subprocess.DEVNULL for i, name in enumerate(names) if i != kept}
    # Without at_terminal.py, which takes standard input: the terminal is nobody's.
    line = [*COMMAND, "--", *attack(report)]
    keywords: dict[str, Any] = {names[kept]: screen.slave, **streams}
    assert subprocess.run(line, cwd="/", timeout=60, **keywords).returncode == 0
    found = found_by(report)
    assert screen.name not in found["standard"]
    assert [bool(name) for name in found["standard"]] == [i == kept for i in range(3)]
    assert not screen.was_typed_into()
    assert termios.tcgetattr(screen.slave) == screen.modes


def test_no_terminal_at_all(report: Path) -> None:
    pipes: dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }
    assert subprocess.run([*COMMAND, "--", *attack(report)], cwd="/", timeout=60, **pipes).returncode == 0
    found = found_by(report)
    assert found["leads_its_session"]
    assert found["standard"] == [""] * 3
    assert found["controlling"] == os.strerror(6)  # ENXIO: there is none


def as_runuser_has_it(report: Path, environment: dict[str, str]) -> dict[str, Any]:
    line = ["/usr/sbin/runuser", "-u", USER, "--", *attack(report)]
    done = subprocess.run(line, cwd="/", env=environment, timeout=60, stdin=subprocess.DEVNULL)
    assert done.returncode == 0
    return found_by(report)


def test_groups_home_umask_and_environment(report: Path) -> None:
    own = {**os.environ, "TERM": "dumb", "SECRET": "root's", "LANG": "C", "LD_BIND_NOW": "1"}
    expected = as_runuser_has_it(report, own)
    line = [*COMMAND, "--preserve-env", "LANG,NOT_SET", "--", *attack(report)]
    assert subprocess.run(line, cwd="/", env=own, timeout=60, stdin=subprocess.DEVNULL).returncode == 0
    found = found_by(report)
    entry = pwd.getpwnam(USER)
    for name in ("groups", "ids", "umask", "folder"):
        assert found[name] == expected[name], name
    assert found["descriptors"] == ["0", "1", "2", "3"]  # the last is that of the list
    environment = found["environment"]
    assert environment.pop("PATH").split(":")[0] != ""
    environment.pop("LC_CTYPE", None)  # Python's own doing
    assert environment == {
        "HOME": entry.pw_dir,
        "SHELL": entry.pw_shell,
        "USER": USER,
        "LOGNAME": USER,
        "TERM": "dumb",
        "LANG": "C",
    }


# ---- It is still a terminal ----


def test_a_dialogue(screen: Screen) -> None:
    screen.resize(33, 77)
    child = screen.start(
        *COMMAND, "--", "/bin/sh", "-c", "stty size; read line; echo got $line; read x; exit 7"
    )
    screen.read(b"33 77\r\n")
    screen.type(b"hello\n")
    screen.read(b"hello\r\ngot hello\r\n")
    screen.type(b"\n")
    assert child.wait(30) == 7
    assert termios.tcgetattr(screen.slave) == screen.modes


def test_the_size_changes(screen: Screen) -> None:
    script = "trap 'stty size' WINCH; echo ready; while read line; do echo got $line; done"
    child = screen.start(*COMMAND, "--", "/bin/sh", "-c", script)
    screen.read(b"ready\r\n")
    screen.resize(11, 22)
    # dash runs the trap when read returns.
    time.sleep(0.2)
    screen.type(b"\n")
    screen.read(b"11 22\r\n")
    screen.type(b"\x04")
    assert child.wait(30) == 0


def test_control_c_reaches_the_program(screen: Screen) -> None:
    child = screen.start(*COMMAND, "--", "/bin/sh", "-c", "echo ready; exec sleep 60")
    screen.read(b"ready\r\n")
    time.sleep(0.2)
    screen.type(b"\x03")
    assert child.wait(30) == 128 + signal.SIGINT
    assert termios.tcgetattr(screen.slave) == screen.modes


def test_control_z_stops_both(screen: Screen) -> None:
    """As a job of a shell, which is what the terminal's session has for its leader."""
    line = " ".join([*COMMAND, "--", "/bin/sh", "-c", "'echo ready; read line; echo got $line'"])
    child = screen.start("/bin/bash", "--norc", "-i", cwd="/")
    screen.type(b"PS1='<'; set -b\n" + line.encode() + b"\n")
    screen.read(b"\rready\r\n")
    screen.type(b"\x1a")
    screen.read(b"Stopped")
    assert termios.tcgetattr(screen.slave)[3] & termios.ISIG
    screen.type(b"fg\n")
    screen.read(b"--user")
    wait_until(lambda: not termios.tcgetattr(screen.slave)[3] & termios.ICANON, 10, "it is raw again")
    time.sleep(0.3)
    screen.type(b"more\n")
    screen.read(b"got more\r\n")
    screen.read(b"<")  # the shell's prompt
    screen.type(b"exit\n")
    assert child.wait(30) == 0


def test_lines_of_events_end_where_they_should(screen: Screen) -> None:
    line = [sys.executable, "-m", "cbprocess", "run", "--user", USER]
    child = screen.start(*line, "--", "/bin/true")
    screen.read(b"exit 0, ")
    assert child.wait(30) == 0
    screen.read(b"true\r\n")

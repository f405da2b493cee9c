"""A terminal, with a program that has it as its controlling one, for tests of what is drawn on it and typed.
Knows no program."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import struct
import subprocess
import sys
import termios
import time
from typing import Any

import supervised
from live_tools import PROGRAMS
from terminals import open_terminal

ALTERNATE, NORMAL = b"\x1b[?1049h", b"\x1b[?1049l"


class Terminal:
    """A terminal, with a program that has it as its controlling one. `text` is all that was printed."""

    def __init__(self, rows: int = 30, columns: int = 120) -> None:
        self.master, self.slave = open_terminal()
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))
        self.modes = termios.tcgetattr(self.slave)
        self.text = b""
        self.child: subprocess.Popen[bytes] | None = None

    def start(self, *line: str, **options: Any) -> subprocess.Popen[bytes]:
        streams = {"stdin": self.slave, "stdout": self.slave, "stderr": self.slave}
        command = [sys.executable, str(PROGRAMS / "at_terminal.py"), *supervised.COMMAND_LINE, *line]
        environment = {**os.environ, "TERM": "xterm-256color", **options.pop("environment", {})}
        self.child = subprocess.Popen(command, env=environment, **{**streams, **options})
        return self.child

    def read(self, seconds: float = 0.1) -> None:
        if select.select([self.master], [], [], seconds)[0]:
            self.text += os.read(self.master, 65536)

    def wait_for(self, wanted: bytes) -> None:
        end = time.monotonic() + 60
        while wanted not in self.text:
            assert time.monotonic() < end, self.text[-5000:]
            self.read()

    def wait_for_end(self) -> int:
        assert self.child is not None
        end = time.monotonic() + 60
        while self.child.poll() is None:
            assert time.monotonic() < end, self.text[-5000:]
            self.read()
        self.read()
        return self.child.returncode

    def type(self, text: bytes) -> None:
        os.write(self.master, text)

    def page(self) -> str:
        """The page that was drawn last, without its styles."""
        shown = self.text.rpartition(NORMAL)[0] or self.text
        return plain(shown.rpartition(b"\x1b[H")[2])

    def after(self) -> str:
        """What stands on the terminal when the page has gone."""
        return plain(self.text.rpartition(NORMAL)[2])

    def close(self) -> None:
        if self.child is not None and self.child.poll() is None:
            self.child.kill()
            self.child.wait(10)
        for fd in (self.master, self.slave):
            with contextlib.suppress(OSError):
                os.close(fd)


def plain(text: bytes) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.decode("utf-8", "replace")).replace("\r", "")

"""Whether a command notices that it runs under `cbprocess run`: it is run bare and so, by callers that are
alike, and what it finds (tests/programs/state.c), its output and its status are compared."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Callable, NamedTuple

import supervised

# As it is installed, and where Python runs it.
PROGRAM = os.path.join(sysconfig.get_path("scripts"), "cbprocess")
WAYS = {"program": [PROGRAM], "module": supervised.COMMAND_LINE}

SetUp = Callable[[], object]


class Result(NamedTuple):
    status: int
    output: str
    errors: str

    def lines(self) -> list[str]:
        return self.output.splitlines()


def shell_status(returncode: int) -> int:
    """As a shell tells it, which knows no difference between an end by a signal and a status above 128."""
    return 128 - returncode if returncode < 0 else returncode


def called(
    line: Sequence[str], output: Path, set_up: SetUp | None = None, env: dict[str, str] | None = None
) -> Result:
    """Runs the line in a process that set_up has prepared; its standard output and errors are files."""
    errors = output.with_name("errors")
    with open(os.devnull, "rb") as nothing, open(output, "wb") as file, open(errors, "wb") as error_file:
        done = subprocess.run(
            line,
            stdin=nothing,
            stdout=file,
            stderr=error_file,
            env=env,
            close_fds=False,
            preexec_fn=set_up,
            timeout=100,
        )
    return Result(shell_status(done.returncode), output.read_text("latin-1"), errors.read_text("latin-1"))


def both(
    way: str,
    command: Sequence[str],
    folder: Path,
    set_up: SetUp | None = None,
    env: dict[str, str] | None = None,
    options: Sequence[str] = (),
) -> tuple[Result, Result]:
    """How the command ends bare and under `cbprocess run`."""
    bare = called(command, folder / "output", set_up, env)
    line = [*WAYS[way], "run", "--output", os.devnull, *options, "--", *command]
    return bare, called(line, folder / "output", set_up, env)


def states(
    way: str,
    program: str,
    folder: Path,
    set_up: SetUp | None = None,
    env: dict[str, str] | None = None,
) -> tuple[list[str], list[str]]:
    """What tests/programs/state.c finds bare and under `cbprocess run`."""
    found = []
    file = folder / "state"
    line = [program, str(file), "an argument", ""]
    for front in ([], [*WAYS[way], "run", "--output", os.devnull, "--"]):
        file.write_text("")
        done = called([*front, *line], folder / "output", set_up, env)
        assert (done.status, done.output, done.errors) == (3, "", "")
        found.append(file.read_text("latin-1").splitlines())
    return found[0], found[1]


def execute_with(entries: Sequence[bytes], line: Sequence[str]) -> None:
    """Executes the line with an environment that need not be one that Python could make."""
    arguments = (ctypes.c_char_p * (len(line) + 1))(*map(os.fsencode, line), None)
    environment = (ctypes.c_char_p * (len(entries) + 1))(*entries, None)
    ctypes.CDLL(None).execve(os.fsencode(line[0]), arguments, environment)

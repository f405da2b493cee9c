"""Whether a command notices that it runs under `cbprocess run`: it is run bare and so, by callers that are
alike, and what it finds (tests/programs/state.c), its output, its status and the files that it leaves are
compared. Knows nothing of what the commands are for."""

from __future__ import annotations

import ctypes
import difflib
import hashlib
import os
import re
import shutil
import stat
import subprocess
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable, NamedTuple

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
    line: Sequence[str],
    output: Path,
    set_up: SetUp | None = None,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    stdin: int | None = None,
    timeout: float = 100,
) -> Result:
    """Runs the line in a process that set_up has prepared; its standard output and errors are files."""
    errors = output.with_name("errors")
    with open(os.devnull, "rb") as nothing, open(output, "wb") as file, open(errors, "wb") as error_file:
        done = subprocess.run(
            line,
            stdin=nothing if stdin is None else stdin,
            stdout=file,
            stderr=error_file,
            env=env,
            cwd=cwd,
            close_fds=False,
            preexec_fn=set_up,
            timeout=timeout,
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


class Deed(NamedTuple):
    """What a command has done in a folder: what it found is in the files that it had state.c write."""

    result: Result
    files: dict[str, str]


# What the kernel numbers anew for every run.
NUMBERED = re.compile(r"\b(pipe|socket):\[\d+\]|/dev/pts/\d+")
# With a rule there is a filter in the tree, which no program can be kept from seeing.
RULE = ("--deny", "no program has this name")
OF_THE_FILTER = r"NoNewPrivs:\t\d|Seccomp\w*:\t\d+|no new rights \d"
# Session, group and foreground group.
GROUPS = re.compile(r"(?<=^session )\d+|(?<= group )\d+(?=$)|(?<= foreground )\d+", re.MULTILINE)


def without_numbers(text: str, varying: str = "") -> str:
    """Sessions and groups in the order in which they are named; what else has a number, or varies, as `~`."""
    named: dict[str, str] = {}
    text = GROUPS.sub(lambda found: named.setdefault(found[0], f"#{len(named)}"), text)
    text = NUMBERED.sub("~", text)
    return re.sub(varying, "~", text) if varying else text


def described(path: Path, varying: str) -> str:
    """Kind, rights and content of a file."""
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return f"link to {os.readlink(path)}"
    if not stat.S_ISREG(status.st_mode):
        return stat.filemode(status.st_mode)
    content = path.read_bytes()
    try:
        told = without_numbers(content.decode(), varying)
    except UnicodeDecodeError:
        told = hashlib.sha256(content).hexdigest()
    return f"{stat.filemode(status.st_mode)} {told}"


def deed(
    line: Sequence[str],
    folder: Path,
    place: Callable[[Path], object],
    varying: str = "",
    *,
    ignored: Sequence[str] = (),
    sort_lines: bool = False,
    **caller: Any,
) -> Deed:
    """What the line does in a new folder that place has filled: `folder`/work for every run."""
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    place(work)
    status, output, errors = called(line, folder / "output", cwd=work, **caller)
    files = {
        str(path.relative_to(work)): described(path, varying)
        for path in sorted(work.rglob("*"))
        if path.relative_to(work).parts[0] not in ignored
    }

    def told(text: str) -> str:
        text = without_numbers(text, varying)
        return "".join(sorted(text.splitlines(True))) if sort_lines else text

    return Deed(Result(status, told(output), told(errors)), files)


def differences(bare: Deed, supervised: Deed) -> str:
    """Lines that one has and the other has not, with the name of what they are in."""
    sides = []
    for result, files in (bare, supervised):
        texts = {"status": str(result.status), "output": result.output, "errors": result.errors}
        texts.update({f"file {name}": text for name, text in files.items()})
        sides.append([f"{name}: {line}" for name, text in texts.items() for line in text.split("\n")])
    return "\n".join(line for line in difflib.ndiff(*sides) if line[0] in "-+")


def execute_with(entries: Sequence[bytes], line: Sequence[str]) -> None:
    """Executes the line with an environment that need not be one that Python could make."""
    arguments = (ctypes.c_char_p * (len(line) + 1))(*map(os.fsencode, line), None)
    environment = (ctypes.c_char_p * (len(entries) + 1))(*entries, None)
    ctypes.CDLL(None).execve(os.fsencode(line[0]), arguments, environment)

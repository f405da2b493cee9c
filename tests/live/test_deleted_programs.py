"""A program whose file has been deleted, or replaced by a newer one, goes by the path by which it was
executed, everywhere, and that the file is gone is told beside the name. The kernel adds " (deleted)"."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from live_tools import GUID, Programs, recording, run_checked, tracer_of, wait_until

import cbprocess

NAME = "guarded"
ALL_EVENTS = 0x3F


def remove(file: Path) -> None:
    file.unlink()


def replace(file: Path) -> None:
    """What `mv new old` does, and each package manager."""
    new = file.with_name("new")
    shutil.copy2(file, new)
    os.replace(new, file)


def replace_with_copy(file: Path) -> None:
    """As dpkg does it: for a while the old file is there by another name."""
    os.link(file, file.with_name("backup"))
    replace(file)


def remove_folder(file: Path) -> None:
    shutil.rmtree(file.parent)


WAYS = [remove, replace, replace_with_copy, remove_folder]


@contextlib.contextmanager
def started(program: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Runs it, named by a relative path; it waits for the end of its input. The kernel shows its path."""
    with subprocess.Popen(
        [f"./{program.name}"], cwd=program.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            link = f"/proc/{process.pid}/exe"
            wait_until(lambda: os.readlink(link) == str(program), 20, "it is executed")
            yield process
        finally:
            process.kill()


def made(folder: Path, name: str = NAME) -> Path:
    """A program that waits for the end of its input, in a folder of its own."""
    program = folder / "bin" / name
    program.parent.mkdir(exist_ok=True)
    shutil.copy2(Path(shutil.which("cat") or "cat").resolve(), program)
    return program


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def gone(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """A program that runs and whose file is gone: its path, and the process."""
    way: Callable[[Path], None] = request.param
    program = made(tmp_path)
    with started(program) as process:
        way(program)
        assert os.readlink(f"/proc/{process.pid}/exe") == f"{program} (deleted)"
        yield program, process


Gone = tuple[Path, "subprocess.Popen[bytes]"]


def snapshot_of(process_id: int) -> cbprocess.RunningProcess:
    (found,) = [entry for entry in cbprocess.running_processes() if entry.process_id == process_id]
    return found


def test_asked_for_its_name(gone: Gone) -> None:
    program, process = gone
    instance = cbprocess.CBProcess()
    instance.initialize(GUID)
    assert instance.get_process_name(process.pid) == str(program)
    entry = snapshot_of(process.pid)
    assert (entry.process_name, entry.image_deleted) == (str(program), True)
    assert not snapshot_of(os.getpid()).image_deleted


def test_a_name_finds_it(gone: Gone) -> None:
    """Whoever attaches by the path gets it; what is told of it has the path, and says that the file is
    gone."""
    program, process = gone
    ends: list[tuple[str, bool]] = []
    with recording() as recorder:
        recorder.decide = lambda kind, event: (
            ends.append((event.process_name, event.image_deleted)) if kind == "process_termination" else None
        )
        recorder.filter.add_filtered_process_by_name(str(program), False)
        assert tracer_of(process.pid) != 0, "it was not found"
        assert process.stdin is not None
        process.stdin.close()
        wait_until(lambda: ends, 20, "its end")
    assert ends == [(str(program), True)]


def killed_from_the_tree(recorder: Any, process_id: int) -> int:
    """Sends a harmful signal to it from the tree: 0, or the errno."""
    text = (
        "import os, sys\ntry: os.kill(int(sys.argv[1]), 10)\nexcept OSError as error: sys.exit(error.errno)\n"
    )
    status, _, errors = run_checked(recorder, [sys.executable, "-c", text, str(process_id)])
    assert errors == ""
    return status


def test_a_rule_protects_it(gone: Gone) -> None:
    program, process = gone
    with recording(events=0) as recorder:
        recorder.filter.add_rule(name=str(program), action="strip", access=cbprocess.PROCESS_TERMINATE)
        recorder.filter.add_filtered_process_by_id(process.pid, False)
        assert killed_from_the_tree(recorder, process.pid) == 1
        assert process.poll() is None


def test_a_handler_protects_it(gone: Gone) -> None:
    """One that asks for the name of whom an operation is about."""
    program, process = gone
    asked: list[str] = []

    def decide(kind: str, event: Any) -> None:
        if kind == "process_handle_operation" and event.process_id == process.pid:
            asked.append(recorder.filter.get_process_name(event.process_id))
            if asked[-1] == str(program):
                event.desired_access &= ~cbprocess.PROCESS_TERMINATE

    with recording(events=ALL_EVENTS, decide=decide) as recorder:
        assert killed_from_the_tree(recorder, process.pid) == 1
        assert process.poll() is None
    assert set(asked) == {str(program)}


def test_what_is_really_called_so(tmp_path: Path) -> None:
    """A file may have a name with that ending; one that is gone may have had it."""
    program = made(tmp_path, f"{NAME} (deleted)")
    with started(program) as process:
        entry = snapshot_of(process.pid)
        assert (entry.process_name, entry.image_deleted) == (str(program), False)
        with recording() as recorder:
            recorder.filter.add_filtered_process_by_name(str(program.with_name(NAME)), False)
            assert tracer_of(process.pid) == 0
            recorder.filter.add_filtered_process_by_name(str(program), False)
            assert tracer_of(process.pid) != 0
        made(tmp_path)  # a file by the name without the ending is another one
        assert snapshot_of(process.pid).process_name == str(program)
        program.unlink()
        entry = snapshot_of(process.pid)
        assert (entry.process_name, entry.image_deleted) == (str(program), True)


EXECUTE_BY_DESCRIPTOR = """
import os, sys
if sys.argv[1] == "memory":
    file = os.memfd_create("guarded")
    os.write(file, open(sys.argv[2], "rb").read())
    link = f"/proc/self/fd/{file}"
    readable = os.open(link, os.O_RDONLY)
    os.close(file)
else:
    readable = os.open(sys.argv[2], os.O_RDONLY)
    if sys.argv[1] == "file":
        os.unlink(sys.argv[2])
os.execve(readable, ["guarded", "3"], os.environ)
"""


@pytest.mark.parametrize("refuse_with", ["errno", "kill"])
@pytest.mark.parametrize("kind", ["file", "memory", "decided"])
def test_executed_by_a_descriptor(kind: str, refuse_with: str, programs: Programs, tmp_path: Path) -> None:
    """A file that has been unlinked, or one that never was anywhere: what was decided about is what runs, and
    nobody is asked again. One that goes during the decision has changed by that."""
    program = programs.copy("status", tmp_path / NAME)
    seen: list[tuple[str, bool, bool]] = []

    def decide(event_kind: str, event: Any) -> None:
        if event_kind != "process_creation":
            return
        changed = event.flags & cbprocess.EVENT_FLAG_CHANGED != 0
        seen.append((event.process_name, event.image_deleted, changed))
        if kind == "decided" and event.process_name == program:
            Path(program).unlink(missing_ok=True)

    with recording(f"RefuseWith={refuse_with}", decide=decide) as recorder:
        line = [sys.executable, "-c", EXECUTE_BY_DESCRIPTOR, kind, program]
        assert run_checked(recorder, line) == (3, "", "")
    expected = f"/memfd:{NAME}" if kind == "memory" else program
    asked_again = [(expected, True, True)] if (kind, refuse_with) == ("decided", "errno") else []
    assert seen == [
        (str(Path(sys.executable).resolve()), False, False),
        (expected, kind != "decided", False),
        *asked_again,
    ]

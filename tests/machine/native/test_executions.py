"""What is told of an execution that waits in fanotify: one event for each, with all names and the arguments
that the new program itself then sees, whatever the file is, whoever executes it and however it is named."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, NamedTuple

import pytest
from live_tools import Recorder, wait_until
from machine import own_place
from machine.native.machine_tools import FANOTIFY, has_gate, run, watching

import cbprocess

CREATIONS = cbprocess.PROC_EVT_PROCESS_CREATION
HERE = Path(__file__).resolve().parent
MS_BIND = 1 << 12
MIDDLE = "an argument  with blanks"


class Row(NamedTuple):
    """What was told, and what the program has said."""

    names: list[str]
    arguments: list[str]
    changed: bool


class Said(NamedTuple):
    status: int
    arguments: list[str]


class Place:
    """A folder of programs and scripts, under which other file systems lie."""

    def __init__(self, folder: Path, compile_c: Callable[..., Path]) -> None:
        self.folder = folder
        folder.mkdir()
        self.executing = str(compile_c(HERE / "executing.c", "-D_GNU_SOURCE"))
        for name, options in (("saying", ()), ("static", ("-static",))):
            shutil.copy(compile_c(HERE / "saying.c", *options), folder / name)
        self.narrow = self._copy_narrow(compile_c)
        self.script("script", folder / "saying", " -x  y ")
        self.script("of-script", folder / "script")
        self.script("by-env", "/usr/bin/env", f" -S {folder / 'saying'} a 'b c'")
        self.script("no-interpreter", folder / "absent")
        (folder / "no-format").write_text("text\n")
        (folder / "no-format").chmod(0o755)
        (folder / "link").symlink_to("saying")
        self.bound = self._mount("bound", None)
        self.layered = self._mount("layered", "overlay")

    def _copy_narrow(self, compile_c: Callable[..., Path]) -> bool:
        try:
            shutil.copy(compile_c(HERE / "saying.c", "-m32"), self.folder / "narrow")
            shutil.copy(
                compile_c(HERE / "executing.c", "-m32", "-D_GNU_SOURCE"), self.folder / "narrow-executing"
            )
        except AssertionError:
            return False
        return True

    def _mount(self, name: str, kind: str | None) -> Path:
        target = self.folder / name
        target.mkdir()
        data = None
        if kind:
            for part in ("lower", "upper", "work"):
                (self.folder / part).mkdir()
            for program in ("saying", "script"):
                shutil.copy(self.folder / program, self.folder / "lower" / program)
            parts = [f"{part}dir={self.folder / part}" for part in ("lower", "upper", "work")]
            data = ",".join(parts).encode()
        source = os.fsencode(self.folder)
        libc = ctypes.CDLL(None, use_errno=True)
        done = libc.mount(
            source,
            os.fsencode(target),
            kind.encode() if kind else None,
            ctypes.c_ulong(0 if kind else MS_BIND),
            data,
        )
        assert done == 0, os.strerror(ctypes.get_errno())
        return target

    def script(self, name: str, interpreter: Path | str, rest: str = "") -> Path:
        path = self.folder / name
        path.write_text(f"#!{interpreter}{rest}\n")
        path.chmod(0o755)
        return path

    def unmount(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        for target in (self.bound, self.layered):
            libc.umount2(os.fsencode(target), 2)


@pytest.fixture(scope="module")
def programs_place(place: Path, compile_c: Callable[..., Path]) -> Iterator[Place]:
    made = Place(place / "executions", compile_c)
    try:
        yield made
    finally:
        made.unmount()


def test_changed_by_another_thread(programs_place: Place) -> None:
    """The new program has other arguments than those that were decided about. That is an event of its
    own, and a refusal ends the program."""
    told: list[tuple[list[str], bool]] = []

    def decide(kind: str, event: Any) -> None:
        if event.process_name != str(programs_place.folder / "saying"):
            return
        told.append((event.arguments, bool(event.flags & cbprocess.EVENT_FLAG_CHANGED)))
        if len(told) == 1:
            (programs_place.folder / "go").touch()
            wait_until((programs_place.folder / "gone").exists, 20, "the argument has changed")
        else:
            event.result_code = 5

    with watching(FANOTIFY, events=CREATIONS, decide=decide):
        path = str(programs_place.folder / "saying")
        done = run([programs_place.executing, "changing", path, "zero", "harmless"])
        wait_until(lambda: len(told) >= 2, 20, "the second event")
    assert told == [(["zero", "harmless"], False), (["zero", "XXXXXXXX"], True)]
    if has_gate():
        assert (done.returncode, done.stdout) == (-signal.SIGKILL, "")


def test_exchanged_interpreter(programs_place: Place) -> None:
    """The kernel opens another interpreter than the one that was decided about: it is asked about again."""
    folder = programs_place.folder
    (folder / "interpreter").symlink_to("static")
    script = programs_place.script("exchanged", folder / "interpreter")
    told: list[tuple[str, str, bool]] = []

    def decide(kind: str, event: Any) -> None:
        if event.image_file_name != str(script):
            return
        told.append(
            (event.image_file_name, event.process_name, bool(event.flags & cbprocess.EVENT_FLAG_CHANGED))
        )
        if len(told) == 1:
            (folder / "other").symlink_to("saying")
            (folder / "other").rename(folder / "interpreter")
        else:
            event.result_code = 5

    with watching(FANOTIFY, events=CREATIONS, decide=decide):
        done = run([programs_place.executing, "path", script, "zero"])
    assert told == [(str(script), str(folder / "static"), False), (str(script), str(folder / "saying"), True)]
    assert (done.returncode, done.stdout) == (errno.EPERM, "")


def test_it_fails_after_it_was_decided(programs_place: Place) -> None:
    """That is told with the sequence of its event; the second time it succeeds."""
    path = str(programs_place.folder / "static")
    errors: list[tuple[int, int]] = []
    with watching(FANOTIFY, events=CREATIONS) as recorder:
        recorder.filter.on_error = lambda error: errors.append((error.error_code, error.sequence))
        done = run([programs_place.executing, "busy", path, "zero"])
        wait_until(lambda: bool(errors), 20, "the failure is told")
        rows = [row for row in recorder.of("process_creation") if row["process_name"] == path]
    assert (done.returncode, done.stdout) == (0, "zero\0")
    assert len(rows) == 2
    assert errors == [(cbprocess.ERROR_GEN_FAILURE, rows[0]["sequence"])]


class Watch:
    """One filter for all tests, each of which names its program or its arguments."""

    def __init__(self, recorder: Recorder, place: Place) -> None:
        self.recorder = recorder
        self.place = place

    def execute(
        self, way: str, name: str, *arguments: str, executing: str | None = None
    ) -> tuple[Said, list[Row]]:
        """Executes a file of the place, and gives what was told of it."""
        path = str(self.place.folder / name)
        line = [executing or self.place.executing, way, path, *arguments]
        before = len(self.recorder.events)
        done = subprocess.run(line, stdout=subprocess.PIPE, timeout=60)
        said = [os.fsdecode(text) for text in done.stdout.split(b"\0")[:-1]]
        rows = [
            Row(
                [event["image_file_name"], event["process_name"]],
                event["arguments"],
                bool(event["flags"] & cbprocess.EVENT_FLAG_CHANGED),
            )
            for event in list(self.recorder.events)[before:]
            if event["arguments"] != line
        ]
        return Said(done.returncode, said), rows


@pytest.fixture(scope="module")
def watch(programs_place: Place) -> Iterator[Watch]:
    paths = f"HoldPaths={own_place.own_place()}:{programs_place.layered}"
    with watching(FANOTIFY, paths, events=CREATIONS) as recorder:
        yield Watch(recorder, programs_place)
        assert recorder.errors_but_guesses() == []


def at(watch: Watch, name: str) -> str:
    return str(watch.place.folder / name)


WAYS = ["path", "name", "descriptor", "folder", "proc", "thread", "vfork"]
FILES = ["saying", "static", "link", "bound/saying", "layered/saying", "narrow"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("way", WAYS)
def test_programs(way: str, name: str, watch: Watch) -> None:
    if name == "narrow" and not watch.place.narrow:
        pytest.skip("no compiler for 32 bits")
    arguments = ["zero", way, MIDDLE, "", "last"]
    said, rows = watch.execute(way, name, *arguments)
    assert said == Said(0, arguments)
    path = at(watch, "saying" if name == "link" else name)
    (row,) = rows
    assert row.arguments == arguments and row.names[1] == path and not row.changed


@pytest.mark.parametrize(
    ("name", "executable", "before"),
    [
        ("script", "saying", ["saying", "-x  y"]),
        ("of-script", "saying", ["saying", "-x  y", "script"]),
        ("layered/script", "saying", ["saying", "-x  y"]),
    ],
)
@pytest.mark.parametrize("way", ["path", "name", "descriptor", "folder", "thread", "vfork"])
def test_scripts(way: str, name: str, executable: str, before: list[str], watch: Watch) -> None:
    """The arguments are those that the caller gave; the program's own begin with the interpreters."""
    said, rows = watch.execute(way, name, "zero", way, MIDDLE)
    (row,) = rows
    assert row.arguments == ["zero", way, MIDDLE]
    assert row.names[1] == at(watch, executable)
    paths = [at(watch, text) if text in ("saying", "script") else text for text in before]
    assert said.status == 0
    assert said.arguments[: len(paths)] == paths and said.arguments[-2:] == [way, MIDDLE]
    assert len(said.arguments) == len(paths) + 3


def test_a_script_for_env(watch: Watch) -> None:
    """env executes the program in turn, which is an execution of its own."""
    said, (script, program) = watch.execute("path", "by-env", "zero", "last")
    path = at(watch, "by-env")
    assert said == Said(0, [at(watch, "saying"), "a", "b c", path, "last"])
    assert script.arguments == ["zero", "last"] and script.names == [
        path,
        str(Path("/usr/bin/env").resolve()),
    ]
    assert program.arguments == said.arguments and program.names[1] == at(watch, "saying")


@pytest.mark.parametrize("name", ["saying", "narrow"])
def test_by_a_program_of_32_bits(name: str, watch: Watch) -> None:
    if not watch.place.narrow:
        pytest.skip("no compiler for 32 bits")
    for way in WAYS:
        arguments = ["zero", way, MIDDLE, "", "last"]
        executing = at(watch, "narrow-executing")
        said, rows = watch.execute(way, name, *arguments, executing=executing)
        assert said == Said(0, arguments)
        (row,) = [row for row in rows if row.names[1] != executing]
        assert row.arguments == arguments and row.names[1] == at(watch, name)


@pytest.mark.parametrize("size", [100, 5_000, 120_000, 1_000_000])
def test_long_lists(size: int, watch: Watch) -> None:
    arguments = [f"{number:09}" for number in range(size // 10)]
    said, (row,) = watch.execute("path", "saying", *arguments)
    assert said.arguments == arguments and row.arguments == arguments


def test_long_strings(watch: Watch) -> None:
    arguments = ["a" * 131_000, "b" * 4095, "c" * 4096, "d"]
    said, (row,) = watch.execute("path", "saying", *arguments)
    assert said.arguments == arguments and row.arguments == arguments


def test_no_arguments(watch: Watch) -> None:
    said, (row,) = watch.execute("none", "saying")
    assert said.status == 0 and row.arguments == [""] and row.names[1] == at(watch, "saying")


def test_a_deleted_file(watch: Watch) -> None:
    shutil.copy(at(watch, "saying"), at(watch, "soon-gone"))
    said, (row,) = watch.execute("deleted", "soon-gone", "zero", "last")
    assert said == Said(0, ["zero", "last"])
    assert row.names[1] == at(watch, "soon-gone") and row.arguments == said.arguments


def test_a_file_in_memory(watch: Watch) -> None:
    """fanotify cannot mark it; it is told all the same, once."""
    said, rows = watch.execute("memory", "saying", "zero", "in memory")
    assert said == Said(0, ["zero", "in memory"])
    wait_until(
        lambda: any(row["process_name"] == "/memfd:in memory" for row in watch.recorder.events), 20, "it"
    )
    found = [row for row in watch.recorder.events if row["arguments"] == ["zero", "in memory"]]
    assert len(found) == 1 and len(rows) <= 1


@pytest.mark.parametrize(
    ("name", "code"),
    [("absent", errno.ENOENT), ("no-interpreter", errno.ENOENT), ("no-format", errno.ENOEXEC)],
)
def test_bound_to_fail(name: str, code: int, watch: Watch) -> None:
    assert watch.execute("path", name, "zero") == (Said(code, []), [])

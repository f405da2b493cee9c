"""What the live and the fault tests share: the compiled helper programs, filters that record what they see,
and looking at processes through /proc. Knows the public Python surface only."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, ClassVar

import compilers

import cbprocess
from cbprocess._binding.library import native_folder

PROGRAMS = Path(__file__).resolve().parent.parent / "programs"
# All but handle operations, which need a filter in the tree whatever RefuseWith says.
LIFETIMES = (
    cbprocess.PROC_EVT_PROCESS_CREATION
    | cbprocess.PROC_EVT_PROCESS_TERMINATION
    | cbprocess.PROC_EVT_THREAD_CREATION
    | cbprocess.PROC_EVT_THREAD_TERMINATION
)
GUID = "{5ABD3A8B-6A3F-4C52-9F0C-5E1F0A1C7D11}"
_HANDLE_FIELDS = [
    "process_id",
    "originator_process_id",
    "originator_thread_id",
    "duplication",
    "source_process_id",
    "target_process_id",
    "original_desired_access",
    "desired_access",
]
FIELDS = {
    "process_creation": [
        "process_id",
        "parent_process_id",
        "creating_process_id",
        "creating_thread_id",
        "process_name",
        "image_file_name",
        "arguments",
        "command_line",
    ],
    "process_termination": ["process_id", "process_name", "exit_status"],
    "thread_creation": ["process_id", "thread_id", "creating_process_id", "creating_thread_id"],
    "thread_termination": ["process_id", "thread_id"],
    "process_handle_operation": _HANDLE_FIELDS,
    "thread_handle_operation": [*_HANDLE_FIELDS, "thread_id"],
}
HANDLE_EVENTS = ("process_handle_operation", "thread_handle_operation")
COMMON_FIELDS = [
    "sequence",
    "time_ns",
    "start_time",
    "user_id",
    "result_code",
    "flags",
    "decided_by_rule",
    "timed_out",
    "held",
    "refusable",
]


def compile_program(source: str, target: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Compiles one program of tests/programs; the caller looks at the result."""
    line = [
        *compilers.c_compiler(),
        "-std=gnu11",
        "-O1",
        "-pthread",
        *options,
        "-o",
        str(target),
        str(PROGRAMS / source),
    ]
    return subprocess.run(line, capture_output=True, text=True, timeout=100)


class Programs:
    """The helper programs, by name, in a folder of the test run's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for source in sorted(PROGRAMS.glob("*.c")):
            if source.name.startswith("windows_"):
                continue  # for the suite that runs there
            if (folder / source.stem).exists():
                continue  # compiled for a guest, which takes long to compile
            done = compile_program(source.name, folder / source.stem)
            assert done.returncode == 0, done.stderr

    def __getitem__(self, name: str) -> str:
        path = self.folder / name
        assert path.exists(), name
        return str(path)

    def copy(self, name: str, target: Path) -> str:
        """A helper program under another name, for tests that decide by name."""
        shutil.copy2(self[name], target)
        return str(target)


# A folder of PATH that this user may not enter would change which error a failed search ends with.
SYSTEM_PATH = os.pathsep.join(["/usr/local/bin", "/usr/bin", "/bin"])


def environment(programs: Programs) -> dict[str, str]:
    """Every traced run has this one: PATH leads to the helper programs after folders without them."""
    keep = {
        name: os.environ[name] for name in ("HOME", "LD_LIBRARY_PATH", "PYTHONPATH") if name in os.environ
    }
    keep.update(
        {name: value for name, value in os.environ.items() if name.startswith(("CBPROCESS_", "ASAN_"))}
    )
    path = os.pathsep.join(["/nowhere", "/etc", str(programs.folder), SYSTEM_PATH])
    return {**keep, "PATH": path, "LC_ALL": "C"}


# What on_error is told where a creator has been ended while it forked.
GUESS = "processes whose creator ended while it created them "


class Recorder:
    """A filter, recording every event as a dict of its properties and every error as (code, description)."""

    made: ClassVar[list[Recorder]] = []

    def __init__(self) -> None:
        Recorder.made.append(self)
        self.filter = cbprocess.CBProcess()
        self.events: list[dict[str, Any]] = []
        self.errors: list[tuple[int, str]] = []
        self.decide: Callable[[str, Any], None] = lambda name, event: None
        self.filter.initialize(GUID)
        for name in FIELDS:
            setattr(self.filter, "on_" + name, self._handler(name))
        self.filter.on_error = lambda error: self.errors.append((error.error_code, error.description))

    def _handler(self, name: str) -> Callable[[Any], None]:
        fields = FIELDS[name] + COMMON_FIELDS

        def handler(event: Any) -> None:
            row = {field: getattr(event, field) for field in fields}
            row["event"] = name
            self.events.append(row)
            self.decide(name, event)

        return handler

    @classmethod
    def stop_those_after(cls, count: int) -> None:
        """After a test, which began when there were so many: one that has failed may not have stopped its
        filter, and what is left running would make others fail."""
        while len(cls.made) > count:
            with contextlib.suppress(cbprocess.CBProcessError):
                cls.made.pop().filter.stop_filter()

    def of(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == name]

    def errors_but_guesses(self) -> list[tuple[int, str]]:
        """The errors of a run in which a program may have been ended while it forked: without that report,
        which is the truth then."""
        return [
            (code, text)
            for code, text in self.errors
            if code != cbprocess.ERROR_NOT_FOUND or not text.startswith(GUESS)
        ]

    def handle_operations(self) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] in HANDLE_EVENTS]

    def executed(self) -> list[list[str]]:
        return [event["arguments"] for event in self.of("process_creation")]


@contextlib.contextmanager
def recording(
    *settings: str,
    timeout_ms: int = 0,
    events: int | None = None,
    decide: Callable[[str, Any], None] | None = None,
) -> Iterator[Recorder]:
    """A started recorder; stopped at the end, whatever happens."""
    recorder = Recorder()
    recorder.filter.config(f"EventsToFire={LIFETIMES if events is None else events}")
    for setting in settings:
        recorder.filter.config(setting)
    if decide is not None:
        recorder.decide = decide
    with warnings.catch_warnings():
        if events == 0:  # then it has handlers that nothing reaches
            warnings.simplefilter("ignore", cbprocess.CBProcessWarning)
        recorder.filter.start_filter(timeout_ms)
    try:
        yield recorder
    finally:
        recorder.filter.stop_filter()


def refuse(name: str, code: int = cbprocess.ERROR_ACCESS_DENIED) -> Callable[[str, Any], None]:
    """A decision for recording(): refuses to execute files of this name."""

    def decide(kind: str, event: Any) -> None:
        if kind == "process_creation" and name in (
            name_of(event.process_name),
            name_of(event.image_file_name),
        ):
            event.result_code = code

    return decide


def wait_until(condition: Callable[[], Any], timeout: float, what: str) -> Any:
    """Waits until condition() is true and returns its value. No limit is less than a minute: a shared
    machine may stand still for many seconds."""
    timeout = max(timeout, 60)
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"after {timeout} s still not: {what}"
        time.sleep(0.005)


def run_checked(
    recorder: Recorder, command: list[Any], timeout: float = 60, **options: Any
) -> tuple[int, str, str]:
    """Runs a command under the recorder's filter: its status and what it wrote."""
    process = recorder.filter.popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="surrogateescape",
        **options,
    )
    try:
        output, errors = process.communicate(timeout=timeout)
    except BaseException:
        process.kill()
        process.communicate(timeout=10)
        raise
    return process.returncode, output, errors


def start_controller(
    script: str, *arguments: str, python: str = sys.executable, **options: Any
) -> subprocess.Popen[str]:
    """Starts one of the controllers of tests/programs as a process of its own, leader of a new session."""
    line = [python, "-X", "faulthandler", str(PROGRAMS / script), *arguments]
    options.setdefault("stdout", subprocess.PIPE)
    options.setdefault("stderr", subprocess.PIPE)
    return subprocess.Popen(line, text=True, start_new_session=True, **options)


class Task:
    """One process as /proc shows it."""

    def __init__(self, process_id: int) -> None:
        text = Path(f"/proc/{process_id}/stat").read_text(errors="surrogateescape")
        self.process_id = process_id
        self.name = text[text.index("(") + 1 : text.rindex(")")]
        fields = text[text.rindex(")") + 2 :].split()
        self.state, self.parent, self.group, self.session = fields[0], *map(int, fields[1:4])

    def __repr__(self) -> str:
        return f"<{self.process_id} {self.name} {self.state} parent {self.parent}>"


def tasks() -> Iterator[Task]:
    """Every process of the machine."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                yield Task(int(entry.name))


def of_session(session: int) -> list[Task]:
    return [task for task in tasks() if task.session == session]


def tracer_of(process_id: int) -> int:
    """The process id of the tracer, 0 for none or when the process has gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process_id}/status").read_text().splitlines():
            if line.startswith("TracerPid:"):
                return int(line.split()[1])
    return 0


def reaches_the_package(user: dict[str, Any]) -> bool:
    """Whether another user can use this Python and this package, which may lie in root's own folder. `user`
    has the arguments of subprocess."""
    line = [sys.executable, "-c", "import cbprocess"]
    try:
        return subprocess.run(line, capture_output=True, **{"cwd": "/", **user}).returncode == 0
    except OSError:
        return False


def is_alive(process_id: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return Task(process_id).state not in "ZX"
    except OSError:
        return False


def helper_is_sanitized() -> bool:
    """Whether the helper's memory is AddressSanitizer's, which keeps what is freed, and
    has to be the first library that is loaded."""
    return b"__asan_init" in (Path(native_folder()) / "cbprocess-ptrace").read_bytes()


def helpers() -> set[int]:
    """The helpers that run, of the installation that is tested."""
    program = os.path.join(native_folder(), "cbprocess-ptrace").encode()
    found = set()
    for task in tasks():
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{task.process_id}/cmdline").read_bytes()
            if task.state not in "ZX" and command == program + b"\0":
                found.add(task.process_id)
    return found


@contextlib.contextmanager
def no_helper_stays() -> Iterator[None]:
    """What was started meanwhile has ended soon after. Nothing tells whose a helper is: beside another run of
    tests of the same installation (CBPROCESS_TEST_BESIDE=1) nobody looks, and none is ever killed for it."""
    before = helpers()
    yield
    if os.environ.get("CBPROCESS_TEST_BESIDE") != "1":
        wait_until(lambda: not helpers() - before, 15, "every helper has ended")


class Orphans:
    """What descendants leave behind while this process is the parent of orphans: seen and reaped here."""

    def __init__(self) -> None:
        self.children_before = set(self.children())

    @staticmethod
    def children() -> list[int]:
        return [task.process_id for task in tasks() if task.parent == os.getpid()]

    def left(self) -> list[int]:
        """Reaps those that have ended; gives the others, by id."""
        for process_id in set(self.children()) - self.children_before:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(process_id, os.WNOHANG)
        return sorted(set(self.children()) - self.children_before)


def descriptors() -> set[str]:
    """The numbers of this process's open descriptors, without the one that reads them."""
    # The one that lists them has gone when it is looked at again.
    return {path.name for path in Path("/proc/self/fd").iterdir() if path.is_symlink()}


def name_of(path: str) -> str:
    return path.rpartition("/")[2]

"""popen() behaves as subprocess.Popen: one list of cases, run both ways, with equal results."""

from __future__ import annotations

import ast
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from live_tools import Programs, Recorder, descriptors, recording

import cbprocess

Start = Callable[..., "subprocess.Popen[Any]"]
PYTHON = sys.executable


@pytest.fixture(scope="module", params=["errno", "kill"])
def recorder(request: pytest.FixtureRequest) -> Iterator[Recorder]:
    with recording(f"RefuseWith={request.param}") as started:
        yield started


@pytest.fixture(scope="module")
def folder(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of each kind that an execution can fail on."""
    folder = tmp_path_factory.mktemp("popen")
    (folder / "not-executable").write_text("#!/bin/sh\n")
    (folder / "bad-interpreter").write_text("#!/nowhere/interpreter\n")
    (folder / "no-format").write_bytes(b"\x01\x02\x03")
    (folder / "script").write_text('#!/bin/sh\necho "$0" "$@"\n')
    (folder / "loop").symlink_to("loop")
    (folder / "locked").mkdir()
    (folder / "locked" / "program").write_text("#!/bin/sh\n")
    for name in ("bad-interpreter", "no-format", "script", "locked/program"):
        (folder / name).chmod(0o755)
    programs.copy("status", folder / "program")
    (folder / "locked").chmod(0o000 if os.getuid() else 0o755)
    return folder


def outcome(start: Start, arguments: Any, options: dict[str, Any], given: Any = None) -> dict[str, Any]:
    """All that a caller can tell of one start."""
    before = descriptors()
    result: dict[str, Any] = {}
    try:
        with start(arguments, **options) as process:
            result["args"] = process.args
            result["output"] = process.communicate(given, timeout=30)
            result["returncode"] = process.returncode
    except Exception as error:
        result["exception"] = type(error)
        result["message"] = str(error)
        result["errno"] = getattr(error, "errno", None)
        result["filename"] = getattr(error, "filename", None)
    result["leaked"] = descriptors() - before
    return result


PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
SHOW = (
    "import os, sys; print(sorted(os.environ.items()), sys.argv, os.getcwd(), os.getpgid(0) == os.getpid())"
)
MASKS = (
    "for line in open('/proc/self/status'):\n"
    "    name, value = line.split(None, 1)\n"
    # Without 32 and 33, the C library's own, which its posix_spawn leaves ignored.
    "    if name in ('SigBlk:', 'SigIgn:', 'SigCgt:'): print(name, hex(int(value, 16) & ~(3 << 31)))\n"
    "    if name == 'Umask:': print(line)"
)

# Each case: the arguments, the options, the input. {} in a text is the folder of the files above.
CASES: dict[str, tuple[Any, dict[str, Any], Any]] = {
    "success": (["true"], {}, None),
    "exit status": (["sh", "-c", "exit 7"], {}, None),
    "signal": (["sh", "-c", "kill -9 $$"], {}, None),
    "terminated": (["sh", "-c", "kill -TERM $$"], {}, None),
    "missing program": (["no-such-program"], {}, None),
    "missing path": (["/nowhere/program"], {}, None),
    "missing relative path": (["./nowhere/program"], {}, None),
    "missing bytes": ([b"no-such-\xff"], {}, None),
    "not executable": (["{}/not-executable"], {}, None),
    "not executable on PATH": (["not-executable"], {"env": {"PATH": "{}:/nowhere"}}, None),
    "a folder": (["{}"], {}, None),
    "bad interpreter": (["{}/bad-interpreter"], {}, None),
    "no format": (["{}/no-format"], {}, None),
    "loop of links": (["{}/loop"], {}, None),
    "path through a file": (["{}/script/program"], {}, None),
    "locked folder": (["{}/locked/program"], {}, None),
    "long name": (["x" * 5000], {}, None),
    "bad cwd": (["true"], {"cwd": "/nowhere"}, None),
    "cwd is a file": (["true"], {"cwd": "{}/script"}, None),
    "bad cwd and missing program": (["no-such-program"], {"cwd": "/nowhere"}, None),
    "cwd": (["./script", "x"], {"cwd": "{}", **PIPES}, None),
    "pipes": (["sh", "-c", "cat; echo error >&2"], {"stdin": subprocess.PIPE, **PIPES}, b"some input"),
    "errors into output": (
        ["sh", "-c", "echo a; echo b >&2"],
        {"stdout": subprocess.PIPE, "stderr": -2},
        None,
    ),
    "devnull": (["cat"], {"stdin": subprocess.DEVNULL, **PIPES}, None),
    "text": (["cat"], {"stdin": subprocess.PIPE, "text": True, **PIPES}, "a\u00e9\n"),
    "encoding": (["cat"], {"stdin": subprocess.PIPE, "encoding": "latin-1", **PIPES}, "\u00e9"),
    "universal newlines": (["printf", r"a\r\nb"], {"universal_newlines": True, **PIPES}, None),
    "unbuffered": (["echo", "x"], {"bufsize": 0, **PIPES}, None),
    "big input": (["wc", "-c"], {"stdin": subprocess.PIPE, **PIPES}, b"y" * 1000000),
    "env": ([PYTHON, "-c", SHOW], {"env": {"A": "b", "PATH": "/usr/bin"}, **PIPES}, None),
    "empty env": (["/bin/sh", "-c", "echo x$HOME"], {"env": {}, **PIPES}, None),
    "bytes env": (
        ["sh", "-c", "echo $A"],
        {"env": {b"A": b"\xff", b"PATH": b"/usr/bin:/bin"}, **PIPES},
        None,
    ),
    "bytes env and text env": (["sh"], {"env": {b"PATH": b"/usr/bin", "PATH": "/usr/bin"}, **PIPES}, None),
    "env with an equals sign": (["true"], {"env": {"A=B": "c"}}, None),
    "env with a NUL": (["true"], {"env": {"A": "b\0c"}}, None),
    "PATH of env": (["script", "x"], {"env": {"PATH": "/nowhere:{}"}, **PIPES}, None),
    "no PATH": (["true"], {"env": {"A": "b"}}, None),
    "shell": ("echo $0 $((1 + 2)); exit 5", {"shell": True, **PIPES}, None),
    "shell with arguments": (["echo $0 $1", "zero", "one"], {"shell": True, **PIPES}, None),
    "shell and executable": ("echo $0", {"shell": True, "executable": "/bin/bash", **PIPES}, None),
    "shell and missing program": ("no-such-program", {"shell": True, **PIPES}, None),
    "executable": (["other-name", "-c", "echo $0"], {"executable": "/bin/sh", **PIPES}, None),
    "executable missing": (["true"], {"executable": "/nowhere/true"}, None),
    "executable on PATH": (["other", "-c", "echo $0"], {"executable": "sh", **PIPES}, None),
    "text arguments": ("true", {}, None),
    "text arguments with a blank": ("echo x", {}, None),
    "bytes arguments": ([b"printf", b"\xff%s", b"\xfe"], PIPES, None),
    "path arguments": ([pathlib.Path("/bin/echo"), pathlib.Path("a b")], PIPES, None),
    "path alone": (pathlib.Path("/bin/true"), PIPES, None),
    "mixed arguments": ([b"echo", "a", pathlib.Path("b")], PIPES, None),
    "tuple": (("echo", "a"), PIPES, None),
    "empty argument": (["echo", "", "x"], PIPES, None),
    "empty program": ([""], {}, None),
    "no arguments": ([], {}, None),
    "argument with a NUL": (["echo", "a\0b"], {}, None),
    "program with a NUL": (["ec\0ho"], {}, None),
    "number as an argument": (["echo", 3], {}, None),
    "number as arguments": (3, {}, None),
    "too long a list": (["true", *(["x" * 100000] * 30)], {}, None),
    "too long an argument": (["true", "x" * 200000], {}, None),
    "unknown option": (["true"], {"no_such_option": 1}, None),
    "new session": (
        [PYTHON, "-c", "import os; print(os.getsid(0) == os.getpid())"],
        {"start_new_session": True, **PIPES},
        None,
    ),
    "umask": ([PYTHON, "-c", MASKS], {"umask": 0o027, **PIPES}, None),
    "signals restored": ([PYTHON, "-c", MASKS], PIPES, None),
    "signals kept": ([PYTHON, "-c", MASKS], {"restore_signals": False, **PIPES}, None),
    "descriptors closed": (["ls", "/proc/self/fd"], PIPES, None),
    "descriptors kept": (["ls", "/proc/self/fd"], {"close_fds": False, **PIPES}, None),
    "preexec_fn": (["sh", "-c", "umask"], {"preexec_fn": lambda: os.umask(0o011), **PIPES}, None),
    "preexec_fn raises": (["true"], {"preexec_fn": lambda: 1 / 0}, None),
    "group": (["id", "-g"], {"group": os.getgid(), **PIPES}, None),
    "user": (["id", "-u"], {"user": os.getuid(), **PIPES}, None),
    "no such user": (["id"], {"user": "no-such-user"}, None),
}
if os.getuid() == 0:
    CASES["another user"] = (
        ["id"],
        {"user": "nobody", "group": "nogroup", "extra_groups": [], **PIPES},
        None,
    )
    CASES["another user may not"] = (
        ["{}/program"],
        {"user": "nobody", "group": "nogroup", "extra_groups": []},
        None,
    )
if sys.version_info >= (3, 11):
    CASES["process group"] = ([PYTHON, "-c", SHOW], {"process_group": 0, **PIPES}, None)


def filled(value: Any, folder: Path) -> Any:
    """The value with each {} in its texts replaced by the folder."""
    if isinstance(value, str):
        return value.replace("{}", str(folder))
    if isinstance(value, (list, tuple)):
        return type(value)(filled(item, folder) for item in value)
    if isinstance(value, dict):
        return {key: filled(item, folder) for key, item in value.items()}
    return value


@pytest.mark.parametrize("name", CASES)
def test_same_as_subprocess(name: str, recorder: Recorder, folder: Path) -> None:
    arguments, options, given = (filled(part, folder) for part in CASES[name])
    expected = outcome(subprocess.Popen, arguments, options, given)
    actual = outcome(recorder.filter.popen, arguments, options, given)
    assert actual == expected
    assert actual["leaked"] == set()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def both(recorder: Recorder) -> list[Start]:
    return [subprocess.Popen, recorder.filter.popen]


def test_signals_reach_the_program(recorder: Recorder) -> None:
    results = []
    for start in both(recorder):
        text = "trap 'echo got; exit 3' USR1; echo ready; while :; do sleep 0.05; done"
        process = start(["sh", "-c", text], stdout=subprocess.PIPE, text=True)
        first = process.stdout.readline()
        process.send_signal(signal.SIGUSR1)
        results.append((first, process.communicate(timeout=30)[0], process.returncode))
        process = start(["sleep", "60"])
        process.terminate()
        results[-1] += (process.wait(30),)
        process = start(["sleep", "60"])
        process.kill()
        results[-1] += (process.wait(30), process.poll())
    assert (
        results[0] == results[1] == ("ready\n", "got\n", 3, -signal.SIGTERM, -signal.SIGKILL, -signal.SIGKILL)
    )


def test_pass_fds(recorder: Recorder) -> None:
    for start in both(recorder):
        reading, writing = os.pipe()
        try:
            text = f"import os; os.write({writing}, b'text\\n'); print(os.listdir('/proc/self/fd'))"
            process = start([PYTHON, "-c", text], pass_fds=(writing,), **PIPES)
            output = process.communicate(timeout=30)[0]
            assert process.returncode == 0
            assert sorted(map(int, ast.literal_eval(output.decode()))) == [0, 1, 2, 3, writing]
            assert os.read(reading, 100) == b"text\n"
        finally:
            os.close(reading)
            os.close(writing)


def test_the_ids_are_the_program_s(recorder: Recorder) -> None:
    """The process that popen() gives is the program's own, a child of this one."""
    for start in both(recorder):
        process = start([PYTHON, "-c", "import os; print(os.getpid(), os.getppid())"], stdout=subprocess.PIPE)
        assert process.communicate(timeout=30)[0].split() == [
            str(process.pid).encode(),
            str(os.getpid()).encode(),
        ]


def test_timeout_of_wait(recorder: Recorder) -> None:
    for start in both(recorder):
        with start(["sleep", "60"]) as process:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.1)
            process.kill()


def test_several_threads_start_programs(recorder: Recorder) -> None:
    codes: list[int] = []

    def start_some(first: int) -> None:
        for number in range(first, first + 10):
            codes.append(recorder.filter.popen(["sh", "-c", f"exit {number}"]).wait(30))

    threads = [threading.Thread(target=start_some, args=(first,)) for first in (0, 10, 20, 30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == list(range(40))


def test_it_is_an_ordinary_popen(recorder: Recorder) -> None:
    process = recorder.filter.popen(["true"])
    assert isinstance(process, subprocess.Popen)
    assert process.wait(30) == 0 and process.args == ["true"]


def test_its_events(recorder: Recorder) -> None:
    """The rule is in force before the program runs, and covers what it starts."""
    del recorder.events[:]
    process = recorder.filter.popen(["sh", "-c", "/bin/true; /bin/echo x; exit 2"], stdout=subprocess.DEVNULL)
    assert process.wait(30) == 2
    end = time.monotonic() + 10
    while len(recorder.of("process_termination")) < 3 and time.monotonic() < end:
        time.sleep(0.01)
    assert recorder.executed() == [
        ["sh", "-c", "/bin/true; /bin/echo x; exit 2"],
        ["/bin/true"],
        ["/bin/echo", "x"],
    ]
    first = recorder.of("process_creation")[0]
    assert first["process_id"] == process.pid
    assert first["creating_process_id"] == first["parent_process_id"] == os.getpid()
    assert [event["exit_status"] for event in recorder.of("process_termination")] == [0, 0, 2]


def test_wrong_states() -> None:
    idle = cbprocess.CBProcess()
    with pytest.raises(cbprocess.CBProcessError) as raised:
        idle.popen(["true"])
    assert raised.value.code == cbprocess.ERROR_NOT_READY
    idle.initialize("{5ABD3A8B-6A3F-4C52-9F0C-5E1F0A1C7D11}")
    with pytest.raises(cbprocess.CBProcessError) as raised:
        idle.popen(["true"])
    assert raised.value.code == cbprocess.ERROR_NOT_READY


def test_not_in_a_handler() -> None:
    codes: list[int] = []

    def decide(kind: str, event: Any) -> None:
        if kind == "process_creation" and not codes:
            with pytest.raises(cbprocess.CBProcessError) as raised:
                started.filter.popen(["true"])
            codes.append(raised.value.code)

    with recording(decide=decide) as started:
        assert started.filter.popen(["true"]).wait(30) == 0
    assert codes == [cbprocess.ERROR_POSSIBLE_DEADLOCK] and started.errors == []


def test_interrupt_while_a_start_is_held(tmp_path: Path) -> None:
    """Ctrl-C during popen() is a KeyboardInterrupt there, and the half-started program is gone."""
    released = threading.Event()

    def decide(kind: str, event: Any) -> None:
        if kind == "process_creation":
            released.wait(20)

    with recording(decide=decide) as started:
        timer = threading.Timer(0.5, signal.raise_signal, [signal.SIGINT])
        timer.start()
        try:
            with pytest.raises(KeyboardInterrupt):
                started.filter.popen(["touch", str(tmp_path / "mark")])
        finally:
            released.set()
            timer.join()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
    assert not (tmp_path / "mark").exists()

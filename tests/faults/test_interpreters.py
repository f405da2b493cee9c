"""The end of the interpreter, and a short run of everything, under every CPython of this machine.

Besides the one that runs the tests: those on PATH by their usual names, and those that CBPROCESS_PYTHONS
names, a list of programs separated as in PATH.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from live_tools import PROGRAMS, Orphans, is_alive, of_session, start_controller, tracer_of, wait_until

import cbprocess._binding.library

VARIABLE = "CBPROCESS_PYTHONS"
NAME = re.compile(r"python3\.\d+(t|d|-dbg)?")
OLDEST = (3, 9)
PROBE_S = 20
# Fails without ctypes, which a CPython can be built without. Only of CPython the rest is printed.
PROBE = """
import ctypes, platform, sys, sysconfig
flags = "t" * bool(sysconfig.get_config_var("Py_GIL_DISABLED")) + "d" * hasattr(sys, "gettotalrefcount")
if sys.implementation.name == "cpython":
    print(platform.python_version() + flags, *sys.version_info[:2], sys.executable, sep="\\n")
"""


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def candidates() -> list[str]:
    """Programs that may be a CPython, those that were asked for first."""
    found = [path for path in os.environ.get(VARIABLE, "").split(os.pathsep) if path]
    for folder in os.get_exec_path():
        with contextlib.suppress(OSError):
            names = [entry.name for entry in os.scandir(folder) if NAME.fullmatch(entry.name)]
            found += [os.path.join(folder, name) for name in sorted(names)]
    return found


def probe(paths: list[str]) -> dict[str, str]:
    """The CPythons among them that the package supports, by version: {version: program}."""
    running = []
    for path in paths:
        with contextlib.suppress(OSError):
            line = [path, "-c", PROBE]
            options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
            running.append(subprocess.Popen(line, env=clean_environment(), **options))
    found: dict[str, str] = {}
    for process in running:
        try:
            lines = process.communicate(timeout=PROBE_S)[0].splitlines()
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            continue
        if process.returncode == 0 and len(lines) == 4 and (int(lines[1]), int(lines[2])) >= OLDEST:
            found.setdefault(lines[0], lines[3])
    return found


@functools.cache
def interpreters() -> dict[str, str]:
    """This one first."""
    return probe([sys.executable, *candidates()])


every_interpreter = pytest.mark.parametrize("version", list(interpreters()))


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Any CPython imports the package under test and nothing else of this one's packages."""
    for name in set(os.environ) - set(clean_environment()):
        monkeypatch.delenv(name)
    folder = tmp_path / "packages"
    folder.mkdir()
    (folder / "cbprocess").symlink_to(Path(cbprocess.__file__).parent)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setenv("PYTHONNOUSERSITE", "1")
    # A debug build shows them unasked: of the program that the controller leaves behind.
    monkeypatch.setenv("PYTHONWARNINGS", "ignore::ResourceWarning")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv(cbprocess._binding.library.FOLDER_VARIABLE, cbprocess._binding.library.native_folder())


def test_other_interpreters() -> None:
    versions = list(interpreters())
    print("CPython " + ", ".join(versions))
    if len(versions) == 1:
        pytest.skip(f"this machine has no other CPython from {'.'.join(map(str, OLDEST))} on; see {VARIABLE}")
    for version, program in interpreters().items():
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20)
        assert done.stdout.strip().rstrip("+") == "Python " + version.rstrip("dt"), version


def check_errors(how: str, what: str, errors: str) -> None:
    """What a controller that ended so writes: its own traceback, one warning, or nothing."""
    if how == "raise":
        assert errors.endswith("ValueError: the end of this controller\n")
        assert errors.count("Traceback") == 1
    elif what == "short" or how == "os-exit":
        assert errors == ""
    else:
        assert "CBProcessWarning: an event handler was still running at exit" in errors
        assert len(errors.splitlines()) == 2, errors


@every_interpreter
@pytest.mark.parametrize(
    ("how", "status", "what"),
    [
        ("return", 0, "short"),
        ("exit", 3, "short"),
        ("raise", 1, "short"),
        ("stop", 0, "short"),
        ("os-exit", 3, "short"),
        ("return", 0, "sleep"),
        ("os-exit", 3, "sleep"),
        ("return", 0, "compute"),
        ("stop", 0, "compute"),
        ("exit", 3, "blocked"),
        ("os-exit", 3, "blocked"),
    ],
)
def test_ends_with_handlers_running(
    version: str, how: str, status: int, what: str, environment: None, orphans: Orphans, tmp_path: Path
) -> None:
    # Not a pipe: its end would have to wait for the supervised program.
    with (tmp_path / "errors").open("w") as stream:
        python = interpreters()[version]
        controller = start_controller("controller_exit.py", how, what, python=python, stderr=stream)
    assert controller.stdout is not None
    try:
        line = controller.stdout.readline()
        assert line, (tmp_path / "errors").read_text()
        supervised = int(line)
        helper = tracer_of(supervised)
        begin = time.monotonic()
        controller.wait(40)
        took = time.monotonic() - begin
        errors = (tmp_path / "errors").read_text()
        assert controller.returncode == status, errors
        assert "Fatal Python error" not in errors
        check_errors(how, what, errors)
        assert took < 12, f"the interpreter took {took:.1f} s to end"
        # The program lives on, and no helper stops it any more: it keeps starting others.
        assert is_alive(supervised)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(controller.pid, signal.SIGKILL)
        controller.communicate(timeout=20)
    wait_until(lambda: not is_alive(helper), 20, "the end of the helper")
    wait_until(lambda: orphans.left() == [], 20, "the end of everything")
    assert of_session(controller.pid) == []


def test_pypy(environment: None, orphans: Orphans) -> None:
    """Which counts no references: there each event has an object of its own."""
    python = shutil.which("pypy3")
    if python is None:
        pytest.skip("this machine has no PyPy")
    for line, output in (
        ([str(PROGRAMS / "smoke.py")], "good\n"),
        (["-m", "cbprocess", "run", "-q", "--", "sh", "-c", "echo output; exit 3"], "output\n"),
        (["-m", "cbprocess", "doctor"], None),
    ):
        done = subprocess.run([python, *line], capture_output=True, text=True, timeout=60, cwd="/")
        assert (done.returncode, done.stderr) == (3 if output == "output\n" else 0, "")
        assert output in (None, done.stdout)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as running:
        line = [python, "-m", "cbprocess", "attach", str(running.pid)]
        with subprocess.Popen(
            line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd="/"
        ) as attach:
            try:
                wait_until(lambda: tracer_of(running.pid) or attach.poll() is not None, 60, "it is attached")
            finally:
                running.communicate(b"", timeout=60)
            errors = attach.communicate(timeout=60)[1]
    assert attach.returncode == 0 and "Traceback" not in errors, errors
    wait_until(lambda: orphans.left() == [], 20, "the end of everything")


@every_interpreter
def test_short_run(version: str, environment: None, orphans: Orphans) -> None:
    line = [interpreters()[version], "-X", "dev", "-W", "error", str(PROGRAMS / "smoke.py")]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "good\n", "")
    wait_until(lambda: orphans.left() == [], 20, "the end of everything")

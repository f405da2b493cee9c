"""The library is usable from C alone: the example is compiled against it and run."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path
from typing import Callable

import pytest

import cbprocess.library


@pytest.fixture(scope="module")
def monitor(compile_c: Callable[..., Path], checkout: Path) -> Path:
    native = cbprocess.library.native_folder()
    return compile_c(
        checkout / "examples" / "c" / "monitor.c",
        f"-I{checkout / 'native' / 'include'}",
        f"-I{checkout / 'driver' / 'protocol'}",
        str(Path(native) / "libcbprocess.so"),
        f"-Wl,-rpath,{native}",
    )


def run(monitor: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([monitor, *arguments], capture_output=True, text=True, timeout=60)


def events(text: str, kind: str) -> list[str]:
    """The file names of the programs in the lines of this kind."""
    return re.findall(rf"^{kind} +\d+ \S*?([^/\s:]+)(?::| \(by|$)", text, re.MULTILINE)


def test_it_prints_what_a_shell_starts(monitor: Path) -> None:
    done = run(monitor, "sh", "-c", "ls / | wc -l; exit 3")
    assert done.returncode == 3, done.stderr
    assert int(done.stdout) == len(list(Path("/").iterdir())) - len(list(Path("/").glob(".*")))
    created = events(done.stderr, "created")
    assert len(created) == 3, done.stderr
    assert {"ls", "wc"} < set(created)
    assert sorted(events(done.stderr, "ended")) == sorted(created)
    assert len(re.findall(r": status 0$", done.stderr, re.MULTILINE)) == 2
    assert len(re.findall(r": status 3$", done.stderr, re.MULTILINE)) == 1


def test_it_refuses_a_program(monitor: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    done = run(monitor, "--deny", "touch", "--", "sh", "-c", f"touch {mark} || echo refused; true")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "refused\n"
    assert "Permission denied" in done.stderr
    assert set(events(done.stderr, "refused")) == {"touch"}  # one a folder of PATH that has it
    assert not mark.exists()


def test_a_refused_start(monitor: Path) -> None:
    done = run(monitor, "--deny", "no match", "--deny", "*/true", "true")
    assert done.returncode == 126
    assert "monitor: true: Permission denied" in done.stderr


def test_a_missing_program(monitor: Path) -> None:
    done = run(monitor, "there-is-no-such-program")
    assert done.returncode == 127
    assert events(done.stderr, "created") == []
    assert "monitor: there-is-no-such-program: No such file or directory" in done.stderr


def test_a_signal_is_told_apart_from_a_status(monitor: Path) -> None:
    done = run(monitor, "sh", "-c", "kill -KILL $$")
    assert done.returncode == 128 + signal.SIGKILL
    assert re.search(rf": signal {signal.SIGKILL:d}$", done.stderr, re.MULTILINE)


@pytest.mark.parametrize("arguments", [[], ["--deny"], ["--"], ["--unknown", "true"]])
def test_bad_usage(monitor: Path, arguments: list[str]) -> None:
    done = run(monitor, *arguments)
    assert done.returncode == 125
    assert done.stderr.startswith("usage: monitor")

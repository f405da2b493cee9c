"""The monitors of examples/: each is built as its README section says, against the installed library, and
does the same as the others."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from c_library.programs import lack, need, run_tool

NO_NETWORK = re.compile(r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|ENETUNREACH")
CXX_WARNINGS = "-Wall -Wextra -Wconversion -Wshadow -pedantic -Werror"


class Monitor(NamedTuple):
    command: list[str]
    environment: dict[str, str]


def build_c(source: Path, environment: dict[str, str]) -> list[str]:
    need("cc", "pkg-config")
    flags = run_tool("pkg-config", "--cflags", "--libs", "cbprocess", **environment).split()
    program = source / "monitor"
    strict = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Werror"]
    run_tool("cc", *strict, source / "monitor.c", "-o", program, *flags)
    return [str(program)]


def build_cpp(source: Path, environment: dict[str, str]) -> list[str]:
    need("cmake", "make", "c++")
    build = source / "build"
    run_tool("cmake", "-S", source, "-B", build, f"-DCMAKE_CXX_FLAGS={CXX_WARNINGS}", **environment)
    run_tool("cmake", "--build", build)
    return [str(build / "monitor")]


def build_rust(source: Path, environment: dict[str, str]) -> list[str]:
    need("cargo", "pkg-config")
    cargo = {**environment, "RUSTFLAGS": "-D warnings"}
    manifest = ("--offline", "--manifest-path", source / "Cargo.toml")
    run_tool("cargo", "build", *manifest, **cargo)
    assert re.search(r"[1-9]\d* passed; 0 failed", run_tool("cargo", "test", *manifest, **cargo))
    return [str(source / "target" / "debug" / "monitor")]


def build_nodejs(source: Path, environment: dict[str, str]) -> list[str]:
    need("node", "npm")
    line = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(line, cwd=source, capture_output=True, text=True)
    if NO_NETWORK.search(done.stderr):
        lack("way to the npm registry")
    assert done.returncode == 0, done.stderr
    return ["node", str(source / "monitor.js")]


BUILD = {"c": build_c, "cpp": build_cpp, "rust": build_rust, "nodejs": build_nodejs}


@pytest.fixture(scope="module", params=BUILD)
def monitor(
    request: pytest.FixtureRequest,
    checkout: Path,
    installed_environment: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Monitor:
    source = tmp_path_factory.mktemp("example") / request.param
    ignored = shutil.ignore_patterns("node_modules", "target", "build")
    shutil.copytree(checkout / "examples" / request.param, source, ignore=ignored)
    return Monitor(BUILD[request.param](source, installed_environment), installed_environment)


def run(monitor: Monitor, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **monitor.environment}
    line = [*monitor.command, *arguments]
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=60)


def events(text: str, kind: str) -> list[str]:
    """The file names of the programs in the lines of this kind."""
    return re.findall(rf"^{kind} +\d+ \S*?([^/\s:]+)(?::| \(by|$)", text, re.MULTILINE)


def test_it_prints_what_a_shell_starts(monitor: Monitor) -> None:
    done = run(monitor, "sh", "-c", "ls / | wc -l; exit 3")
    assert done.returncode == 3, done.stderr
    assert int(done.stdout) == len(list(Path("/").iterdir())) - len(list(Path("/").glob(".*")))
    created = events(done.stderr, "created")
    assert len(created) == 3, done.stderr
    assert {"ls", "wc"} < set(created)
    assert sorted(events(done.stderr, "ended")) == sorted(created)
    assert len(re.findall(r": status 0$", done.stderr, re.MULTILINE)) == 2
    assert len(re.findall(r": status 3$", done.stderr, re.MULTILINE)) == 1


def test_it_refuses_a_program(monitor: Monitor, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    done = run(monitor, "--deny", "touch", "--", "sh", "-c", f"touch {mark} || echo refused; true")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "refused\n"
    assert "Permission denied" in done.stderr
    assert set(events(done.stderr, "refused")) == {"touch"}  # one a folder of PATH that has it
    assert not mark.exists()


def test_a_refused_start(monitor: Monitor) -> None:
    done = run(monitor, "--deny", "no match", "--deny", "*/true", "true")
    assert done.returncode == 126
    assert "monitor: true: permission denied" in done.stderr.lower()


def test_a_missing_program(monitor: Monitor) -> None:
    done = run(monitor, "there-is-no-such-program")
    assert done.returncode == 127
    assert events(done.stderr, "created") == []
    assert "monitor: there-is-no-such-program: no such file or directory" in done.stderr.lower()


def test_a_signal_is_told_apart_from_a_status(monitor: Monitor) -> None:
    done = run(monitor, "sh", "-c", "kill -KILL $$")
    assert done.returncode == 128 + signal.SIGKILL
    assert re.search(rf": signal {signal.SIGKILL:d}$", done.stderr, re.MULTILINE)


@pytest.mark.parametrize("arguments", [[], ["--deny"], ["--"], ["--unknown", "true"]])
def test_bad_usage(monitor: Monitor, arguments: list[str]) -> None:
    done = run(monitor, *arguments)
    assert done.returncode == 125
    assert done.stderr.startswith("usage: monitor")


@pytest.mark.parametrize("monitor", ["nodejs"], indirect=True)
def test_the_javascript_wrapper(monitor: Monitor) -> None:
    """Its own tests: handlers that await hold their operations."""
    files = sorted(Path(monitor.command[1]).parent.glob("*.test.js"))
    assert len(files) == 2
    output = run_tool("node", "--test", *files, **monitor.environment)
    assert re.search(r"\bpass ([89]|\d\d)\b", output), output

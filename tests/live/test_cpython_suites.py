"""CPython's own tests of processes, signals and threads pass under `cbprocess run` as they do bare.

They take minutes, so they run only where they are asked for: pytest -m slow."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from supervised import COMMAND_LINE

pytestmark = pytest.mark.slow

# Other tests see a PATH of the system's folders only.
SEARCH = os.environ.get("PATH", os.defpath)
# Suite -> patterns of tests to leave out, each with its reason.
SUITES: dict[str, list[str]] = {
    # Asks strace, which cannot trace what is traced already.
    "test_subprocess": ["test_vfork_used_when_expected"],
    "test_signal": [],
    "test_threading": [],
    # Threads only, and one of them waits for five minutes.
    "forked_processes": ["*WithThreadsTestPool*"],
}
LEAST_COUNT = {"test_subprocess": 250, "test_signal": 40, "test_threading": 150, "forked_processes": 250}
# What the interpreter's test_multiprocessing_fork does, under a name that its runner looks for nowhere else.
FORKED_PROCESSES = """
import unittest
import test._test_multiprocessing
test._test_multiprocessing.install_tests_in_module_dict(globals(), "fork")
"""
REPETITIONS = 3  # of a test that fails: many depend on how busy the machine is


def python_with_tests() -> str:
    """A Python that has its own tests: this one's, or one on PATH."""
    candidates = [sys.executable, "/usr/bin/python3"]
    candidates += [os.path.join(folder, "python3") for folder in SEARCH.split(os.pathsep)]
    text = "import sys, test.support, test.test_subprocess, test._test_multiprocessing; print(sys.executable)"
    for candidate in candidates:
        try:
            done = subprocess.run([candidate, "-c", text], capture_output=True, text=True, timeout=60)
        except OSError:
            continue
        if done.returncode == 0:
            return done.stdout.strip()
    pytest.skip("no Python here has its own tests (on Debian: libpython3.N-testsuite)")


@pytest.fixture(scope="module")
def interpreter() -> str:
    return python_with_tests()


class Suite:
    """One suite of an interpreter, in a folder of the test's own."""

    def __init__(self, interpreter: str, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.line = [interpreter, "-m", "test", "--tempdir", str(folder)]
        if not name.startswith("test_"):
            (folder / f"test_{name}.py").write_text(FORKED_PROCESSES)
            self.line += ["--testdir", str(folder)]
        for pattern in SUITES[name]:
            self.line += ["-i", pattern]

    def run(self, supervisor: list[str], *only: str) -> tuple[set[str], set[str]]:
        """All tests that were run and those that failed; `only` are names of tests."""
        report = self.folder / "report.xml"
        report.unlink(missing_ok=True)
        line = [*supervisor, *self.line, "--junit-xml", str(report)]
        for name in only:
            line += ["-m", name.rpartition(".")[2]]
        suite = self.name if self.name.startswith("test_") else f"test_{self.name}"
        done = subprocess.run(
            [*line, suite],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            cwd=self.folder,
            timeout=500,
        )
        assert report.exists(), done.stdout[-3000:]
        cases = list(ElementTree.parse(report).iter("testcase"))
        failed = [
            case for case in cases if case.find("failure") is not None or case.find("error") is not None
        ]
        return {str(case.get("name")) for case in cases}, {str(case.get("name")) for case in failed}


@pytest.mark.limit(900)
@pytest.mark.parametrize("events", ["lifetimes", "all"])
@pytest.mark.parametrize("name", SUITES)
def test_passes_as_it_does_bare(name: str, events: str, interpreter: str, tmp_path: Path) -> None:
    options = ["--events", "all"] if events == "all" else []
    output = tmp_path / "events"
    supervisor = [*COMMAND_LINE, "run", "--output", str(output), *options, "--"]
    suite = Suite(interpreter, name, tmp_path)
    ran, failed = suite.run(supervisor)
    assert len(ran) >= LEAST_COUNT[name]
    assert output.stat().st_size > 10_000, "the suite was not supervised"
    for _ in range(REPETITIONS):
        if failed:
            failed &= suite.run(supervisor, *failed)[1]
    if failed:
        failed -= suite.run([], *failed)[1]
    assert not failed, "these pass bare"

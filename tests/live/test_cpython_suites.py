"""CPython's own tests of processes, signals and threads are the same under `cbprocess run` as bare: the same
tests run, and each passes, fails or is skipped as it does bare.

They take minutes, so they run only where they are asked for: pytest -m slow."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sameness

pytestmark = pytest.mark.slow

# Other tests see a PATH of the system's folders only.
SEARCH = os.environ.get("PATH", os.defpath)
# Suite -> patterns of tests to leave out.
SUITES: dict[str, list[str]] = {
    "test_subprocess": [],
    "test_signal": [],
    "test_threading": [],
    # Threads only, and one of them waits for five minutes.
    "forked_processes": ["*WithThreadsTestPool*"],
}
# Tests that end otherwise than they do bare, as any tracer has it, each with its reason.
KNOWN_DIFFERENCES = {
    "test_vfork_used_when_expected": "asks strace, which cannot trace what is traced already",
}
LEAST_COUNT = {"test_subprocess": 250, "test_signal": 40, "test_threading": 150, "forked_processes": 250}
# What the interpreter's test_multiprocessing_fork does, under a name that its runner looks for nowhere else.
FORKED_PROCESSES = """
import unittest
import test._test_multiprocessing
test._test_multiprocessing.install_tests_in_module_dict(globals(), "fork")
"""
REPETITIONS = 3  # of a test that ends otherwise: many depend on how busy the machine is


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

    def run(self, helper: Sequence[str], *only: str) -> dict[str, str]:
        """Test -> how it ended; `only` are names of tests."""
        report = self.folder / "report.xml"
        report.unlink(missing_ok=True)
        line = [*helper, *self.line, "--junit-xml", str(report)]
        for name in only:
            line += ["-m", name.rpartition(".")[2]]
        suite = self.name if self.name.startswith("test_") else f"test_{self.name}"
        done = sameness.called([*line, suite], self.folder / "output", cwd=self.folder, timeout=500)
        assert report.exists(), (done.output + done.errors)[-3000:]
        ends: dict[str, str] = {}
        for case in ElementTree.parse(report).iter("testcase"):
            end = ending(case)
            # One that fails in parts is told of in parts.
            if end == "failed" or ends.get(str(case.get("name"))) != "failed":
                ends[str(case.get("name"))] = end
        return ends


def ending(case: ElementTree.Element) -> str:
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    skipped = case.find("skipped")
    return "passed" if skipped is None else f"skipped: {skipped.text}"


@functools.cache
def bare_ends(interpreter: str, name: str) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        return Suite(interpreter, name, Path(folder)).run([])


@pytest.mark.limit(900)
@pytest.mark.parametrize("events", ["lifetimes", "all"])
@pytest.mark.parametrize("name", SUITES)
def test_is_as_bare(name: str, events: str, interpreter: str, tmp_path: Path) -> None:
    options = ["--events", "all"] if events == "all" else []
    output = tmp_path / "events"
    helper = [*sameness.WAYS["module"], "run", "--output", str(output), *options, "--"]
    suite = Suite(interpreter, name, tmp_path)
    with ThreadPoolExecutor(1) as beside:
        run_bare = beside.submit(bare_ends, interpreter, name)
        ran = suite.run(helper)
    # Of each test all the ways in which it has ended.
    bare, supervised = ({test: {end} for test, end in ends.items()} for ends in (run_bare.result(), ran))
    assert len(bare) >= LEAST_COUNT[name]
    assert output.stat().st_size > 10_000, "the suite was not supervised"
    assert set(supervised) == set(bare)

    def differing() -> list[str]:
        return [
            test
            for test in sorted(bare)
            if not bare[test] & supervised[test] and test.rpartition(".")[2] not in KNOWN_DIFFERENCES
        ]

    for _ in range(REPETITIONS):
        again = differing()
        for ends, front in ((supervised, helper), (bare, [])):
            for test, end in suite.run(front, *again).items() if again else ():
                ends.setdefault(test, set()).add(end)
    assert {test: (bare[test], supervised[test]) for test in differing()} == {}

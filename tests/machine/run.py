"""Runs the tests of the bpf driver: on this machine as root, with independent witnesses, and in guests.

    python tests/machine/run.py --list
    python tests/machine/run.py [--cache FOLDER] [PART]...     all of them, or these

Guests run beside the other parts. The Python that runs this is the one whose cbprocess is tested. Where this
machine's kernel has no BPF, or this user is not root, guests alone are run, and that is said. Where it has
BPF, a driver that cannot run is a failure. Ends with status 0 if everything holds."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

# What holds if a part ends with status 0.
PARTS = {
    "native": "the driver on this kernel; it holds processes of the tests' own alone",
    "witness": "bpftrace and strace see the same processes of this machine as the driver",
    "guests": "the driver holds whole machines of Debian's kernels, and lets them go",
}
NEEDS = {"native": ["bpftool"], "witness": ["bpftool", "bpftrace", "strace", "stress-ng"]}
GUESTS_AT_A_TIME = 2  # they wait a good part of their time
CANNOT = "cannot run here"  # in the reason for which the tests are skipped


def obstacle() -> str:
    """Why BPF programs cannot be tested on this machine, as others than the driver see it, or ""."""
    if os.geteuid() != 0:
        return "this user is not root"
    if not Path("/sys/kernel/btf/vmlinux").exists():
        return "this kernel has no BTF"
    if shutil.which("bpftool") is None:
        return "bpftool is not installed"
    done = subprocess.run(["bpftool", "prog", "show"], capture_output=True, text=True, timeout=60)
    return f"this kernel has no BPF for us: {done.stderr.strip()}" if done.returncode else ""


# So many pytests share the files of a part at a time: most tests wait, for a guard or for a deadline.
JOBS = {"native": 4, "witness": 1}


def tests_of(part: str) -> list[list[str]]:
    """The test files of a part, for each of its jobs."""
    folders = ["witness"] if part == "witness" else [".", "guard", "native", "programs"]
    files = [path for folder in folders for path in (HERE / folder).glob("test_*.py")]
    files.sort(key=lambda path: path.stat().st_size, reverse=True)
    return [[str(path) for path in files[job :: JOBS[part]]] for job in range(JOBS[part])]


def cannot_run(report: Path) -> list[str]:
    """The reasons of tests that were skipped because the driver does not run."""
    skipped = xml.etree.ElementTree.parse(report).iter("skipped")
    return sorted({reason for item in skipped if CANNOT in (reason := item.get("message", ""))})


class Job:
    """A pytest in the background, with these files."""

    def __init__(self, folder: Path, tests: list[str]) -> None:
        folder.mkdir()
        self._report = folder / "report.xml"
        self._output = folder / "output"
        # Not `python -m pytest`, which would put the checkout's own package in front.
        line = [str(Path(sys.executable).with_name("pytest")), "-q", "-rfEsR", "-p", "no:cacheprovider"]
        line += [
            f"--junitxml={self._report}",
            f"--rootdir={ROOT}",
            "-c",
            str(ROOT / "pyproject.toml"),
            *tests,
        ]
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        with self._output.open("wb") as stream:
            self._process = subprocess.Popen(
                line, cwd=folder, env=environment, stdout=stream, stderr=subprocess.STDOUT
            )

    def wait(self) -> tuple[bool, list[str]]:
        """Whether all tests hold, and why the driver could not run."""
        status = self._process.wait()
        sys.stdout.write(self._output.read_text(encoding="utf-8", errors="replace"))
        sys.stdout.flush()
        return status == 0, cannot_run(self._report) if self._report.exists() else ["pytest wrote no report"]

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait()


def run_tests(part: str) -> bool:
    missing = [program for program in NEEDS[part] if shutil.which(program) is None]
    if missing:
        print(f"not installed: {', '.join(missing)}")
        return False
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        jobs = [Job(Path(name) / str(number), tests) for number, tests in enumerate(tests_of(part))]
        for job in jobs:
            stack.callback(job.end)
        ends = [job.wait() for job in jobs]
    reasons = sorted({reason for _, reasons in ends for reason in reasons})
    for reason in reasons:
        print(f"this kernel has BPF, and yet: {reason}")
    return all(holds for holds, _ in ends) and not reasons


class Guests:
    """The guests' own command, in the background."""

    def __init__(self, cache: Path | None) -> None:
        line = [sys.executable, str(HERE / "guests" / "run_guests.py")]
        line += ["--jobs", str(GUESTS_AT_A_TIME), *(["--cache", str(cache)] if cache else [])]
        self._began = time.monotonic()
        self._folder = tempfile.TemporaryDirectory()
        self._output = Path(self._folder.name) / "output"
        with self._output.open("wb") as stream:
            self._process = subprocess.Popen(line, stdout=stream, stderr=subprocess.STDOUT)

    def wait(self) -> bool:
        status = self._process.wait()
        sys.stdout.write(self._output.read_text(encoding="utf-8", errors="replace"))
        return say("guests", status == 0, self._began)

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait()
        self._folder.cleanup()


def say(part: str, holds: bool, began: float) -> bool:
    print(f"== {part}: {'holds' if holds else 'FAILS'} ({time.monotonic() - began:.0f} s)", flush=True)
    return holds


def run_here(part: str) -> bool:
    print(f"== {part}: {PARTS[part]}", flush=True)
    began = time.monotonic()
    return say(part, run_tests(part), began)


def run(parts: list[str], cache: Path | None) -> list[str]:
    """The parts that do not hold."""
    guests = Guests(cache) if "guests" in parts else None
    try:
        here = [part for part in parts if part != "guests"]
        reason = obstacle() if here else ""
        if reason:
            print(f"== {' and '.join(here)}: left out, because {reason}")
        failed = [part for part in here if not reason and not run_here(part)]
        if guests and not guests.wait():
            failed.append("guests")
        return failed + (here if reason and not guests else [])
    finally:
        if guests:
            guests.end()


def main() -> int:
    parser = argparse.ArgumentParser(description="Runs the tests of the bpf driver.")
    parser.add_argument("--list", action="store_true", help="list the parts")
    parser.add_argument("--cache", type=Path, help="a folder for kernels and images, which is kept")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    options = parser.parse_args()
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    if options.list:
        for part, promise in PARTS.items():
            print(f"{part:8} {promise}")
        return 0
    failed = run(options.parts or list(PARTS), options.cache)
    if failed:
        print(f"FAILED: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

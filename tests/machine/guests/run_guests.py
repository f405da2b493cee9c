"""Builds guests and runs tests in them: whole machines of Debian's kernels, which may be held as a whole.

    python tests/machine/guests/run_guests.py [--guest NAME]... [--cache FOLDER] [--python PYTHON]
        [--seconds N] [--jobs N] [--order SHELL] [TEST]...

TEST is a path from the checkout's root; further options are pytest's. PYTHON is the one whose cbprocess is
tested: guests get that package, and Debian's Python runs it. Ends with status 0 if each test has passed in
each guest.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import shlex
import signal
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree
from pathlib import Path
from typing import NamedTuple, NoReturn

import boot
import initramfs
import kernels
import root_image


class Machine(NamedTuple):
    """A guest: its kernel, words for the kernel's command line, what it runs of the native tests, and its
    processors. All of those tests in each guest would take longer than there is time, and so would two
    processors: qemu makes each instruction that one shares with the other dearer."""

    kernel: str
    words: str
    native: tuple[str, ...]
    processors: int = 1


LSM = "lsm=lockdown,capability,landlock,yama,apparmor,bpf"
NO_LSM = "lsm=lockdown,capability,landlock,yama,apparmor"
MACHINES = {  # the one that takes longest comes first
    "7": Machine("7", LSM, ("test_never_held",), processors=2),
    "6.1": Machine("6.1", NO_LSM, ("test_refusals", "test_handles")),
    "6.12": Machine("6.12", LSM, ("test_refusals",)),
    "5.10": Machine("5.10", NO_LSM, ("test_refusals",)),
}
# The oldest one is run by its name alone: Debian may take its suite away.
USUAL = ("7", "6.1", "6.12")
TESTS = "tests/machine/guests/tests"
NATIVE_TESTS = "tests/machine/native"
SECONDS = 900
LATER_S = 60
SHOWN_LINES = 120

_printing = threading.Lock()


def _order_of(tests: list[str]) -> str:
    """The shell's line that runs these tests in a guest."""
    line = [
        "/usr/bin/python3",
        "-m",
        "pytest",
        "-q",
        "-rfEs",
        "-p",
        "no:cacheprovider",
        "--tb=short",
        "--color=no",
    ]
    line += ["--junitxml=/run/results/junit.xml", "-o", "junit_family=xunit2", *tests]
    options = shlex.quote(os.environ.get("PYTEST_ADDOPTS", ""))
    variables = f"CBPROCESS_TEST_GUEST=1 CBPROCESS_TEST_PROGRAMS=/guest/programs PYTEST_ADDOPTS={options}"
    return f"cd /guest/checkout && {variables} {shlex.join(line)}"


def _tests_of(name: str) -> list[str]:
    return [TESTS, *(f"{NATIVE_TESTS}/{module}.py" for module in MACHINES[name].native)]


def _counts(junit: bytes) -> dict[str, int]:
    suite = next(iter(xml.etree.ElementTree.fromstring(junit).iter("testsuite")))
    counts = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    counts["passed"] = counts["tests"] - counts["failures"] - counts["errors"] - counts["skipped"]
    return counts


def _say(name: str, ended: boot.Ended) -> bool:
    """Prints how a guest has ended; True if all is well."""
    files = {
        key: value.decode(errors="replace").strip()
        for key, value in ended.files.items()
        if key != "junit.xml"
    }
    counts = _counts(ended.files["junit.xml"]) if "junit.xml" in ended.files else {}
    is_well = not ended.trouble and files.get("status") == "0" and (not counts or counts["passed"] > 0)
    lines = ended.console.splitlines()
    with _printing:
        print("\n".join(lines if is_well or len(lines) <= SHOWN_LINES else lines[-SHOWN_LINES:]))
        words = " ".join(f"{value} {key}" for key, value in counts.items())
        took = f"{ended.seconds:.0f} s, ready after {files.get('boot_seconds', '?')} s"
        state = "holds" if is_well else f"FAILS {ended.trouble or 'with status ' + files.get('status', '?')}"
        system = f"{files.get('kernel', '?')}; {files.get('lsm', '?')}"
        print(f"== guest {name} ({system}): {state}; {words}; {took}", flush=True)
    return is_well


def _shell_text(order: str, seconds: float) -> str:
    """The variables that a guest's first program reads. It ends by itself, too, should nobody be left to end
    it."""
    return f"ORDER={shlex.quote(order)}\nLIMIT={seconds + LATER_S:.0f}\n"


class _Builder:
    """What guests have in common. The folder is this run's own; the cache, which other runs may use at the
    same time, has kernels alone."""

    def __init__(self, cache: Path, folder: Path, python: str) -> None:
        began = time.monotonic()
        self._cache, self._folder = cache, folder
        self._guests: list[boot.Guest] = []
        self.disk = folder / "root.ext4"
        version = root_image.make_folder(folder / "root", python)
        root_image.make_image(folder / "root", self.disk)
        size = self.disk.stat().st_blocks * 512 // root_image.MIB
        took = time.monotonic() - began
        print(f"== root file system with cbprocess {version}: {size} MiB, {took:.1f} s", flush=True)

    def run(self, name: str, order: str, seconds: float) -> boot.Ended:
        machine = MACHINES[name]
        folder = self._folder / f"guest-{name}"
        folder.mkdir()
        kernel = kernels.get(machine.kernel, self._cache)
        initramfs.make(folder / "initramfs", kernel.modules, _shell_text(order, seconds))
        guest = boot.Guest(
            folder,
            kernel.image,
            folder / "initramfs",
            self.disk,
            processors=machine.processors,
            words=machine.words,
        )
        self._guests.append(guest)
        return guest.wait(seconds)

    def end(self) -> None:
        for guest in self._guests:
            guest.end()


def run(options: argparse.Namespace, of_pytest: list[str], folder: Path) -> list[str]:
    """The names of the guests in which something has failed."""
    cache = (options.cache or folder).resolve()
    cache.mkdir(parents=True, exist_ok=True)
    names = options.guest or list(USUAL)
    for name in names:
        print(f"== kernel {name}: {kernels.get(MACHINES[name].kernel, cache).package}", flush=True)
    builder = _Builder(cache, folder, options.python)
    orders = {
        name: options.order or _order_of([*(options.tests or _tests_of(name)), *of_pytest]) for name in names
    }
    pool = concurrent.futures.ThreadPoolExecutor(options.jobs)
    try:
        running = {name: pool.submit(builder.run, name, orders[name], options.seconds) for name in names}
        return [name for name in names if not _say(name, running[name].result())]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        builder.end()


def _stop(number: int, frame: object) -> NoReturn:
    sys.exit(128 + number)  # so that what has been begun is ended


def main() -> int:
    parser = argparse.ArgumentParser(description="Runs tests in guests.")
    parser.add_argument("--guest", action="append", choices=MACHINES, help=f"{', '.join(USUAL)} otherwise")
    parser.add_argument("--cache", type=Path, help="a folder for kernels, which is kept")
    parser.add_argument("--python", default=sys.executable, help="whose cbprocess is tested")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="the most that a guest may take")
    parser.add_argument("--jobs", type=int, default=1, help="guests at the same time")
    parser.add_argument("--order", help="a shell's line to run in place of tests")
    parser.add_argument("tests", nargs="*", metavar="TEST")
    options, of_pytest = parser.parse_known_args()
    signal.signal(signal.SIGTERM, _stop)
    with tempfile.TemporaryDirectory(prefix="cbprocess-guests-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)  # apt's own user has to reach what it writes
        failed = run(options, of_pytest, Path(folder))
    if failed:
        print(f"FAILED in guests: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

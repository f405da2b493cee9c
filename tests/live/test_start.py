"""What the start of a command imports: only what its options ask for."""

from __future__ import annotations

import json
import pstats
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = """
import json, sys
before = set(sys.modules)
from cbprocess.cli import main
status = main(sys.argv[1:])
print(json.dumps([status, sorted(set(sys.modules) - before)]))
"""
OPTIONAL = (
    "fleet",
    "rule_files",
    "rules",
    "spool",
    "sinks",
    "formats",
    "records",
    "frames",
    "metrics",
    "sigma",
)
DEAR = {"dataclasses", "inspect", "pathlib", "hashlib", "json", "socket", "tomllib", "tempfile", "asyncio"}


def loaded(*arguments: str | Path) -> set[str]:
    line = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    status, names = json.loads(done.stdout)
    assert status == 0
    return set(names)


def parts(names: set[str]) -> set[str]:
    """The parts of the package that are not for every command."""
    found = {name.split(".")[1].lstrip("_") for name in names if name.startswith("cbprocess.")}
    return found & set(OPTIONAL)


def test_a_command_without_options_loads_what_it_needs() -> None:
    names = loaded("run", "--", "true")
    assert parts(names) == set()
    # json is loaded by this test's own program.
    assert names & (DEAR - {"json"}) == set()
    own = {name for name in names if name.startswith("cbprocess.cli.")}
    assert (
        own & {f"cbprocess.cli.{name}" for name in ("tree_lines", "record_lines", "live", "fleet")} == set()
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--json"], {"records"}),
        (["--format", "ecs"], {"records", "formats"}),
        (["--deny", "/no/such"], {"rules"}),
        (["--spool", "{}/spool"], {"records", "rules", "spool", "fleet", "rule_files"}),
    ],
)
def test_an_option_loads_its_part_alone(tmp_path: Path, options: list[str], expected: set[str]) -> None:
    words = [word.format(tmp_path) for word in options]
    assert parts(loaded("run", *words, "-o", tmp_path / "lines", "--", "true")) == expected


def test_a_profiler_writes_what_it_has_seen(tmp_path: Path) -> None:
    """The quick end of the process took its work away."""
    line = [sys.executable, "-m", "cProfile", "-o", str(tmp_path / "profile")]
    line += ["-m", "cbprocess", "run", "-q", "--", "true"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    found: Any = pstats.Stats(str(tmp_path / "profile"))
    assert "run" in {function for _, _, function in found.stats}


LAUNCHER_GONE = """
import signal, sys
from cbprocess._binding import library
from cbprocess.cli import main
library.launcher_path = lambda: "/bin/true"
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
sys.exit(main(["run", "--", "true"]))
"""


def test_a_launcher_that_has_gone_hides_no_reason() -> None:
    """To end it failed where the system waits for children, and that was told in place of the reason."""
    done = subprocess.run([sys.executable, "-c", LAUNCHER_GONE], capture_output=True, text=True, timeout=60)
    assert done.returncode == 125
    assert done.stderr.startswith("cbprocess: ") and done.stderr.count("\n") == 1


def test_a_child_that_has_gone_cannot_be_ended() -> None:
    from cbprocess.cli.child import Child

    gone = subprocess.Popen(["true"])
    gone.wait()
    child = object.__new__(Child)
    child.pid, child.returncode = gone.pid, None
    child.kill()
    assert child.wait() == 0


WAIT_FAILS = """
import sys, time
from cbprocess._api.launching import Launch
from cbprocess.cli import main
wait, marker = Launch.wait, sys.argv[1]
def fail_once(launch):
    Launch.wait = wait
    wait(launch)
    while not open(marker).read():
        time.sleep(0.01)
    raise ValueError("a failure behind the start")
Launch.wait = fail_once
sys.exit(main(["run", "--", "sh", "-c", 'echo ran >> "$0"', marker]))
"""


def test_a_failure_behind_the_start_starts_nothing_again(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    marker.touch()
    line = [sys.executable, "-c", WAIT_FAILS, str(marker)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert (done.returncode, marker.read_text()) == (1, "ran\n")
    assert done.stderr.endswith("ValueError: a failure behind the start\n")


WITHOUT_C_LIBRARY = """
import sys, types
from cbprocess.cli import child, main
def fail(name):
    raise OSError("no library")
child.ctypes = types.SimpleNamespace(CDLL={})
sys.exit(main(["run", "-q", "--", "echo", "ran"]))
"""


@pytest.mark.parametrize("library", ["fail", "lambda name: object()"], ids=["none", "without-names"])
def test_a_start_without_a_c_library_by_name(library: str) -> None:
    program = WITHOUT_C_LIBRARY.format(library)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ran\n", "")

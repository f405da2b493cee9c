"""The bpf driver and bpftrace see the same machine: the same processes, argument lists, threads and ends,
over storms of processes. Whatever else runs on the machine meanwhile is compared, too."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import bpftrace_witness
import lives
import ours
import pytest
from attempts import attempt_of

# The first attempt at any of them observes all loads.
pytestmark = pytest.mark.limit(600)
STORM_COUNT = 50_000
STORM_WIDTH = 8
STATUSES = 251  # of programs/child.c
MARGIN_S = 0.5  # between a mark and what is to be compared: more than records of two processors can be apart

# name: the options of stress-ng, each bounded by a count of operations.
MIXES = {
    "fork": ["--fork", "2", "--fork-ops", "4000", "--vfork", "1", "--vfork-ops", "2000"],
    "clone": ["--clone", "2", "--clone-ops", "2000", "--pthread", "1", "--pthread-ops", "2000"],
    "exec": ["--exec", "2", "--exec-ops", "400"],
    "kill": ["--kill", "1", "--kill-ops", "20000", "--zombie", "1", "--zombie-ops", "1000"],
    "daemon": ["--daemon", "1", "--daemon-ops", "300"],
}
NOBODY = 65534
MIX_S = 100  # the most that one may take, also where the machine stands still meanwhile


class Ended(NamedTuple):
    """How a load of the machine has ended."""

    process_id: int
    status: int
    errors: str


class Session:
    """Two observers of the machine, several loads of it, and the marks between which each is compared."""

    def __init__(self, child: str) -> None:
        self.events: list[ours.Event] = []
        self.words: ours.Event = {}
        self.ended: dict[str, Ended] = {}
        self._child = child
        self._number = f"{os.getpid()}-{time.monotonic_ns()}"

    def _mark(self, name: str) -> None:
        time.sleep(MARGIN_S)
        subprocess.run([self._child, name], timeout=60)
        time.sleep(MARGIN_S)

    def _marks_of(self, name: str) -> tuple[str, str]:
        return f"first-{name}-{self._number}", f"last-{name}-{self._number}"

    def load(self, name: str, line: list[str], folder: Path) -> None:
        first, last = self._marks_of(name)
        self._mark(first)
        with (folder / f"{name}.errors").open("w+") as errors:
            process = subprocess.Popen(
                line, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, cwd=folder
            )
            status = process.wait(250)
            errors.seek(0)
            self.ended[name] = Ended(process.pid, status, errors.read())
        self._mark(last)

    def finish(self, monitor: ours.Monitor, witness: bpftrace_witness.Witness) -> None:
        self.events, self.words = monitor.stop()
        witness.stop()
        self._ours, self._seen = ours.observed(self.events), witness.observed()
        # What the monitor itself starts is not told.
        self._own = {monitor.process.pid, witness.process.pid}

    def assert_same(self, name: str) -> int:
        """The load did its work, and both have seen the same of it. Gives the number of processes."""
        assert self.ended[name].status == 0, self.ended[name].errors
        count = lives.assert_same(self._ours, self._seen, *self._marks_of(name), self._own)
        print(f"{name}: {count} processes")
        return count


def line_of_build(checkout: Path, folder: Path) -> list[str]:
    """A build of sources of cbprocess itself, with more jobs than there are processors."""
    folders = [checkout / "driver" / name for name in ("policy", "rules", "text", "protocol")]
    sources = sorted(path for folder in folders for path in folder.glob("*.c"))
    flags = " ".join(f"-I{folder}" for folder in folders)
    objects = " ".join(f"{path.stem}.o" for path in sources)
    rules = "".join(f"{path.stem}.o: {path}\n\t@cc -std=gnu11 -O1 {flags} -c -o $@ $<\n" for path in sources)
    (folder / "Makefile").write_text(f"library.a: {objects}\n\t@ar rcs $@ $^\n{rules}")
    return ["make", "-s", f"-j{2 * (os.cpu_count() or 1)}"]


def line_of_mix(program: str, name: str) -> list[str]:
    """As an ordinary user: for root some of these programs do nothing."""
    user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    return [*user, program, "--quiet", "--timeout", str(MIX_S), *MIXES[name]]


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """One that every user may use."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


@pytest.fixture(scope="module")
def session_of(
    driver: None, child: str, storm: str, checkout: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], Session]:
    """The session of the first attempt at a test, of the second one, and so on: each is made once."""
    reason = bpftrace_witness.obstacle()
    if reason:
        pytest.skip(reason)

    @functools.cache
    def observe(attempt: int) -> Session:
        session, folder = Session(child), tmp_path_factory.mktemp("session")
        stress = shutil.which("stress-ng")
        watching = bpftrace_witness.watching(folder / "bpftrace")
        with watching as witness, ours.monitoring(folder / "events") as monitor, open_folder() as place:
            session.load("storm", [storm, str(STORM_COUNT), str(STORM_WIDTH), child], place)
            session.load("build", line_of_build(checkout, place), place)
            for name in MIXES if stress else ():
                session.load(name, line_of_mix(str(stress), name), place)
            session.finish(monitor, witness)
        return session

    return observe


@pytest.fixture
def session(session_of: Callable[[int], Session], request: pytest.FixtureRequest) -> Session:
    return session_of(attempt_of(request))


def test_nothing_is_lost(session: Session) -> None:
    """Of all loads together no event is missing, and nothing has waited."""
    ours.assert_nothing_lost(session.events, session.words)
    print(f"{len(session.events)} events")


def between(events: list[ours.Event], process_id: int, program: str) -> list[ours.Event]:
    """What was told from the execution of a program to its end; its id may be others' before and later."""
    own = [place for place, event in enumerate(events) if event["process_id"] == process_id]
    first = next(place for place in own if events[place].get("arguments", [""])[0] == program)
    last = next(p for p in own if p > first and events[p]["event"] == "process_termination")
    return events[first : last + 1]


def test_storm(session: Session, child: str, storm: str) -> None:
    """Each of 50,000 processes that live for less than a millisecond is told, and told once."""
    assert session.assert_same("storm") > STORM_COUNT
    creator = session.ended["storm"].process_id
    events = between(session.events, creator, storm)
    born = [e for e in events if e["event"] == "thread_creation" and e["creating_process_id"] == creator]
    children = {(event["process_id"], event["start_time"]) for event in born}
    assert (len(born), len(children)) == (STORM_COUNT, STORM_COUNT)
    of_children = [event for event in events if (event["process_id"], event["start_time"]) in children]
    counts = Counter(event["event"] for event in of_children)
    kinds = ("thread_creation", "process_creation", "thread_termination", "process_termination")
    assert counts == dict.fromkeys(kinds, STORM_COUNT)
    executed = [event for event in of_children if event["event"] == "process_creation"]
    given = Counter(tuple(event["arguments"]) for event in executed)
    assert given == Counter((child, str(number)) for number in range(STORM_COUNT))
    ends = Counter(event["exit_status"] for event in of_children if event["event"] == "process_termination")
    assert ends == Counter(number % STATUSES for number in range(STORM_COUNT))


def test_build(session: Session) -> None:
    # For each of at least ten source files cc, cc1 and as.
    assert session.assert_same("build") > 30


@pytest.mark.parametrize("name", MIXES)
def test_mix(name: str, session: Session) -> None:
    """Programs of stress-ng that fork, clone, execute and kill as wildly as they can."""
    if name not in session.ended:
        pytest.skip("stress-ng is not installed")
    assert session.assert_same(name) > 100

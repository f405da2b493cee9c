"""The shipper: everything arrives at least once, also where sinks fail and shippers are killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from importlib import metadata
from pathlib import Path
from typing import Any, Optional

import pytest
from spool.spool_tools import Account, ListSink, event, fill, until

from cbprocess import CBProcessError, constants, records
from cbprocess.sinks import GROUP, OWN, Later, Refused, open_sink, schemes
from cbprocess.sinks.shipping import Shipper
from cbprocess.spool import Batch, SpoolWriter, sessions


@pytest.fixture(autouse=True)
def quick_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cbprocess.sinks.shipping.BACKOFF_S", (0.005, 0.05))


def account(sink: ListSink, writer: SpoolWriter) -> Account:
    return Account(sink.records(), writer.origin.session or "", writer.counts().number)


def test_everything_arrives_once_and_the_spool_is_empty(root: Path) -> None:
    writers = []
    for _ in range(3):
        with SpoolWriter(root) as writer:
            fill(writer, 1000)
        writers.append(writer)
    sink = ListSink()
    counts = Shipper(root, sink, max_events=64).run(once=True, seconds=30)
    for writer in writers:
        numbers = account(sink, writer)
        assert not numbers.untold and not numbers.doubled
    assert counts.events == 3003 and counts.batches == len(sink.batches) > 3003 // 64
    assert (counts.retries, counts.refused, counts.in_flight, counts.sessions) == (0, 0, 0, 0)
    assert sessions(root) == [] and max(batch.count for batch in sink.batches) == 64


def test_beside_a_writer(root: Path) -> None:
    sink = ListSink()
    shipper = Shipper(root, sink)
    thread = threading.Thread(target=shipper.run)
    thread.start()
    with SpoolWriter(root, limit_bytes=1 << 20) as writer:
        fill(writer, 5000)
    until(lambda: not sessions(root), "everything is shipped")
    shipper.stop()
    thread.join(10)
    numbers = account(sink, writer)
    assert not numbers.untold and not numbers.doubled and writer.counts().removed == 0
    assert sink.is_open  # it is the caller's


@pytest.mark.parametrize("seed", range(4))
def test_a_sink_that_fails_now_and_then(root: Path, seed: int) -> None:
    """What has failed comes again; nothing is acknowledged in front of it."""
    dice = random.Random(seed)
    acked_at_failure: list[bool] = []

    def answer(batch: Batch) -> Optional[BaseException]:
        if dice.random() < 0.3:
            folder = root / f"{batch.origin.boot}-{batch.origin.session}"
            acked = int((folder / "acked").read_text().strip() or 0)
            acked_at_failure.append(acked < batch.first)
            return dice.choice([OSError("no"), Later("busy", 0.01), TimeoutError()])
        return None

    with SpoolWriter(root) as writer:
        fill(writer, 3000)
    sink = ListSink(answer)
    counts = Shipper(root, sink, max_events=50, window=8).run(once=True, seconds=30)
    numbers = account(sink, writer)
    assert not numbers.untold and not numbers.doubled
    assert counts.retries == len(acked_at_failure) > 5 and all(acked_at_failure)
    assert counts.failure is None


def test_a_sink_that_does_not_answer_or_answers_twice(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cbprocess.sinks.shipping.ANSWER_LIMIT_S", 0.2)

    class Bad(ListSink):
        def send(self, batch: Batch, done: Any) -> None:
            if len(self.batches) == 2:
                self.batches.append(batch)
                return
            super().send(batch, lambda error: [done(error), done(OSError("twice"))])

    with SpoolWriter(root) as writer:
        fill(writer, 300)
    sink = Bad()
    counts = Shipper(root, sink, max_events=50).run(once=True, seconds=20)
    numbers = account(sink, writer)
    assert not numbers.untold and not numbers.doubled and counts.retries == 1


def test_what_is_refused_is_skipped_and_counted(root: Path) -> None:
    def answer(batch: Batch) -> Optional[BaseException]:
        if batch.first == 1:
            return Refused("never")
        return Refused("two of them", 2) if batch.first == 51 else None

    with SpoolWriter(root) as writer:
        fill(writer, 200)
    counts = Shipper(root, ListSink(answer), max_events=50).run(once=True, seconds=30)
    assert (counts.refused, counts.events, counts.retries) == (52, 149, 0)
    assert sessions(root) == []


def test_a_sink_that_is_away(root: Path) -> None:
    """It is asked less and less often, and the trouble is told once."""
    is_there = threading.Event()
    told: list[Optional[BaseException]] = []
    sink = ListSink(lambda batch: None if is_there.is_set() else OSError("away"))
    with SpoolWriter(root) as writer:
        fill(writer, 500)
    shipper = Shipper(root, sink, window=4, max_events=50, on_trouble=told.append)
    thread = threading.Thread(target=lambda: shipper.run(once=True))
    thread.start()
    time.sleep(0.5)
    tries = len(sink.batches)
    assert 4 <= tries < 4 * 60 and shipper.counts().failure is not None
    is_there.set()
    thread.join(20)
    assert [str(each) for each in told] == ["away", "None"]
    numbers = account(sink, writer)
    assert not numbers.untold and not numbers.doubled


def test_it_ends_in_time(root: Path) -> None:
    with SpoolWriter(root) as writer:
        fill(writer, 10)
    began = time.monotonic()
    counts = Shipper(root, ListSink(lambda batch: OSError("away"))).run(once=True, seconds=0.3)
    assert 0.2 < time.monotonic() - began < 2
    assert counts.events == 0 and sessions(root) == [writer.folder]
    # What was left comes the next time.
    sink = ListSink()
    Shipper(root, sink).run(once=True, seconds=30)
    assert len(sink.records()) == 11


def test_one_shipper_only(root: Path) -> None:
    shipper = Shipper(root, ListSink())
    thread = threading.Thread(target=shipper.run)
    thread.start()
    until(lambda: (root / ".shipper").exists(), "it has begun")
    time.sleep(0.05)
    with pytest.raises(BlockingIOError):
        Shipper(root, ListSink()).run(once=True, seconds=30)
    shipper.stop()
    thread.join(10)


def test_a_session_that_begins_meanwhile_is_awaited(root: Path) -> None:
    sink = ListSink()
    with SpoolWriter(root) as writer:
        fill(writer, 10)
        shipper = Shipper(root, sink)
        thread = threading.Thread(target=lambda: shipper.run(once=True))
        thread.start()
        until(lambda: len(sink.records()) == 10, "they are there")
        assert thread.is_alive()
        writer.add(event(writer))
    thread.join(10)
    assert not thread.is_alive() and len(sink.records()) == 12


SHIP = "import sys; from cbprocess.cli import main; sys.exit(main(sys.argv[1:]))"


def test_a_shipper_that_is_killed_fifty_times(root: Path, tmp_path: Path) -> None:
    """At random moments, while the writer goes on: nothing is lost, and what comes twice has its number."""
    target = tmp_path / "target.jsonl"
    writer = SpoolWriter(root)
    is_through = threading.Event()

    def write() -> None:
        while not is_through.is_set():
            fill(writer, 100)
        writer.close()

    thread = threading.Thread(target=write)
    thread.start()
    dice = random.Random(15)
    kills = 0
    # One interpreter forks the shippers, so that none has to be started.
    while kills < 50:
        child = os.fork()
        if not child:
            status = 1
            try:
                sink = open_sink(f"file:{target}")
                Shipper(root, sink, max_events=32, window=4).run()
                status = 0
            finally:
                os._exit(status)
        size = target.stat().st_size if target.exists() else 0
        time.sleep(dice.uniform(0.002, 0.05))
        if kills % 5 == 4:
            # Each fifth gets something done first, also on a machine that is busy.
            until(lambda size=size: target.exists() and target.stat().st_size > size, "it ships")  # type: ignore[misc]
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        kills += 1
    is_through.set()
    thread.join(20)
    before = len(target.read_bytes().splitlines())
    command = [sys.executable, "-c", SHIP, "ship", str(root), f"file:{target}", "--once"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    from spool.spool_tools import decoded

    found = decoded(target.read_bytes().splitlines())
    numbers = Account(found, writer.origin.session or "", writer.counts().number)
    assert not numbers.untold and not numbers.told and writer.counts().number > 1000
    assert before >= 10  # by shippers that were killed
    assert sessions(root) == []


@pytest.mark.parametrize(
    "url",
    ["nothing", "none:x", "file:", "file://host/x", "otlp+http://", "otlp+http://h?x=1", "kafka://h", ""],
)
def test_wrong_urls(url: str) -> None:
    with pytest.raises(CBProcessError) as raised:
        open_sink(url)
    assert raised.value.code == constants.ERROR_INVALID_PARAMETER


@pytest.mark.parametrize("wrong", [{"window": 0}, {"max_events": "1"}, {"max_bytes": 10}])
def test_wrong_values(root: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(CBProcessError) as raised:
        Shipper(root, ListSink(), **wrong)
    assert raised.value.code == constants.ERROR_INVALID_PARAMETER


def test_a_sink_of_another_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As an entry point, which is metadata of an installed package."""
    package = tmp_path / "other_sinks-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: other-sinks\nVersion: 1\n")
    (package / "entry_points.txt").write_text("[cbprocess.sinks]\nmemory = other_sinks:open_memory\n")
    (tmp_path / "other_sinks.py").write_text("def open_memory(url):\n    return ('a sink', url)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert open_sink("memory://there") == ("a sink", "memory://there")  # type: ignore[comparison-overlap]
    assert {"memory", "file", "kafka", "otlp+http", "otlp+https"} <= set(schemes())


def test_the_own_sinks_are_entry_points() -> None:
    """So that other programs find them where they find those of other packages."""
    found = {
        entry.name: entry.value
        for entry in metadata.distribution("cbprocess").entry_points
        if entry.group == GROUP
    }
    assert found == OWN and {"file", "kafka", "nats", "tls", "otlp+http"} <= set(found)


def test_a_busy_session_does_not_hold_the_others(root: Path) -> None:
    """The first session always has more than there is room for."""
    with SpoolWriter(root) as busy:
        fill(busy, 3000)
    with SpoolWriter(root) as small:
        fill(small, 1)
    sink = ListSink()
    Shipper(root, sink, window=2, max_events=10).run(once=True, seconds=30)
    order = [batch.origin.session for batch in sink.batches]
    assert len(order) > 300 and order.index(small.origin.session) < 4


def test_a_sink_says_how_much_it_takes(root: Path) -> None:
    class Small(ListSink):
        max_bytes: Optional[int] = None

        def send(self, batch: Batch, done: Any) -> None:
            super().send(batch, done)
            # As a server that is known once something was sent there.
            self.max_bytes = 2000

    with SpoolWriter(root) as writer:
        fill(writer, 500)
    sink = Small()
    Shipper(root, sink, window=1).run(once=True, seconds=30)
    sizes = [len(batch.data) for batch in sink.batches]
    numbers = account(sink, writer)
    assert sizes[0] > 2000 and max(sizes[1:]) <= 2000
    assert not numbers.untold and not numbers.doubled


def test_sessions_of_other_hosts_stay_and_are_told(root: Path) -> None:
    writers = {}
    for host in ("web1", "web2"):
        with SpoolWriter(root, records.Origin.here(host=host)) as writers[host]:
            fill(writers[host], 10)
    sink, told = ListSink(), []
    counts = Shipper(root, sink, host="web1", on_trouble=told.append).run(once=True, seconds=30)
    assert counts.events == 11 and {record["host"] for record in sink.records()} == {"web1"}
    assert sessions(root) == [writers["web2"].folder]
    assert len(told) == 1 and "web2" in str(told[0])


def test_a_later_stop_may_leave_less_time(root: Path) -> None:
    class Mute(ListSink):
        def poll(self, seconds: float) -> None:
            time.sleep(min(seconds, 0.005))

    with SpoolWriter(root) as writer:
        fill(writer, 10)
    sink = Mute()
    shipper = Shipper(root, sink)
    thread = threading.Thread(target=shipper.run)
    thread.start()
    until(lambda: sink.batches, "it is in flight")
    shipper.stop(60)
    thread.join(0.3)
    assert thread.is_alive()
    shipper.stop(0)
    thread.join(10)
    assert not thread.is_alive() and sessions(root) == [writer.folder]


def test_it_ends_when_its_caller_says_so(root: Path) -> None:
    """But not in the middle of something."""
    with SpoolWriter(root) as writer:
        fill(writer, 500)
    left: list[list[Path]] = []

    def is_enough() -> bool:
        left.append(sessions(root))
        return True

    counts = Shipper(root, ListSink(), max_events=10).run(seconds=30, until=is_enough)
    assert (counts.events, counts.in_flight, left) == (501, 0, [[]])


def test_a_session_that_cannot_be_read_holds_no_other(root: Path) -> None:
    """Nobody can read a folder in the place of a segment. The session is told once, and stays."""
    writers = []
    for _ in range(2):
        with SpoolWriter(root) as writer:
            fill(writer, 100)
        writers.append(writer)
    segment = min(writers[0].folder.glob("*.jsonl"))
    segment.rename(root / "aside")
    segment.mkdir()
    sink, told = ListSink(), []
    Shipper(root, sink, on_trouble=told.append).run(once=True, seconds=30)
    numbers = account(sink, writers[1])
    assert not numbers.untold and not numbers.doubled
    assert sessions(root) == [writers[0].folder]
    assert len(told) == 1 and isinstance(told[0], OSError)
    segment.rmdir()
    (root / "aside").rename(segment)
    Shipper(root, sink).run(once=True, seconds=30)
    numbers = account(sink, writers[0])
    assert not numbers.untold and not numbers.doubled and sessions(root) == []

"""Readers: whole lines in order, again after a failure, and the end of writers that died without a word."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spool.spool_tools import Account, batches, decoded, event, everything, fill, lines_of, until

from cbprocess import CBProcessError, constants
from cbprocess.spool import SessionReader, SpoolWriter, follow, lock_shipper, seal, sessions, states

WRITER = """
import sys
from cbprocess import records, spool
writer = spool.SpoolWriter(sys.argv[1])
print(writer.folder.name, flush=True)
number = 0
while True:
    number = writer.add(records.made("test", writer.origin, text="x" * 200))
    if number % 50 == 0:
        print(number, flush=True)
"""


def test_a_restart_goes_on_behind_what_is_acknowledged(root: Path) -> None:
    with SpoolWriter(root, limit_bytes=1 << 20) as writer:
        fill(writer, 1500)
    seen: list[int] = []
    while True:
        # Each "process" takes two batches, and acknowledges one of them.
        reader = SessionReader(writer.folder)
        if reader.is_finished:
            break
        first, second = reader.batch(100), reader.batch(37)
        if first is not None:
            seen += [record["number"] for record in decoded(first.data.splitlines())]
            assert (first.first, first.last) == (seen[-first.count], seen[-1])
            assert first.count <= 100 and (second is None or second.first == first.last + 1)
            reader.ack(first.last)
        reader.close()
    assert seen == list(range(1, 1502))
    # All but the last segment have gone meanwhile.
    assert len(list(writer.folder.glob("*.jsonl"))) == 1
    reader.remove()
    assert sessions(root) == [] and not writer.folder.exists()


def test_rewind(root: Path) -> None:
    with SpoolWriter(root) as writer:
        fill(writer, 1000)
    reader = SessionReader(writer.folder)
    one = [reader.batch(100) for _ in range(3)]
    assert one[1] is not None
    reader.ack(100)
    reader.rewind()
    assert [reader.batch(100), reader.batch(100)] == one[1:]
    reader.close()
    later = reader.batch(100)
    assert later is not None and later.first == 301


def test_sizes_of_batches(root: Path) -> None:
    with SpoolWriter(root) as writer:
        for number in range(300):
            writer.add(event(writer, "x" * (50_000 if number == 100 else 100)))
    reader = SessionReader(writer.folder)
    found = []
    batch = reader.batch(64, 10_000)
    while batch is not None:
        assert batch.count <= 64 and (len(batch.data) <= 10_000 or batch.count == 1)
        assert batch.count == batch.data.count(b"\n")
        found.append(batch)
        batch = reader.batch(64, 10_000)
    assert sum(batch.count for batch in found) == 301
    assert [batch.first for batch in found[1:]] == [batch.last + 1 for batch in found[:-1]]


@pytest.mark.parametrize("max_bytes", [0, -48, 1])
def test_a_size_that_is_none_gives_a_line(root: Path, max_bytes: int) -> None:
    """A reader without room for a byte looked for one for ever."""
    with SpoolWriter(root) as writer:
        fill(writer, 3)
    reader = SessionReader(writer.folder)
    found = [reader.batch(10, max_bytes) for _ in range(5)]
    assert [batch and (batch.first, batch.count) for batch in found] == [(1, 1), (2, 1), (3, 1), (4, 1), None]


def test_damaged_lines_are_left_out_and_counted(root: Path) -> None:
    with SpoolWriter(root) as writer:
        fill(writer, 10)
    path = next(writer.folder.glob("*.jsonl"))
    lines = path.read_bytes().splitlines(keepends=True)
    lines[3] = b"\x00" * 40 + b"\n"
    lines[5] = lines[5][:30] + b"\n"
    lines[7] = b'{"number": "7"}\n'
    path.write_bytes(b"".join(lines))
    reader = SessionReader(writer.folder)
    numbers = [record["number"] for batch in batches(reader) for record in decoded(batch.data.splitlines())]
    assert numbers == [1, 2, 3, 5, 7, 9, 10, 11] and reader.damaged == 3
    reader.ack(11)
    assert reader.is_finished


def test_a_reader_beside_the_writer(root: Path) -> None:
    """While the writer goes on, every line comes once, whole and in order."""
    writer = SpoolWriter(root, limit_bytes=1 << 20)
    thread = threading.Thread(target=lambda: (fill(writer, 8000, every=200), writer.close()))
    thread.start()
    reader = SessionReader(writer.folder)
    seen: list[int] = []
    while not reader.is_finished:
        for batch in batches(reader):
            seen += [record["number"] for record in decoded(batch.data.splitlines())]
            reader.ack(batch.last)
    thread.join()
    assert seen == list(range(1, 8002)) and writer.counts().removed == 0


def test_follow(root: Path) -> None:
    is_through = threading.Event()
    lines: list[bytes] = []
    thread = threading.Thread(
        target=lambda: lines.extend(follow(root, poll_s=0.01, stop=is_through.is_set)), daemon=True
    )
    thread.start()
    for _ in range(3):
        with SpoolWriter(root) as writer:
            fill(writer, 500)
    is_through.set()
    thread.join(20)
    records = decoded(lines)
    assert [record["number"] for record in records].count(501) == 3
    by_session: dict[str, list[int]] = {}
    for record in records:
        by_session.setdefault(record["session"], []).append(record["number"])
    assert list(by_session.values()) == [list(range(1, 502))] * 3
    assert [state.acked for state in states(root)] == [0, 0, 0]


def test_one_shipper(root: Path) -> None:
    with lock_shipper(root), pytest.raises(BlockingIOError), lock_shipper(root):
        pass
    with lock_shipper(root):
        pass


def test_a_folder_that_is_no_session(root: Path) -> None:
    root.mkdir()
    (root / "head.json").write_text('{"host": 1}')
    for folder in (root, root / "none"):
        with pytest.raises(CBProcessError) as raised:
            SessionReader(folder)
        assert raised.value.code == constants.ERROR_NOT_FOUND
    assert not seal(root / "none")


class TestDeadWriter:
    def kill(self, root: Path, least: int) -> int:
        """Starts a writer and kills it; gives the number that it had given by then, at least."""
        child = subprocess.Popen([sys.executable, "-c", WRITER, str(root)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        number = 0
        for line in child.stdout:
            if line.strip().isdigit():
                number = int(line)
            if number >= least:
                break
        # While it lives nobody else can end its session.
        assert not seal(sessions(root)[-1])
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        return number

    def test_killed_ten_times(self, root: Path) -> None:
        for _ in range(10):
            given = self.kill(root, random.randrange(50, 3000))
            newest = sessions(root)[-1]
            reader = SessionReader(newest)
            seen = [record for batch in batches(reader) for record in decoded(batch.data.splitlines())]
            if seen:
                reader.ack(seen[-1]["number"])
            end_s = time.monotonic() + 10
            while not _is_finished(reader, seen):
                assert time.monotonic() < end_s
            numbers = [record["number"] for record in seen]
            # A line that was only begun may have taken a number of its own.
            untold = set(range(1, numbers[-1] + 1)) - set(numbers) - {seen[-2]["first_number"]}
            assert numbers == sorted(set(numbers)) and not untold
            assert [record["event"] for record in seen[-2:]] == ["lost", "session_end"]
            assert (seen[-2]["reason"], seen[-2]["count"]) == ("killed", None)
            # What 0.05 seconds and a write hold may be missing.
            assert len(numbers) > 0 or given < 3000

    def test_a_torn_line_stays_what_it_is(self, root: Path) -> None:
        writer = SpoolWriter(root)
        fill(writer, 3)
        until(lambda: len(lines_of(writer.folder)) == 3, "they are written")
        folder = _dead_copy(writer.folder, root / "copy")
        path = next(folder.glob("*.jsonl"))
        with open(path, "ab") as file:
            file.write(b'{"schema":1,"host":"h","number":4,"te')
        assert seal(folder) and not seal(folder)
        assert path.read_bytes().endswith(b'"te')
        assert [(record["number"], record["event"]) for record in lines_of(folder)] == [
            (1, "test"),
            (2, "test"),
            (3, "test"),
            (4, "lost"),
            (5, "session_end"),
        ]
        writer.close()

    def test_without_a_line(self, root: Path) -> None:
        writer = SpoolWriter(root)
        folder = _dead_copy(writer.folder, root / "copy")
        assert not seal(writer.folder) and seal(folder)
        assert [record["number"] for record in lines_of(folder)] == [1, 2]
        writer.close()

    @pytest.mark.parametrize("torn", [b"", b'{"schema"'])
    def test_a_segment_without_a_whole_line_is_left_alone(self, root: Path, torn: bytes) -> None:
        """A reader has it open already."""
        writer = SpoolWriter(root)
        folder = _dead_copy(writer.folder, root / "copy")
        (folder / "000000000001.jsonl").write_bytes(torn)
        reader = SessionReader(folder)
        assert reader.batch() is None and seal(folder)
        found = [record for batch in batches(reader) for record in decoded(batch.data.splitlines())]
        assert [(record["number"], record["event"]) for record in found] == [(2, "lost"), (3, "session_end")]
        assert found[0]["first_number"] == 1
        writer.close()

    def test_the_next_writer_ends_it(self, root: Path) -> None:
        self.kill(root, 100)
        (dead,) = sessions(root)
        with SpoolWriter(root) as writer:
            writer.add(event(writer))
        assert [record["event"] for record in lines_of(dead)][-2:] == ["lost", "session_end"]
        last = lines_of(dead)[-1]["number"]
        assert not Account(
            everything(root), json.loads((dead / "head.json").read_bytes())["session"], last
        ).untold


def _is_finished(reader: SessionReader, seen: list[dict[str, object]]) -> bool:
    if reader.is_finished:
        return True
    for batch in batches(reader):
        seen += decoded(batch.data.splitlines())
        reader.ack(batch.last)
    time.sleep(0.01)
    return False


def _dead_copy(folder: Path, target: Path) -> Path:
    """A session as it would be had its writer died now."""
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(0, 3000), max_size=60),
    cuts=st.lists(st.tuples(st.integers(1, 50), st.integers(64, 5000), st.booleans()), max_size=30),
)
def test_however_it_is_cut(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], cuts: list[tuple[int, int, bool]]
) -> None:
    """Batches of any size, some of them acknowledged, with restarts between: nothing missing, nothing out of
    order, and only what was not acknowledged comes again."""
    root = tmp_path_factory.mktemp("spool")
    with SpoolWriter(root, limit_bytes=1 << 20) as writer:
        for size in sizes:
            writer.add(event(writer, "é" * size))
    reader = SessionReader(writer.folder)
    acked = 0
    expected = 1
    for max_events, max_bytes, is_acked in [*cuts, (1000, 1 << 20, True)]:
        batch = reader.batch(max_events, max_bytes)
        if batch is None:
            break
        numbers = [record["number"] for record in decoded(batch.data.splitlines())]
        assert numbers == list(range(expected, expected + len(numbers))) and len(numbers) <= max_events
        expected = numbers[-1] + 1
        if is_acked:
            reader.ack(batch.last)
            acked = batch.last
        else:
            reader.close()
            reader = SessionReader(writer.folder)
            expected = acked + 1
    rest = [record["number"] for batch in batches(reader) for record in decoded(batch.data.splitlines())]
    assert rest == list(range(expected, len(sizes) + 2))
    reader.remove()
    os.rmdir(root)

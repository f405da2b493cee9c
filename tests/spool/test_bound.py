"""The bound: over all sessions, oldest first, and every number that goes is told, also after clock jumps."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from spool.spool_tools import Account, event, everything, fill, lines_of, size_of, until

from cbprocess import records
from cbprocess._spool.bound import hold_bound
from cbprocess.spool import SessionReader, SpoolWriter, sessions, states

MIB = 1 << 20


def fill_at_once(writers: list[SpoolWriter], count: int) -> Iterator[SpoolWriter]:
    """Each writer in a thread of its own. Gives one after another, when its thread has ended."""
    threads = [threading.Thread(target=fill, args=(writer, count, "x" * 200)) for writer in writers]
    for thread in threads:
        thread.start()
    for thread, writer in zip(threads, writers):
        thread.join()
        yield writer


def test_ten_times_the_bound(root: Path) -> None:
    largest = 0
    with SpoolWriter(root, limit_bytes=MIB) as writer:
        for _ in range(20):
            fill(writer, 1000, "x" * 300)
            largest = max(largest, size_of(root))
    counts = writer.counts()
    account = Account(everything(root), writer.origin.session or "", counts.number)
    assert largest <= 1.1 * MIB and counts.number > 20_000
    assert counts.removed > 15_000 and not account.untold and not account.doubled
    # The newest are there.
    assert {counts.number, counts.number - 500} <= account.seen


def test_sessions_share_the_bound(root: Path) -> None:
    writers = [SpoolWriter(root, limit_bytes=MIB) for _ in range(4)]
    for _ in fill_at_once(writers, 4000):
        assert size_of(root) <= 1.1 * MIB
    for writer in writers:
        writer.close()
    assert size_of(root) <= 1.1 * MIB
    assert_all_is_told(root, writers)


def assert_all_is_told(root: Path, writers: list[SpoolWriter]) -> int:
    """Each number of each session is there or told by somebody; gives how many are told without a name."""
    found = everything(root)
    untold = 0
    for writer in writers:
        account = Account(found, writer.origin.session or "", writer.counts().number)
        assert not account.doubled
        untold += len(account.untold)
    nameless = [record for record in found if "lost_sessions" in record]
    assert all(record["first_number"] is record["last_number"] is None for record in nameless)
    assert untold <= sum(record["count"] for record in nameless)
    return untold


@pytest.mark.parametrize("named", [1000, 5])
def test_a_hundred_sessions_one_after_the_other(
    root: Path, named: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever removes a session also removes its lines about others."""
    monkeypatch.setattr("cbprocess._spool.tales.NAMED_MAX", named)
    writers = []
    for _ in range(100):
        with SpoolWriter(root, limit_bytes=MIB) as writer:
            fill(writer, 100, "x" * 500)
        writers.append(writer)
    assert size_of(root) <= 1.1 * MIB and len(sessions(root)) < 30
    assert bool(assert_all_is_told(root, writers)) == (named == 5)
    # Each line of them is one of the schema, also those without a name.
    jsonschema = pytest.importorskip("jsonschema")
    check = jsonschema.Draft202012Validator(records.schema())
    for record in everything(root):
        if record["event"] == "lost":
            check.validate(record)


def test_a_hundred_sessions_at_once(root: Path) -> None:
    """Their folders alone are more than the bound. Each tells of its losses at its end."""
    writers = [SpoolWriter(root, limit_bytes=MIB) for _ in range(100)]
    filled = list(fill_at_once(writers, 50))
    for writer in filled:
        writer.close()
    assert size_of(root) <= 1.1 * MIB
    assert_all_is_told(root, writers)


def test_records_of_a_program_that_look_like_losses_end_no_writer(root: Path) -> None:
    strange: list[dict[str, object]] = [
        {},
        {"reason": [], "count": 1, "first_number": 1, "last_number": 1, "lost_session": "x"},
        {"reason": "x", "count": "1", "first_number": 1, "last_number": 1, "lost_session": "x"},
        {"reason": "x", "count": 1, "first_number": {}, "last_number": 1, "lost_session": "x"},
        {"reason": "x", "count": 1, "first_number": 1, "last_number": 1, "lost_session": ["x"]},
        {"reason": "x", "count": 1, "first_number": None, "last_number": None, "lost_sessions": "x"},
        {"reason": "x", "count": 1, "first_number": None, "last_number": None, "lost_sessions": None},
    ]
    with SpoolWriter(root, limit_bytes=MIB) as old:
        for fields in strange:
            old.add(records.made("lost", old.origin, **fields))
        old.tell_lost(7)
    with SpoolWriter(root, limit_bytes=MIB) as new:
        fill(new, 4000, "x" * 300)
    assert not old.folder.exists()
    found = everything(root)
    account = Account(found, new.origin.session or "", new.counts().number)
    assert not account.untold
    # The one that was real is told again, as that session's.
    (told,) = [each for each in found if each.get("reason") == "driver"]
    assert (told["count"], told["lost_session"]) == (7, old.origin.session)


def test_a_session_that_another_writer_removes_meanwhile(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The look at the bound went on forever, and with it the end of a command."""
    with SpoolWriter(root, limit_bytes=MIB) as writer:
        fill(writer, 1000, "x" * 300)
    assert len(list(writer.folder.glob("*.jsonl"))) > 2
    # This happens between the list of sessions and the first removal.
    monkeypatch.setattr("cbprocess._spool.bound._sweep", lambda root: shutil.rmtree(writer.folder))
    held: list[object] = []
    thread = threading.Thread(target=lambda: held.append(hold_bound(root, 1, None)), daemon=True)
    thread.start()
    thread.join(20)
    assert held and not held[0].removed  # type: ignore[attr-defined]


def test_an_old_session_goes_first_and_is_told(root: Path) -> None:
    with SpoolWriter(root, limit_bytes=MIB) as old:
        fill(old, 2000, "x" * 200)
    acked = SessionReader(old.folder)
    first = acked.batch(100)
    assert first is not None
    acked.ack(100)
    acked.close()
    with SpoolWriter(root, limit_bytes=MIB) as new:
        fill(new, 6000, "x" * 300)
    assert not old.folder.exists() and new.folder.exists()
    found = everything(root)
    account = Account(found, old.origin.session or "", old.counts().number)
    assert account.told == set(range(101, 2002)) and not account.seen
    assert {record["lost_boot"] for record in found if "lost_session" in record} == {old.origin.boot}
    assert not Account(found, new.origin.session or "", new.counts().number).untold


def test_losses_of_others_are_told_again_when_their_line_goes(root: Path) -> None:
    with SpoolWriter(root, limit_bytes=MIB) as old:
        fill(old, 500, "x" * 200)
    with SpoolWriter(root, limit_bytes=MIB) as new:
        new.tell_lost(7)
        for _ in range(5):
            fill(new, 4000, "x" * 300)
    found = everything(root)
    assert found[0]["number"] > 10_000
    account = Account(found, old.origin.session or "", old.counts().number)
    assert account.told == set(range(1, 502)) and account.driver == 7


def driver_losses(root: Path) -> int:
    return sum(record["count"] for record in everything(root) if record.get("reason") == "driver")


def test_a_loss_of_the_driver_is_told_once_though_two_know_of_it(root: Path) -> None:
    """One writer removed the line of another, who lives, and both told of the loss again."""
    with SpoolWriter(root, limit_bytes=MIB) as first, SpoolWriter(root, limit_bytes=MIB) as second:
        first.tell_lost(5)
        for _ in range(12):
            fill(first, 500, "x" * 300)
            fill(second, 500, "x" * 300)
    assert driver_losses(root) == 5
    assert_all_is_told(root, [first, second])


TALE_AND_LINES = """
import sys, time
from cbprocess import records, spool
writer = spool.SpoolWriter(sys.argv[1], limit_bytes=1 << 20)
writer.tell_lost(5)
for _ in range(400):
    writer.add(records.made("test", writer.origin, text="x" * 300))
print("ready", flush=True)
time.sleep(100)
"""


def test_a_loss_of_the_driver_outlives_the_writer_who_told_of_it(root: Path) -> None:
    line = [sys.executable, "-c", TALE_AND_LINES, str(root)]
    with subprocess.Popen(line, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline() == b"ready\n"
        (folder,) = sessions(root)
        until(lambda: len(lines_of(folder)) == 401, "everything is written")
        with SpoolWriter(root, limit_bytes=MIB) as writer:
            fill(writer, 1800, "x" * 300)
            until(lambda: not (folder / "000000000001.jsonl").exists(), "its tale is removed")
            child.kill()
            child.wait()
            fill(writer, 4000, "x" * 300)
    assert not folder.exists() and driver_losses(root) == 5


def test_what_a_shipper_has_is_no_loss(root: Path) -> None:
    with SpoolWriter(root, limit_bytes=MIB) as writer:
        reader = SessionReader(writer.folder)
        seen = []
        for _ in range(20):
            fill(writer, 500, "x" * 300)
            batch = reader.batch(1000)
            while batch is not None:
                seen += list(range(batch.first, batch.last + 1))
                reader.ack(batch.last)
                batch = reader.batch(1000)
    assert writer.counts().removed == 0
    assert seen == list(range(1, len(seen) + 1)) and len(seen) >= 9000


@pytest.mark.parametrize("jump_s", [-86400, 86400])
def test_the_clock_jumps(root: Path, jump_s: int) -> None:
    """Ages are of the clock; the order within a session is not."""
    with SpoolWriter(root, limit_bytes=MIB) as writer:
        for part in range(12):
            fill(writer, 400, "x" * 300)
            for number, path in enumerate(sorted(writer.folder.glob("*.jsonl"))):
                # The writer may remove one of them now.
                with contextlib.suppress(FileNotFoundError):
                    if (number + part) % 2:
                        now = path.stat().st_mtime + jump_s
                        os.utime(path, (now, now))
    account = Account(everything(root), writer.origin.session or "", writer.counts().number)
    assert not account.untold and not account.doubled
    assert min(account.seen) == max(account.told - account.seen) + 1


def test_a_crowd_of_small_sessions(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cbprocess._spool.bound.SESSIONS_MAX", 10)
    for _ in range(30):
        with SpoolWriter(root) as writer:
            writer.add(event(writer))
    assert len(sessions(root)) <= 11
    assert size_of(root) < MIB


def test_living_writers_that_fill_it_leave_no_room_but_the_bound_holds(root: Path) -> None:
    """What a living writer writes to is not taken away. Then one's own lines go, and that is told."""
    root.mkdir()
    holder = SpoolWriter(root)
    fill(holder, 5000, "x" * 300)
    with SpoolWriter(root, limit_bytes=MIB) as writer:
        fill(writer, 1000, "x" * 300)
        holder.close()
        hold_bound(root, MIB, None)
        fill(writer, 10)
    found = lines_of(writer.folder)
    account = Account(found, writer.origin.session or "", writer.counts().number)
    assert not account.untold
    assert "bound" in {record.get("reason") for record in found}


@pytest.mark.parametrize("is_closed", [False, True])
@pytest.mark.parametrize("size", [884, 908])
def test_tales_that_take_the_room_of_tales_have_an_end(
    root: Path, size: int, is_closed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The only segments that may go are the writer's own, and what they told is told again. A writer went on
    with that as long as nobody else made room, also in close()."""
    if is_closed:
        # Tales that are longer than is thought do go on with it. The end has a limit of its own.
        monkeypatch.setattr("cbprocess._spool.tales.NAMED_BYTES", 256)
    with SpoolWriter(root) as holder, SpoolWriter(root), SpoolWriter(root):
        holder.add(event(holder))
        until(lambda: list(holder.folder.glob("*.jsonl")), "it has a segment")
        # This one stays, and leaves room for two or three of the smallest segments.
        os.truncate(next(holder.folder.glob("*.jsonl")), size * 1024)
        writer = SpoolWriter(root, limit_bytes=MIB)
        for _ in range(3):
            for _ in range(40):
                with SpoolWriter(root) as dead:
                    dead.add(event(dead))
            fill(writer, 30)
            time.sleep(0.2)
        closing = threading.Thread(target=writer.close if is_closed else lambda: None, daemon=True)
        closing.start()
        closing.join(20)
        has_ended = not closing.is_alive()
        # What went on forever told something in each round, every 50 milliseconds.
        until(lambda: stands_still(writer), "it has told everything")
    # Without the others there is room.
    writer.close()
    assert has_ended and size_of(writer.folder) < 64 << 10


def stands_still(writer: SpoolWriter) -> bool:
    before = writer.counts().number
    time.sleep(1)
    return writer.counts().number == before


def test_what_a_killed_start_left_is_swept(root: Path) -> None:
    debris = root / "boot-session"
    debris.mkdir(parents=True)
    (debris / "acked").write_text("")
    old = debris.stat().st_mtime - 7200
    os.utime(debris, (old, old))
    (root / "host").write_text("name")
    (root / "other").mkdir()
    # An agent's folder, which is as old.
    (root / ".agent").mkdir()
    os.utime(root / ".agent", (old, old))
    with SpoolWriter(root, limit_bytes=MIB) as writer:
        writer.add(event(writer))
    assert not debris.exists() and (root / "host").exists() and (root / "other").exists()
    assert (root / ".agent").exists()


def test_states(root: Path) -> None:
    writer = SpoolWriter(root, records.Origin("host", None, "session"))
    fill(writer, 100)
    with SpoolWriter(root) as other:
        fill(other, 10)
    reader = SessionReader(other.folder)
    reader.ack(5)
    until(lambda: len(lines_of(writer.folder)) == 100, "everything is written")
    found = {state.origin.session: state for state in states(root)}
    mine, ended = found["session"], found[other.origin.session]
    assert (mine.is_live, mine.is_ended, mine.first) == (True, False, 1)
    assert (mine.acked, mine.origin.boot) == (0, "unknown-session")
    assert (ended.is_live, ended.is_ended, ended.last, ended.acked) == (False, True, 11, 5)
    assert ended.bytes == sum(path.stat().st_size for path in other.folder.glob("*.jsonl"))
    writer.close()
    assert states(root / "none") == []


def test_every_record_is_one_of_the_schema(root: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    check = jsonschema.Draft202012Validator(records.schema())
    with SpoolWriter(root, limit_bytes=MIB) as old:
        fill(old, 500, "x" * 200)
        old.add(event(old, "x" * (1 << 18)))
    with SpoolWriter(root, limit_bytes=MIB) as new:
        new.tell_lost(3)
        fill(new, 5000, "x" * 300)
    found = everything(root)
    assert {"bound", "driver"} <= {record.get("reason") for record in found}
    for record in found:
        check.validate(record)


@pytest.mark.parametrize(("whole", "acked", "gone"), [(3, 0, (1, 10)), (0, 0, (1, 10)), (3, 2, (3, 10))])
def test_what_a_session_never_wrote_goes_with_it(
    root: Path, whole: int, acked: int, gone: tuple[int, int]
) -> None:
    """The disk was full until its end, which only its number tells; when it is removed, the remover tells."""
    with SpoolWriter(root) as writer:
        fill(writer, whole)
    (segment,) = writer.folder.glob("*.jsonl")
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join(lines[:whole]))
    if not whole:
        segment.unlink()
    (writer.folder / "end").write_text(f"{10:020d}\n")
    (writer.folder / "acked").write_text(f"{acked:020d}\n")
    (removed,) = hold_bound(root, 1, None).removed
    assert (removed.origin, removed.first, removed.last) == (writer.origin, *gone)
    assert removed.total == 10 - acked
    assert not writer.folder.exists()
    assert hold_bound(root, 1, None).removed == []


def test_a_session_that_is_shipped_whole_goes_silently(root: Path) -> None:
    with SpoolWriter(root) as writer:
        fill(writer, 3)
    for path in writer.folder.glob("*.jsonl"):
        path.unlink()
    (writer.folder / "acked").write_text(f"{4:020d}\n")
    assert hold_bound(root, 1, None).removed == []
    assert not writer.folder.exists()

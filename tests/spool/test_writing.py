"""The writer: dense numbers, files for their owner only, and losses that are told in the stream."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from spool.spool_tools import Account, decoded, event, everything, fill, lines_of, size_of, until

from cbprocess import CBProcessError, constants, records
from cbprocess._spool import writing
from cbprocess.spool import SpoolWriter, host_of, sessions, states


def test_every_record_is_there_in_order(root: Path) -> None:
    with SpoolWriter(root) as writer:
        given = [writer.add(event(writer, f"text {number}")) for number in range(1000)]
    found = lines_of(writer.folder)
    assert given == list(range(1, 1001))
    assert [record["number"] for record in found] == list(range(1, 1002))
    assert [record["text"] for record in found[:-1]] == [f"text {number}" for number in range(1000)]
    assert (found[-1]["event"], found[-1]["last_number"]) == ("session_end", 1001)
    assert {(record["host"], record["boot"], record["session"]) for record in found} == {writer.origin}
    assert list(found[0])[:6] == ["schema", "host", "boot", "session", "number", "event"]
    counts = writer.counts()
    assert counts == (1001, 0, 0, 0, None)


def test_lines_come_without_close(root: Path) -> None:
    writer = SpoolWriter(root)
    writer.add(event(writer))
    until(lambda: len(lines_of(writer.folder)) == 1, "the line is on the disk", 2)
    writer.close()


def test_files_are_for_their_owner_only(root: Path) -> None:
    before = os.umask(0)
    try:
        with SpoolWriter(root) as writer:
            writer.add(event(writer))
    finally:
        os.umask(before)
    assert stat.S_IMODE(root.stat().st_mode) == stat.S_IMODE(writer.folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in writer.folder.iterdir()}
    assert set(modes.values()) == {0o600}, modes


def test_any_tool_can_follow_the_segments(root: Path) -> None:
    """Whole lines only, in files that grow and are never rewritten; names sort as the numbers do."""
    with SpoolWriter(root, limit_bytes=1 << 20) as writer:
        fill(writer, 2000)
    parts = sorted(writer.folder.glob("*.jsonl"))
    numbers = [[record["number"] for record in decoded(part.read_bytes().splitlines())] for part in parts]
    assert len(parts) > 3 and all(part.read_bytes().endswith(b"\n") for part in parts)
    assert [int(part.stem) for part in parts] == [each[0] for each in numbers]
    assert [number for part in numbers for number in part] == list(range(numbers[0][0], 2002))


def test_threads_share_a_writer(root: Path) -> None:
    with SpoolWriter(root) as writer:
        given: list[int] = []
        threads = [
            threading.Thread(target=lambda: given.extend(writer.add(event(writer)) for _ in range(500)))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(given) == list(range(1, 2001))
    assert [record["number"] for record in lines_of(writer.folder)] == list(range(1, 2002))


def test_a_failing_make_costs_no_number(root: Path) -> None:
    with SpoolWriter(root) as writer:
        with pytest.raises(ZeroDivisionError):
            writer.append(lambda number: b"%d" % (1 // 0))
        assert writer.add(event(writer)) == 1


def test_what_waits_in_memory_is_bounded_and_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk does not answer: callers go on, and what does not fit into memory is told afterwards."""
    blocked = threading.Event()
    written = os.write
    ours = threading.current_thread()

    def write(fd: int, data: bytes) -> int:
        if threading.current_thread() is not ours:
            blocked.wait(30)
        return written(fd, data)

    with SpoolWriter(root, memory_bytes=64 << 10) as writer:
        monkeypatch.setattr(os, "write", write)
        began = time.monotonic()
        last = [writer.add(event(writer, "x" * 200)) for _ in range(2000)][-1]
        assert time.monotonic() - began < 2
        lost = writer.counts().lost
        blocked.set()
        until(lambda: not writer.counts().lost > lost and writer.add(event(writer)), "it takes more")
    account = Account(lines_of(writer.folder), writer.origin.session or "", writer.counts().number)
    assert last == 2000 and lost > 1000
    assert len(account.told) == writer.counts().lost >= lost
    assert not account.untold and not account.doubled and not account.told & account.seen


def test_a_line_that_is_too_long_is_told(root: Path) -> None:
    with SpoolWriter(root, limit_bytes=1 << 20) as writer:
        writer.add(event(writer, "x" * (1 << 18)))
        writer.add(event(writer, "short"))
    found = lines_of(writer.folder)
    assert [(record["event"], record["number"]) for record in found] == [
        ("lost", 2),
        ("test", 3),
        ("session_end", 4),
    ]
    assert (found[0]["reason"], found[0]["first_number"], found[0]["last_number"]) == ("size", 1, 1)


def test_losses_elsewhere_are_told(root: Path) -> None:
    with SpoolWriter(root) as writer:
        writer.tell_lost(17)
    first = lines_of(writer.folder)[0]
    assert (first["event"], first["reason"], first["count"]) == ("lost", "driver", 17)
    assert first["first_number"] is None and writer.counts().lost == 17


class TestFullDisk:
    def test_it_goes_on_when_there_is_room(self, small_disk: Path) -> None:
        root = small_disk / "spool"
        with SpoolWriter(root, memory_bytes=128 << 10) as writer:
            plug = small_disk / "plug"
            plug.write_bytes(b"x" * (800 << 10))
            fill(writer, 4000, "x" * 200, every=100)
            until(lambda: writer.counts().failed_writes > 0, "the disk is full")
            counts = writer.counts()
            assert counts.failure is not None and counts.lost > 0
            plug.unlink()
            until(lambda: writer.counts().failure is None, "it writes again")
            writer.add(event(writer, "afterwards"))
        account = Account(everything(root), writer.origin.session or "", writer.counts().number)
        assert not account.untold and not account.doubled
        assert len(account.told) == writer.counts().lost

    def test_it_is_full_at_the_end(self, small_disk: Path) -> None:
        """Nothing more can be written, but the number of the end: so that a reader tells the loss."""
        root = small_disk / "spool"
        writer = SpoolWriter(root)
        fill(writer, 6000, "x" * 200, every=100)
        began = time.monotonic()
        writer.close()
        assert time.monotonic() - began < 5
        counts = writer.counts()
        found = everything(root)
        account = Account(found, writer.origin.session or "", counts.number)
        assert counts.failure is not None and counts.lost > 1000
        assert found[-1]["event"] == "lost" and found[-1]["reason"] == "missing"
        assert not account.untold and not account.doubled

    def test_it_is_full_at_the_start(self, small_disk: Path) -> None:
        plug = small_disk / "plug"
        with open(plug, "wb", buffering=0) as file, pytest.raises(OSError):
            while True:
                file.write(b"x" * 4096)
        with SpoolWriter(small_disk / "spool") as writer:
            writer.add(event(writer))
            until(lambda: writer.counts().failed_writes > 0, "the first try")
            plug.unlink()
        assert [record["event"] for record in everything(small_disk / "spool")] == ["test", "session_end"]


def test_a_folder_that_somebody_removes(root: Path) -> None:
    import shutil

    with SpoolWriter(root) as writer:
        writer.add(event(writer, "first"))
        until(lambda: len(lines_of(writer.folder)) == 1, "it is written")
        shutil.rmtree(root)
        writer.add(event(writer, "second"))
        until(lambda: sessions(root) and lines_of(writer.folder), "it begins again")
        writer.add(event(writer, "third"))
    account = Account(everything(root), writer.origin.session or "", writer.counts().number)
    assert not account.untold and account.told == {1}


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        SpoolWriter(tmp_path / "file" / "spool")


def test_the_name_of_the_host(root: Path) -> None:
    assert host_of(root) is None
    root.mkdir()
    (root / "host").write_text("web1\n", encoding="utf-8")
    with SpoolWriter(root) as writer:
        writer.add(event(writer))
    assert host_of(root) == "web1" == lines_of(writer.folder)[0]["host"]
    assert len(sessions(root)) == 1


def test_a_session_is_written_once(root: Path) -> None:
    with SpoolWriter(root) as writer, pytest.raises(CBProcessError) as raised:
        SpoolWriter(root, writer.origin)
    assert raised.value.code == constants.ERROR_ALREADY_EXISTS


@pytest.mark.parametrize(
    "wrong",
    [
        {"limit_bytes": 1000},
        {"limit_bytes": "1"},
        {"memory_bytes": 0},
        {"origin": records.Origin("host", "boot", "../up")},
        {"origin": records.Origin("host", "a/b", "session")},
        {"origin": records.Origin("host", "boot", None)},
    ],
)
def test_wrong_values(root: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(CBProcessError) as raised:
        SpoolWriter(root, **wrong)
    assert raised.value.code == constants.ERROR_INVALID_PARAMETER
    assert not root.exists()


@pytest.mark.parametrize("name", ["session", "s" * 100])
def test_a_boot_that_is_not_known_is_a_text_of_its_own(root: Path, name: str) -> None:
    """Readers compare four texts; and a process of another boot must not get the name of one of this."""
    with SpoolWriter(root, records.Origin("host", None, name)) as writer:
        writer.add(event(writer))
    (state,) = states(root)
    assert writer.origin == state.origin == ("host", f"unknown-{name}"[:100], name)
    assert {(record["host"], record["boot"], record["session"]) for record in lines_of(writer.folder)} == {
        state.origin
    }
    assert not writer.origin.is_this_boot
    with pytest.raises(CBProcessError) as raised:
        SpoolWriter(root, records.Origin("host", None, name))
    assert raised.value.code == constants.ERROR_ALREADY_EXISTS


def test_after_the_end(root: Path) -> None:
    writer = SpoolWriter(root)
    writer.close()
    writer.close()
    with pytest.raises(CBProcessError) as raised:
        writer.add(event(writer))
    assert raised.value.code == constants.ERROR_NOT_READY
    writer.tell_lost(1)
    assert [state.is_ended for state in states(root)] == [True]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_fork_has_no_part_in_it(root: Path) -> None:
    with SpoolWriter(root) as writer:
        writer.add(event(writer))
        child = os.fork()
        if not child:
            status = 1
            try:
                writer.add(event(writer))
            except CBProcessError as error:
                writer.close()
                status = 0 if error.code == constants.ERROR_NOT_READY else 2
            os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [record["event"] for record in everything(root)] == ["test", "session_end"]


def test_a_program_that_forgets_to_close(root: Path) -> None:
    text = (
        "from cbprocess import records, spool; import sys\n"
        "writer = spool.SpoolWriter(sys.argv[1])\n"
        "for number in range(100): writer.add(records.made('test', writer.origin))\n"
    )
    subprocess.run([sys.executable, "-c", text, str(root)], check=True)
    assert [record["event"] for record in everything(root)] == ["test"] * 100 + ["session_end"]
    assert size_of(root) < 100_000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
def test_a_fork_keeps_no_session_alive(root: Path) -> None:
    """The writer is killed, and a fork of it lives on."""
    program = (
        "import os, sys, time; from cbprocess.spool import SpoolWriter; w = SpoolWriter(sys.argv[1])\n"
        "pid = os.fork()\n"
        "if pid: print(pid, flush=True)\n"
        "time.sleep(60)"
    )
    line = [sys.executable, "-W", "ignore", "-c", program, str(root)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        fork = int(writer.stdout.readline())
        try:
            (state,) = states(root)
            assert state.is_live
            writer.kill()
            writer.wait()
            # The fork may not have run yet: it lets go of the session as the first thing that it does.
            until(lambda: not states(root)[0].is_live, "the session has no writer")
        finally:
            os.kill(fork, signal.SIGKILL)


def test_a_folder_that_goes_while_the_session_is_made_is_made_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that jumps by hours makes a folder that is not ready look like one that was left behind."""
    true = writing.lock

    def late(path: Path, *, wait: bool = False) -> int:
        monkeypatch.setattr(writing, "lock", true)
        path.parent.rmdir()
        return true(path, wait=wait)

    monkeypatch.setattr(writing, "lock", late)
    with SpoolWriter(root) as writer:
        writer.add(event(writer))
    assert [record["event"] for record in everything(root)] == ["test", "session_end"]

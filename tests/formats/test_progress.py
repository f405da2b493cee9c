"""The line that says how far a command is, and the number of events that a replay counts to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Callable

import pytest
from formats.samples import creation
from terminals import open_terminal

from cbprocess import records, script
from cbprocess.cli.progress import Progress, duration_text, progress_text
from cbprocess.recording import estimate_events


@pytest.mark.parametrize(
    ("told", "text"),
    [
        ((0, 0, 0, 1.0), "0 events"),
        ((5, 0, 1234567, 1.0), "1,234,567 events"),
        ((0, 100, 0, 1.0), "  0%  0 events"),
        ((25, 100, 10, 10.0), " 25%  10 events  30 s left"),
        ((100, 100, 10, 10.0), " 99%  10 events  1 s left"),
        ((300, 100, 10, 10.0), " 99%  10 events  1 s left"),
    ],
)
def test_the_words_of_progress(told: tuple[int, int, int, float], text: str) -> None:
    assert progress_text(*told) == text


def test_durations() -> None:
    texts = [duration_text(seconds) for seconds in (0, 0.2, 59.4, 61, 3599, 3600, 90_000)]
    assert texts == ["1 s", "1 s", "59 s", "1 min 1 s", "59 min 59 s", "1 h 0 min", "25 h 0 min"]


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def written(tell: Callable[[Progress, Clock], None], output_is_terminal: bool = False) -> bytes:
    """What a terminal was sent."""
    mine, theirs = open_terminal()
    pipe = os.pipe()
    clock = Clock()
    try:
        progress = Progress(theirs if output_is_terminal else pipe[1], theirs, clock)
        tell(progress, clock)
        os.write(theirs, b".")
        data = b""
        while not data.endswith(b"."):
            data += os.read(mine, 65536)
        return data[:-1]
    finally:
        for fd in (mine, theirs, *pipe):
            os.close(fd)


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")


def three_times(progress: Progress, clock: Clock) -> None:
    for _ in range(3):
        for step in range(100):
            progress.tell(step, 100, step)
        clock.now_s += 1.0
    progress.finish()
    progress.finish()


def test_a_line_is_written_when_it_is_due_and_taken_away_once() -> None:
    sent = written(three_times)
    # Nothing in the first moment, then one line for each second, then nothing is left of it.
    assert sent.split(b"\r\x1b[K") == [
        b"",
        b"cbprocess:   0%  0 events",
        b"cbprocess:   0%  0 events",
        b"",
    ]


def test_nothing_is_written_where_it_would_disturb(monkeypatch: pytest.MonkeyPatch) -> None:
    assert written(three_times, output_is_terminal=True) == b""
    monkeypatch.setenv("TERM", "dumb")
    assert written(three_times) == b""


def test_a_short_command_leaves_no_trace() -> None:
    assert written(lambda progress, clock: progress.finish()) == b""


def test_a_pipe_gets_no_progress() -> None:
    reading, writing = os.pipe()
    clock = Clock()
    three_times(Progress(writing, writing, clock), clock)
    os.close(writing)
    assert os.read(reading, 100) == b""
    os.close(reading)


def test_a_terminal_that_has_gone_is_no_failure() -> None:
    mine, theirs = open_terminal()
    clock = Clock()
    progress = Progress(-1, theirs, clock)
    assert progress.is_possible
    os.close(mine)
    three_times(progress, clock)
    os.close(theirs)


def test_events_of_a_recording_are_counted_by_kind(recording: Path, tmp_path: Path) -> None:
    assert estimate_events(recording, ("process_creation",)) == 2
    assert estimate_events(recording, ("process_creation", "process_handle_operation")) == 3
    assert estimate_events(recording, ()) == 0
    # Of a damaged file it is what was read, and of no recording nothing.
    damaged = tmp_path / "damaged"
    damaged.write_bytes(recording.read_bytes()[:-100])
    assert estimate_events(damaged, ("process_creation",)) == 2
    damaged.write_bytes(b"no recording")
    assert estimate_events(damaged, ("process_creation",)) == 0
    assert estimate_events(tmp_path / "absent", ("process_creation",)) == 0


def test_the_events_of_a_long_recording_are_estimated(tmp_path: Path) -> None:
    path = tmp_path / "script"
    programs = [
        script.process_creation(process_name="/bin/p", process_id=number + 5) for number in range(400)
    ]
    script.save(path, programs)
    kinds = ("process_creation",)
    assert estimate_events(path, kinds) == estimate_events(path, kinds, sample=1000) == 400
    assert abs(estimate_events(path, kinds, sample=50) - 400) < 20


# The command line with a line of progress for each event.
IMPATIENT = """\
import sys
from cbprocess.cli import main, progress
progress.FIRST_S = progress.INTERVAL_S = 0
raise SystemExit(main(sys.argv[1:]))
"""


def on_terminal(*arguments: object, **options: int) -> list[bytes]:
    """Runs a command whose standard error is a terminal; what it wrote there, between the clearings of the
    line."""
    mine, theirs = open_terminal()
    command = [sys.executable, "-c", IMPATIENT, *map(str, arguments)]
    seen = b""
    with subprocess.Popen(command, stderr=theirs, **options) as process:
        os.close(theirs)
        while True:
            try:
                data = os.read(mine, 65536)
            except OSError:  # Linux says so when the other end is closed
                break
            if not data:
                break
            seen += data
        assert process.wait(60) == 0
    os.close(mine)
    return seen.split(b"\r\x1b[K")


def test_convert_shows_its_progress_and_takes_it_away(tmp_path: Path) -> None:
    path = tmp_path / "many.jsonl"
    path.write_bytes(records.line_of(creation()) * 640)
    told = on_terminal("convert", path, "-o", os.devnull)
    assert (told[0], told[-1]) == (b"", b"")
    assert told[1].startswith(b"cbprocess:  10%  64 events  ") and told[1].endswith(b" left")
    assert told[-2].startswith(b"cbprocess:  99%  640 events")
    # Where the lines themselves go to the terminal there is none.
    path.write_bytes(b"")
    mine, theirs = open_terminal()
    assert on_terminal("convert", path, stdout=theirs) == [b""]
    os.close(mine)
    os.close(theirs)


def test_replay_shows_its_progress_and_takes_it_away(tmp_path: Path) -> None:
    path = tmp_path / "script"
    programs = [
        script.process_creation(process_name=f"/bin/p{number}", process_id=number + 5) for number in range(50)
    ]
    script.save(path, programs)
    for arguments in (["-q"], ["-o", os.devnull]):
        told = on_terminal("replay", path, *arguments)
        assert (told[0], told[-1]) == (b"", b"")
        assert told[1].startswith(b"cbprocess:   2%  1 events")
        assert told[-2].startswith(b"cbprocess:  99%  50 events")

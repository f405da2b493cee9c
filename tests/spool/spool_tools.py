"""What the tests of the spool and of sinks share: writing, reading everything, and comparing numbers."""

from __future__ import annotations

import contextlib
import json
import stat
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Callable, Optional

from cbprocess import records
from cbprocess.spool import Batch, SessionReader, SpoolWriter, sessions


def event(writer: SpoolWriter, text: str = "", **fields: Any) -> dict[str, Any]:
    return records.made("test", writer.origin, text=text, **fields)


def fill(writer: SpoolWriter, count: int, text: str = "x" * 100, every: int = 500) -> None:
    """Adds so many records, with a breath now and then, in which the thread can write."""
    for number in range(count):
        writer.add(event(writer, text, i=number))
        if number % every == every - 1:
            time.sleep(0.01)


def batches(reader: SessionReader) -> Iterator[Batch]:
    batch = reader.batch()
    while batch is not None:
        yield batch
        batch = reader.batch()


def decoded(lines: Iterable[bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines]


def lines_of(folder: Path, begin: Optional[int] = 0) -> list[dict[str, Any]]:
    """All records of a session, as a reader sees them."""
    reader = SessionReader(folder, begin=begin)
    found = [record for batch in batches(reader) for record in decoded(batch.data.splitlines())]
    reader.close()
    return found


def everything(root: Path) -> list[dict[str, Any]]:
    return [record for folder in sessions(root) for record in lines_of(folder)]


class Account:
    """The numbers of one session: seen, told as lost, and told by nobody."""

    def __init__(self, found: Iterable[dict[str, Any]], session: str, last: int) -> None:
        found = list(found)
        own = [record["number"] for record in found if record["session"] == session]
        self.seen = set(own)
        self.doubled = len(own) - len(self.seen)
        self.told: set[int] = set()
        self.driver = 0
        for record in found:
            if record["event"] != "lost":
                continue
            if record["first_number"] is None:
                self.driver += record["count"]
            elif record.get("lost_session", record["session"]) == session:
                assert record["last_number"] is None or record["count"] == (
                    record["last_number"] - record["first_number"] + 1
                )
                self.told.update(range(record["first_number"], (record["last_number"] or 0) + 1))
        self.untold = set(range(1, last + 1)) - self.seen - self.told


def size_of(root: Path) -> int:
    total = 0
    for path in root.rglob("*"):
        # Writers remove segments while they are counted.
        with contextlib.suppress(FileNotFoundError):
            found = path.stat()
            total += found.st_size if stat.S_ISREG(found.st_mode) else 0
    return total


def until(condition: Callable[[], Any], what: str, limit_s: float = 20) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, f"after {limit_s} s still not: {what}"
        time.sleep(0.005)


class ListSink:
    """A sink in memory. `answer` says what becomes of a batch: None (safe), or the error."""

    def __init__(self, answer: Callable[[Batch], Optional[BaseException]] = lambda batch: None) -> None:
        self.batches: list[Batch] = []
        self.taken: list[Batch] = []
        self.is_open = True
        self._answer = answer
        self._waiting: list[Any] = []

    def send(self, batch: Batch, done: Any) -> None:
        self.batches.append(batch)
        self._waiting.append((batch, done))

    def poll(self, seconds: float) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            time.sleep(min(seconds, 0.005))
        # In another thread, and the last first: a shipper has to bear both.
        thread = threading.Thread(target=self._tell, args=(waiting[::-1],))
        thread.start()
        thread.join()

    def _tell(self, waiting: list[Any]) -> None:
        for batch, done in waiting:
            error = self._answer(batch)
            if error is None:
                self.taken.append(batch)
            done(error)

    def close(self, seconds: float) -> None:
        self.is_open = False

    def records(self) -> list[dict[str, Any]]:
        return [record for batch in self.taken for record in decoded(batch.data.splitlines())]

"""The records of a file, whichever kind it is: a recording, JSON Lines, or a folder of them (a spool).

What is damaged does not hide the rest: bad lines are counted and told. Knows files and records; nothing of
formats, of tables and of the command line."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile

from . import records
from ._records.reading import parsed
from .constants import ERROR_BAD_FORMAT
from .errors import CBProcessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Any, BinaryIO, Union

    Path = Union[str, os.PathLike[str]]

RECORDING = b"\x89CBPR\r\n\n"
STANDARD_INPUT = "-"
LINES = ".jsonl"


class Source:
    """The records of one file, in its order. A context manager; records can be taken once.

    path: a recording, JSON Lines, a folder with files *.jsonl (also below it), or "-" for standard input.
    host: the name of the machine that a recording was made on, which is not in it. Recordings have no boot
    either. Their events are numbered from 1, so that two readings of one file give equal identities.

    total and done tell how far it is: bytes, of a recording events; total is 0 where nobody knows. trouble is
    None, or a sentence about what could not be read; it is known when all records were taken.

    Errors of the constructor: those of open() (OSError), and for a recording those of Recording."""

    def __init__(self, path: Path, host: str | None = None) -> None:
        self.total = 0
        self.done = 0
        self.trouble: str | None = None
        self.is_live = False
        self._name = os.fspath(path)
        self._host = host
        self._files: list[BinaryIO] = []
        self._bad_lines = 0
        self._recording: Any = None
        if self._name != STANDARD_INPUT and os.path.isdir(path):
            self._parts = _parts_of(self._name)
            self.total = sum(map(_size_of, self._parts))
            return
        self._parts = []
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes what is open. Standard input stays as it is."""
        while self._files:
            self._files.pop().close()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if self._recording is not None:
            yield from self._events()
            return
        for file in self._files:
            yield from self._lines(file)
        for part in self._parts:
            try:
                with open(part, "rb") as file:
                    yield from self._lines(file)
            except FileNotFoundError:
                # A spool loses its oldest segments while it is read.
                self._note(f"{part}: it has been removed")

    def _open(self) -> None:
        is_input = self._name == STANDARD_INPUT
        file: BinaryIO = open(0, "rb", closefd=False) if is_input else open(self._name, "rb")  # noqa: SIM115
        self._files.append(file)
        if file.peek(len(RECORDING)).startswith(RECORDING):  # type: ignore[attr-defined]
            self._open_recording(file, is_input)
            return
        self.is_live = not file.seekable()
        if not self.is_live:
            self.total = max(os.fstat(file.fileno()).st_size - file.tell(), 0)

    def _open_recording(self, file: BinaryIO, is_input: bool) -> None:
        from .recording import Recording

        if not is_input:
            self._recording = Recording(self._name)
        else:
            # The library opens a file by its name.
            with tempfile.TemporaryDirectory(prefix="cbprocess-") as folder:
                path = os.path.join(folder, "recording")
                with open(path, "wb") as copy:
                    shutil.copyfileobj(file, copy)
                self._recording = Recording(path)
        self.total = len(self._recording)

    def _events(self) -> Iterator[dict[str, Any]]:
        recorder = records.Recorder(records.Origin.of_recording(self._recording, self._host))
        for number, item in enumerate(self._recording, 1):
            self.done = number
            yield recorder.record(item, number)
        if self._recording.trouble is not None:
            self._note(f"{self._name}: {self._recording.trouble.message}")

    def _lines(self, file: BinaryIO) -> Iterator[dict[str, Any]]:
        name = "standard input" if self._name == STANDARD_INPUT else str(file.name)
        for number, line in enumerate(file, 1):
            self.done += len(line)
            try:
                if not line.strip():
                    continue
                record = _record_of(line)
            except ValueError as error:
                self._bad_lines += 1
                self._note(f"{name}: line {number} {error}")
                continue
            if self._host is not None and record.get("host") is None:
                record["host"] = self._host
            yield record

    def _note(self, trouble: str) -> None:
        """The first trouble is told whole; of further bad lines there is a count."""
        first = trouble if self.trouble is None else self.trouble.partition("; ")[0]
        more = self._bad_lines - 1
        self.trouble = f"{first}; {more} more lines like it" if more > 0 else first


def _record_of(line: bytes) -> dict[str, Any]:
    """The record of a line. ValueError, with the end of a sentence, for anything else."""
    try:
        record = parsed(line)
    except ValueError:
        # The writer of a line without an end was killed in the middle of it, or has not finished it yet.
        raise ValueError("is no JSON" if line.endswith(b"\n") else "was cut off") from None
    if not isinstance(record, dict):
        raise ValueError("is no JSON object")
    schema = record.get("schema")
    if schema != records.SCHEMA or isinstance(schema, bool):
        raise ValueError(f"is no record of schema {records.SCHEMA}")
    return record


def _size_of(path: str) -> int:
    # A spool may remove it at any moment.
    with contextlib.suppress(FileNotFoundError):
        return os.stat(path).st_size
    return 0


def _parts_of(folder: str) -> list[str]:
    """The files of a folder of JSON Lines, in the order of their names. Error 11 where there is none."""
    found = [
        os.path.join(where, name)
        for where, _, names in os.walk(folder)
        for name in names
        if name.endswith(LINES) and os.path.isfile(os.path.join(where, name))
    ]
    if not found:
        raise CBProcessError(ERROR_BAD_FORMAT, f"{folder} has no files *{LINES}")
    return sorted(found)


def each(source: Source, tell: Callable[[int, int, int], None] | None) -> Iterator[dict[str, Any]]:
    """The records of a source; tell(done, total, count) is called now and then, and once at the end."""
    count = 0
    for record in source:
        count += 1
        yield record
        if tell is not None and count % 64 == 0:
            tell(source.done, source.total, count)
    if tell is not None:
        tell(source.done, source.total, count)

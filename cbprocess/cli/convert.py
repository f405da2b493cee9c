"""`cbprocess convert`: recordings and JSON Lines to the lines of another format."""

from __future__ import annotations

import os
from functools import partial

from .. import formats
from .._checks import quoted
from .._sources import STANDARD_INPUT, Source, each
from ..errors import CBProcessError
from .common_options import redactor_of
from .destinations import clash
from .output import NOT_INHERITED, complain
from .progress import NOWHERE, Progress
from .words import PRIVATE_MODE, STANDARD_OUTPUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from typing import Any

    from ..records import Redactor

    Change = Callable[[dict[str, Any]], dict[str, Any]]

CHUNK = 1 << 16
# On Windows a newline would become two characters.
BINARY: int = getattr(os, "O_BINARY", 0)
FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | NOT_INHERITED | BINARY


def convert(options: argparse.Namespace) -> int:
    """The exit status for the options of `cbprocess convert`: 0, or 125 where something could not be read or
    written."""
    files = [("the input", path) for path in options.paths if path != STANDARD_INPUT]
    trouble = clash([("--output", options.output), *files])
    if trouble:
        options.parser.error(trouble)
    encode = formats.encoder(options.format)
    redactor = redactor_of(options)
    redact = None if redactor is None else partial(without_secrets, redactor)
    writer = Writer(options.output)
    progress = Progress(1 if options.output in (None, STANDARD_OUTPUT) else NOWHERE)
    failures: list[str] = []
    try:
        for path in options.paths:
            failure = convert_file(path, options.host, redact, encode, writer, progress)
            if failure:
                failures.append(failure)
        if writer.has_lines or not failures:
            writer.flush()
    except BrokenPipeError:
        # A reader that has seen enough is no failure.
        return 0
    except WritingError as error:
        failures.append(str(error))
    finally:
        progress.finish()
        writer.close()
    for failure in failures:
        status = complain(failure)
    return status if failures else 0


def convert_file(
    path: str,
    host: str | None,
    redact: Change | None,
    encode: Callable[[dict[str, Any]], bytes],
    writer: Writer,
    progress: Progress,
) -> str | None:
    """Converts one file. Returns the trouble with it, or None."""
    try:
        source = Source(path, host)
    except OSError as error:
        return f"{path}: {error.strerror}"
    except CBProcessError as error:
        return f"{path}: {error.message}"
    with source:
        try:
            for record in each(source, progress.tell if progress.is_possible else None):
                writer.write(encode(record if redact is None else redact(record)))
                if source.is_live:
                    # Whoever pipes events wants to see them when they come.
                    writer.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            return f"{path}: {error.strerror}"
        return source.trouble


class WritingError(Exception):
    """The output could not be written; its text says why."""


class Writer:
    """Lines to a file, or to standard output, in large pieces. The file is opened for the first of them, so
    that an input that cannot be read costs no output of before. BrokenPipeError where the reader has gone,
    WritingError for every other failure."""

    def __init__(self, path: str | None) -> None:
        self._path = None if path == STANDARD_OUTPUT else path
        self._fd = 1 if self._path is None else NOWHERE
        self._pending: list[bytes] = []
        self._size = 0

    def write(self, line: bytes) -> None:
        self._pending.append(line)
        self._size += len(line)
        if self._size >= CHUNK:
            self.flush()

    @property
    def has_lines(self) -> bool:
        """Whether lines wait for flush()."""
        return bool(self._pending)

    def flush(self) -> None:
        """Writes what there is; an empty file where there is nothing."""
        data = memoryview(b"".join(self._pending))
        self._pending.clear()
        self._size = 0
        try:
            if self._path is not None and self._fd == NOWHERE:
                self._fd = os.open(self._path, FLAGS, PRIVATE_MODE)
            while data:
                data = data[os.write(self._fd, data) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            name = "standard output" if self._path is None else self._path
            raise WritingError(f"{name}: {error.strerror}") from None

    def close(self) -> None:
        if self._path is not None and self._fd != NOWHERE:
            os.close(self._fd)
            self._fd = NOWHERE


def without_secrets(redactor: Redactor, record: dict[str, Any]) -> dict[str, Any]:
    """The record with hidden values in its arguments and its command line, and in those of the processes of a
    summary; nothing of them stays in the exact bytes beside them."""
    result = _without_own(redactor, record)
    processes = record.get("processes")
    if isinstance(processes, list):
        result["processes"] = [
            _without_own(redactor, process) if isinstance(process, dict) else process for process in processes
        ]
    return result


def _without_own(redactor: Redactor, record: dict[str, Any]) -> dict[str, Any]:
    arguments, line = record.get("arguments"), record.get("command_line")
    result = dict(record)
    shown: list[str] = []
    if isinstance(arguments, list) and all(isinstance(item, str) for item in arguments):
        shown = arguments
    hidden = redactor.arguments(shown)
    if hidden != shown:
        result["arguments"] = hidden
        exact = result.pop("arguments_bytes", None)
        if isinstance(exact, list) and len(exact) == len(hidden):
            left = [data if new == old else None for data, new, old in zip(exact, hidden, shown)]
            if any(left):
                result["arguments_bytes"] = left
    if isinstance(line, str):
        is_made_of_them = hidden != shown and line == quoted(shown)
        result["command_line"] = quoted(hidden) if is_made_of_them else redactor.command_line(line)
        if result["command_line"] != line:
            result.pop("command_line_bytes", None)
    return result

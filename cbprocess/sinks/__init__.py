"""Sinks: places that a spool is shipped to. A sink takes batches of lines and says when each is safe there.

The scheme of a URL names it. Other packages add theirs as entry points of the group `cbprocess.sinks`: the
scheme, and a function that takes the URL and gives a Sink. Knows batches; nothing of spools, filters and
events. docs/spool.md tells how to write one."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Protocol

from .._checks import wrong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..spool import Batch

    Done = Callable[[BaseException | None], None]
    Factory = Callable[[str], "Sink"]

__all__ = ["Later", "Refused", "Sink", "open_sink", "schemes"]

GROUP = "cbprocess.sinks"
# A URL of a file has no place for a password, and its path may have any character.
PATH = re.compile(r"file:(?!//[^/])")
# Those of this package are entry points, too; setup.py makes them of this table. By it they are there in a
# checkout that is not installed.
OWN = {
    "file": "cbprocess.sinks.file:open_file",
    "kafka": "cbprocess.sinks.kafka:open_kafka",
    "nats": "cbprocess.fleet.url_sink:open_jetstream",
    "otlp+http": "cbprocess.sinks.otlp:open_otlp",
    "otlp+https": "cbprocess.sinks.otlp:open_otlp",
    "tls": "cbprocess.fleet.url_sink:open_jetstream",
}


class Sink(Protocol):
    """A place for batches. A shipper calls it, in one thread. A sink that takes no batch above a number of
    bytes says so by an attribute `max_bytes`, which is None where it does not know."""

    def send(self, batch: Batch, done: Done) -> None:
        """Takes a batch, and calls done(None) once it is safe, or done(error) if it is not: once, in any
        thread, now or later, within a time that the sink bounds. Never raises, and waits for a moment at
        most. An error means that the batch comes again later, in whole, but for Refused."""

    def poll(self, seconds: float) -> None:
        """Lets done() be called, where that needs a thread; waits for it, for so long at most."""

    def close(self, seconds: float) -> None:
        """Ends the sink within this time. Batches that are not safe by then may never be done()."""


class Refused(Exception):
    """The sink will never take this: an argument of done(). The shipper goes on behind it.

    count: the number of events that were refused; None: all of the batch."""

    def __init__(self, message: str, count: int | None = None) -> None:
        super().__init__(message)
        self.count = count


class Later(Exception):
    """The sink takes nothing now: an argument of done(). seconds: the time to wait, which it has named."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


def open_sink(url: str) -> Sink:
    """The sink for a URL, by its scheme. Errors: 87 for a URL without a scheme that is known, and for a part
    of it that the sink does not understand; 50 for a sink whose packages are not installed."""
    scheme = str(url).partition(":")[0]
    if scheme in OWN:
        module, _, name = OWN[scheme].partition(":")
        factory: Factory = getattr(import_module(module), name)
        return factory(url)
    for entry in _entry_points():
        if entry.name == scheme:
            loaded: Factory = entry.load()
            return loaded(url)
    raise wrong(f"no sink for {shown(url)!r:.100}: there are {', '.join(schemes())}")


def shown(url: str) -> str:
    """A URL as it may stand in a message: without what may be a password. One in which a password has / or ?
    as they are is wrong, and is told as such."""
    text = str(url)
    if PATH.match(text):
        return text
    head, _, query = text.partition("?")
    if "@" in query:
        # Then even the part before the ? may be the beginning of a password.
        return re.sub(r"(?s)^(.*?//)?.*", r"\1...", head)
    return re.sub(r"(?s)^(.*?//)?.*@", r"\1", head)


def schemes() -> list[str]:
    """The schemes that open_sink() knows here."""
    return sorted({*OWN, *(entry.name for entry in _entry_points())})


def _entry_points() -> list[Any]:
    import sys
    from importlib import metadata

    if sys.version_info >= (3, 10):
        return list(metadata.entry_points(group=GROUP))
    return list(metadata.entry_points().get(GROUP, ()))

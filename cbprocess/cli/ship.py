"""`cbprocess ship`: from a spool to a sink, until a signal comes or everything is there."""

from __future__ import annotations

import signal

from ..sinks import open_sink, shown
from ..sinks.shipping import Shipper
from ..spool import sessions
from .output import complain
from .signals import Caught
from .words import OWN_FAILURE

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

CLOSE_LIMIT_S = 5.0


class Stop(Caught):
    """Ends a shipper at a signal."""

    def __init__(self, shipper: Shipper) -> None:
        super().__init__((signal.SIGINT, signal.SIGTERM))
        self._shipper = shipper

    def _handle(self, number: int, frame: object) -> None:
        self._shipper.stop()


def ship(options: argparse.Namespace) -> int:
    """The exit status for the options of `cbprocess ship`: 0, or 125 where something could not be shipped
    that should have been."""
    try:
        sink = open_sink(options.url)
    except OSError as error:
        return complain(f"{shown(options.url)}: {error.strerror}")
    shipper = Shipper(options.spool, sink, on_trouble=tell)
    try:
        with Stop(shipper):
            shipper.run(once=options.once, seconds=options.seconds)
    except BlockingIOError:
        return complain(f"{options.spool}: another shipper has this folder")
    except OSError as error:
        return complain(f"{options.spool}: {error.strerror}")
    finally:
        sink.close(CLOSE_LIMIT_S)
    counts = shipper.counts()
    if counts.damaged:
        complain(f"{counts.damaged} lines in {options.spool} could not be read")
    if counts.refused:
        complain(f"{counts.refused} events were refused by {shown(options.url)}, and are lost")
    is_left = (options.once or options.seconds is not None) and bool(sessions(options.spool))
    if is_left:
        complain(f"not everything is shipped; the rest stays in {options.spool}")
    return OWN_FAILURE if is_left or counts.refused or counts.damaged else 0


def tell(failure: BaseException | None) -> None:
    """Says that the sink takes nothing, or that it takes events again."""
    if failure is None:
        complain("events are shipped again")
    else:
        complain(f"events stay in the spool: {failure}")

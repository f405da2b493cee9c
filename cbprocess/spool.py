"""The spool: events on disk as JSON Lines, bounded, for a shipper or any program that follows log files.

SpoolWriter writes one session and never waits. SessionReader reads one in batches, and acknowledges them.
Knows lines and files; nothing of filters, commands and networks. docs/spool.md tells the files' format."""

from __future__ import annotations

from ._spool.layout import Batch, host_of, lock_shipper
from ._spool.reading import SessionReader, SessionState, follow, sessions, states
from ._spool.sealing import seal
from ._spool.writing import SpoolCounts, SpoolWriter

__all__ = [
    "Batch",
    "SessionReader",
    "SessionState",
    "SpoolCounts",
    "SpoolWriter",
    "follow",
    "host_of",
    "lock_shipper",
    "seal",
    "sessions",
    "states",
]

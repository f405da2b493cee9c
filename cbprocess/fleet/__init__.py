"""Many hosts on NATS JetStream: their events in one durable stream, rules for all of them, and who is alive.

Agent is a host's side, Hub the other one. Both need the extra `cbprocess[fleet]`, which is nats-py with its
keys; importing this package does not. docs/fleet.md has the page."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .agent import Agent
    from .counts import FeedCounts
    from .feed import Feed
    from .hub import Hub
    from .link import Access
    from .presence import Host
    from .setup import Plan

__all__ = ["Access", "Agent", "Feed", "FeedCounts", "Host", "Hub", "Plan"]

_PLACES = {
    "Access": "link",
    "Agent": "agent",
    "Feed": "feed",
    "FeedCounts": "counts",
    "Host": "presence",
    "Hub": "hub",
    "Plan": "setup",
}


def __getattr__(name: str) -> Any:
    """Imports a name when it is first used: asyncio and the rest are not for everybody who imports this."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f".{_PLACES[name]}", __name__), name)
    globals()[name] = value
    return value

"""The counts of a reader of a fleet's stream. Each part of the reader counts into one of these."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class FeedCounts:
    """What a feed has seen. events: new ones. doubles: left out by their numbers. missing: numbers that did
    not come, and of which nothing says that they are lost. told: lost by what the stream itself says;
    unknown: sessions of which it says so without a number, because their writer was killed. forged: lines
    that named another host. strange: lines that are no record of a schema known here. messages: those of the
    stream. replaced: how often the stream was another one than before. dropped: messages that the stream let
    go, because it was full or they were too old, before this reader came to them. forgotten: sessions that
    are no longer remembered, because there were too many: one that speaks again is counted anew."""

    events: int = 0
    doubles: int = 0
    missing: int = 0
    told: int = 0
    unknown: int = 0
    forged: int = 0
    strange: int = 0
    messages: int = 0
    replaced: int = 0
    dropped: int = 0
    forgotten: int = 0

"""A machine as a set of lives: processes from their start to their end. Two observers have seen the same if
each has every life that the other saw between two moments, which marked processes show.

Knows neither cbprocess nor bpftrace: both are turned into this.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

SHOWN_SIZE = 200  # bytes of an argument list that both observers tell


def printable(data: bytes) -> str:
    """What cannot be printed as \\xNN; a backslash as itself, as bpftrace has it."""
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}" for byte in data)


NUL = printable(b"\0")


def shown_bytes(text: str) -> list[str]:
    """Each byte as printable() has shown it."""
    return re.findall(r"\\x[0-9a-f]{2}|.", text)


class Image(NamedTuple):
    """An argument list: its size with a NUL after each argument, and how it begins.

    The list that a script runs with begins with its interpreter's arguments. Who looks at the kernel's list
    alone knows not where they end: any argument but the first that is the path of the executed file may begin
    another list that is meant. It may lie behind what is shown.
    """

    size: int
    shown: str
    path: str = ""  # of the executed file, printable, where the list is the kernel's
    is_cut: bool = False  # what was told says that there was no room for all of it

    def is_as(self, other: Image) -> bool:
        """Both are of one execution, as far as both show it."""
        if (self.size, self.shown) == (other.size, other.shown):
            return True
        if self.is_cut:
            return self.size <= other.size and self.shown == other.shown
        if other.is_cut:
            return other.is_as(self)
        return self._ends_with(other) if self.path else bool(other.path) and other._ends_with(self)

    def _ends_with(self, script: Image) -> bool:
        """The other list is the end of this one, and begins with the path of the executed file."""
        begin = self.size - script.size
        shown, told, named = shown_bytes(self.shown), shown_bytes(script.shown), shown_bytes(self.path + NUL)
        before, rest = shown[: max(begin, 0)], shown[max(begin, 0) :]
        is_behind_argument = begin > 0 and (begin > len(shown) or before[-1] == NUL)
        return is_behind_argument and told[: len(named)] == named[:SHOWN_SIZE] and told[: len(rest)] == rest

    @classmethod
    def of(cls, arguments: list[bytes], is_cut: bool = False) -> Image:
        data = b"".join(argument + b"\0" for argument in arguments)
        return cls(len(data), printable(data[:SHOWN_SIZE]), is_cut=is_cut)


class Signature(NamedTuple):
    """What two observers have to agree about."""

    process_id: int
    creator: int
    further_threads: int
    end: int
    images: tuple[Image, ...]

    def is_as(self, other: Signature) -> bool:
        if self[:-1] != other[:-1] or len(self.images) != len(other.images):
            return False
        return all(one.is_as(another) for one, another in zip(self.images, other.images))


@dataclass
class Life:
    """A process. Places are anything that orders the records of one observer."""

    process_id: int
    creator: int | None = None  # None: its start was not seen
    images: list[Image] = field(default_factory=list)
    further_threads: int = 0
    end: int | None = None
    first_place: int = -1
    last_place: int = -1
    is_of_kernel: bool = False

    def add(self, place: int) -> None:
        self.first_place = place if self.first_place < 0 else min(self.first_place, place)
        self.last_place = max(self.last_place, place)

    def signature(self) -> Signature:
        assert self.creator is not None, f"the start of a process was not told: {self}"
        assert self.end is not None, f"the end of a process was not told: {self}"
        return Signature(self.process_id, self.creator, self.further_threads, self.end, tuple(self.images))


class Observed:
    """All that one observer has seen."""

    def __init__(self, name: str, lives: list[Life]) -> None:
        self.name, self.lives = name, lives

    def marked(self, mark: str) -> Life:
        """The life of the process that was given this argument."""
        end = printable(b"\0" + mark.encode() + b"\0")
        found = [life for life in self.lives if any(image.shown.endswith(end) for image in life.images)]
        assert len(found) == 1, f"{self.name} saw the mark {mark!r} {len(found)} times"
        return found[0]

    def between(self, first: str, last: str) -> Iterator[Life]:
        """The lives that lie between those of the marks as a whole."""
        begin, end = self.marked(first).last_place, self.marked(last).first_place
        assert begin < end
        for life in self.lives:
            if (
                life.first_place > begin
                and life.last_place < end
                and life.creator is not None
                and life.end is not None
            ):
                yield life


def _without_their_equals(some: Iterable[Signature], others: Iterable[Signature]) -> list[Signature]:
    """Those that have no equal, each equal standing for one of them."""
    left: dict[int, list[Signature]] = {}
    for other in others:
        left.setdefault(other.process_id, []).append(other)
    lost = []
    for one in some:
        equals = [other for other in left.get(one.process_id, ()) if one.is_as(other)]
        if equals:
            left[one.process_id].remove(equals[0])
        else:
            lost.append(one)
    return lost


def _missing(one: Observed, other: Observed, first: str, last: str, but: set[int]) -> list[str]:
    """What one saw between the marks and the other has not seen at all."""
    of_kernel = {life.process_id for life in [*one.lives, *other.lives] if life.is_of_kernel}
    left_out = but | of_kernel
    seen = [
        life.signature()
        for life in one.between(first, last)
        if life.creator not in but and life.process_id not in left_out
    ]
    whole = [life.signature() for life in other.lives if life.creator is not None and life.end is not None]
    lost = _without_their_equals(seen, whole)
    return [f"{one.name} saw what {other.name} did not: {signature}" for signature in lost]


def assert_same(one: Observed, other: Observed, first: str, last: str, but: set[int]) -> int:
    """Both have the same lives between the marks, those aside that the processes in `but` begin. Gives how
    many."""
    lost = _missing(one, other, first, last, but) + _missing(other, one, first, last, but)
    shown = "\n".join(line[:600] for line in lost[:10])
    assert not lost, f"{len(lost)} differences\n{shown}"
    return sum(1 for _ in one.between(first, last))

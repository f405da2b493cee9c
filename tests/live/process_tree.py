"""A run of a program as a tree of processes, in a form that two runs can be compared in.

Knows neither strace nor cbprocess: both are turned into this. Process ids, times and the order of events in
different processes are left out, since they differ from run to run; everything else has to be equal.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Callable

Arguments = tuple[str, ...]


class Process:
    """One process from its start to its end."""

    def __init__(self, process_id: int, creator: Process | None = None) -> None:
        self.process_id = process_id
        self.creator = creator
        self.images: list[Arguments] = []  # the argument list of each program it executed, in order
        self.thread_count = 0  # threads made after the first
        self.end: int | None = None  # exit code, or the negative number of the signal
        self.children: list[Process] = []
        if creator is not None:
            creator.children.append(self)

    def walk(self) -> Iterator[Process]:
        waiting = [self]
        while waiting:
            process = waiting.pop()
            waiting.extend(process.children)
            yield process


def plain(arguments: Arguments) -> Arguments:
    """Replaces what a compiler driver makes up anew in each run, the names of its temporary files, and an
    argument list with nothing in it, for which Linux makes one with an empty text."""
    return tuple(re.sub(r"/tmp/cc[A-Za-z0-9]{6}", "/tmp/ccXXXXXX", text) for text in arguments or ("",))


def canonical(process: Process, normalise: Callable[[Arguments], Arguments] = plain) -> tuple[Any, ...]:
    """The tree as nested tuples: equal for two runs that did the same, whatever ran first."""
    # Built from the leaves upwards, because a chain of forks may be deeper than Python's stack.
    done: dict[int, tuple[Any, ...]] = {}
    for node in reversed(list(process.walk())):
        children = tuple(sorted((done[id(child)] for child in node.children), key=repr))
        done[id(node)] = (tuple(map(normalise, node.images)), node.thread_count, node.end, children)
    return done[id(process)]


def _inherited_program(process: Process | None) -> str | None:
    while process is not None:
        if process.images:
            return process.images[-1][0] if process.images[-1] else ""
        process = process.creator
    return None


def flat(process: Process) -> Counter[tuple[Any, ...]]:
    """Each process with the program that its creator ended up running: for messages about a difference."""
    return Counter(
        (tuple(map(plain, node.images)), node.thread_count, node.end, _inherited_program(node.creator))
        for node in process.walk()
    )


def _shorten(row: tuple[Any, ...]) -> str:
    text = repr(row)
    return text if len(text) <= 400 else text[:300] + " ... " + text[-90:]


def assert_equal(actual: Process, expected: Process) -> None:
    """Fails, naming the processes that are missing or extra, unless both trees are the same."""
    if canonical(actual) == canonical(expected):
        return
    missing, extra = flat(expected) - flat(actual), flat(actual) - flat(expected)
    lines = ["the trees differ; (images, further threads, end, creator's program):"]
    lines += [f"  missing {count} x {_shorten(row)}" for row, count in missing.items()]
    lines += [f"  extra {count} x {_shorten(row)}" for row, count in extra.items()]
    if not missing and not extra:
        lines.append("  the same processes, but in other places of the tree")
    raise AssertionError("\n".join(lines))

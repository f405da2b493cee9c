"""The processes that run before a filter does, parents before their children. Knows no filter."""

from __future__ import annotations

import os

from ..running import snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from ..running import RunningProcess


def running_machine(processes: Iterable[RunningProcess]) -> Iterator[tuple[int, int, str, list[str]]]:
    """The processes of a snapshot, as running_tree() gives them."""
    found = {process.process_id: process for process in processes}
    roots = [
        process_id
        for process_id, process in found.items()
        if process.parent_process_id not in found or process.parent_process_id == process_id
    ]
    # An id that was given out again can make somebody's child its parent.
    return _tree(found, [*roots, *found], True)


def running_tree(process_ids: Collection[int], children: bool) -> Iterator[tuple[int, int, str, list[str]]]:
    """The processes and their descendants as they run now, each with its own behind it: id, parent's id,
    program, arguments."""
    return _tree({process.process_id: process for process in snapshot()}, process_ids, children)


def _tree(
    found: dict[int, RunningProcess], process_ids: Collection[int], children: bool
) -> Iterator[tuple[int, int, str, list[str]]]:
    offspring: dict[int, list[int]] = {}
    for process in found.values():
        offspring.setdefault(process.parent_process_id, []).append(process.process_id)
    pending = list(process_ids)[::-1]
    seen = {os.getpid()}
    while pending:
        process_id = pending.pop()
        if process_id in seen or process_id not in found:
            continue
        seen.add(process_id)
        process = found[process_id]
        yield process_id, process.parent_process_id, process.process_name, process.arguments
        if children:
            pending += offspring.get(process_id, ())[::-1]

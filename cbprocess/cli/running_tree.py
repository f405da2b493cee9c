"""The processes that run before anything is attached to, with their descendants. Knows no filter."""

from __future__ import annotations

import os

from ..running import running_processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator


def running_tree(process_ids: Collection[int], children: bool) -> Iterator[tuple[int, int, str, list[str]]]:
    """The processes and their descendants as they run now, parents first: id, parent's id, program,
    arguments."""
    found = {process.process_id: process for process in running_processes()}
    offspring: dict[int, list[int]] = {}
    for process in found.values():
        offspring.setdefault(process.parent_process_id, []).append(process.process_id)
    pending = list(process_ids)
    seen = {os.getpid()}
    while pending:
        process_id = pending.pop(0)
        if process_id in seen or process_id not in found:
            continue
        seen.add(process_id)
        process = found[process_id]
        yield process_id, process.parent_process_id, process.process_name, process.arguments
        if children:
            pending += offspring.get(process_id, ())

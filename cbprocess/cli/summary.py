"""What --summary tells at the end: counts, time per program, the process tree."""

from __future__ import annotations

import os
import shlex
from typing import NamedTuple

from .. import events
from .output import end_text, printable, refusal_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class Run(NamedTuple):
    """A program of a process, from started_ns on. It is executed, or was there before: from the creator, or
    from before the filter."""

    program: str
    started_ns: int
    executed: bool
    command: str
    sequence: int = 0


class Node:
    """One process: its programs with the times at which it executed them, and its end."""

    __slots__ = ("children", "ended_ns", "process_id", "programs", "started_ns", "status")

    def __init__(self, process_id: int, started_ns: int) -> None:
        self.process_id = process_id
        self.started_ns = started_ns
        self.ended_ns: int | None = None
        self.status: int | None = None
        self.programs: list[Run] = []
        self.children: list[Node] = []

    def program(self) -> str:
        return self.programs[-1].program if self.programs else ""

    @property
    def command(self) -> str:
        return self.programs[-1].command if self.programs else ""

    def seconds(self, now_ns: int) -> float:
        return ((now_ns if self.ended_ns is None else self.ended_ns) - self.started_ns) / 1e9


class Summary:
    """Collects events, which must come in sequence order, one at a time."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.refusals: list[str] = []
        self.failures: list[str] = []  # executions that were allowed and then failed
        self.roots: list[Node] = []
        self._living: dict[int, Node] = {}
        self._executions: dict[int, Node] = {}  # by the sequence of their events
        self._left: dict[int, Node] = {}  # likewise

    def add(self, name: str, event: events.EventParams) -> None:
        self.counts[name] = self.counts.get(name, 0) + 1
        if isinstance(event, events.CBProcessProcessCreationEventParams):
            if event.result_code:
                text = f"refused {refusal_name(event.result_code)}, {printable(event.image_file_name)}"
                self.refusals.append(f"{event.process_id} {printable(event.command_line)}  [{text}]")
            else:
                self._executed(event)
        elif isinstance(event, events.CBProcessThreadCreationEventParams):
            if event.thread_id == event.process_id:
                self._forked(event)
        elif isinstance(event, events.CBProcessProcessTerminationEventParams):
            node = self._living.pop(event.process_id, None)
            if node is not None:
                node.ended_ns = event.time_ns
                node.status = event.exit_status
                if not (node.programs or event.process_name) and node in self.roots:
                    # It was to become run's command: the refusals tell what came of that.
                    self.roots.remove(node)

    def left(self, process_id: int, now_ns: int, sequence: int) -> None:
        """The process goes on as a program that is not shown, which this event tells of."""
        node = self._living.pop(process_id, None)
        if node is not None:
            node.ended_ns = now_ns
            self._left[sequence] = node

    def take_back(self, sequence: int, why: str, is_left: bool) -> None:
        """The execution that this event tells of has not happened; is_left: without it the process would not
        be shown."""
        node = self._left.pop(sequence, None)
        if node is not None:
            node.ended_ns = None
            self._living[node.process_id] = node
        node = self._executions.pop(sequence, None)
        if node is None:
            return
        self.counts["process_creation"] -= 1
        for run in [run for run in node.programs if run.sequence == sequence]:
            node.programs.remove(run)
            self.failures.append(f"{node.process_id} {printable(run.command)}  [{why}]")
        if is_left and not node.children:
            self._forget(node)

    def _forget(self, node: Node) -> None:
        self._living.pop(node.process_id, None)
        for siblings in [self.roots, *(found.children for found, _ in self._nodes())]:
            if node in siblings:
                siblings.remove(node)
                return

    def found_running(
        self, process_id: int, parent_id: int, program: str, arguments: list[str], now_ns: int
    ) -> None:
        """A process that runs already; its time begins now. Parents come before their children."""
        node = self._add_node(process_id, parent_id, now_ns)
        node.programs.append(Run(program, now_ns, False, shlex.join(arguments)))

    def lines(self, now_ns: int, tree_lines: int | None = None) -> list[str]:
        """The summary as text, its lists cut to so many lines: what failed comes first, totals last."""
        nodes = [node for node, _ in self._nodes()]
        failures = [_node_text(node, now_ns) for node in nodes if node.status]
        result = []
        if failures or self.refusals or self.failures:
            result += [
                "",
                "failed or refused",
                *_cut([f"  {text}" for text in failures + self.refusals + self.failures], tree_lines),
            ]
        result += ["", "events"]
        result += [f"  {count:>8}  {name}" for name, count in sorted(self.counts.items())]
        result += ["", "   seconds      runs  program"]
        for program, (seconds, runs) in self._times(now_ns):
            result.append(f"  {seconds:8.3f}  {runs:>8}  {printable(program)}")
        tree = ["  " * depth + _node_text(node, now_ns) for node, depth in self._nodes()]
        result += ["", "processes", *_cut(tree, tree_lines)]
        last_ns = max([now_ns if node.ended_ns is None else node.ended_ns for node in nodes], default=now_ns)
        seconds = (last_ns - min([node.started_ns for node in nodes], default=last_ns)) / 1e9
        return [
            *result,
            "",
            f"total: {_count(len(nodes), 'process', 'processes')}, {len(failures)} failed, "
            f"{_count(len(self.refusals), 'execution', 'executions')} refused, {seconds:.3f} s",
        ]

    def _nodes(self) -> Iterator[tuple[Node, int]]:
        """The tree, parents first, with how deep each is."""
        pending = [(root, 1) for root in reversed(self.roots)]
        while pending:
            node, depth = pending.pop()
            yield node, depth
            pending += [(child, depth + 1) for child in reversed(node.children)]

    def record(self, now_ns: int) -> dict[str, object]:
        """The summary for --json. The tree is a flat list with parents, so that depth is no limit."""
        processes: list[dict[str, object]] = []
        pending: list[tuple[Node, int | None]] = [(root, None) for root in reversed(self.roots)]
        while pending:
            node, parent = pending.pop()
            processes.append(
                {
                    "index": len(processes),
                    "parent_index": parent,
                    "process_id": node.process_id,
                    "command_line": node.command,
                    "programs": [run.program for run in node.programs if run.executed],
                    "seconds": node.seconds(now_ns),
                    "exit_status": node.status,
                }
            )
            pending += [(child, len(processes) - 1) for child in reversed(node.children)]
        times = [
            {"program": program, "seconds": seconds, "runs": runs}
            for program, (seconds, runs) in self._times(now_ns)
        ]
        return {"event": "summary", "counts": self.counts, "programs": times, "processes": processes}

    def _executed(self, event: events.CBProcessProcessCreationEventParams) -> None:
        node = self._living.get(event.process_id)
        if node is None:
            node = self._begin(event.process_id, event.creating_process_id, event.time_ns)
        node.programs.append(Run(event.process_name, event.time_ns, True, event.command_line, event.sequence))
        self._executions[event.sequence] = node

    def _forked(self, event: events.CBProcessThreadCreationEventParams) -> None:
        if event.process_id in self._living:
            # The first thread of a process whose creation came before it.
            return
        self._begin(event.process_id, event.creating_process_id, event.time_ns)

    def _begin(self, process_id: int, creator_id: int, now_ns: int) -> Node:
        """A new process, which is what its creator is until it executes something."""
        creator = self._living.get(creator_id)
        node = self._add_node(process_id, creator_id, now_ns)
        if creator is not None and creator.programs:
            origin = creator.programs[-1]
            node.programs.append(Run(origin.program, now_ns, False, origin.command))
        return node

    def _add_node(self, process_id: int, creator_id: int, now_ns: int) -> Node:
        node = Node(process_id, now_ns)
        creator = self._living.get(creator_id)
        (self.roots if creator is None else creator.children).append(node)
        self._living[process_id] = node
        return node

    def _times(self, now_ns: int) -> list[tuple[str, tuple[float, int]]]:
        """Seconds and runs of each program, the longest first."""
        totals: dict[str, tuple[float, int]] = {}
        pending = list(self.roots)
        while pending:
            node = pending.pop()
            pending += node.children
            end = now_ns if node.ended_ns is None else node.ended_ns
            for run in reversed(node.programs):
                seconds, runs = totals.get(run.program, (0.0, 0))
                totals[run.program] = (seconds + (end - run.started_ns) / 1e9, runs + run.executed)
                end = run.started_ns
        return sorted(totals.items(), key=lambda item: (-item[1][0], item[0]))


def _cut(lines: list[str], most: int | None) -> list[str]:
    if most is None or len(lines) <= most:
        return lines
    return [*lines[:most], f"  ... and {len(lines) - most} more (--tree shows all)"]


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _node_text(node: Node, now_ns: int) -> str:
    end = end_text(node.status, node.ended_ns is not None)
    command = node.command or os.path.basename(node.program()) or "?"
    return f"{node.process_id} {printable(command)}  [{end}, {node.seconds(now_ns):.3f} s]"

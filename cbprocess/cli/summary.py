"""The text of --summary at the end: counts, time per program, the process tree."""

from __future__ import annotations

from .. import events
from .._checks import printable
from .output import end_text, refusal_name
from .shortening import base_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .chronicle import Chronicle, Life


class Summary:
    """Counts the events that make up a chronicle, one at a time, and makes texts of both."""

    def __init__(self, chronicle: Chronicle) -> None:
        self._chronicle = chronicle
        self.counts: dict[str, int] = {}
        self.refusals: list[str] = []
        self.failures: list[str] = []  # executions that were allowed and then failed

    def add(self, name: str, event: events.EventParams) -> None:
        self.counts[name] = self.counts.get(name, 0) + 1
        if isinstance(event, events.CBProcessProcessCreationEventParams) and event.result_code:
            text = f"refused {refusal_name(event.result_code)}, {printable(event.image_file_name)}"
            self.refusals.append(f"{event.process_id} {printable(event.command_line)}  [{text}]")

    def took_back(self, process_id: int, command: str, why: str) -> None:
        """Takes back an execution that was counted and has not happened."""
        self.counts["process_creation"] -= 1
        self.failures.append(f"{process_id} {printable(command)}  [{why}]")

    def lines(self, now_ns: int, tree_lines: int | None = None) -> list[str]:
        """The summary as text, its lists cut to so many lines. Failures come first, totals last."""
        rows = self._rows()
        lives = [life for _, life in rows]
        failures = [_life_text(life, now_ns) for life in lives if life.status]
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
        tree = ["  " * (depth + 1) + _life_text(life, now_ns) for depth, life in rows]
        result += ["", "processes", *_cut(tree, tree_lines)]
        last_ns = max([life.end_or(now_ns) for life in lives], default=now_ns)
        seconds = (last_ns - min([life.started_ns for life in lives], default=last_ns)) / 1e9
        return [
            *result,
            "",
            f"total: {_count(len(lives), 'process', 'processes')}, {len(failures)} failed, "
            f"{_count(len(self.refusals), 'execution', 'executions')} refused, {seconds:.3f} s",
        ]

    def _rows(self) -> list[tuple[int, Life]]:
        """The tree, parents first, each with its depth."""
        return [(depth, life) for depth, life in self._chronicle.lives() if life.has_been_something]

    def record(self, now_ns: int) -> dict[str, object]:
        """The summary for --json. The tree is a flat list with parents, so that depth is no limit."""
        processes: list[dict[str, object]] = []
        indexes: dict[Life | None, int | None] = {None: None}
        for _, life in self._rows():
            indexes[life] = len(processes)
            processes.append(
                {
                    "index": len(processes),
                    "parent_index": indexes[life.creator],
                    "process_id": life.process_id,
                    "command_line": life.command,
                    "programs": [stage.program for stage in life.stages if stage.executed],
                    "seconds": life.seconds(now_ns),
                    "exit_status": life.status,
                }
            )
        times = [
            {"program": program, "seconds": seconds, "runs": runs}
            for program, (seconds, runs) in self._times(now_ns)
        ]
        return {"counts": self.counts, "programs": times, "processes": processes}

    def _times(self, now_ns: int) -> list[tuple[str, tuple[float, int]]]:
        """Seconds and runs of each program, the longest first."""
        totals: dict[str, tuple[float, int]] = {}
        for _, life in self._rows():
            end_ns = life.end_or(now_ns)
            for stage in reversed(life.stages):
                seconds, runs = totals.get(stage.program, (0.0, 0))
                seconds += (end_ns - stage.time_ns) / 1e9
                totals[stage.program] = seconds, runs + stage.executed
                end_ns = stage.time_ns
        return sorted(totals.items(), key=lambda item: (-item[1][0], item[0]))


def _cut(lines: list[str], most: int | None) -> list[str]:
    if most is None or len(lines) <= most:
        return lines
    return [*lines[:most], f"  ... and {len(lines) - most} more (--tree shows all)"]


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _life_text(life: Life, now_ns: int) -> str:
    end = end_text(life.status, life.ended_ns is not None)
    command = life.command or base_name(life.program) or "?"
    return f"{life.process_id} {printable(command)}  [{end}, {life.seconds(now_ns):.3f} s]"

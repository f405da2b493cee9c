"""The file of --trace: processes and threads in the Trace Event format, which Perfetto and chrome://tracing
open. Each process is a track of slices, one for each program that it executed, with arrows to the processes
that it started."""

from __future__ import annotations

from .._checks import printable
from .output import end_text
from .shortening import base_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .chronicle import Chronicle, Life, Stage

    Record = dict[str, object]


def trace_object(chronicle: Chronicle, started_ns: int, ended_ns: int, lost: int) -> dict[str, object]:
    """The trace as json.dump() takes it. The arguments are those of timeline_page()."""
    maker = _Maker(started_ns, ended_ns)
    for number, (_, life) in enumerate(chronicle.lives()):
        maker.add_process(number, life)
    other = {
        "command": printable(chronicle.title()),
        "started": f"{started_ns // 1000000000}.{started_ns % 1000000000:09d}",
        "lost events": str(lost),
    }
    return {"traceEvents": maker.records, "displayTimeUnit": "ms", "otherData": other}


class _Maker:
    """Collects records; times in them are microseconds from the start, as the format wants."""

    def __init__(self, started_ns: int, ended_ns: int) -> None:
        self.records: list[Record] = []
        self._started_ns = started_ns
        self._ended_ns = ended_ns
        self._named: set[int] = set()

    def add_process(self, number: int, life: Life) -> None:
        self._name(number, life)
        stages = life.stages
        for index, stage in enumerate(stages):
            end_ns = stages[index + 1].time_ns if index + 1 < len(stages) else self._end_of(life)
            begin_ns = life.started_ns if index == 0 else stage.time_ns
            self._slice(life, life.process_id, _base(stage.program), begin_ns, end_ns, _details(life, stage))
        if not stages:
            self._slice(life, life.process_id, "?", life.started_ns, self._end_of(life), _details(life, None))
        for refusal in life.refusals:
            details: Record = {"command line": printable(refusal.command), "error": refusal.code}
            self._instant(life, "refused", refusal.time_ns, details)
        for time_ns in life.timed_out_ns:
            self._instant(life, "timed out", time_ns, {})
        for thread_id, (begin_ns, end_ns) in life.threads.items():
            self._slice(life, thread_id, "thread", begin_ns, end_ns or self._end_of(life), {})
        if life.creator is not None:
            self._arrow(number, life.creator, life)

    def _end_of(self, life: Life) -> int:
        return self._ended_ns if life.ended_ns is None else life.ended_ns

    def _time(self, time_ns: int) -> float:
        return (time_ns - self._started_ns) / 1000

    def _add(self, phase: str, name: str, life: Life, thread_id: int, **more: object) -> None:
        self.records.append({"ph": phase, "name": name, "pid": life.process_id, "tid": thread_id, **more})

    def _name(self, number: int, life: Life) -> None:
        """A name for the track; a process id that is used again keeps its first one."""
        if life.process_id in self._named:
            return
        self._named.add(life.process_id)
        name = _base(life.stages[-1].program) if life.stages else "?"
        self._add("M", "process_name", life, life.process_id, args={"name": name})
        self._add("M", "process_sort_index", life, life.process_id, args={"sort_index": number})
        self._add("M", "thread_name", life, life.process_id, args={"name": name})

    def _slice(
        self, life: Life, thread_id: int, name: str, begin_ns: int, end_ns: int, details: Record
    ) -> None:
        span = {"ts": self._time(begin_ns), "dur": max(end_ns - begin_ns, 0) / 1000}
        self._add("X", name, life, thread_id, cat="process", args=details, **span)

    def _instant(self, life: Life, name: str, time_ns: int, details: Record) -> None:
        time = self._time(time_ns)
        self._add("i", name, life, life.process_id, cat="process", ts=time, s="p", args=details)

    def _arrow(self, number: int, creator: Life, life: Life) -> None:
        """Adds an arrow from the creator to its child. Both ends have to lie in a slice."""
        time = self._time(life.started_ns)
        common = {"cat": "creation", "id": number, "ts": time}
        self._add("s", "creates", creator, creator.process_id, **common)
        self._add("f", "creates", life, life.process_id, bp="e", **common)


def _base(program: str) -> str:
    return printable(base_name(program) or "?")


def _details(life: Life, stage: Stage | None) -> Record:
    status = end_text(life.status, life.ended_ns is not None)
    command = "" if stage is None else printable(stage.command)
    return {"command line": command, "end of the process": status}

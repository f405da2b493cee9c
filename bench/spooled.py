"""H13: what a spool costs the programs that are watched, beside lines of JSON and beside an agent that ships.

Runs the command line, and for the agent a nats-server of its own where there is one. Knows options only."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from harness import REPOSITORY, BenchmarkError, Missing, Monitor, Workload, progress
from table import Row

sys.path.append(str(REPOSITORY / "tests"))
import nats_server

TARGET = 1.05
START_LIMIT_S = 10.0
# Of two lengths the difference counts: the start costs nothing then, and what is written after the workload
# does.
LENGTHS = (1, 4)
COMMAND_LINE = [sys.executable, "-c", "import sys; from cbprocess.cli import main; sys.exit(main())"]
EVENTS = ("--events", "process,thread")
JSON, SPOOL, AGENT = "run --json", "run --spool", "run --spool, an agent ships"
PR_SET_CHILD_SUBREAPER = 36
ORPHAN_LIMIT_S = 5.0
# Children that are ours, and go on.
KNOWN: set[int] = set()


def command_line(name: str, folder: Path, *options: str) -> Monitor:
    def command(workload: list[str]) -> list[str]:
        return [*COMMAND_LINE, "run", *options, *EVENTS, "--", *workload]

    def check(output: str, kind: str, count: int) -> None:
        if name != JSON:
            return
        with open(folder / "lines", "rb") as lines:
            seen = sum(b'"event":"process_creation"' in line for line in lines)
        if seen < count:
            raise BenchmarkError(f"{name}: {seen} of {count} creations")

    return Monitor(name, command, check)


def spooled_counts(spool: Path) -> tuple[int, int]:
    """The creations in a spool, and the losses that are told there."""
    creations = losses = 0
    for path in spool.glob("*/*.jsonl"):
        for line in path.read_bytes().splitlines():
            creations += b'"event":"process_creation"' in line
            losses += b'"event":"lost"' in line
    return creations, losses


class Agent:
    """An agent of a fleet, with its server. Both are ended by their ids."""

    def __init__(self, folder: Path, server_cpus: set[int]) -> None:
        if nats_server.PROGRAM is None:
            raise Missing("no nats-server here")
        port = nats_server.free_port()
        folder.mkdir()
        self.spool = folder / "spool"
        self._processes: list[subprocess.Popen[bytes]] = []
        url = f"nats://127.0.0.1:{port}"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        try:
            server = nats_server.start(folder, port)
        except nats_server.NotStarted as error:
            raise BenchmarkError(f"the server does not start: {error}") from None
        self._processes.append(server)
        KNOWN.add(server.pid)
        # The server is another machine's business.
        os.sched_setaffinity(server.pid, server_cpus)
        setup = [*COMMAND_LINE, "fleet", "setup", "--server", url, "--max-bytes", "256m"]
        done = subprocess.run(setup, capture_output=True, text=True, check=False)
        if done.returncode:
            self.stop()
            raise Missing(f"no fleet here: {done.stderr.strip()}")
        line = [*COMMAND_LINE, "fleet", "agent", "--server", url, "--spool", str(self.spool), "--quiet"]
        self._processes.append(subprocess.Popen(line, **quiet))  # type: ignore[call-overload]
        KNOWN.add(self._processes[-1].pid)

    def drain(self) -> None:
        """Waits until everything is shipped."""
        end_s = time.monotonic() + START_LIMIT_S
        while any(self.spool.glob("*/head.json")):
            if self._processes[-1].poll() is not None:
                raise BenchmarkError("the agent has ended")
            if time.monotonic() > end_s:
                raise BenchmarkError("the agent does not ship")
            time.sleep(0.01)

    def spent_ns(self) -> float:
        """The agent's time of the processor."""
        fields = Path(f"/proc/{self._processes[-1].pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * 1e9 / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        for process in reversed(self._processes):
            nats_server.stop(process)


def spooled_rows(folder: Path, count: int, repetitions: int, cpus: set[int]) -> list[Row]:
    """`cpus` are those that this machine has: the server takes one that is not the benchmark's."""
    adopt_orphans()
    here = os.sched_getaffinity(0)
    monitors = [
        command_line(JSON, folder, "--json", "-o", str(folder / "lines")),
        command_line(SPOOL, folder, "--spool", str(folder / "spool")),
    ]
    with contextlib.ExitStack() as stack:
        agent = None
        try:
            agent = Agent(folder / "agent", (cpus - here) or here)
            stack.callback(agent.stop)
            monitors.append(command_line(AGENT, folder, "--spool", str(agent.spool)))
        except Missing as error:
            progress(f"H13: without an agent: {error}")
        results = measure(folder, count, repetitions, monitors, agent)
    return [row(name, results) for name in (SPOOL, AGENT) if name in results]


def measure(
    folder: Path, count: int, repetitions: int, monitors: Sequence[Monitor], agent: Agent | None
) -> dict[str, list[tuple[float, float]]]:
    """For each way, of each repetition: nanoseconds of the processor for one program, of everything that
    takes part but the server; and the same to the bare workload's."""
    results: dict[str, list[tuple[float, float]]] = {monitor.name: [] for monitor in monitors}
    for repetition in range(repetitions):
        progress(f"H13: repetition {repetition + 1} of {repetitions}")
        bare_ns = spent_ns(folder, count, None, None)
        for monitor in monitors:
            shutil.rmtree(folder / "spool", ignore_errors=True)
            whole_ns = spent_ns(folder, count, monitor, agent if monitor.name == AGENT else None)
            if monitor.name == SPOOL:
                creations, losses = spooled_counts(folder / "spool")
                if losses or creations < sum(LENGTHS) * count:
                    raise BenchmarkError(f"{SPOOL}: {creations} creations, {losses} losses")
            results[monitor.name].append((whole_ns, whole_ns / bare_ns))
    return results


def spent_ns(folder: Path, count: int, monitor: Monitor | None, agent: Agent | None) -> float:
    """The processor's time for one more program. On a machine with other work it says more than the clock."""
    spent = []
    for length in LENGTHS:
        before = children_ns() + (agent.spent_ns() if agent else 0)
        Workload(folder, "spawn", length * count).run(monitor)
        if agent is not None:
            agent.drain()
        bury_orphans()
        spent.append(children_ns() + (agent.spent_ns() if agent else 0) - before)
    return (spent[1] - spent[0]) / ((LENGTHS[1] - LENGTHS[0]) * count)


def children_ns() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (usage.ru_utime + usage.ru_stime) * 1e9


def adopt_orphans() -> None:
    """Has what a command leaves behind, as its helper, come to this process, so that its time counts."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def bury_orphans() -> None:
    """Waits for what a command has left behind. Our own children are ended elsewhere."""
    end_s = time.monotonic() + ORPHAN_LIMIT_S
    while time.monotonic() < end_s:
        if not has_orphans():
            return
        if os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG) is None:
            time.sleep(0.01)


def has_orphans() -> bool:
    """Whether there are children of this process that it has not started."""
    tasks = Path("/proc/self/task").glob("*/children")
    children = {int(text) for path in tasks for text in path.read_text().split()}
    return bool(children - KNOWN)


def row(name: str, results: dict[str, list[tuple[float, float]]]) -> Row:
    # Neighbours in time are compared, so that a change of the machine's pace meets both.
    ratios = [own[0] / lines[0] for own, lines in zip(results[name], results[JSON])]
    ratio = statistics.median(ratios)
    others = []
    for each in (JSON, name):
        spent_us = statistics.median(value[0] for value in results[each]) / 1000
        to_bare = statistics.median(value[1] for value in results[each])
        others.append(f"{each} {spent_us:.0f} us, {to_bare:.2f}x bare")
    return Row(
        "H13",
        f"`{name}`: processor time for a program with its events, until everything is written",
        f"<= {TARGET}x `run --json`",
        f"{ratio:.2f}x ({min(ratios):.2f}-{max(ratios):.2f})",
        ratio <= TARGET,
        "; ".join(others),
    )

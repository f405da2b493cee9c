"""SIZE: the memory that helper and core need for many living processes, and the start of a filter with many
rules.

    footprint.py --rules N -- CROWD...

is the measured controller: a process of its own, so that nothing else is in its memory. Knows the package's
public interface, and /proc."""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from harness import BenchmarkError, progress
from rule_changes import make_links
from rule_patterns import NAME_SIZE, Maker
from table import Row

from cbprocess import PROC_EVT_PROCESS_CREATION, PROC_EVT_PROCESS_TERMINATION, CBProcess

PRODUCT_GUID = "{6F0C2B1E-93A5-4D5B-8A77-1F2E3D4C5B6A}"
RULE_COUNT = 10_000
START_COUNT = 5
HELPER_TARGET_MIB, CORE_TARGET_MIB, START_TARGET_MS = 32, 1, 20
EVENTS = PROC_EVT_PROCESS_CREATION | PROC_EVT_PROCESS_TERMINATION


def anonymous_kib(process_id: int) -> int:
    text = Path(f"/proc/{process_id}/status").read_text()
    return int(text.split("RssAnon:")[1].split()[0])


def tracer_of(process_id: int) -> int:
    text = Path(f"/proc/{process_id}/status").read_text()
    return int(text.split("TracerPid:")[1].split()[0])


def start_ms(rule_count: int) -> list[float]:
    """Of a filter that has all its rules before."""
    taken = []
    controller = CBProcess()
    controller.initialize(PRODUCT_GUID)
    for pattern in Maker(1).patterns(rule_count):
        controller.add_rule(name=pattern)
    for _ in range(START_COUNT):
        begin = time.perf_counter_ns()
        controller.start_filter(0)
        taken.append((time.perf_counter_ns() - begin) / 1e6)
        controller.stop_filter()
    return taken


def memory_kib(command: list[str]) -> dict[str, Any]:
    """Before the crowd, which says "ready" when it lives, and with it."""
    controller = CBProcess()
    controller.initialize(PRODUCT_GUID)
    controller.config(f"EventsToFire={EVENTS}")
    controller.on_process_creation = lambda params: None
    controller.on_process_termination = lambda params: None
    controller.start_filter(0)
    with controller.popen(["sleep", "600"]) as first:
        helper = tracer_of(first.pid)
        before = [anonymous_kib(each) for each in (helper, os.getpid())]
        with controller.popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as crowd:
            assert crowd.stdin is not None and crowd.stdout is not None
            if not crowd.stdout.readline().startswith("ready"):
                raise BenchmarkError("SIZE: the crowd does not live; RLIMIT_NPROC or pids.max may be lower")
            supervised = controller.statistics().supervised
            after = [anonymous_kib(each) for each in (helper, os.getpid())]
            crowd.stdin.close()
        first.kill()
    controller.stop_filter()
    return {"supervised": supervised, "before_kib": before, "after_kib": after}


def footprint_rows(folder: Path, process_count: int) -> list[Row]:
    progress(f"footprint: {process_count} processes")
    own, names = folder / "size", folder / "size" / "names"
    own.mkdir()
    names.write_bytes(b"".join(link.ljust(NAME_SIZE, b"\0") for link in make_links(own, process_count)))
    command = [sys.executable, __file__, "--rules", str(RULE_COUNT), "--", str(own / "crowd"), str(names)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=600)
    if done.returncode != 0:
        raise BenchmarkError(f"SIZE: the controller ended with {done.returncode}")
    measured = json.loads(done.stdout)
    if measured["supervised"] < process_count:
        raise BenchmarkError(f"SIZE: {measured['supervised']} of {process_count} processes")
    before, after = measured["before_kib"], measured["after_kib"]
    helper, core = ((with_crowd - alone) / 1024 for alone, with_crowd in zip(before, after))
    start = statistics.median(measured["start_ms"])
    return [
        Row(
            "SIZE",
            f"`ptrace`: memory for {process_count} living processes, each with a name of its own",
            f"helper <= {HELPER_TARGET_MIB} MiB, core <= {CORE_TARGET_MIB} MiB",
            f"helper {helper:.1f} MiB, core {core:.2f} MiB",
            helper <= HELPER_TARGET_MIB and core <= CORE_TARGET_MIB,
            f"{helper * 2**20 / process_count:.0f} bytes of the helper for each; "
            f"without them {before[0] / 1024:.1f} MiB",
        ),
        Row(
            "SIZE",
            f"`ptrace`: start of a filter with {RULE_COUNT} rules",
            f"<= {START_TARGET_MS} ms",
            f"{start:.1f} ms",
            start <= START_TARGET_MS,
            f"without rules {statistics.median(measured['bare_start_ms']):.1f} ms",
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rules", type=int, required=True)
    parser.add_argument("command", nargs="+", metavar="CROWD")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    resource.setrlimit(resource.RLIMIT_NPROC, (hard, hard))
    warnings.simplefilter("ignore")  # a filter that watches nobody is what is measured
    # The memory comes first: what rules have left of theirs would be in it.
    measured = memory_kib(options.command)
    measured.update(bare_start_ms=start_ms(0), start_ms=start_ms(options.rules))
    print(json.dumps(measured))


if __name__ == "__main__":
    main()

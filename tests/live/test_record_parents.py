"""Parents and creators in records are the right processes, also where ids are given out again and again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import supervised

from cbprocess import records

# A user's own process ids, of which the next can be chosen.
NAMESPACE = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"]
LAST_ID = "/proc/sys/kernel/ns_last_pid"
# Each round has equal ids. Start times are in ticks of 10 ms: no id comes back within one. The first child
# goes on when its creator has ended.
ROUNDS = 12
SCRIPT = f"""
for round in $(seq {ROUNDS}); do
    echo 500 > {LAST_ID}
    sh -c '(sleep 0.03; /bin/true orphan) & /bin/true child; sh -c "/bin/true grandchild; exit 0"; exit 0'
    sleep 0.06
done
"""


def namespace_or_skip() -> list[str]:
    line = [*NAMESPACE, "sh", "-c", '"$@"; exit $?', "sh"]
    try:
        done = subprocess.run([*line, "sh", "-c", f"echo 300 > {LAST_ID}"], capture_output=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("unshare is not here")
    if done.returncode != 0:
        pytest.skip(f"no PID namespace whose ids can be chosen: {done.stderr!r}")
    return line


@pytest.mark.parametrize("events", ["process,thread", "process"])
def test_ids_that_recur_do_not_mix_up_parents(tmp_path: Path, events: str) -> None:
    path = tmp_path / "events.jsonl"
    run = [*supervised.COMMAND_LINE, "run", "--wait-all", "--json", "-e", events, "-o", str(path)]
    line = [*namespace_or_skip(), *run, "--", "sh", "-c", SCRIPT]
    done = subprocess.run(line, capture_output=True, timeout=90)
    assert (done.returncode, done.stderr) == (0, b"")
    found = list(records.read_lines(path))
    lives: dict[int, list[tuple[int, int]]] = defaultdict(list)  # start times, and numbers of first records
    for record in found:
        start = int(record["start_time"])
        if start not in [known for known, _ in lives[record["process_id"]]]:
            lives[record["process_id"]].append((start, record["number"]))
    assert max(map(len, lives.values())) == ROUNDS, "ids recur"
    checked = 0
    creations = [record for record in found if record["event"] in ("process_creation", "thread_creation")]
    for record in creations[1:]:
        creator, start = record["creating_process_id"], record["creator_start_time"]
        if creator not in lives:
            continue  # cbprocess itself, which has made the first process
        assert start is not None, json.dumps(record)
        # It is the last one with the id that had begun by then.
        begun = [known for known, _ in lives[creator] if known <= int(record["start_time"])]
        assert int(start) == max(begun), json.dumps(record)
        checked += 1
    assert checked >= 4 * ROUNDS
    orphans = [record for record in creations if record.get("arguments", [])[1:] == ["orphan"]]
    assert len(orphans) == ROUNDS and len({records.process_identity(record) for record in orphans}) == ROUNDS


def test_the_creator_of_a_program_is_itself(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    program = "import os; os.execv('/bin/true', ['true'])"
    line = [*supervised.COMMAND_LINE, "run", "--json", "-o", str(path), "--", sys.executable, "-c", program]
    assert subprocess.run(line, timeout=60).returncode == 0
    made: list[dict[str, Any]] = [
        record for record in records.read_lines(path) if record["event"] == "process_creation"
    ]
    assert len(made) == 2
    first, second = made
    assert records.process_identity(first) == records.process_identity(second)
    assert records.process_identity(second, "creator") == records.process_identity(second)
    assert records.process_identity(second, "parent") == records.process_identity(first, "parent") is not None

"""A random mix of attacks beside bystanders in trees of the same filter: the bystanders come out as they
would have without supervision, what is denied never runs, and nothing is left behind."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable

import pytest
from hostile_tools import FOLDER, Setting
from live_tools import is_alive, of_session, wait_until

SECONDS = float(os.environ.get("CBPROCESS_MIX_SECONDS", "20"))
SEED = int(os.environ.get("CBPROCESS_MIX_SEED", "0")) or time.time_ns() % 1_000_000

# Pipelines, background jobs with signals, threads, failing searches, statuses.
BYSTANDERS = [
    "seq 1 3000 | sort -r | head -n 5; (exit 3); echo $?",
    # dash tells of the signal or not, as the child's end comes before it waits or after
    "sleep 5 & p=$!; kill -TERM $p; wait $p 2>/dev/null; echo $?; nosuchprogram 2>/dev/null; echo $?",
    "for i in 1 2 3 4 5 6 7 8; do echo $i | sed s/^/x/ & done | sort; wait; exec sh -c 'exit 7'",
]


def unsupervised(line: str) -> list[object]:
    done = subprocess.run(
        ["sh", "-c", line],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    return [done.returncode, done.stdout]


def end_all(controller: subprocess.Popen[str], helper: int) -> None:
    """Ends what a failed run leaves: the session is the controller's own, the helper its."""
    processes = [task.process_id for task in of_session(controller.pid)]
    for process in [*processes, helper] if helper > 1 else processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    controller.wait()


@pytest.fixture
def forbidden(tmp_path: Path, compile_c: Callable[..., Path]) -> tuple[Path, Path]:
    """A program that leaves a mark if it ever runs, and the mark."""
    mark = tmp_path / "it-ran"
    source = tmp_path / "forbidden.c"
    source.write_text(
        "#include <fcntl.h>\n#include <unistd.h>\n"
        f'int main(void) {{ return open("{mark}", O_CREAT | O_WRONLY, 0666) < 0 ? 1 : 0; }}\n'
    )
    return compile_c(source), mark


@pytest.mark.limit(SECONDS + 120)
def test_bystanders_come_out_as_they_would_have(
    setting: Setting, attack: Callable[[str], str], forbidden: tuple[Path, Path]
) -> None:
    program, mark = forbidden
    line = [
        sys.executable,
        "-X",
        "faulthandler",
        str(FOLDER / "programs" / "mix_controller.py"),
        ",".join(setting.config),
        str(setting.events),
        str(SECONDS),
        str(SEED),
        attack("mix"),
        str(program),
        "1" if setting.has_filter else "0",
        *BYSTANDERS,
    ]
    controller = subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, text=True
    )
    helper = 0
    try:
        helper = int(controller.stdout.readline() or 0)
        assert helper > 1, controller.stderr.read()
        output, errors = controller.communicate(timeout=SECONDS + 60)
        wait_until(lambda: of_session(controller.pid) == [], 20, "the end of everybody")
        wait_until(lambda: not is_alive(helper), 20, "the helper's end")
    finally:
        end_all(controller, helper)
    told = f"seed {SEED}: {shlex.join(line)}\n{errors}"
    assert controller.returncode == 0, told
    result = json.loads(output)
    assert not mark.exists(), told
    assert result["attacker_status"] == 0 and sum(map(int, result["attacks"].values())) > SECONDS, told
    assert result["refused"] > 0, told
    for bystander, outcomes in zip(BYSTANDERS, result["outcomes"]):
        expected = unsupervised(bystander)
        different = [outcome for outcome in outcomes if outcome != expected]
        assert outcomes and not different, (bystander, different, told)

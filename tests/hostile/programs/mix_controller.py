"""Runs attackers and bystanders as trees of one filter, and prints as JSON what became of them.

    mix_controller.py SETTINGS EVENTS SECONDS SEED MIX FORBIDDEN ATTACK_US BYSTANDER...

The first line of what it prints is the helper's process id, the second what became of them. SETTINGS are
configuration strings joined by commas. Each BYSTANDER is a line for sh, run again and again in a tree of its
own until the seconds are over. ATTACK_US is 1 if the attackers shall attack this process and the helper."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import cbprocess

DEADLINE_MS = 10_000


def helper_of(filter_: cbprocess.CBProcess) -> int:
    """The tracer of a tree of this filter."""
    process = filter_.popen(["sleep", "60"])
    status = Path(f"/proc/{process.pid}/status").read_text()
    process.kill()
    process.wait()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("TracerPid:"))


def run_bystander(filter_: cbprocess.CBProcess, line: str, end: float, outcomes: list[list[Any]]) -> None:
    while True:
        process = filter_.popen(
            ["sh", "-c", line], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )
        output = process.communicate(timeout=60)[0]
        outcomes.append([process.returncode, output.decode(errors="replace")])
        if time.monotonic() >= end:
            return


def main() -> None:
    settings, events, seconds, seed, mix, forbidden, attack_us, *bystanders = sys.argv[1:]
    filter_ = cbprocess.CBProcess()
    errors: list[str] = []
    filter_.initialize("{5ABD3A8B-6A3F-4C52-9F0C-5E1F0A1C7D12}")
    filter_.config(f"EventsToFire={events}")
    for setting in filter(None, settings.split(",")):
        filter_.config(setting)
    filter_.on_error = lambda error: errors.append(f"{error.error_code} {error.description}")
    filter_.on_process_creation = lambda event: None
    filter_.on_process_handle_operation = lambda event: None
    filter_.add_rule(name=forbidden, action="deny", code=5)
    filter_.start_filter(DEADLINE_MS)
    helper = helper_of(filter_)
    print(helper, flush=True)
    end = time.monotonic() + float(seconds)
    outcomes: list[list[list[Any]]] = [[] for _ in bystanders]
    threads = [
        threading.Thread(target=run_bystander, args=(filter_, line, end, outcomes[number]))
        for number, line in enumerate(bystanders)
    ]
    ids = [str(os.getpid()), str(helper)] if attack_us == "1" else ["0", "0"]
    attacker = filter_.popen([mix, seconds, seed, forbidden, *ids], stdout=subprocess.PIPE)
    for thread in threads:
        thread.start()
    attacks = attacker.communicate(timeout=float(seconds) + 60)[0].decode()
    for thread in threads:
        thread.join()
    statistics = filter_.statistics()
    filter_.stop_filter()
    result = {
        "attacks": dict(line.split() for line in attacks.splitlines()),
        "attacker_status": attacker.returncode,
        "outcomes": outcomes,
        "errors": errors[:20],
        "refused": statistics.refused,
        "delivered": statistics.delivered,
    }
    print(json.dumps(result))


main()

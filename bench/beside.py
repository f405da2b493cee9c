"""Runs a program beside a monitor of the whole machine, and ends the monitor after it:

    beside.py READY LOG MONITOR... -- PROGRAM...

The program starts once the monitor has written READY into LOG, its output. Knows nothing of cbprocess."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

READY_LIMIT_S = 60.0
LAST_WORDS_S = 0.3  # for what the monitor has seen and not written yet


def wait_until_ready(log: Path, ready: str, monitor: subprocess.Popen[bytes]) -> None:
    limit = time.monotonic() + READY_LIMIT_S
    while ready not in log.read_text(errors="replace"):
        if monitor.poll() is not None or time.monotonic() > limit:
            sys.exit(f"{monitor.args!r} does not begin: {log.read_text(errors='replace')[-500:]}")
        time.sleep(0.02)


def main() -> int:
    ready, log = sys.argv[1], Path(sys.argv[2])
    middle = sys.argv.index("--")
    with log.open("wb") as output:
        monitor = subprocess.Popen(sys.argv[3:middle], stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_until_ready(log, ready, monitor)
        status = subprocess.run(sys.argv[middle + 1 :], check=False).returncode
        time.sleep(LAST_WORDS_S)
    finally:
        monitor.send_signal(signal.SIGINT)
        monitor.wait()
    return status


if __name__ == "__main__":
    sys.exit(main())

"""A nats-server on loopback, for tests and benchmarks: its program, a free port, its start, and its end by a
process id. Needs no package."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

# Debian has it where an ordinary user's PATH does not look.
PROGRAM = shutil.which("nats-server", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
START_LIMIT_S = 10.0
END_LIMIT_S = 5.0
LOOK_S = 0.025


class NotStarted(Exception):
    """The server does not listen; its log says why."""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def start(folder: Path, port: int, more: str = "", js: str = "") -> subprocess.Popen[bytes]:
    """Starts a server with its files in this folder, and waits until it listens. js: the lines for JetStream;
    more: other lines of its configuration."""
    assert PROGRAM is not None
    js = js or f'jetstream {{ store_dir: "{folder}/js", max_mem: 64MB }}'
    text = f'listen: "127.0.0.1:{port}"\n{js}\nlog_file: "{folder}/log"\nmax_payload: 1MB\n{more}\n'
    (folder / "conf").write_text(text)
    quiet = subprocess.DEVNULL
    process = subprocess.Popen([PROGRAM, "-c", str(folder / "conf")], stdout=quiet, stderr=quiet)
    end_s = time.monotonic() + START_LIMIT_S
    while process.poll() is None and time.monotonic() < end_s:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process
        time.sleep(LOOK_S)
    stop(process)
    log = folder / "log"
    raise NotStarted(log.read_text()[-2000:] if log.exists() else "it has written nothing")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends a process, also one that stands still."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGCONT)
    process.terminate()
    try:
        process.wait(END_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

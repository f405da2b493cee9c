"""Programs that a machine has, and what they start, do not notice `cbprocess run`: they end, write, find and
leave what they do bare, whatever their caller is like."""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import signal
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import real_programs
import sameness
import terminals
from live_tools import SYSTEM_PATH, Programs


def be_odd() -> None:
    """As a caller is that has touched everything that a program inherits."""
    os.umask(0o027)
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGRTMIN + 3):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, signal.SIGRTMAX])
    for which, soft in ((resource.RLIMIT_CORE, 4096), (resource.RLIMIT_NOFILE, 300)):
        resource.setrlimit(which, (soft, resource.getrlimit(which)[1]))
    for number in (5, 9, 200):
        os.dup2(os.open("/etc/passwd", os.O_RDONLY), number)
    os.closerange(10, 200)
    os.nice(3)
    Path("/proc/self/oom_score_adj").write_text("500")
    os.setpgid(0, 0)


def lead_a_terminal() -> None:
    """As a shell does that has just logged somebody in: standard input is its terminal."""
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@contextmanager
def a_caller(kind: str) -> Iterator[dict[str, Any]]:
    """How somebody plain, somebody odd, or one at a terminal calls a program."""
    if kind == "terminal":
        master, slave = terminals.open_terminal()
        try:
            yield {"set_up": lead_a_terminal, "stdin": slave}
        finally:
            os.close(master)
            os.close(slave)
    else:
        yield {"set_up": be_odd if kind == "odd" else None}


CALLERS: dict[str, tuple[str, ...]] = {"plain": (), "terminal": (), "odd, with a rule": sameness.RULE}


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("name", real_programs.CASES)
def test_notices_nothing(name: str, caller: str, programs: Programs, tmp_path: Path) -> None:
    case = real_programs.CASES[name]
    if shutil.which(case.program, path=SYSTEM_PATH) is None:
        pytest.skip(f"there is no {case.program} here")
    if case.needs_terminal:
        terminals.need_terminal()
    command = case.command(programs["state"])
    environment = {
        **{key: value for key, value in os.environ.items() if key.startswith(("CBPROCESS_", "ASAN_"))},
        **real_programs.environment(tmp_path, programs["state"]),
        "PATH": SYSTEM_PATH,
    }
    filtered = [sameness.OF_THE_FILTER] if CALLERS[caller] else []
    varying = "|".join([case.varying] * bool(case.varying) + filtered)
    deeds = []
    for front in ([], [*sameness.WAYS["program"], "run", "--output", os.devnull, *CALLERS[caller], "--"]):
        with a_caller(caller.partition(",")[0]) as way:
            deeds.append(
                sameness.deed(
                    [*front, *command],
                    tmp_path,
                    real_programs.fill,
                    varying,
                    ignored=case.ignored,
                    sort_lines="at once" in name,
                    env=environment,
                    **way,
                )
            )
    bare, supervised = deeds
    if case.finds() and "found" not in bare.files:
        pytest.skip(f"{case.program} does not do this here: {bare.result.errors.strip()[-200:]}")
    assert not sameness.differences(bare, supervised)

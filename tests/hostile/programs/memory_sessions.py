"""Sessions of everything whose helper runs out of memory: memory_sessions.py PRELOADED EVERYTHING LEAVE_MARK
FOLDER WIDTH

Each line of its input is one session: FAIL_AT FAIL_COUNT AT_RISK, as programs/failing_memory.c has them. What
came of it is printed as JSON on one line: how many allocations there were, how many failed, and what is wrong
(null: nothing). Half of them have rules that deny, which what has no name matches; without them it is the
handler alone that refuses. To be started as the leader of a session of its own: it signals its process
group."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "live"))

from attach_tools import assert_let_go
from live_tools import LIFETIMES, is_alive, name_of, of_session, recording, refuse, tracer_of, wait_until

import cbprocess

EVERYTHING = (
    LIFETIMES | cbprocess.PROC_EVT_PROCESS_HANDLE_OPERATION | cbprocess.PROC_EVT_THREAD_HANDLE_OPERATION
)
SESSION_LIMIT_S = 60  # then this process is ended by its alarm
PROGRAM_LIMIT_S = 30
DENIED = cbprocess.ERROR_ACCESS_DENIED


@contextlib.contextmanager
def environment(**variables: str) -> Iterator[None]:
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            del os.environ[name]


class Session:
    """Programs and files of one session after the other."""

    def __init__(self, preloaded: str, everything: str, leave_mark: str, folder: Path, width: str) -> None:
        self.preloaded, self.leave_mark, self.width = preloaded, leave_mark, int(width)
        self.log, self.mark, self.denied_mark = folder / "log", folder / "mark", folder / "denied mark"
        self.script = folder / "a.denied"
        denied, interpreter = folder / "denied_program", folder / "interpreter"
        shutil.copy(leave_mark, denied)
        shutil.copy(leave_mark, interpreter)
        self.outsider = folder / f"outsider_{os.getpid()}"
        shutil.copy("/bin/sleep", self.outsider)
        self.text = f"#!{interpreter}\n"  # which leaves its mark in the script itself
        self.script.write_text(self.text)
        self.script.chmod(0o755)
        arguments = [leave_mark, self.mark, width, denied, self.denied_mark, self.script]
        self.command = [everything, *map(str, arguments)]

    def run(self, fail_at: int, fail_count: int, at_risk: int) -> dict[str, Any]:
        variables = {"FAIL_AT": fail_at, "FAIL_COUNT": fail_count, "AT_RISK": at_risk, "FAIL_LOG": self.log}
        self.log.unlink(missing_ok=True)
        outsider = subprocess.Popen([self.outsider, "1000"])
        fault = None
        try:
            with environment(LD_PRELOAD=self.preloaded, **{name: str(at) for name, at in variables.items()}):
                started = self.start()
            if started is not None:
                fault = self.use(started, outsider.pid, fail_at == 0, fail_at % 2 == 0)
            assert_let_go(outsider.pid)
        except AssertionError as error:
            fault = fault or str(error)
        finally:
            fault = self.left(outsider.pid) if fault is None else f"{fault} {self.left(outsider.pid) or ''}"
            outsider.kill()
            outsider.wait()
        return {"fault": fault, **self.counts()}

    def start(self) -> contextlib.ExitStack | None:
        """None: it says that it cannot start."""
        decide = refuse(name_of(self.leave_mark))
        with contextlib.ExitStack() as stack:
            try:
                started = recording(events=EVERYTHING, decide=decide, timeout_ms=20_000)
                self.recorder = stack.enter_context(started)
            except cbprocess.CBProcessError:
                return None
            return stack.pop_all()
        return None

    def use(
        self, started: contextlib.ExitStack, outsider: int, is_whole: bool, has_rules: bool
    ) -> str | None:
        """Gives what is wrong."""
        codes: list[int] = []

        def attempt(call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
            try:
                return call(*arguments, **named) or True
            except cbprocess.CBProcessError as error:
                codes.append(error.code)
            except OSError as error:
                codes.append(error.errno or 0)
            return None

        with started:
            filter_ = self.recorder.filter
            is_denied = is_script_denied = None
            if has_rules:
                is_denied = attempt(filter_.add_rule, name="*/denied_program", action="deny", code=DENIED)
                is_script_denied = attempt(filter_.add_rule, name="*.denied", action="deny", code=DENIED)
            process = attempt(filter_.popen, self.command, stdout=subprocess.DEVNULL)
            is_named = attempt(filter_.add_filtered_process_by_name, self.outsider.name, True)
            if is_named and tracer_of(outsider) == 0:
                return "a process whose name matches was left out when that name was attached to"
            attempt(filter_.add_filtered_process_by_id, outsider, True)
            try:
                status = 0 if process is None else process.wait(PROGRAM_LIMIT_S)
            except subprocess.TimeoutExpired:
                return f"after {PROGRAM_LIMIT_S} s it still runs: {of_session(os.getsid(0))}"
            attempt(filter_.remove_filtered_process_by_id, outsider)
            attempt(filter_.remove_filtered_process_by_name, self.outsider.name)
            counts = filter_.statistics()
        if self.mark.exists():
            return "a program ran that the handler refuses"
        if is_denied and self.denied_mark.exists():
            return "a program ran that a rule denies"
        if is_script_denied and self.script.read_text() != self.text:
            return "a script ran that a rule denies"
        if status != 0 and not (codes or self.recorder.errors or counts.lost):
            return f"it ended with {status}, and nothing was told"
        busy = [cbprocess.ERROR_TIMEOUT]  # the walk for a name was given up
        if is_whole and (status != 0 or codes not in ([], busy) or counts.lost != 0):
            return f"without a failure: status {status}, codes {codes}, {counts.lost} lost"
        if is_whole and counts.refused < self.width + 8:
            return f"without a failure: {counts.refused} refused"
        return None

    def left(self, outsider: int) -> str | None:
        """Who has not ended; and no trace of the session stays."""
        own = {os.getpid(), outsider}

        def others() -> list[Any]:
            found = of_session(os.getsid(0))
            return [task for task in found if task.process_id not in own and is_alive(task.process_id)]

        with contextlib.suppress(AssertionError):
            wait_until(lambda: not others(), 5, "all have ended")
        left = others()
        for task in left:
            os.kill(task.process_id, signal.SIGKILL)
        for mark in (self.mark, self.denied_mark):
            mark.unlink(missing_ok=True)
        self.script.write_text(self.text)
        return f"left behind: {left}" if left else None

    def counts(self) -> dict[str, int]:
        with contextlib.suppress(AssertionError):  # a helper that was killed has not written any
            wait_until(lambda: self.log.exists() and self.log.read_text().count(" ") == 1, 5, "its count")
            called, failed = self.log.read_text().split()
            return {"called": int(called), "failed": int(failed)}
        return {"called": 0, "failed": 0}


def main() -> None:
    preloaded, everything, leave_mark, folder, width = sys.argv[1:]
    session = Session(preloaded, everything, leave_mark, Path(folder), width)
    for line in sys.stdin:
        signal.alarm(SESSION_LIMIT_S)
        fail_at, fail_count, at_risk = map(int, line.split())
        print(json.dumps(session.run(fail_at, fail_count, at_risk)), flush=True)


main()

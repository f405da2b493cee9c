"""Allocations fail in the supervisor: each one alone, and all from one on. A session with every kind of
operation ends, nothing is left stopped, nothing runs that is refused, and what could not be done is told."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from attach_tools import assert_let_go
from hostile_tools import SETTINGS, helper_is_sanitized
from live_tools import name_of, recording, refuse, wait_until

import cbprocess

EVERYTHING = SETTINGS[-1].events  # with the filter for handles
FOREVER = 10**9
QUICK_RUNS = 10
WIDTH = 150  # more children at once than the reserve has room for


@pytest.fixture(scope="module")
def preloaded(compile_c: Callable[..., Path]) -> str:
    if helper_is_sanitized():
        pytest.skip("the supervisor's allocations are a sanitizer's")
    source = Path(__file__).resolve().parent / "programs" / "failing_memory.c"
    return str(compile_c(source, "-D_GNU_SOURCE", "-shared", "-fPIC"))


@contextlib.contextmanager
def supervisor_gets(**variables: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield


class Session:
    """One session of everything, with failing allocations in its supervisor."""

    def __init__(self, preloaded: str, attack: Callable[..., str], folder: Path) -> None:
        self.preloaded, self.mark, self.log = preloaded, folder / "mark", folder / "log"
        self.command = [attack("every_operation"), attack("leave_mark"), str(self.mark), str(WIDTH)]

    def allocation_count(self) -> int:
        self.run(0, 0)
        wait_until(lambda: self.log.exists() and self.log.read_text(), 10, "the supervisor's count")
        return int(self.log.read_text())

    def run(self, fail_at: int, fail_count: int) -> None:
        decide, codes = refuse(name_of(self.command[1])), []
        variables = {"FAIL_AT": str(fail_at), "FAIL_COUNT": str(fail_count), "FAIL_LOG": str(self.log)}
        outsider = subprocess.Popen(["sleep", "1000"])
        try:
            with contextlib.ExitStack() as stack:
                with supervisor_gets(LD_PRELOAD=self.preloaded, **variables):
                    try:
                        started = recording(events=EVERYTHING, decide=decide, timeout_ms=20_000)
                        recorder = stack.enter_context(started)
                    except cbprocess.CBProcessError:
                        return  # it says that it cannot start
                status = self.use(recorder.filter, outsider.pid, codes)
                counts = recorder.filter.statistics()
            assert_let_go(outsider.pid)
        finally:
            outsider.kill()
            outsider.wait()
        assert not self.mark.exists(), (fail_at, fail_count)
        if status != 0:
            assert codes or counts.lost > 0 or recorder.errors or counts.refused > 0, (fail_at, fail_count)
        if fail_count == 0:
            assert (status, counts.lost, recorder.errors, codes) == (0, 0, [], [])
            # two of those that are refused may be killed before they execute anything
            assert WIDTH + 4 <= counts.refused <= WIDTH + 6

    def use(self, instance: Any, outsider: int, codes: list[int]) -> int:
        """Gives the program's status; errors of calls go into codes."""

        def attempt(call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
            try:
                return call(*arguments, **named)
            except cbprocess.CBProcessError as error:
                codes.append(error.code)
            except OSError as error:
                codes.append(error.errno or 0)
            return None

        attempt(instance.add_rule, name="no such program", action="deny", include_children=True)
        process = attempt(instance.popen, self.command, stdout=subprocess.DEVNULL)
        attempt(instance.add_filtered_process_by_id, outsider, True)
        attempt(instance.add_filtered_process_by_name, "every_*", True)
        status = 0 if process is None else process.wait(40)
        attempt(instance.remove_filtered_process_by_id, outsider)
        return int(status)


@pytest.fixture
def session(preloaded: str, attack: Callable[..., str], tmp_path: Path) -> Session:
    return Session(preloaded, attack, tmp_path)


@pytest.mark.parametrize("fail_count", [1, FOREVER], ids=["one", "all"])
def test_some_allocations_fail(fail_count: int, session: Session) -> None:
    total = session.allocation_count()
    assert total > 100
    for step in range(QUICK_RUNS):
        session.run(1 + step * (total - 1) // QUICK_RUNS, fail_count)


@pytest.mark.slow
@pytest.mark.limit(3600)
@pytest.mark.parametrize("fail_count", [1, FOREVER], ids=["one", "all"])
def test_every_allocation_fails(fail_count: int, session: Session) -> None:
    for fail_at in range(1, session.allocation_count() + 1):
        session.run(fail_at, fail_count)

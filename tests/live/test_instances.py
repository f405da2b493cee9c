"""Several instances in one controller, and two controllers, at the same running process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from live_tools import GUID, Task, is_alive, start_controller, tracer_of, wait_until

import cbprocess
from cbprocess import CBProcess, CBProcessError


@pytest.fixture
def shell() -> Iterator[subprocess.Popen[str]]:
    """A shell that runs outside of any filter and executes the lines that it is given, answering each."""
    line = ["sh", "-c", 'while read -r text; do eval "$text"; echo done; done']
    process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=30)


def tell(shell: subprocess.Popen[str], text: str) -> None:
    assert shell.stdin is not None and shell.stdout is not None
    shell.stdin.write(text + "\n")
    shell.stdin.flush()
    assert shell.stdout.readline() == "done\n"


class Watcher:
    """An instance that records which programs are executed."""

    def __init__(self) -> None:
        self.seen: list[list[str]] = []
        self.filter = CBProcess()
        self.filter.initialize(GUID)
        self.filter.config(f"EventsToFire={cbprocess.PROC_EVT_PROCESS_CREATION}")
        self.filter.on_process_creation = self.record
        self.refused = ""

    def record(self, event: Any) -> None:
        self.seen.append(event.arguments)
        if self.refused and event.image_file_name == self.refused:
            event.result_code = cbprocess.ERROR_ACCESS_DENIED

    def took(self) -> list[list[str]]:
        seen, self.seen = self.seen, []
        return seen


@contextlib.contextmanager
def watchers(count: int) -> Iterator[list[Watcher]]:
    made = [Watcher() for _ in range(count)]
    with contextlib.ExitStack() as stack:
        for watcher in made:
            stack.enter_context(watcher.filter)
            watcher.filter.start_filter(0)
        yield made


TRUE = [["/bin/true"]]


def test_instances_share_a_process(shell: subprocess.Popen[str]) -> None:
    with watchers(2) as (first, second):
        first.filter.add_filtered_process_by_id(shell.pid, True)
        tracer = tracer_of(shell.pid)
        tell(shell, "/bin/true")
        assert (first.took(), second.took()) == (TRUE, [])
        second.filter.add_filtered_process_by_id(shell.pid, True)
        assert tracer_of(shell.pid) == tracer != 0
        tell(shell, "/bin/true")
        assert (first.took(), second.took()) == (TRUE, TRUE)
        first.filter.remove_filtered_process_by_id(shell.pid)
        tell(shell, "/bin/true")
        assert (first.took(), second.took()) == ([], TRUE)
        assert tracer_of(shell.pid) == tracer
        first.filter.add_filtered_process_by_id(shell.pid, True)
        second.filter.stop_filter()
        tell(shell, "/bin/true")
        assert (first.took(), second.took()) == (TRUE, [])
        first.filter.remove_filtered_process_by_id(shell.pid)
        tell(shell, "/bin/true")  # whoever sleeps is let go when he stops by himself: now
        wait_until(lambda: tracer_of(shell.pid) == 0, 10, "let go")
        assert first.took() == []


def test_one_refusal_refuses(shell: subprocess.Popen[str]) -> None:
    with watchers(3) as found:
        for watcher in found:
            watcher.filter.add_filtered_process_by_id(shell.pid, True)
        found[1].refused = "/bin/false"
        tell(shell, "/bin/false; test $? = 137 || exit 9")  # what runs already is refused by ending it
        assert [watcher.took() for watcher in found] == [[["/bin/false"]]] * 3
        assert [watcher.filter.statistics().refused for watcher in found] == [0, 1, 0]


def test_a_started_filter_takes_what_its_rules_are_for(shell: subprocess.Popen[str]) -> None:
    """Before the start nothing is attached; a stop lets go, and another start takes it again."""
    watcher = Watcher()
    watcher.filter.add_rule(process_id=shell.pid, include_children=True)
    assert tracer_of(shell.pid) == 0
    for _ in range(2):
        with watcher.filter:
            watcher.filter.start_filter(0)
            assert tracer_of(shell.pid) != 0
            tell(shell, "/bin/true")
            assert watcher.took() == TRUE
        wait_until(lambda: tracer_of(shell.pid) == 0, 10, "let go")
        tell(shell, "/bin/true")
        assert watcher.took() == []
    assert Task(shell.pid).state in "SR"


def test_what_ignores_or_names_attaches_nothing(shell: subprocess.Popen[str]) -> None:
    with pytest.warns(cbprocess.CBProcessWarning), watchers(1) as (watcher,):
        watcher.filter.add_rule(process_id=shell.pid, action="ignore")
        watcher.filter.add_ignored_process_by_id(shell.pid, True)
        watcher.filter.add_rule(process_id=-1)
        watcher.filter.add_rule(name="sh", include_children=True)
        tell(shell, "/bin/true")
        assert tracer_of(shell.pid) == 0 and watcher.took() == []


SECOND_CONTROLLER = "attach_one.py"


@pytest.mark.parametrize("when", ["active", "start"])
def test_a_second_controller_is_refused(shell: subprocess.Popen[str], when: str) -> None:
    other = start_controller(SECOND_CONTROLLER, str(shell.pid), stdin=subprocess.PIPE)
    try:
        assert other.stdout is not None and other.stdout.readline() == "attached\n"
        tracer = tracer_of(shell.pid)
        watcher = Watcher()
        with watcher.filter, pytest.raises(CBProcessError) as raised:
            if when == "active":
                watcher.filter.start_filter(0)
                watcher.filter.add_filtered_process_by_id(shell.pid, True)
            else:
                watcher.filter.add_filtered_process_by_id(shell.pid, True)
                watcher.filter.start_filter(0)
        assert raised.value.code == cbprocess.ERROR_BUSY and "another tracer" in raised.value.message
        assert tracer_of(shell.pid) == tracer != 0
        assert watcher.filter.active is False
        tell(shell, "/bin/true")
        assert watcher.took() == []
        output, errors = other.communicate("\n", timeout=30)
        assert (other.returncode, errors) == (0, "") and output.count("/bin/true") == 1
        wait_until(lambda: tracer_of(shell.pid) == 0, 10, "let go")
        with watcher.filter:
            if when == "active":
                watcher.filter.add_filtered_process_by_id(shell.pid, True)
            watcher.filter.start_filter(0)
            tell(shell, "/bin/true")
            assert watcher.took() == TRUE
    finally:
        other.kill()
        other.communicate(timeout=30)


def test_the_controller_itself_is_never_attached(shell: subprocess.Popen[str]) -> None:
    with watchers(1) as (watcher,):
        watcher.filter.add_filtered_process_by_id(os.getpid(), True)
        assert tracer_of(os.getpid()) == 0
        watcher.filter.remove_filtered_process_by_id(os.getpid())


def test_a_stopped_process_stays_stopped(shell: subprocess.Popen[str]) -> None:
    os.kill(shell.pid, signal.SIGSTOP)
    wait_until(lambda: Task(shell.pid).state == "T", 10, "stopped")
    with watchers(1) as (watcher,):
        watcher.filter.add_filtered_process_by_id(shell.pid, True)
        assert tracer_of(shell.pid) != 0
    wait_until(lambda: tracer_of(shell.pid) == 0, 10, "let go")
    wait_until(lambda: Task(shell.pid).state == "T", 10, "stopped as before")
    os.kill(shell.pid, signal.SIGCONT)
    tell(shell, "/bin/true")
    assert is_alive(shell.pid)

"""Rules that change under load: no operation sees half a change, none is lost, and large sets stay exact."""

from __future__ import annotations

import collections
import random
import shutil
import threading
import time
from pathlib import Path

import pytest
from live_tools import Recorder, name_of, recording, wait_until

import cbprocess

ATTEMPTS = 400
SHELL_REFUSED = 126


def storm(folder: Path, attempts: int) -> list[str]:
    """A shell that tries so many times to start a program, and gives how often it could not."""
    victim = folder / "victim"
    shutil.copy2("/bin/true", victim)
    attempt = f"{victim}; [ $? = {SHELL_REFUSED} ] && refused=$((refused+1)); i=$((i+1))"
    loop = f"i=0; refused=0; while [ $i -lt {attempts} ]; do {attempt}; done"
    return ["sh", "-c", f"{loop} 2>/dev/null; [ $refused = {attempts} ]"]


def sequence_gaps(recorder: Recorder) -> list[int]:
    numbers = sorted(event["sequence"] for event in recorder.events)
    return [later for earlier, later in zip(numbers, numbers[1:]) if later != earlier + 1]


@pytest.mark.limit(120)
@pytest.mark.parametrize("others", [0, 3000], ids=["alone", "among 3,000"])
def test_a_rule_that_is_replaced_lets_nothing_pass(tmp_path: Path, others: int) -> None:
    """A deny rule changes its code again and again: every attempt is refused, with one code or the other."""
    with recording("RefuseWith=errno", events=cbprocess.PROC_EVT_PROCESS_CREATION) as recorder:
        for i in range(others):
            recorder.filter.add_rule(name=f"tool-{i}*", action="allow")
        recorder.filter.add_rule(name="victim", action="deny", code=cbprocess.ERROR_ACCESS_DENIED)
        process = recorder.filter.popen(storm(tmp_path, ATTEMPTS))
        changes = 0
        while process.poll() is None:
            recorder.filter.add_rule(name="victim", action="deny", code=1260 if changes % 2 == 0 else 5)
            changes += 1
        wait_until(lambda: len(recorder.of("process_creation")) >= ATTEMPTS + 1, 10, "all are told")
    assert process.returncode == 0, "an attempt was not refused"
    refused = [
        event for event in recorder.of("process_creation") if name_of(event["process_name"]) == "victim"
    ]
    codes = collections.Counter(event["result_code"] for event in refused)
    assert len(refused) == ATTEMPTS and all(event["decided_by_rule"] for event in refused)
    assert set(codes) == {5, 1260} and changes > 20, (codes, changes)
    assert sequence_gaps(recorder) == [] and recorder.filter.statistics().lost == 0


def test_one_rule_among_thousands_comes_and_goes(tmp_path: Path) -> None:
    """Whether it is of the older rules or the newest ones, and whatever changes around it."""
    victim = tmp_path / "victim"
    shutil.copy2("/bin/true", victim)
    order = random.Random(7)
    with recording("RefuseWith=errno", events=0) as recorder:
        own = recorder.filter
        own.add_rule(name="nothing", action="deny")

        def is_refused() -> bool:
            try:
                return bool(own.popen([str(victim)]).wait(10))
            except PermissionError:
                return True

        for i in range(1500):
            own.add_rule(name=f"tool-{i}", action="allow")
        for _round in range(3):
            assert not is_refused()
            own.add_rule(name="victim", action="deny")
            assert is_refused()
            for i in range(150):
                own.add_rule(name=f"new-{_round}-{i}", action="allow")
            assert is_refused()
            for i in order.sample(range(1500), 5):
                own.add_rule(name=f"tool-{i}", action="ignore")
                own.remove_rule(name=f"tool-{i}", action="ignore")
            assert is_refused()
            own.remove_rule(name="victim", action="deny")
            assert not is_refused()


@pytest.mark.filterwarnings("ignore::cbprocess.CBProcessWarning")  # rules come before the first program
def test_events_flow_while_rules_change(tmp_path: Path) -> None:
    """Ten thousand rules, of which one of the oldest changes all the time in a thread of its own: programs
    start all the while, and the handler is asked about each."""
    stopping = threading.Event()
    changes = 0
    with recording(events=cbprocess.PROC_EVT_PROCESS_CREATION) as recorder:
        for i in range(10_000):
            recorder.filter.add_rule(name=f"tool-{i}.bin", action="ask")

        def change() -> None:
            nonlocal changes
            while not stopping.is_set():
                recorder.filter.remove_rule(name="tool-0.bin", action="ask")
                recorder.filter.add_rule(name="tool-0.bin", action="ask")
                changes += 2

        changer = threading.Thread(target=change)
        changer.start()
        try:
            end = time.monotonic() + 3
            programs = 0
            while time.monotonic() < end:
                assert recorder.filter.popen(["/bin/true"]).wait(10) == 0
                programs += 1
        finally:
            stopping.set()
            changer.join()
    assert changes >= 20 and programs >= 20, (changes, programs)
    assert len(recorder.of("process_creation")) == programs
    assert sequence_gaps(recorder) == [] and recorder.filter.statistics().lost == 0

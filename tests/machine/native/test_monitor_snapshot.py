"""monitor(snapshot=True) fits together: in a storm that goes on before, while and after it begins, the living
processes by its snapshot and its events are those that run, and nothing is told twice.

The witnesses are /proc, read while the storm rests, and what the storm's own programs have written down."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, Callable

import pytest
from machine import own_place

import cbprocess
from cbprocess import CBProcess, RunningProcess, monitor, snapshot

LIFE = cbprocess.PROC_EVT_PROCESS_CREATION | cbprocess.PROC_EVT_PROCESS_TERMINATION
NO_PRODUCT = "{00000000-0000-0000-0000-000000000000}"

# Starts programs without a pause, short-lived ones and such that stay, until it is told to rest; forks that
# execute nothing, too. Then it says what it leaves alive, and goes on with one program at a time: a consumer
# that waits for events gets some.
STORM = """
import os, subprocess, sys, threading, time
resting, ending, staying = threading.Event(), threading.Event(), []
def storm(number):
    while not resting.is_set():
        subprocess.run(["true", str(number)])
        if len(staying) < 200:
            staying.append(subprocess.Popen(["sleep", "600"]))
        elif number == 0:
            oldest = staying.pop(0)
            oldest.kill()
            oldest.wait()
        child = os.fork()
        if child == 0:
            os._exit(3)
        os.waitpid(child, 0)
def tick():
    while not ending.is_set():
        subprocess.run(["true", "tick"])
        time.sleep(0.02)
threads = [threading.Thread(target=storm, args=(number,)) for number in range(3)]
for thread in threads: thread.start()
print("storm", flush=True)
sys.stdin.readline()
resting.set()
for thread in threads: thread.join()
ticking = threading.Thread(target=tick)
ticking.start()
print(*[child.pid for child in staying], flush=True)
sys.stdin.readline()
ending.set()
ticking.join()
for child in staying: child.kill()
for child in staying: child.wait()
"""


class Storm:
    def __init__(self) -> None:
        self.child = subprocess.Popen(
            [sys.executable, "-c", STORM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.child.stdout is not None
        assert self.child.stdout.readline() == "storm\n"

    def tell(self) -> None:
        assert self.child.stdin is not None
        self.child.stdin.write("\n")
        self.child.stdin.flush()

    def rest(self) -> set[int]:
        """The processes that it leaves alive."""
        self.tell()
        assert self.child.stdout is not None
        return {int(word) for word in self.child.stdout.readline().split()}

    def end(self) -> None:
        self.child.communicate("\n\n", timeout=60)


@pytest.fixture
def storm() -> Iterator[Storm]:
    made = Storm()
    yield made
    made.end()


@pytest.fixture(autouse=True)
def everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is held here, so the processes of others may be observed, too."""
    monkeypatch.delenv(own_place.ONLY_DESCENDANTS, raising=False)


def whole_machine() -> CBProcess:
    """A filter that only observes, everything that there is to observe."""
    process = CBProcess()
    process.config("Driver=bpf")
    process.config("ForkIsCreation=True")
    process.initialize(NO_PRODUCT)
    process.add_rule(process_id=-1, action="allow")
    return process


Key = tuple[int, int]
Program = tuple[str, list[str]]


def key_of(item: Any) -> Key:
    return item.process_id, item.start_time


class Account:
    """What a consumer knows by what it was given."""

    def __init__(self) -> None:
        self.living: dict[Key, int] = {}  # since when
        self.snapshot: dict[Key, Program] = {}
        self.twice: list[str] = []
        self.unknown: list[str] = []
        self.events = 0
        self.last_ns = 0

    def take(self, item: Any) -> None:
        key = key_of(item)
        if isinstance(item, RunningProcess):
            assert self.events == 0, "a running process after an event"
            assert key not in self.snapshot and not item.ended
            self.snapshot[key] = item.process_name, item.arguments
            self.living[key] = 0
            return
        self.events += 1
        self.last_ns = item.time_ns
        if isinstance(item, cbprocess.CBProcessProcessTerminationEventParams):
            self.snapshot.pop(key, None)
            if self.living.pop(key, None) is None:
                self.unknown.append(str(item))
            return
        # The snapshot may have a process before its next execution. It has no other event.
        is_known = self.snapshot.pop(key, None) == (item.process_name, item.arguments)
        if is_known or (item.flags & cbprocess.EVENT_FLAG_FORK and key in self.living):
            self.twice.append(str(item))
        self.living[key] = item.time_ns


def machine() -> dict[Key, RunningProcess]:
    """What /proc has; a kernel thread is nobody's creation."""
    found = {key_of(each): each for each in snapshot(source="proc") if not each.ended}
    return {key: each for key, each in found.items() if each.parent_process_id != 2}


def check(account: Account, take_until: Callable[[int], None]) -> None:
    """Holds the account against the machine, at a moment when the storm rests."""
    begin_ns = time.time_ns()
    before = machine()
    take_until(time.time_ns() + 500_000_000)
    after = machine()
    assert [str(before[key]) for key in before.keys() & after.keys() - account.living.keys()] == []
    for key in account.living.keys() - before.keys() - after.keys():
        assert account.living[key] > begin_ns or is_kernel_thread(key), key
    assert account.twice == [] and account.unknown == []


def is_kernel_thread(key: Key) -> bool:
    return any(key_of(each) == key and each.parent_process_id == 2 for each in snapshot(source="proc"))


@pytest.mark.parametrize("round_", range(8))
def test_the_living_are_those_that_run(storm: Storm, round_: int) -> None:
    account = Account()
    time.sleep(round_ * 0.03)
    with monitor(process=whole_machine(), events=LIFE, snapshot=True) as watched:
        items = iter(watched)

        def take_until(time_ns: int) -> None:
            while account.last_ns < time_ns:
                account.take(next(items))

        take_until(time.time_ns() + 500_000_000)
        staying = storm.rest()
        check(account, take_until)
        assert account.events > 200 and len(staying) > 50
        assert staying <= {process_id for process_id, _ in account.living}
        assert watched.filter.statistics().lost == 0


def test_the_living_in_an_event_loop(storm: Storm) -> None:
    account = Account()

    async def follow() -> None:
        async with monitor(process=whole_machine(), events=LIFE, snapshot=True) as watched:
            async for item in watched:
                account.take(item)
                if account.events > 2000:
                    break

    asyncio.run(follow())
    assert account.events > 2000 and account.twice == [] and account.unknown == []


def test_one_snapshot_for_several_loops(storm: Storm) -> None:
    with monitor(process=whole_machine(), events=LIFE, snapshot=True) as watched:
        first = [next(iter(watched)) for _ in range(3)]
        rest = []
        for item in watched:
            if not isinstance(item, RunningProcess):
                break
            rest.append(item)
    ids = [each.process_id for each in first + rest]
    assert ids == sorted(set(ids)) and os.getpid() in ids

"""Statements of the class reference that no other test holds: which event belongs to which bit, what answers
change nothing, worker threads, texts for booleans. docs/conformance.md names them."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import Any, Callable

import pytest
from unit.instances import GUID
from unit.reference import EVENTS

import cbprocess
from cbprocess import CBProcess

BITS = {
    "on_process_creation": cbprocess.PROC_EVT_PROCESS_CREATION,
    "on_process_termination": cbprocess.PROC_EVT_PROCESS_TERMINATION,
    "on_process_handle_operation": cbprocess.PROC_EVT_PROCESS_HANDLE_OPERATION,
    "on_thread_creation": cbprocess.PROC_EVT_THREAD_CREATION,
    "on_thread_termination": cbprocess.PROC_EVT_THREAD_TERMINATION,
    "on_thread_handle_operation": cbprocess.PROC_EVT_THREAD_HANDLE_OPERATION,
}

# Does something of each of the six kinds, with a child of its own, and says whether all of it went well.
BUSY = """
import os, subprocess, sys, threading
thread = threading.Thread(target=lambda: None)
thread.start()
thread.join()
child = subprocess.Popen(["sleep", "60"])
os.sched_setaffinity(child.pid, os.sched_getaffinity(child.pid))
child.kill()
sys.exit(0 if child.wait() == -9 else 1)
"""


def run_busy(process: CBProcess) -> int:
    return process.popen([sys.executable, "-c", BUSY]).wait()


@pytest.mark.parametrize("name", BITS)
def test_a_bit_of_events_to_fire_is_that_event_and_no_other(process: CBProcess, name: str) -> None:
    seen: set[str] = set()
    for other in BITS:
        setattr(process, other, lambda event, other=other: seen.add(other))
    process.config(f"EventsToFire={BITS[name]}")
    process.start_filter(0)
    assert run_busy(process) == 0
    process.stop_filter()
    assert seen == {name}


def test_the_parent_need_not_be_the_creator(process: CBProcess) -> None:
    """A program that executes another one in its own place has created that one, and is not its parent."""
    seen: list[tuple[int, int, int]] = []
    process.on_process_creation = lambda event: seen.append(
        (event.process_id, event.parent_process_id, event.creating_process_id)
    )
    process.config("EventsToFire=1")
    process.start_filter(0)
    child = process.popen(["sh", "-c", "exec true"])
    assert child.wait() == 0
    assert seen == [(child.pid, os.getpid(), os.getpid()), (child.pid, os.getpid(), child.pid)]


@pytest.mark.filterwarnings("ignore:a handler is set:cbprocess.CBProcessWarning")
def test_by_default_no_operation_fires(process: CBProcess) -> None:
    seen: list[str] = []
    for name in BITS:
        setattr(process, name, lambda event, name=name: seen.append(name))
    process.start_filter(0)
    assert run_busy(process) == 0
    process.stop_filter()
    assert seen == []


def test_ends_and_threads_cannot_be_refused(process: CBProcess) -> None:
    seen: set[str] = set()

    def refuse(name: str, event: Any) -> None:
        assert event.result_code == 0
        event.result_code = cbprocess.ERROR_ACCESS_DENIED
        seen.add(name)

    names = ("on_process_termination", "on_thread_creation", "on_thread_termination")
    for name in names:
        setattr(process, name, lambda event, name=name: refuse(name, event))
    process.config("EventsToFire=-1")
    process.start_filter(0)
    assert run_busy(process) == 0
    process.stop_filter()
    assert seen == set(names)


def test_worker_events_fire_in_the_thread_whose_worker_it_is(process: CBProcess) -> None:
    created: list[int] = []
    ended: list[int] = []
    handled: list[int] = []
    process.serialize_events = cbprocess.seOnOneWorkerThread
    process.on_worker_thread_creation = lambda event: created.append(threading.get_ident())
    process.on_worker_thread_termination = lambda event: ended.append(threading.get_ident())
    process.on_process_creation = lambda event: handled.append(threading.get_ident())
    process.config("EventsToFire=1")
    process.start_filter(0)
    process.popen(["true"]).wait()
    assert ended == []
    process.stop_filter()
    assert created == handled == ended
    assert len(created) == 1 and created[0] != threading.get_ident()


@pytest.mark.parametrize(
    ("least", "most", "serialized", "workers"), [(3, 9, 0, 3), (8, 2, 0, 2), (8, 9, 1, 1)]
)
def test_how_many_workers_there_are(
    process: CBProcess, least: int, most: int, serialized: int, workers: int
) -> None:
    """Those of an idle filter; a maximum below the minimum counts, and one thread is one thread."""
    process.serialize_events = serialized
    process.config(f"MinWorkerThreadCount={least}")
    process.config(f"MaxWorkerThreadCount={most}")
    started = threading.Semaphore(0)
    process.on_worker_thread_creation = lambda event: started.release()
    process.start_filter(0)
    for _ in range(workers):
        assert started.acquire(timeout=60)
    assert process.statistics().workers == workers
    assert not started.acquire(timeout=0.2)


@pytest.mark.parametrize("text", ["True", "TRUE", "1", "Yes", "yEs", "true"])
def test_texts_for_a_boolean_that_is_on(process: CBProcess, text: str) -> None:
    assert process.config(f"FilterOwnRequests={text}") == "True"


@pytest.mark.parametrize("text", ["False", "FALSE", "0", "No", "nO", "false"])
def test_texts_for_a_boolean_that_is_off(process: CBProcess, text: str) -> None:
    process.config("FilterOwnRequests=True")
    assert process.config(f"FilterOwnRequests={text}") == "False"


def test_the_system_itself_has_no_process_name(process: CBProcess) -> None:
    assert process.get_process_name(0) == ""


def test_a_snapshot_in_the_place_of_another(process: CBProcess) -> None:
    process.create_running_processes_snapshot()
    first = process.running_process_process_id
    process.create_running_processes_snapshot()
    assert process.running_process_count == len(process.running_process_process_id)
    assert os.getpid() in first and os.getpid() in process.running_process_process_id
    process.close_running_processes_snapshot()
    assert process.running_process_process_id == ()


def test_every_flag_of_an_installation_is_taken(process: CBProcess) -> None:
    flags = {name: getattr(cbprocess, name) for name in cbprocess.__all__ if name.startswith("INSTALL_")}
    assert len(flags) == 6
    for value in (*flags.values(), sum(flags.values())):
        assert process.install("driver.cab", GUID, "", value) is False
    for value in range(cbprocess.UNINSTALL_VERSION_ALL + 1):
        assert process.uninstall("driver.cab", GUID, "", value) is False


def test_event_objects_have_what_the_reference_names_and_results_are_zero_at_first() -> None:
    """Their classes, without any program; the values are in test_reference.py."""
    for name, members in EVENTS.items():
        stem = name[len("on_") :].title().replace("_", "")
        kind = getattr(cbprocess, f"CBProcess{stem}EventParams")
        assert all(isinstance(getattr(kind, member), property) for member in members)


def test_a_stop_waits_for_the_handler_that_runs(process: CBProcess) -> None:
    """The operation is let go by then: the program has ended before the stop has."""
    entered, leave = threading.Event(), threading.Event()
    order: list[str] = []

    def created(event: Any) -> None:
        entered.set()
        assert leave.wait(60)
        order.append("handler")

    def stop() -> None:
        process.stop_filter()
        order.append("stopped")

    process.on_process_creation = created
    process.config("EventsToFire=1")
    process.start_filter(0)
    threads: list[Callable[[], Any]] = [lambda: process.popen(["true"]).wait(), stop]
    running = [threading.Thread(target=swallow, args=(call,)) for call in threads]
    running[0].start()
    assert entered.wait(60)
    running[1].start()
    while process.active:
        leave.wait(0.01)
    assert order == []
    leave.set()
    for thread in running:
        thread.join()
    assert order == ["handler", "stopped"]


def swallow(call: Callable[[], Any]) -> None:
    """A program whose start the stop has cut short is no matter here."""
    with contextlib.suppress(cbprocess.CBProcessError):
        call()

"""The way from the library's callbacks to handlers: which object they get, what happens when they fail."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from collections.abc import Sequence
from functools import partial
from typing import Any, Optional

import pytest
from unit.event_blocks import dispatch_for, fields_of, make_event

from cbprocess import CBProcessError, constants, events
from cbprocess._binding import layouts, structures
from cbprocess._binding.callbacks import NativeCallbacks
from cbprocess._binding.hooks import Hooks

CREATION = constants.PROC_EVT_PROCESS_CREATION
TERMINATION = constants.PROC_EVT_PROCESS_TERMINATION


class Worker:
    """A worker with one event block, as the native library has it."""

    def __init__(self, **handlers: Any) -> None:
        self.hooks = Hooks()
        self.errors: list[Any] = []
        self.hooks.error = self.errors.append
        self.memory = make_event()
        self.dispatch = dispatch_for(self.hooks, self.memory)

    def event(self, kind: int = CREATION, **fields: Any) -> structures.Event:
        make_event(kind, memory=self.memory, **fields)
        fields_of(self.memory).result_code = 0
        self.dispatch()
        return fields_of(self.memory)


class Unraisable:
    """Collects what reaches sys.unraisablehook."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.values: list[Optional[BaseException]] = []
        monkeypatch.setattr(sys, "unraisablehook", lambda args: self.values.append(args.exc_value))


@pytest.fixture
def unraisable(monkeypatch: pytest.MonkeyPatch) -> Unraisable:
    return Unraisable(monkeypatch)


def test_without_a_handler_nothing_happens() -> None:
    worker = Worker()
    assert worker.event().result_code == 0
    assert worker.errors == []


def test_each_type_has_its_handler_and_class() -> None:
    worker = Worker()
    seen: list[tuple[int, type]] = []
    for kind in events.EVENT_CLASSES:
        worker.hooks.handlers[kind] = partial(lambda kind, event: seen.append((kind, type(event))), kind)
    for kind in events.EVENT_CLASSES:
        worker.event(kind)
    assert seen == list(events.EVENT_CLASSES.items())


def test_the_object_is_used_again_when_nobody_kept_it() -> None:
    worker = Worker()
    seen: list[tuple[int, int]] = []
    worker.hooks.handlers[CREATION] = lambda event: seen.append((id(event), event.process_id))
    for number in range(50):
        worker.event(process_id=number)
    assert [number for _, number in seen] == list(range(50))
    assert len({address for address, _ in seen}) == 1


@pytest.mark.parametrize("way", ["list", "closure", "traceback", "attribute"])
def test_a_kept_object_is_never_used_again(way: str) -> None:
    worker = Worker()
    kept: list[Any] = []

    def keep(event: Any) -> None:
        if way == "list":
            kept.append(event)
        elif way == "closure":
            kept.append(lambda: event)
        elif way == "attribute":
            kept.append(type("Holder", (), {"event": event}))
        else:
            try:
                raise ValueError
            except ValueError as error:
                kept.append(error)

    worker.hooks.handlers[CREATION] = keep
    for number in range(10):
        worker.event(process_id=number)

    def event_in(thing: Any) -> Any:
        if way == "list":
            return thing
        if way == "closure":
            return thing()
        return thing.event if way == "attribute" else thing.__traceback__.tb_frame.f_locals["event"]

    assert [event_in(thing).process_id for thing in kept] == list(range(10))


def test_an_object_kept_for_one_event_only_is_released() -> None:
    worker = Worker()
    place: list[Any] = [None]

    def keep(event: Any) -> None:
        place[0] = event

    worker.hooks.handlers[CREATION] = keep
    for number in range(1000):
        worker.event(process_id=number)
    place.clear()
    gc.collect()
    assert sum(isinstance(thing, events.EventParams) for thing in gc.get_objects()) < 100


def test_a_handler_that_raises_allows_and_is_reported() -> None:
    worker = Worker()

    def fail(event: Any) -> None:
        event.result_code = 5
        raise LookupError("from the handler")

    worker.hooks.handlers[CREATION] = fail
    assert worker.event().result_code == 0
    assert worker.hooks.failed_in_handler == 1
    (error,) = worker.errors
    assert error.error_code == constants.ERROR_UNHANDLED_EXCEPTION
    assert "LookupError: from the handler" in error.description
    assert "in fail" in error.description


def test_a_handler_that_raises_restores_the_access() -> None:
    worker = Worker()
    kind = constants.PROC_EVT_PROCESS_HANDLE_OPERATION

    def fail(event: Any) -> None:
        event.desired_access = 0
        raise ValueError

    worker.hooks.handlers[kind] = fail
    assert worker.event(kind, original_desired_access=7, desired_access=7).desired_access == 7


@pytest.mark.parametrize("exception", [SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError])
def test_no_exception_passes_through(exception: type[BaseException]) -> None:
    worker = Worker()

    def fail(event: Any) -> None:
        raise exception

    worker.hooks.handlers[CREATION] = fail
    worker.event()
    assert exception.__name__ in worker.errors[0].description


def test_without_on_error_the_unraisable_hook_hears_of_it(unraisable: Unraisable) -> None:
    worker = Worker()
    worker.hooks.error = None
    error = ValueError("nobody listens")

    def fail(event: Any) -> None:
        raise error

    worker.hooks.handlers[CREATION] = fail
    worker.event()
    assert unraisable.values == [error]
    assert worker.hooks.failed_in_handler == 1


def test_an_error_handler_that_raises_changes_nothing(unraisable: Unraisable) -> None:
    worker = Worker()
    second = OSError("from on_error")

    def fail(event: Any) -> None:
        raise ValueError("first")

    def fail_again(params: Any) -> None:
        raise second

    worker.hooks.handlers[CREATION] = fail
    worker.hooks.error = fail_again
    assert worker.event().result_code == 0
    worker.hooks.handlers[CREATION] = lambda event: setattr(event, "result_code", 2)
    assert worker.event().result_code == 2
    assert unraisable.values == [second]
    assert isinstance(second.__context__, ValueError)


def test_handlers_that_raise_in_many_threads_are_all_counted() -> None:
    hooks = Hooks()
    reports: list[Any] = []
    hooks.error = reports.append

    def fail() -> None:
        for _ in range(200):
            hooks.handler_raised(ValueError())

    threads = [threading.Thread(target=fail) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert hooks.failed_in_handler == len(reports) == 1600


class FakeLibrary:
    """Stands for the native library where a worker's run matters: it hands each worker the events of a story,
    in the worker's own block or, where they are too large for it, elsewhere."""

    def __init__(self, story: Sequence[Any] = ()) -> None:
        self.story = story
        self.runs: list[tuple[int, str]] = []
        self.large: Any = None
        self._block = make_event()
        self._callback: Any = None
        self._type_callbacks: dict[int, Any] = {}

    def cbp_worker_bind(self, worker: int, callback: Any, place: Any) -> int:
        self._callback = callback
        ctypes.cast(place, ctypes.POINTER(ctypes.c_void_p))[0] = ctypes.addressof(self._block)
        return 0

    def cbp_worker_bind_type(self, worker: int, kind: int, callback: Any) -> int:
        self._type_callbacks[kind] = callback
        return 0

    def cbp_worker_run(self, worker: int) -> None:
        self.runs.append((worker, threading.current_thread().name))
        for memory in self.story:
            if fields_of(memory).size > layouts.EVENT_SIZE_INLINE:
                self.large(ctypes.addressof(memory))
            else:
                ctypes.memmove(self._block, memory, ctypes.sizeof(self._block))
                self._type_callbacks.get(fields_of(memory).type, self._callback)()
            ctypes.memset(memory, 0xFF, ctypes.sizeof(memory))


def run_worker(hooks: Hooks, count: int = 1, story: Sequence[Any] = ()) -> FakeLibrary:
    library = FakeLibrary(story)
    native = NativeCallbacks(library, hooks)  # type: ignore[arg-type]
    library.large = native.structure.event
    for number in range(count):
        thread = threading.Thread(target=lambda number=number: native.structure.worker(0, 100 + number))
        thread.start()
        thread.join()
    return library


def test_events_of_every_size_reach_the_handler() -> None:
    hooks = Hooks()
    seen: list[Any] = []
    hooks.handlers[CREATION] = seen.append
    long_list = [b"x" * 1000] * 100
    story = [
        make_event(process_id=1, arguments=[b"a"]),
        make_event(process_id=2, process_name=b"/long", arguments=long_list),
        make_event(process_id=3, process_name=b"/short"),
    ]
    run_worker(hooks, 1, story)
    assert [event.process_id for event in seen] == [1, 2, 3]
    assert [len(event.arguments) for event in seen] == [1, 100, 0]
    assert [event.process_name for event in seen] == ["/usr/bin/program", "/long", "/short"]
    assert seen[1].arguments == [argument.decode() for argument in long_list]


def test_events_of_every_type_reach_their_handlers_in_order() -> None:
    hooks = Hooks()
    seen: list[tuple[int, int]] = []
    for kind in events.KINDS:
        hooks.handlers[kind] = partial(lambda kind, event: seen.append((kind, event.process_id)), kind)
    story = [make_event(kind, process_id=number) for number, kind in enumerate([*events.KINDS] * 3)]
    expected = [(fields_of(memory).type, number) for number, memory in enumerate(story)]
    run_worker(hooks, 1, story)
    assert seen == expected


def test_an_event_of_a_type_without_a_binding_of_its_own_is_handled() -> None:
    """A later library may send such types."""
    hooks = Hooks()
    kept: list[Any] = []
    hooks.handlers[3] = kept.append
    run_worker(hooks, 1, [make_event(3, process_id=1), make_event(3, process_id=2)])
    assert [(type(event), event.process_id) for event in kept] == [
        (events.EventParams, 1),
        (events.EventParams, 2),
    ]


def test_a_handler_may_change_between_two_events() -> None:
    worker = Worker()
    seen: list[str] = []

    def first(event: Any) -> None:
        seen.append("first")
        worker.hooks.handlers[CREATION] = lambda event: seen.append("second")

    worker.hooks.handlers[CREATION] = first
    for _ in range(2):
        worker.event()
    worker.hooks.handlers[CREATION] = None
    worker.event()
    assert seen == ["first", "second"]


def test_workers_are_numbered_and_run_once() -> None:
    assert run_worker(Hooks(), 3).runs == [
        (100, "cbprocess-worker-1"),
        (101, "cbprocess-worker-2"),
        (102, "cbprocess-worker-3"),
    ]


def test_worker_hooks_fire_around_the_run() -> None:
    hooks = Hooks()
    order: list[str] = []
    hooks.worker_creation = lambda params: order.append(f"creation {type(params).__name__}")
    hooks.worker_termination = lambda params: order.append(f"termination {type(params).__name__}")
    assert len(run_worker(hooks).runs) == 1
    assert order == [
        "creation CBProcessWorkerThreadCreationEventParams",
        "termination CBProcessWorkerThreadTerminationEventParams",
    ]


def test_a_result_code_ends_the_worker_and_is_reported() -> None:
    hooks = Hooks()
    errors: list[Any] = []
    ended: list[Any] = []
    hooks.error = errors.append
    hooks.worker_creation = lambda params: setattr(params, "result_code", 8)
    hooks.worker_termination = ended.append
    assert run_worker(hooks).runs == []
    assert [error.error_code for error in errors] == [8]
    assert ended == []


def test_a_worker_creation_handler_that_raises_does_not_end_the_worker() -> None:
    hooks = Hooks()
    errors: list[Any] = []
    hooks.error = errors.append
    hooks.worker_creation = lambda params: 1 / 0
    assert len(run_worker(hooks).runs) == 1
    assert [error.error_code for error in errors] == [constants.ERROR_UNHANDLED_EXCEPTION]


def test_what_worker_termination_raises_is_ignored(unraisable: Unraisable) -> None:
    hooks = Hooks()
    errors: list[Any] = []
    hooks.error = errors.append
    hooks.worker_termination = lambda params: 1 / 0
    assert len(run_worker(hooks).runs) == 1
    assert errors == [] and unraisable.values == []


def test_errors_of_the_library_reach_on_error(unraisable: Unraisable) -> None:
    hooks = Hooks()
    native = NativeCallbacks(FakeLibrary(), hooks)  # type: ignore[arg-type]
    native.structure.error(0, 109, b"gone \xff")
    (error,) = unraisable.values
    assert isinstance(error, CBProcessError) and error.code == 109
    errors: list[Any] = []
    hooks.error = errors.append
    native.structure.error(0, 109, b"gone \xff")
    assert [(params.error_code, params.description) for params in errors] == [(109, "gone \udcff")]


def test_a_guessed_creator_is_no_failure_where_nobody_listens(unraisable: Unraisable) -> None:
    """statistics().guessed counts it; a program that lost a race is no reason for a traceback."""
    hooks = Hooks()
    native = NativeCallbacks(FakeLibrary(), hooks)  # type: ignore[arg-type]
    native.structure.error(0, constants.ERROR_NOT_FOUND, b"guessed")
    assert unraisable.values == []
    errors: list[Any] = []
    hooks.error = errors.append
    native.structure.error(0, constants.ERROR_NOT_FOUND, b"guessed")
    assert [(params.error_code, params.description) for params in errors] == [(1168, "guessed")]

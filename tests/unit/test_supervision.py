"""The warnings of a filter with rules and nothing to watch, and of one with handlers and no events."""

from __future__ import annotations

import threading
import time
import warnings

import pytest
from unit.instances import GUID

import cbprocess
from cbprocess import CBProcess, CBProcessWarning


def test_a_filter_with_rules_and_nothing_to_watch_warns_once() -> None:
    with CBProcess() as process:
        process.initialize(GUID)
        process.add_filtered_process_by_id(-1, True)
        process.start_filter(0)
        with pytest.warns(CBProcessWarning, match="popen") as warned:
            process.stop_filter()
        assert [warning.filename for warning in warned] == [__file__]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            process.start_filter(0)
            process.stop_filter()


def test_a_warning_made_an_error_does_not_keep_the_filter_going() -> None:
    process = CBProcess()
    process.initialize(GUID)
    process.add_filtered_process_by_id(-1, True)
    process.start_filter(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(CBProcessWarning) as raised:
            process.stop_filter()
    assert not process.active
    assert "popen" in str(raised.value)


def test_an_idle_filter_warns_while_it_waits() -> None:
    with CBProcess() as process, pytest.warns(CBProcessWarning, match="popen"):
        process.initialize(GUID)
        process.start_filter(0)
        process.add_filtered_process_by_name("no program has this name", False)
        time.sleep(cbprocess._api.supervision.DELAY_S + 1)


def test_without_rules_or_with_popen_there_is_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with CBProcess() as process:
            process.initialize(GUID)
            process.start_filter(0)
            process.stop_filter()
            process.add_filtered_process_by_id(-1, True)
            process.start_filter(0)
            assert process.popen(["true"]).wait() == 0


def test_a_warning_that_no_thread_can_be_had_for_comes_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with CBProcess() as process:
        process.initialize(GUID)
        process.add_filtered_process_by_id(-1, True)
        monkeypatch.setattr(threading.Timer, "start", refuse)
        process.start_filter(0)
        assert process.active
        with pytest.warns(CBProcessWarning, match="add_filtered_process_by_id"):
            process.stop_filter()


def test_handlers_without_events_are_told_once_when_the_filter_starts() -> None:
    with CBProcess() as process:
        process.initialize(GUID)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            process.on_process_creation = print  # EventsToFire may be set next
        with pytest.warns(CBProcessWarning, match="EventsToFire") as warned:
            process.start_filter(0)
        assert [warning.filename for warning in warned] == [__file__]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            process.stop_filter()
            process.start_filter(0)
            process.on_process_termination = print


def test_a_handler_without_events_that_is_set_while_active_is_told() -> None:
    with CBProcess() as process:
        process.initialize(GUID)
        process.start_filter(0)
        process.on_process_termination = None
        process.on_error = process.on_worker_thread_creation = print  # they fire in any case
        with pytest.warns(CBProcessWarning, match="EventsToFire") as warned:
            process.on_process_termination = print
        assert [warning.filename for warning in warned] == [__file__]


def test_a_start_whose_warning_is_made_an_error_has_started_nothing() -> None:
    process = CBProcess()
    process.initialize(GUID)
    process.on_thread_creation = print
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(CBProcessWarning):
            process.start_filter(0)
        assert not process.active
        process.start_filter(0)
        process.stop_filter()


def test_handlers_with_events_or_without_any_handler_are_not_told() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, mask in (("on_process_creation", 2), ("on_error", 0), ("on_worker_thread_creation", 0)):
            with CBProcess() as process:
                process.initialize(GUID)
                setattr(process, name, lambda event: None)
                process.config(f"EventsToFire={mask}")
                process.start_filter(0)

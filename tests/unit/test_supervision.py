"""The warning of a filter that has rules and nothing to watch."""

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
        time.sleep(cbprocess.supervision.DELAY_S + 1)


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

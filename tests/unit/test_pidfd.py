"""Descriptors of processes: by Python's calls, and without them, as on PyPy."""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
import sys

import pytest

if sys.platform == "win32":
    pytest.skip("Windows has no such descriptors", allow_module_level=True)

from cbprocess.cli.pidfd import open_process, send_signal


@pytest.fixture(params=["with Python's calls", "without them"])
def calls(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "without them":
        monkeypatch.delattr(os, "pidfd_open", raising=False)
        monkeypatch.delattr(signal, "pidfd_send_signal", raising=False)


def test_a_signal_by_a_descriptor(calls: None) -> None:
    """`run --deny` on PyPy raised an AttributeError when a signal was to be passed on to what is left."""
    with subprocess.Popen(["sleep", "1000"]) as child:
        descriptor = open_process(child.pid)
        try:
            send_signal(descriptor, signal.SIGTERM)
            assert select.select([descriptor], [], [], 60)[0] == [descriptor]
            assert child.wait(60) == -signal.SIGTERM
            with pytest.raises(OSError) as caught:
                send_signal(descriptor, signal.SIGTERM)
        finally:
            child.kill()
            os.close(descriptor)
    assert caught.value.errno == errno.ESRCH


def test_a_process_that_there_is_not(calls: None) -> None:
    with subprocess.Popen(["true"]) as child:
        child.wait(60)
    with pytest.raises(OSError) as caught:
        open_process(child.pid)
    assert caught.value.errno == errno.ESRCH

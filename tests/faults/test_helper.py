"""The helper is killed: trees with a filter of system calls die with it, others go on, and the controller
is told and can stop and start again."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest
from live_tools import Programs, recording, run_checked, tracer_of, wait_until

import cbprocess


@pytest.mark.parametrize("setting", ["errno", "kill"])
def test_helper_killed(setting: str, programs: Programs) -> None:
    text = "echo ready; read line; /bin/true && echo started; exit 6"
    with recording(f"RefuseWith={setting}") as recorder:
        process = recorder.filter.popen(
            ["sh", "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        helper = tracer_of(process.pid)
        os.kill(helper, signal.SIGKILL)
        if setting == "errno":
            assert process.wait(20) == -signal.SIGKILL
            process.communicate()
        else:
            wait_until(lambda: tracer_of(process.pid) == 0, 10, "the program is let go")
            assert process.communicate("\n", timeout=20)[0] == "started\n" and process.returncode == 6
        wait_until(lambda: recorder.errors, 10, "on_error")
        assert [code for code, _ in recorder.errors] == [cbprocess.ERROR_BROKEN_PIPE]
        with pytest.raises(cbprocess.CBProcessError) as raised:
            recorder.filter.popen(["true"])
        assert raised.value.code in (cbprocess.ERROR_BROKEN_PIPE, cbprocess.ERROR_NOT_READY)
        begin = time.monotonic()
        recorder.filter.stop_filter()
        assert time.monotonic() - begin < 3 and not recorder.filter.active
        recorder.filter.start_filter(0)
        assert run_checked(recorder, [programs["status"], "5"])[0] == 5
    assert [programs["status"], "5"] in recorder.executed()


def test_helper_killed_while_operations_are_held(programs: Programs) -> None:
    """The handlers' answers go nowhere, and the stop does not wait for anything but the handlers."""

    def decide(kind: str, event: object) -> None:
        if kind == "process_creation" and len(recorder.of("process_creation")) > 1:
            time.sleep(1)

    with recording(decide=decide) as recorder:
        command = [programs["processes"], "storm", "6", "5", programs["status"]]
        process = recorder.filter.popen(command, stdout=subprocess.DEVNULL)
        wait_until(lambda: len(recorder.of("process_creation")) > 1, 10, "a held operation")
        os.kill(tracer_of(process.pid), signal.SIGKILL)
        assert process.wait(20) == -signal.SIGKILL
        wait_until(lambda: recorder.errors, 10, "on_error")
        begin = time.monotonic()
        recorder.filter.stop_filter()
        assert time.monotonic() - begin < 5
    assert [code for code, _ in recorder.errors] == [cbprocess.ERROR_BROKEN_PIPE]


def test_helper_stopped(programs: Programs) -> None:
    """While it is stopped nothing moves; when it is continued all goes on."""
    with recording() as recorder:
        process = recorder.filter.popen(["sh", "-c", "read line; /bin/true; exit 7"], stdin=subprocess.PIPE)
        helper = tracer_of(process.pid)
        os.kill(helper, signal.SIGSTOP)
        try:
            assert process.stdin is not None
            process.stdin.write(b"\n")
            process.stdin.flush()
            time.sleep(0.3)
            assert process.poll() is None
        finally:
            os.kill(helper, signal.SIGCONT)
        assert process.wait(20) == 7
        process.communicate()
    assert ["/bin/true"] in recorder.executed()

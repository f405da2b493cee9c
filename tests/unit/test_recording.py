"""What a recording holds of a session, and what a replay makes of it."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from unit.instances import wait_for

from cbprocess import CBProcess, CBProcessError, constants, script
from cbprocess.recording import Recording
from cbprocess.testing import Simulator

GUID = "{713CC6CE-B3E2-4fd9-838D-E28F558F6866}"


def make_process(**settings: object) -> CBProcess:
    process = CBProcess()
    process.initialize(GUID)
    process.config("EventsToFire=-1")
    process.add_filtered_process_by_id(-1, True)
    for name, value in settings.items():
        process.config(f"{name}={value}")
    return process


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A recording with one event for each thing that can become of one; the program's name says which."""
    path = tmp_path / "recording"
    process = make_process(RecordTo=path)
    process.add_rule(name="denied", action="deny", code=13)
    answers: list[Any] = []

    def answer(event: Any) -> None:
        name = event.process_name.rpartition("/")[2]
        if name == "refused":
            event.result_code = 5
        elif name == "deferred":
            answers.append(event.defer())
        elif name == "raised":
            raise ArithmeticError

    def strip(event: Any) -> None:
        event.desired_access = constants.PROCESS_VM_READ

    process.on_process_creation = answer
    process.on_process_handle_operation = strip
    process.on_error = lambda params: None
    simulator = Simulator(process, timeout=3000)
    for name in ("allowed", "refused", "denied", "raised"):
        simulator.process_creation(process_name=f"/bin/{name}")
    simulator.process_creation(process_name="/bin/late", answer_after=10)
    simulator.process_creation(process_name="/bin/past", held=False)
    pending = simulator.pending("process_creation", process_name="/bin/deferred")
    wait_for(lambda: answers)
    answers[0].complete(2)
    pending.wait()
    simulator.process_handle_operation(desired_access=0x11)
    simulator.pending("process_creation", process_name="/bin/deferred")
    wait_for(lambda: len(answers) == 2)
    simulator.close(check=False)
    return path


def name_of(event: Any) -> str:
    name: str = getattr(event, "process_name", "/handle").rpartition("/")[2]
    return name


def test_verdicts(recorded: Path) -> None:
    recording = Recording(recorded)
    assert recording.trouble is None
    assert recording.driver == "simulated"
    assert recording.process_id == os.getpid()
    assert abs(recording.time_ns - time.time_ns()) < 60e9
    rows = [
        (name_of(item.event), item.verdict.state, item.verdict.result_code, item.verdict.deferred)
        for item in recording
        if item.verdict is not None
    ]
    assert rows == [
        ("allowed", "answered", 0, False),
        ("refused", "answered", 5, False),
        ("denied", "unasked", 13, False),
        ("raised", "answered", 0, False),
        ("late", "timed out", 0, False),
        ("past", "unasked", 0, False),
        ("deferred", "answered", 2, True),
        ("handle", "answered", 0, False),
        ("deferred", "let go", 0, True),
    ]
    events = {name_of(item.event): item for item in recording}
    assert events["denied"].event.decided_by_rule
    handle = events["handle"]
    assert handle.verdict is not None
    assert handle.verdict.desired_access == constants.PROCESS_VM_READ
    assert getattr(handle.event, "original_desired_access") == 0x11  # noqa: B009
    assert "verdict" in repr(handle)


def test_recorded_events_can_only_be_read(recorded: Path) -> None:
    event = next(iter(Recording(recorded))).event
    for change in (lambda: setattr(event, "result_code", 5), event.defer):
        with pytest.raises(CBProcessError) as raised:
            change()
        assert raised.value.code == constants.ERROR_NO_CALLBACK_ACTIVE


def replayed(path: Path, **settings: object) -> list[tuple[str, int, bool, bool, int]]:
    """What handlers see of a replay, and what becomes of it."""
    again = path.with_name("again")
    process = make_process(Script=path, SerializeEvents=1, RecordTo=again, **settings)
    seen: list[Any] = []
    process.on_process_creation = process.on_process_handle_operation = seen.append
    with Simulator(process, timeout=3000) as simulator:
        simulator.start()
        simulator.wait()
    codes = [item.verdict.result_code for item in Recording(again) if item.verdict is not None]
    return [
        (name_of(event), event.result_code, event.held, event.timed_out, code)
        for event, code in zip(seen, codes)
    ]


def test_handlers_are_asked_again(recorded: Path) -> None:
    assert replayed(recorded) == [
        ("allowed", 0, True, False, 0),
        ("refused", 0, True, False, 0),
        ("denied", 13, False, False, 13),
        ("raised", 0, True, False, 0),
        ("late", 0, True, False, 0),
        ("past", 0, False, False, 0),
        ("deferred", 0, True, False, 0),
        ("handle", 0, True, False, 0),
        ("deferred", 0, True, False, 0),
    ]


def test_recorded_verdicts_stand_if_that_is_asked_for(recorded: Path) -> None:
    assert replayed(recorded, ReplayVerdicts="recorded") == [
        ("allowed", 0, True, False, 0),
        ("refused", 5, False, False, 5),
        ("denied", 13, False, False, 13),
        ("raised", 0, True, False, 0),
        ("late", 0, False, True, 0),
        ("past", 0, False, False, 0),
        ("deferred", 2, False, False, 2),
        ("handle", 0, False, False, 0),
        ("deferred", 0, True, False, 0),
    ]
    again = Recording(recorded.with_name("again"))
    handle = next(item for item in again if name_of(item.event) == "handle")
    assert getattr(handle.event, "desired_access") == constants.PROCESS_VM_READ  # noqa: B009
    assert handle.event.decided_by_rule


def test_rules_of_today_decide_too(recorded: Path) -> None:
    process = make_process(Script=recorded, SerializeEvents=1)
    process.add_rule(name="allowed", action="deny", code=7)
    process.add_rule(name="denied", action="deny", code=8)
    process.add_ignored_process_by_name("late", False)
    process.remove_filtered_process_by_id(-1)
    process.add_filtered_process_by_name("*e*", False)
    seen: list[tuple[str, int]] = []
    process.on_process_creation = lambda event: seen.append((name_of(event), event.result_code))
    with Simulator(process) as simulator:
        simulator.start()
        simulator.wait()
    assert seen == [
        ("allowed", 7),
        ("refused", 0),
        ("denied", 8),
        ("raised", 0),
        ("deferred", 0),
        ("deferred", 0),
    ]


@pytest.mark.parametrize("size", [100, 16_000, 40_000, 2_000_000])
def test_events_of_any_size(size: int, tmp_path: Path) -> None:
    path = tmp_path / "recording"
    arguments = ["x" * (size // 2), "", "y" * (size // 2)]
    seen: list[list[str]] = []
    process = make_process(RecordTo=path)
    process.on_process_creation = lambda event: seen.append(event.arguments)
    with Simulator(process) as simulator:
        simulator.process_creation(arguments=arguments)
    assert seen == [arguments]
    event: Any = next(iter(Recording(path))).event
    assert event.arguments == arguments
    process.config("RecordTo=")
    process.config(f"Script={path}")
    with Simulator(process) as simulator:
        simulator.start()
        simulator.wait()
    assert seen == [arguments] * 2


def test_settings_are_read_back(tmp_path: Path) -> None:
    process = make_process()
    assert process.config("Script") == process.config("RecordTo") == ""
    assert (process.config("ReplaySpeed"), process.config("ReplayVerdicts")) == ("max", "asked")
    assert process.config(f"script={tmp_path}/a b") == f"{tmp_path}/a b"
    assert process.config("REPLAYSPEED=Recorded") == "recorded"
    for setting in ("ReplaySpeed=fast", "ReplayVerdicts=", f"Script={'x' * 5000}"):
        with pytest.raises(CBProcessError) as raised:
            process.config(setting)
        assert raised.value.code == constants.ERROR_INVALID_PARAMETER


def test_what_is_fixed_while_active(tmp_path: Path) -> None:
    process = make_process()
    with Simulator(process) as simulator:
        simulator.start()
        for setting in (
            "Script=",
            "RecordTo=",
            "ReplaySpeed=max",
            "ReplayVerdicts=asked",
            "Driver=simulated",
        ):
            with pytest.raises(CBProcessError) as raised:
                process.config(setting)
            assert raised.value.code == constants.ERROR_CONNECTION_ACTIVE


def test_a_failed_start_leaves_a_recording_alone(tmp_path: Path) -> None:
    path = tmp_path / "recording"
    path.write_text("precious")
    process = make_process(Driver="simulated", RecordTo=path, Script=tmp_path / "missing")
    with pytest.raises(CBProcessError) as raised:
        process.start_filter(0)
    assert raised.value.code == constants.ERROR_FILE_NOT_FOUND
    assert path.read_text() == "precious"


def test_a_fork_does_not_write_into_the_recording(tmp_path: Path) -> None:
    path = tmp_path / "recording"
    process = make_process(RecordTo=path)
    process.on_process_creation = lambda event: None
    with Simulator(process) as simulator:
        simulator.process_creation()
        child = os.fork()
        if child == 0:
            # As the interpreter's end would: everything that belongs to the session is given up.
            del simulator, process
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        simulator.process_creation()
    recording = Recording(path)
    assert recording.trouble is None
    assert len(recording) == 2


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_a_script_is_its_owners_alone(tmp_path: Path) -> None:
    """Its command lines can hold secrets, as those of a recording."""
    made, old = tmp_path / "new", tmp_path / "old"
    old.touch()
    old.chmod(0o644)
    before = os.umask(0)
    try:
        for path in (made, old):
            script.save(path, [script.process_creation(process_id=5, arguments=["x", "--password=y"])])
    finally:
        os.umask(before)
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert stat.S_IMODE(old.stat().st_mode) == 0o644  # is as somebody has made it
    assert len(Recording(old)) == 1


def test_other_drivers_play_no_scripts() -> None:
    process = make_process()
    process.remove_filtered_process_by_id(-1)
    with Simulator(process) as simulator:
        process.config("Driver=ptrace")
        simulator.start()
        with pytest.raises(CBProcessError) as raised:
            simulator.fire_and_go_on(script.process_creation(process_id=5))
        assert raised.value.code == constants.ERROR_NOT_SUPPORTED


def test_time_is_kept_if_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "script"
    start = 1_700_000_000_000_000_000
    script.save(
        path,
        [
            script.process_creation(process_id=5 + number, time_ns=start + number * 100_000_000)
            for number in range(5)
        ],
    )
    process = make_process(Script=path, ReplaySpeed="recorded")
    times: list[float] = []
    process.on_process_creation = lambda event: times.append(time.monotonic())
    with Simulator(process) as simulator:
        simulator.start()
        began = time.monotonic()
        simulator.wait()
    for number, moment in enumerate(times):
        assert moment - began > number * 0.1 - 0.05

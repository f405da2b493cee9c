"""A recording and a file of JSON Lines with equal events, for everything that reads files."""

from __future__ import annotations

from pathlib import Path

import pytest

from cbprocess import CBProcess, constants, records
from cbprocess.testing import Simulator

GUID = "{713CC6CE-B3E2-4fd9-838D-E28F558F6866}"


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of six events: one of each kind, with a refusal and a stripped right."""
    path = tmp_path_factory.mktemp("formats") / "six.cbpr"
    process = CBProcess()
    process.initialize(GUID)
    process.config("EventsToFire=-1")
    process.config(f"RecordTo={path}")
    process.add_filtered_process_by_id(-1, True)
    process.add_rule(name="*/cat", action="deny", code=5)
    process.add_rule(name="*/server", action="strip", access=constants.PROCESS_TERMINATE)
    with Simulator(process) as simulator:
        server = simulator.process_creation(
            process_name="/opt/server", arguments=["server", "--password=geheim"], process_id=70
        )
        assert not server.refused
        assert simulator.process_creation(process_name="/bin/cat", arguments=["cat", "\udcff"]).refused
        simulator.thread_creation(process_id=70, thread_id=71)
        simulator.process_handle_operation(
            process_id=70, desired_access=constants.PROCESS_TERMINATE | constants.PROCESS_VM_READ
        )
        simulator.thread_termination(process_id=70, thread_id=71)
        simulator.process_termination(process_id=70, process_name="/opt/server", exit_status=3)
    return path


@pytest.fixture(scope="session")
def lines(recording: Path) -> Path:
    """The recording's events as JSON Lines."""
    from cbprocess.recording import Recording

    recorded = Recording(recording)
    recorder = records.Recorder(records.Origin.of_recording(recorded))
    path = recording.with_suffix(".jsonl")
    path.write_bytes(b"".join(recorder.line(item, number) for number, item in enumerate(recorded, 1)))
    return path

"""What a launch could run before the target is traced: whatever the target's environment makes the dynamic
loader do. The launcher has no loader."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Callable

import live_tools
import pytest
from hostile_tools import Setting

from cbprocess._binding import library

PT_DYNAMIC, PT_INTERP = 2, 3


@pytest.mark.parametrize("variable", ["LD_PRELOAD", "LD_AUDIT"])
def test_a_library_of_the_target_runs_in_nothing_but_the_target(
    setting: Setting, variable: str, attack: Callable[..., str], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    environment = {**os.environ, variable: attack("preloaded", "-shared", "-fPIC"), "ATTACK_LOG": str(log)}
    with live_tools.recording(*setting.config, events=setting.events) as recorder:
        status, _output, errors = live_tools.run_checked(recorder, ["/bin/true"], env=environment)
        assert status == 0, errors
        live_tools.wait_until(lambda: "child" in log.read_text(), 20, "the library's child has spoken")
        helper = next(iter({line.split()[1] for line in log.read_text().splitlines()}))
        told = [line.split(maxsplit=2) for line in log.read_text().splitlines()]
    programs = {os.path.realpath(program) for _who, _tracer, program in told}
    assert programs == {os.path.realpath("/bin/true")}
    assert helper != "0" and {tracer for _who, tracer, _program in told} == {helper}
    forked = {event["process_id"] for event in recorder.of("thread_creation")}
    assert len(forked) == 2, "the target and the child that it got"


def test_the_launcher_has_no_loader() -> None:
    """So no variable of the dynamic loader or of a C library means anything to it."""
    image = Path(library.launcher_path()).read_bytes()
    at, size, count = (*struct.unpack_from("=Q", image, 32), *struct.unpack_from("=HH", image, 54))
    kinds = {struct.unpack_from("=I", image, at + i * size)[0] for i in range(count)}
    assert kinds and not kinds & {PT_DYNAMIC, PT_INTERP}

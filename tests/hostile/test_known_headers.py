"""A program that has become a script is refused as one, with an errno: what is remembered of its header does
not outlive a change, whether its time of change tells that or not."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest
from hostile_tools import SETTINGS, Setting
from live_tools import recording, refuse, run_checked

SETTLED_S = 2.5
FILTERED = pytest.mark.parametrize("chosen", SETTINGS[1:], ids=["errno", "handles"])


@pytest.fixture
def memory_folder() -> Iterator[Path]:
    """A folder whose files the kernel never writes to a disk: a mapping of one stays writable."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        yield Path(name)


@FILTERED
@pytest.mark.parametrize("mode", [0o755, 0o777], ids=["own", "everybody"])
def test_written_through_a_mapping(
    chosen: Setting, mode: int, memory_folder: Path, attack: Callable[[str], str]
) -> None:
    if os.getuid() == 0 and mode == 0o755:
        pytest.skip("a program that runs as root may change root's files")
    program, interpreter = memory_folder / "program", memory_folder / "interpreter"
    shutil.copy("/bin/true", program)
    shutil.copy(attack("other_roots"), interpreter)
    program.chmod(mode)
    line = [attack("swapped_header"), str(program), f"#!{interpreter}\n", str(int(SETTLED_S * 1000))]
    with recording(*chosen.config, events=chosen.events, decide=refuse("interpreter")) as recorder:
        status, output, _ = run_checked(recorder, line)
        assert recorder.filter.statistics().refused == 1
    first, told_time, *rest = output.splitlines()
    assert first == f"errno {errno.ETXTBSY}" and told_time == "time kept"
    assert (status, rest) == (0, [f"errno {errno.EACCES}"])


@FILTERED
@pytest.mark.skipif(os.getuid() != 0, reason="only of root's programs the header is remembered")
def test_replaced_in_place(chosen: Setting, memory_folder: Path, attack: Callable[[str], str]) -> None:
    program, interpreter = memory_folder / "program", memory_folder / "interpreter"
    shutil.copy("/bin/true", program)
    shutil.copy(attack("other_roots"), interpreter)
    time.sleep(SETTLED_S)
    with recording(*chosen.config, events=chosen.events, decide=refuse("interpreter")) as recorder:
        twice = run_checked(recorder, ["/bin/sh", "-c", f"{program}; {program}; echo $?"])
        program.write_text(f"#!{interpreter}\n")
        script = run_checked(recorder, ["/bin/sh", "-c", f"{program}; echo $?"])
    assert twice == (0, "0\n", "")
    assert script[:2] == (0, "126\n") and recorder.filter.statistics().refused == 1

"""What the hostile tests share: the three ways in which a tree can be supervised."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import live_tools

import cbprocess

FOLDER = Path(__file__).resolve().parent
HANDLES = cbprocess.PROC_EVT_PROCESS_HANDLE_OPERATION | cbprocess.PROC_EVT_THREAD_HANDLE_OPERATION


class Setting(NamedTuple):
    """What a tree is supervised with: arguments of live_tools.recording()."""

    name: str
    config: tuple[str, ...]
    events: int

    @property
    def has_filter(self) -> bool:
        return self.name != "unfiltered"


SETTINGS = [
    Setting("unfiltered", ("RefuseWith=kill",), live_tools.LIFETIMES),
    Setting("errno filter", (), live_tools.LIFETIMES),
    Setting("handle filter", (), live_tools.LIFETIMES | HANDLES),
]


def without_landlock(text: str) -> subprocess.CompletedProcess[str]:
    """Runs a Python program on a kernel that seems to have no landlock_create_ruleset (444)."""
    line = [sys.executable, str(live_tools.PROGRAMS / "without_call.py"), "444", text]
    return subprocess.run(line, capture_output=True, text=True, timeout=60)


def assert_impossible_without_landlock(setting: str) -> None:
    """A filter with this setting does not start there, and says why."""
    done = without_landlock(
        "import cbprocess\nfilter = cbprocess.CBProcess()\n"
        "filter.initialize('{5ABD3A8B-6A3F-4C52-9F0C-5E1F0A1C7D13}')\n"
        f"filter.config('{setting}')\n"
        "try:\n    filter.start_filter(0)\nexcept cbprocess.CBProcessError as error:\n"
        "    print(error.code, error.message)\n"
    )
    assert done.stdout.startswith(f"{cbprocess.ERROR_NOT_SUPPORTED} "), done
    assert "Landlock" in done.stdout

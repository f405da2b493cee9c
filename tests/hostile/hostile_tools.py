"""What the hostile tests share: the three ways in which a tree can be supervised."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import live_tools

import cbprocess
from cbprocess.library import native_folder

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


def helper_is_sanitized() -> bool:
    """Whether the helper's memory is AddressSanitizer's, which keeps what is freed."""
    return b"__asan_init" in (Path(native_folder()) / "cbprocess-supervisor").read_bytes()

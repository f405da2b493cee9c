"""A protected process keeps its rights to what it has created while it was; nobody gets them by a name
that it takes later (decision 5)."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from typing import Callable

import pytest
from live_tools import recording, run_checked

import cbprocess

RIGHTS = 0x1FFFFF & ~(cbprocess.PROCESS_QUERY_LIMITED_INFORMATION | cbprocess.PROCESS_SYNCHRONIZE)
REFUSED = {"errno": errno.EPERM, "got": False, "lived": True}
ENDED = {"errno": 0, "got": False, "lived": False}


@pytest.mark.parametrize(
    ("way", "is_protected", "expected"),
    [("later", False, REFUSED), ("through", True, REFUSED), ("honest", True, ENDED)],
)
def test_rights_to_what_was_created(
    way: str, is_protected: bool, expected: object, attack: Callable[[str], str], tmp_path: Path
) -> None:
    plain, guarded = attack("usurp"), str(tmp_path / "guarded-server")
    shutil.copy2(plain, guarded)
    first, other = (guarded, plain) if is_protected else (plain, guarded)
    with recording(events=0) as recorder:
        recorder.filter.add_rule(name="guarded*", action="strip", access=RIGHTS)
        status, output, errors = run_checked(recorder, [first, way, other])
    assert (status, errors) == (0, "")
    assert json.loads(output) == expected

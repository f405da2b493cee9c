"""Files of /proc that change or show another process, and that the kernel itself keeps from the same user."""

from __future__ import annotations

import errno
import json
import os
import sys

import pytest
from hostile_tools import FOLDER, Setting
from live_tools import recording, run_checked


def test_the_kernel_refuses(setting: Setting) -> None:
    """In any tree. All others of these files can be written: docs/limits.md names them."""
    if os.getuid() == 0:
        pytest.skip("root may do all of it")
    with recording(*setting.config, events=setting.events) as recorder:
        line = [sys.executable, str(FOLDER / "programs/proc_files.py"), "/bin/cat"]
        status, output, errors = run_checked(recorder, line)
    assert (status, errors) == (0, "")
    found = json.loads(output)
    assert found.pop("comm") == errno.EINVAL
    assert set(found.values()) <= {errno.EPERM, errno.EACCES, errno.ENOENT}, found

"""What tests of a CBProcess instance share: a product GUID, a check of error codes, a dead process's id,
a wait for what another thread does."""

from __future__ import annotations

import subprocess
import time
from typing import Any, Callable

import pytest

from cbprocess import CBProcessError

GUID = "{2B7F1B9E-64C8-4F5D-9C1D-5C1B8C2B6E0F}"


def assert_code(code: int, call: Callable[..., object], *arguments: Any, **keywords: Any) -> CBProcessError:
    with pytest.raises(CBProcessError) as raised:
        call(*arguments, **keywords)
    assert raised.value.code == code, raised.value
    assert raised.value.message
    return raised.value


def dead_process_id() -> int:
    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid


def wait_for(condition: Callable[[], object]) -> None:
    limit = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.001)

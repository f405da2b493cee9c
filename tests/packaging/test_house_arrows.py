"""The check of which way the folders of the C sources look (tools/house_arrows.py)."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def tool(checkout: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("house_arrows", checkout / "tools" / "house_arrows.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("source", "included", "is_wrong"),
    [
        ("driver/policy/decide.c", "driver/policy/policy.h", False),
        ("driver/policy/decide.c", "driver/rules/cbp_rules.h", False),
        ("driver/policy/decide.c", "driver/helper/helper.h", True),
        ("driver/rules/cbp_rules.c", "driver/policy/policy.h", True),
        ("driver/linux/ptrace/trace.c", "driver/helper/helper.h", False),
        ("driver/helper/slots.c", "driver/linux/ptrace/tracer.h", True),
        ("driver/linux/ptrace/trace.c", "driver/windows/debug/tracer.h", True),
        ("driver/linux/ptrace/trace.c", "native/src/core/core.h", True),
        ("native/src/drivers/simulated/played_processes.c", "driver/policy/policy.h", False),
        ("native/src/drivers/helper/helper_session.c", "driver/helper/helper.h", True),
        ("native/src/core/worker.c", "native/include/cbprocess.h", False),
        ("native/src/recording/recorder.c", "native/src/core/core.h", True),
        ("native/src/recording/recorder.c", "native/src/base/errors.h", False),
        ("native/src/platform/linux/os_error.c", "native/src/base/errors.h", False),
    ],
)
def test_which_way(tool: ModuleType, source: str, included: str, is_wrong: bool) -> None:
    assert tool.points_up(tool.ROOT / source, tool.ROOT / included) is is_wrong


def test_every_folder_of_sources_has_its_storey(tool: ModuleType, checkout: Path) -> None:
    for top in ("driver", "native"):
        for path in (checkout / top).rglob("*.[ch]"):
            assert tool.place_of(path) is not None, path


def test_calls(tool: ModuleType) -> None:
    down = {"native/src/core/worker.c": {"native/src/base/errors.c", "native/src/platform/linux/os_error.c"}}
    up = {"native/src/platform/linux/os_error.c": {"native/src/core/worker.c"}}
    assert tool.calls_up(down) == []
    assert tool.calls_up(down | up) == [("native/src/platform/linux/os_error.c", "native/src/core/worker.c")]


def test_circles(tool: ModuleType) -> None:
    assert tool.in_circles({"main": {"a", "b"}, "a": {"b"}, "b": {"c"}, "c": set()}) == set()
    assert tool.in_circles({"main": {"a"}, "a": {"b"}, "b": {"c", "d"}, "c": {"a"}, "d": set()}) == set("abc")

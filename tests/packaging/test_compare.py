"""bench/compare.py, with builds whose difference is known: wheels of a package that only waits."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the benchmark needs Linux")


def make_wheel(folder: Path, version: str, import_ms: int) -> Path:
    """A wheel of a package `cbprocess` whose import takes so long."""
    wheel = folder / f"cbprocess-{version}-py3-none-any.whl"
    information = f"cbprocess-{version}.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        code = f"import time\n__version__ = {version!r}\ntime.sleep({import_ms / 1000})\n"
        archive.writestr("cbprocess/__init__.py", code)
        metadata = f"Metadata-Version: 2.1\nName: cbprocess\nVersion: {version}\n"
        archive.writestr(f"{information}/METADATA", metadata)
        wheel_text = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr(f"{information}/WHEEL", wheel_text)
        archive.writestr(f"{information}/RECORD", "")
    return wheel


def compare(checkout: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(checkout / "bench" / "compare.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_the_slower_wheel_is_the_slower_one(checkout: Path, tmp_path: Path) -> None:
    pytest.importorskip("pip")
    slow, fast = make_wheel(tmp_path, "1.0", 400), make_wheel(tmp_path, "2.0", 40)
    done = compare(checkout, slow, fast, "--only", "H8", "--rounds", 2)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^A: 1\.0 .*\nB: 2\.0 ", done.stderr, re.MULTILINE), done.stderr
    row = done.stdout.splitlines()[-1]
    name, _, first, second, ratios = (cell.strip() for cell in row.strip("| ").split("|"))
    assert name == "H8"
    assert float(first.split()[0]) >= 400 and 40 <= float(second.split()[0]) < 400
    median, least, most = map(float, re.findall(r"[\d.]+", ratios))
    assert least <= median <= most < 1


def test_what_is_no_build(checkout: Path, tmp_path: Path) -> None:
    done = compare(checkout, tmp_path, sys.executable, "--only", "bare")
    assert done.returncode == 1
    assert "neither a wheel nor an environment" in done.stderr and done.stdout == ""


def test_an_unknown_row(checkout: Path) -> None:
    done = compare(checkout, sys.executable, sys.executable, "--only", "H99")
    assert done.returncode == 2 and "unknown: H99" in done.stderr

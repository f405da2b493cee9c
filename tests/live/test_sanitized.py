"""Programs that are built with a sanitizer."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import compilers
import pytest
from supervised import COMMAND_LINE

SOURCE = "int main(void) { return 0; }\n"


def test_leak_check(tmp_path: Path) -> None:
    """It needs to trace the program itself, which no tracer permits; docs/linux.md says what helps."""
    program = tmp_path / "program"
    (tmp_path / "program.c").write_text(SOURCE)
    line = [*compilers.c_compiler(), "-fsanitize=address", "-o", program, f"{program}.c"]
    if subprocess.run(line, capture_output=True, timeout=100).returncode != 0:
        pytest.skip("the C compiler has no AddressSanitizer here")
    options = {"leak check": "detect_leaks=1", "none": "detect_leaks=0"}
    found = {}
    for name, value in options.items():
        environment = {**os.environ, "ASAN_OPTIONS": value}
        bare = subprocess.run([program], env=environment, capture_output=True, timeout=60)
        if bare.returncode != 0:
            pytest.skip("the sanitizer's own memory map does not fit this kernel")
        line = [*COMMAND_LINE, "run", "-q", "--", program]
        done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=60)
        found[name] = done.returncode, "does not work under ptrace" in done.stderr
    assert found == {"leak check": (1, True), "none": (0, False)}

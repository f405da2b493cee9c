"""The README's fleet section as it stands there: one server, two hosts, one rule. Only the server's port is
another, so that no other server is in its way, and its program's place where a machine has it elsewhere."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from nats_server import PROGRAM, free_port

ROOT = Path(__file__).resolve().parents[2]


def block(page: str, heading: str) -> str:
    text = (ROOT / page).read_text(encoding="utf-8").split(f"\n## {heading}\n")[1]
    return text.split("```sh\n")[1].split("```")[0]


def test_the_page_has_what_the_readme_has() -> None:
    without_notes = re.sub(r" +#.*", "", block("README.md", "Many hosts"))
    assert without_notes == block("docs/fleet.md", "The first fleet")


@pytest.mark.skipif(PROGRAM is None, reason="nats-server is not installed")
def test_the_section_works_as_typed(tmp_path: Path) -> None:
    port, programs, folder = free_port(), tmp_path / "bin", tmp_path / "empty"
    server = "/usr/sbin/nats-server -a 127.0.0.1 -js "
    text = block("README.md", "Many hosts")
    assert text.startswith(server)
    programs.mkdir()
    folder.mkdir()
    (programs / "cbprocess").write_text(f'#!/bin/sh\nexec {sys.executable} -m cbprocess "$@"\n')
    (programs / "cbprocess").chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "CBPROCESS_FLEET_SERVER": f"nats://127.0.0.1:{port}",
    }
    assert shutil.which("cat") is not None
    lines = text.replace(server, f"{PROGRAM} -a 127.0.0.1 -p {port} -js ", 1)
    typing = subprocess.Popen(
        # The end of the shell ends the programs that it has left behind.
        ["bash", "-c", lines + "\nkill $(jobs -p); wait\n"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = typing.communicate(timeout=100)
    finally:
        try:
            os.killpg(typing.pid, signal.SIGKILL)
        except ProcessLookupError:
            time.sleep(0)
    assert "made cbp-default-events" in said, said
    assert "in force on 2 of 2 hosts" in said and "cat: Permission denied" in said, said
    assert re.search(r"^web1 +alive", said, re.MULTILINE) and re.search(
        r"^web2 +alive", said, re.MULTILINE
    ), said
    assert re.search(r"web1 .*process_creation .*ls", said) and re.search(
        r"web2 .*refused \(5\)  cat", said
    ), said
    assert "0 doubles left out, 0 missing" in said and "Traceback" not in said, said

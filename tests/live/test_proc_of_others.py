"""Where /proc is another PID namespace's, or is not there, nothing starts that would mistake processes for
others: the filter, `cbprocess run`, `doctor` and `snapshot` say what is wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import Any

import pytest
from supervised import COMMAND_LINE

import cbprocess

PLACES = {
    "of another namespace": (["--pid", "--fork"], "/proc belongs to another PID namespace"),
    "missing": (["--mount"], "/proc is not mounted"),
}
START = """
import cbprocess
process = cbprocess.CBProcess()
process.initialize("{5ABD3A8B-6A3F-4C52-9F0C-5E1F0A1C7D11}")
process.config("RefuseWith=kill")
try:
    process.start_filter(0)
except cbprocess.CBProcessError as error:
    print(error.code, error.message)
"""


def run_there(place: str, line: list[str]) -> subprocess.CompletedProcess[str]:
    """Runs a command in such a place, as the first process of new namespaces."""
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed")
    namespaces = ["unshare", "--user", "--map-root-user", *PLACES[place][0]]
    hide = "mount -t tmpfs none /proc && " if place == "missing" else ""
    command = [*namespaces, "sh", "-c", f'{hide}exec "$@"', "sh"]
    tried = subprocess.run([*command, "true"], capture_output=True, text=True, timeout=60)
    if tried.returncode != 0:
        pytest.skip(f"no user namespaces here: {tried.stderr}")
    return subprocess.run([*command, *line], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("place", PLACES)
def test_no_filter_starts(place: str) -> None:
    done = run_there(place, [sys.executable, "-c", START])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{cbprocess.ERROR_GEN_FAILURE} {PLACES[place][1]}")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("command", [["run", "--deny", "true", "--", "true"], ["snapshot"]], ids=str)
def test_a_command_fails_with_a_sentence(command: list[str], place: str) -> None:
    done = run_there(place, [*COMMAND_LINE, *command])
    assert done.returncode not in (0, 1) and done.stdout == ""
    assert PLACES[place][1] in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("place", PLACES)
def test_doctor_explains(place: str) -> None:
    done = run_there(place, [*COMMAND_LINE, "doctor", "--json"])
    assert (done.returncode, done.stderr) == (1, "")
    found: dict[str, Any] = json.loads(done.stdout)
    assert not found["default_runs"]
    assert found["drivers"]["ptrace"]["reason"].startswith(PLACES[place][1])


def test_one_of_its_own() -> None:
    """With a /proc of the new namespace all is well."""
    line = ["--pid", "--fork", "--mount-proc", *COMMAND_LINE, "run", "--deny", "false", "--", "true"]
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed")
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", *line], capture_output=True, text=True, timeout=60
    )
    if "unshare" in done.stderr:
        pytest.skip(f"no user namespaces, or no /proc in them: {done.stderr}")
    assert done.returncode == 0 and "exit 0, " in done.stderr

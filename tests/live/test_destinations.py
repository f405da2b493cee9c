"""Where the command line writes: `-` is standard output, two outputs never share a file, and no name in an
error can steer a terminal."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import supervised

from cbprocess.recording import Recording

COMMAND = ["--", "sh", "-c", "touch ran"]
EVIL = "evil\x1b[31m\nname"


def call(folder: Path, *line: Any, **options: Any) -> subprocess.CompletedProcess[bytes]:
    keywords = {"capture_output": True, "timeout": 60, **options}
    return subprocess.run([*supervised.COMMAND_LINE, *line], cwd=folder, **keywords)


class TestStandardOutput:
    def test_lines(self, tmp_path: Path) -> None:
        done = call(tmp_path, "run", "--json", "-o", "-", *COMMAND)
        events = [json.loads(line)["event"] for line in done.stdout.splitlines()]
        assert events[0] == "process_creation" and done.stderr == b"" and done.returncode == 0
        assert sorted(os.listdir(tmp_path)) == ["ran"]

    @pytest.mark.parametrize(("option", "begin"), [("--timeline", b"<!"), ("--trace", b'{"traceEvents"')])
    def test_pictures(self, tmp_path: Path, option: str, begin: bytes) -> None:
        """Behind what the command itself prints, and to a file that something stands in already."""
        with (tmp_path / "file").open("ab") as file:
            file.write(b"before\n")
            file.flush()
            line = ["run", option, "-", "--", "sh", "-c", "echo command"]
            done = call(tmp_path, *line, capture_output=False, stdout=file, stderr=subprocess.PIPE)
        assert done.returncode == 0
        assert (tmp_path / "file").read_bytes().startswith(b"before\ncommand\n" + begin)
        assert os.listdir(tmp_path) == ["file"]

    def test_recordings(self, tmp_path: Path) -> None:
        done = call(tmp_path, "run", "-q", "--record", "-", *COMMAND)
        assert done.returncode == 0 and done.stderr == b""
        assert sorted(os.listdir(tmp_path)) == ["ran"]
        (tmp_path / "recording").write_bytes(done.stdout)
        recording = Recording(tmp_path / "recording")
        names = [row.event.arguments[:2] for row in recording if hasattr(row.event, "command_line")]
        assert names[0] == ["sh", "-c"] and recording.trouble is None

    def test_a_recording_that_nobody_reads(self, tmp_path: Path) -> None:
        source, sink = os.pipe()
        os.close(source)
        try:
            line = [
                "run",
                "-q",
                "--record",
                "-",
                "--",
                "sh",
                "-c",
                "for i in 1 2 3; do /bin/true; done; exit 3",
            ]
            assert call(tmp_path, *line, capture_output=False, stdout=sink).returncode == 3
        finally:
            os.close(sink)

    @pytest.mark.parametrize("command", ["doctor", "snapshot"])
    def test_reports(self, tmp_path: Path, command: str) -> None:
        done = call(tmp_path, command, "--json", "-o", "-")
        assert json.loads(done.stdout.splitlines()[0]) and os.listdir(tmp_path) == []


class TestOneFile:
    """Nothing is written, and the command does not run."""

    @pytest.mark.parametrize(
        "options",
        [
            ["-o", "file", "--timeline", "file"],
            ["-o", "./file", "--trace", "folder/../file"],
            ["--timeline", "file", "--trace", "link"],
            ["--timeline", "file", "--record", "hard"],
            ["-o", "new", "--record", "folder/../new"],
            ["-o", "-", "--timeline", "-"],
            ["--trace", "-", "--record", "-"],
        ],
    )
    def test_two_outputs(self, tmp_path: Path, options: list[str]) -> None:
        (tmp_path / "folder").mkdir()
        (tmp_path / "file").write_text("as it was")
        (tmp_path / "link").symlink_to("file")
        os.link(tmp_path / "file", tmp_path / "hard")
        done = call(tmp_path, "run", *options, *COMMAND)
        assert done.returncode == 2
        assert b" would both go to " in done.stderr.splitlines()[-1]
        assert (tmp_path / "file").read_text() == "as it was" and done.stdout == b""
        assert sorted(os.listdir(tmp_path)) == ["file", "folder", "hard", "link"]

    def test_standard_output_is_the_file(self, tmp_path: Path) -> None:
        with (tmp_path / "file").open("w") as file:
            line = ["run", "-o", "-", "--trace", "file", *COMMAND]
            done = call(tmp_path, *line, capture_output=False, stdout=file, stderr=subprocess.PIPE)
        assert done.returncode == 2 and not (tmp_path / "ran").exists()

    def test_the_recording_that_is_replayed(self, tmp_path: Path) -> None:
        assert call(tmp_path, "run", "-q", "--record", "recording", *COMMAND).returncode == 0
        before = (tmp_path / "recording").read_bytes()
        for option in ("-o", "--timeline", "--trace", "--record"):
            assert call(tmp_path, "replay", "recording", option, "recording").returncode == 2
        assert (tmp_path / "recording").read_bytes() == before

    def test_a_device_is_no_file(self, tmp_path: Path) -> None:
        options = ["-o", "/dev/null", "--timeline", "/dev/null", "--trace", "/dev/null"]
        assert call(tmp_path, "run", *options, *COMMAND).returncode == 0
        assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "line",
    [
        ["run", "--", EVIL],
        ["run", "-o", f"no-folder/{EVIL}", "--", "true"],
        ["run", "--timeline", f"no-folder/{EVIL}", "--", "true"],
        ["run", "--record", f"no-folder/{EVIL}", "--", "true"],
        ["run", "-e", EVIL, "--", "true"],
        ["run", "--timeout", EVIL, "--", "true"],
        ["run", "--color", EVIL, "--", "true"],
        ["run", "--allow", EVIL, "--deny", "*", "--", "true"],
        ["run", "-o", EVIL, "--trace", EVIL, "--", "true"],
        [EVIL],
        ["run", f"--{EVIL}", "--", "true"],
        ["attach", EVIL],
        ["attach", "1", f"--{EVIL}"],
        ["replay", EVIL],
        ["snapshot", "-o", f"no-folder/{EVIL}"],
        ["doctor", "-o", f"no-folder/{EVIL}"],
    ],
)
def test_errors_are_harmless_to_terminals(tmp_path: Path, line: list[str]) -> None:
    done = call(tmp_path, *line)
    assert done.returncode != 0
    assert b"\x1b" not in done.stderr and b"Traceback" not in done.stderr
    assert not any(row.startswith(b"name") for row in done.stderr.splitlines())
    assert b"\\x1b[31m" in done.stderr, "the name is told all the same"

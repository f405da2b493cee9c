"""Records of real programs on Windows, and what is made of them: strict JSON Lines, other formats, a spool
and its shipping; hidden values, the tree, a rule file that is followed, the manual page."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from windows.windows_tools import LIMIT_S, PIPES, wait_for

from cbprocess.cli import main

CREATION, TERMINATION = "process_creation", "process_termination"
HALF_A_PAIR = "\ud800"
PROGRAM = f"hostname & cmd /c exit 4 --token abc {HALF_A_PAIR} \u00e9"
LINE = re.compile(r" *\d+\.\d{3}  (\w[^(]*?) +(\d+)  ( *)(.*)")


def cbprocess(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cbprocess", *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=100, **options)


def no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The lines of a file, each of them strictly valid: ASCII, one object, no key twice, no half pair."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    rows = []
    for line in path.read_bytes().split(b"\n")[:-1]:
        row = json.loads(line.decode("ascii"), parse_constant=no_constant, object_pairs_hook=unique)
        json.dumps(row, ensure_ascii=False).encode("utf-8")
        rows.append(row)
    assert rows and path.read_bytes().endswith(b"\n")
    return rows


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records, a spool and a recording of one run."""
    folder = tmp_path_factory.mktemp("made")
    options = ["--json", "-o", "lines", "--spool", "spool", "--record", "r.rec"]
    done = cbprocess("run", *options, "--", "cmd", "/c", PROGRAM, cwd=folder)
    assert (done.returncode, done.stderr) == (4, "")
    return folder


def text_of(spool: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(spool.glob("*/*.jsonl")))


def starts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["event"] == CREATION]


class TestRecords:
    def test_are_strict(self, made: Path) -> None:
        rows = rows_of(made / "lines")
        assert [row["number"] for row in rows] == list(range(1, len(rows) + 1))
        assert {row["user_id"] for row in rows} == {None}
        assert {row["host"] for row in rows} != {None}
        root, name, command = starts(rows)
        assert [row["process_name"].lower().rpartition("\\")[2] for row in (root, name, command)] == [
            "cmd.exe",
            "hostname.exe",
            "cmd.exe",
        ]
        assert command["parent_process_id"] == name["parent_process_id"] == root["process_id"]
        assert command["parent_start_time"] == command["creator_start_time"] == root["start_time"]
        ends = [(row["process_id"], row["exit_status"]) for row in rows if row["event"] == TERMINATION]
        assert ends == [(name["process_id"], 0), (command["process_id"], 4), (root["process_id"], 4)]

    def test_have_the_exact_bytes_of_what_is_no_text(self, made: Path) -> None:
        command = starts(rows_of(made / "lines"))[2]
        shown = "cmd /c exit 4 --token abc \ufffd\ufffd\ufffd \u00e9"
        assert (command["command_line"], command["arguments"]) == (shown, [shown])
        exact = base64.b64decode(command["command_line_bytes"]).decode("utf-8", "surrogatepass")
        assert exact == f"cmd /c exit 4 --token abc {HALF_A_PAIR} \u00e9"
        assert command["arguments_bytes"] == [command["command_line_bytes"]]

    def test_hide_values(self, tmp_path: Path) -> None:
        options = ["--redact", "--json", "-o", "lines", "--spool", "spool"]
        done = cbprocess("run", *options, "--", "cmd", "/c", PROGRAM, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (4, "")
        for text in ((tmp_path / "lines").read_text(), text_of(tmp_path / "spool").decode()):
            assert "--token [redacted]" in text and "abc" not in text

    def test_enrichment_is_refused(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            main(["run", "--json", "--enrich", "cwd", "--", "cmd"])
        assert "Windows tells no surroundings of a process" in capsys.readouterr().err


class TestConversion:
    @pytest.mark.parametrize("kind", ["cbprocess", "ecs", "ocsf", "otel"])
    def test_of_a_recording_and_of_records(self, made: Path, tmp_path: Path, kind: str) -> None:
        counts = []
        for source in ("r.rec", "lines"):
            output = tmp_path / source
            assert main(["convert", str(made / source), "--format", kind, "-o", str(output)]) == 0
            rows = rows_of(output)
            counts.append(len(rows))
            texts = [json.dumps(row) for row in rows]
            assert any("hostname.exe" in text for text in texts)
        assert counts[0] >= counts[1] == len(rows_of(made / "lines"))


class TestSpool:
    def test_has_everything_and_is_shipped(self, made: Path, tmp_path: Path) -> None:
        text = text_of(made / "spool")
        output = tmp_path / "shipped.jsonl"
        assert main(["ship", str(made / "spool"), f"file:{output}", "--once"]) == 0
        assert output.read_bytes() == text
        assert text_of(made / "spool") == b""
        rows = rows_of(output)
        assert [row["number"] for row in rows] == list(range(1, len(rows) + 1))
        assert rows[-1]["event"] == "session_end"
        assert len(starts(rows)) == 3
        assert {row["boot"] for row in rows} == {f"unknown-{rows[0]['session']}"}


class TestTree:
    def test_grows(self) -> None:
        done = cbprocess("run", "--tree", "--", "cmd", "/c", PROGRAM)
        assert done.returncode == 4
        rows = [match.groups() for match in map(LINE.fullmatch, done.stderr.splitlines()) if match]
        (_, root, depth, text), *rest = rows
        assert text.startswith('cmd /c "hostname & cmd /c exit 4') and depth == ""
        assert [label.partition(",")[0] for label, *_ in rest] == [
            "begins",
            "exit 0",
            "begins",
            "exit 4",
            "exit 4",
        ]
        assert [len(indent) for _, _, indent, _ in rest] == [2, 2, 2, 2, 0]
        assert rest[-1][1] == root


# Each line that it reads executes a program that the rules may refuse.
TURNS = (
    "import subprocess, sys\n"
    "for line in sys.stdin: print(subprocess.call(['hostname'], stdout=subprocess.DEVNULL), flush=True)"
)


@pytest.fixture
def following(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    line = ["run", "-q", "--rules", "rules.json", "--follow-rules", "--", sys.executable, "-c", TURNS]
    write_rules(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-m", "cbprocess", *line], cwd=tmp_path, stderr=subprocess.PIPE, **PIPES
    )
    yield process
    process.kill()
    process.communicate()


def write_rules(folder: Path, *rules: dict[str, Any]) -> None:
    """As editors do: beside it, and then in its place."""
    (folder / "new").write_text(json.dumps({"rules": rules}))
    wait_for(lambda: is_replaced(folder))


def is_replaced(folder: Path) -> bool:
    """Windows refuses that while another has the file open."""
    try:
        os.replace(folder / "new", folder / "rules.json")
    except PermissionError:
        return False
    return True


class TestRuleFiles:
    def turn(self, process: subprocess.Popen[str]) -> int:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("x\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    def test_are_followed(self, following: subprocess.Popen[str], tmp_path: Path) -> None:
        """Windows has no SIGHUP: that is the only way there to have a command read its file again."""
        assert following.stderr is not None and following.stdin is not None
        assert self.turn(following) == 0
        write_rules(tmp_path, {"name": "*\\hostname.exe", "action": "deny"})
        assert "1 added (deny *\\hostname.exe)" in following.stderr.readline()
        assert self.turn(following) & 0xFFFFFFFF == 0xC0000022
        write_rules(tmp_path)
        assert "1 removed (deny *\\hostname.exe)" in following.stderr.readline()
        assert self.turn(following) == 0
        following.stdin.close()
        assert following.wait(LIMIT_S) == 0

    def test_help_offers_no_signal(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            main(["run", "--help"])
        shown = capsys.readouterr().out
        assert "--follow-rules" in shown and "SIGHUP" not in shown

    def test_are_checked(self, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
        (tmp_path / "r.json").write_text(json.dumps({"rules": [{"name": "*\\a.exe", "action": "dney"}]}))
        assert main(["rules", "check", str(tmp_path / "r.json")]) == 1
        assert b"dney" in b"".join(capsysbinary.readouterr())


class TestManual:
    def test_is_a_page_of_every_command(self, tmp_path: Path) -> None:
        assert main(["man", "-o", str(tmp_path / "page")]) == 0
        page = (tmp_path / "page").read_bytes()
        assert page.startswith(b".TH CBPROCESS 1") and b'.SH "MONITOR"' in page and b"\r" not in page

    def test_completion_is_a_script_or_says_what_it_takes(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        status = main(["completion", "powershell", "-o", str(tmp_path / "script")])
        if status == 0:
            assert b"CompletionResult" in (tmp_path / "script").read_bytes()
        else:
            assert "cbprocess[completion]" in capfd.readouterr().err and not (tmp_path / "script").exists()

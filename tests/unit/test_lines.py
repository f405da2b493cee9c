"""What people see of programs: one line each."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from unit.event_blocks import dispatch_once, make_event

from cbprocess import cli, constants
from cbprocess.cli import output, shortening, words
from cbprocess.cli.lines import ProgramLines, Sheet

SECOND_NS = 1_000_000_000


class Story:
    """Feeds the lines with events made by hand, at times of its own in seconds."""

    def __init__(self, color: bool = False, **options: Any) -> None:
        self.written: list[str] = []
        self.lines = ProgramLines(Sheet(self.written.append, 0, color, **options), lambda process_id: "")

    def tell(self, kind: str, seconds: float, process_id: int, **fields: Any) -> None:
        number = getattr(constants, f"PROC_EVT_{kind.upper()}")
        time_ns = int(seconds * SECOND_NS)
        memory = make_event(number, time_ns=time_ns, process_id=process_id, **fields)
        dispatch_once(memory, lambda event: self.lines.add(kind, event))

    def run(self, seconds: float, process_id: int, *arguments: bytes, **fields: Any) -> None:
        self.tell("process_creation", seconds, process_id, arguments=list(arguments), **fields)

    def end(self, seconds: float, process_id: int, status: int = 0) -> None:
        self.tell("process_termination", seconds, process_id, exit_status=status, process_name=b"/bin/sh")

    def told(self) -> list[str]:
        """The lines without their times of day, in one blank."""
        return [re.sub(r"^ *\S+ +| (?= )", "", line) for line in self.written]


def test_one_line_for_a_program() -> None:
    story = Story()
    story.run(0.1, 10, b"sh", b"-c", b"ls; cat")
    story.run(0.2, 11, b"ls")
    story.end(0.25, 11)
    story.run(0.3, 12, b"cat")
    story.end(0.7, 12, 0x0100)
    story.end(0.75, 13)
    story.end(0.8, 10, 9)
    story.lines.finish()
    assert story.told() == [
        "exit 0, 50 ms 11 ls",
        "exit 1, 400 ms 12 cat",
        "exit 0 13 sh",
        "killed by SIGKILL, 700 ms 10 sh -c 'ls; cat'",
    ]


def test_what_runs_for_long_is_told_of_once_before() -> None:
    story = Story()
    story.run(0.0, 10, b"make")
    story.run(1.5, 11, b"cc")
    story.run(1.6, 11, b"as")
    story.end(1.7, 11)
    story.end(3.0, 10)
    story.run(3.1, 12, b"daemon")
    story.lines.finish()
    assert story.told() == [
        "running 10 make",
        "executed another, 100 ms 11 cc",
        "exit 0, 100 ms 11 as",
        "exit 0, 3.00 s 10 make",
        "running 12 daemon",
    ]


def test_refusals_say_what_was_tried_and_no_line_comes_twice() -> None:
    story = Story()
    for path in (b"/usr/bin/cat", b"/usr/bin/cat", b"/bin/cat"):
        story.run(0.1, 10, b"cat", b"x", image_file_name=path, result_code=5)
    story.run(0.2, 10, b"/bin/nc", image_file_name=b"/bin/nc", result_code=2)
    assert story.told() == [
        "refused EACCES 10 /usr/bin/cat: cat x",
        "refused EACCES 10 /bin/cat: cat x",
        "refused ENOENT 10 /bin/nc",
    ]


def test_a_command_that_was_refused_has_no_end() -> None:
    """Whatever was to execute it is no program of anybody's; one that tried another has a name."""
    story = Story()
    story.run(0.1, 10, b"cat", image_file_name=b"/bin/cat", result_code=5)
    story.tell("process_termination", 0.2, 10, exit_status=0x7F00, process_name=b"")
    story.run(0.3, 11, b"cat", image_file_name=b"/bin/cat", result_code=5)
    story.end(0.4, 11, 0x7E00)
    story.tell("process_termination", 0.5, 12, exit_status=0x100, process_name=b"")
    story.run(0.6, 13, b"cat", sequence=77)
    story.lines.take_back(77, "failed E2BIG")
    story.tell("process_termination", 0.7, 13, exit_status=0x7F00, process_name=b"")
    assert story.told() == [
        "refused EACCES 10 /bin/cat: cat",
        "refused EACCES 11 /bin/cat: cat",
        "exit 126 11 sh",
        "exit 1 12 ",
        "failed E2BIG 13 cat",
    ]


def test_red_is_for_failures_and_refusals() -> None:
    story = Story(color=True)
    story.run(0.1, 10, b"a")
    story.end(0.2, 10)
    story.run(0.3, 10, b"b")
    story.end(0.4, 10, 0x0200)
    story.run(0.5, 10, b"c", result_code=5)
    assert ["\x1b[31m" in line for line in story.written] == [False, True, False]
    assert ["\x1b[1;31m" in line for line in story.written] == [False, False, True]


def test_rights_that_were_taken_away_are_red() -> None:
    story = Story(color=True)
    asked = {"process_id": 10, "originator_process_id": 5, "original_desired_access": 0x11}
    story.tell("process_handle_operation", 0.1, desired_access=0x11, **asked)
    story.tell("process_handle_operation", 0.2, desired_access=0x10, **asked)
    assert ["\x1b[1;31m" in line for line in story.written] == [False, True]


def test_programs_are_shown_without_their_folders_unless_asked() -> None:
    for options, shown in (({}, "cc -c '/src/a b.c'"), ({"is_wide": True}, "/usr/bin/cc -c '/src/a b.c'")):
        story = Story(**options)
        story.run(0.1, 10, b"/usr/bin/cc", b"-c", b"/src/a b.c")
        story.end(0.2, 10)
        assert story.told() == [f"exit 0, 100 ms 10 {shown}"]


@pytest.mark.parametrize("text", ["x" * 200, "日本語" * 40, "y z"])
@pytest.mark.parametrize("columns", [80, 91, 300])
def test_a_line_ends_where_the_terminal_does(text: str, columns: int) -> None:
    story = Story(columns=lambda: columns)
    story.run(0.1, 10, b"cc", text.encode())
    story.end(0.2, 10)
    (line,) = story.written
    assert shortening.columns_of(line) <= columns
    whole = Story(columns=lambda: columns, is_wide=True)
    whole.run(0.1, 10, b"cc", text.encode())
    whole.end(0.2, 10)
    (uncut,) = whole.written
    assert text in uncut
    assert line == uncut or (shortening.columns_of(uncut) > columns and line.endswith("..."))


@pytest.mark.parametrize("command", ["snapshot", "doctor"])
def test_json_goes_where_it_is_to(command: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "file"
    assert cli.main([command, "--json", "-o", str(path)]) == 0
    assert [json.loads(line) for line in path.read_text().splitlines()]
    assert cli.main([command, "--json", "-o", str(tmp_path / "no" / "file")]) == words.OWN_FAILURE
    said = capfd.readouterr()
    assert said.out == "" and "no/file: No such file" in said.err


def test_errno_names_are_those_of_the_page(checkout: Path) -> None:
    page = (checkout / "docs" / "linux.md").read_text(encoding="utf-8")
    table = page.split("| code | errno | |")[1].split("\n\n")[0]
    rows = re.findall(r"\| ([\d, ]+) \| (E\w+) ", table)
    assert {int(code): name for codes, name in rows for code in codes.split(",")} == output.ERRNO_NAMES
    assert output.refusal_name(1223) == "EPERM" and output.refusal_name(5) == "EACCES"

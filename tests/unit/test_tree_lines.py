"""The lines of --tree, and the line that closes the output, from events made by hand."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
from unit.event_blocks import dispatch_once, make_event

from cbprocess import constants
from cbprocess.cli import tree_lines
from cbprocess.cli.lines import Sheet
from cbprocess.cli.output import Tally

LINE = re.compile(r" *\d+\.\d{3}  (.{24,}?) +(\d+)  ( *)(.*)")


class Story:
    """Feeds the lines with events made by hand, one millisecond apart."""

    def __init__(self, **options: Any) -> None:
        self.written: list[str] = []
        self.lines = tree_lines.TreeLines(
            Sheet(self.written.append, 0, False, **options), lambda process_id: f"p{process_id}"
        )
        self.tally = Tally()
        self.sequence = 0

    def tell(self, kind: str, process_id: int, **fields: Any) -> None:
        self.sequence += 1
        number = getattr(constants, f"PROC_EVT_{kind.upper()}")
        time_ns = self.sequence * 1_000_000
        memory = make_event(number, time_ns=time_ns, process_id=process_id, sequence=self.sequence, **fields)
        dispatch_once(memory, lambda event: self._hear(kind, event))

    def _hear(self, kind: str, event: Any) -> None:
        self.tally.add(event)
        self.lines.add(kind, event)

    def fork(self, process_id: int, creator: int) -> None:
        self.tell("thread_creation", process_id, thread_id=process_id, originator_process_id=creator)

    def run(self, process_id: int, name: str, creator: int = 1, **fields: Any) -> None:
        path = f"/bin/{name}".encode()
        paths = {"image_file_name": path, "process_name": path}
        arguments = [path, b"x"]
        made_by = {"originator_process_id": creator}
        self.tell("process_creation", process_id, arguments=arguments, **made_by, **paths, **fields)

    def end(self, process_id: int, status: int = 0, name: bytes = b"/bin/a") -> None:
        self.tell("process_termination", process_id, exit_status=status << 8, process_name=name)

    def told(self) -> list[tuple[str, int, str]]:
        """What has happened, the depth and the text of each line. Durations are left out."""
        rows = []
        for line in self.written:
            found = LINE.fullmatch(line)
            assert found is not None, line
            how = re.sub(r", [\d.]+ m?s$", "", found[1].strip())
            rows.append((how, len(found[3]) // 2, found[4]))
        return rows


def test_branches_side_by_side_say_whose_they_are() -> None:
    """Two pipelines that run at once: a line that comes below another's says who has made it."""
    story = Story()
    story.run(10, "sh")
    story.run(11, "make", 10)
    story.run(12, "make", 10)
    story.run(13, "cc", 11)
    story.run(14, "cc", 11)
    story.run(15, "ld", 12)
    story.end(13)
    story.end(11, 2)
    assert story.told() == [
        ("begins", 0, "sh x"),
        ("begins", 1, "make x"),
        ("begins", 1, "make x"),
        ("begins", 2, "cc x  (of 11 make)"),
        ("begins", 2, "cc x"),
        ("begins", 2, "ld x  (of 12 make)"),
        ("exit 0", 2, "cc  (of 11 make)"),
        ("exit 2", 1, "make"),
    ]


def test_a_fork_is_told_when_something_grows_from_it() -> None:
    story = Story()
    story.run(10, "sh")
    story.fork(11, 10)
    story.fork(12, 11)
    story.fork(13, 10)
    story.run(12, "ls", 11)
    story.end(13, 3)
    assert story.told() == [
        ("begins", 0, "sh x"),
        ("forked", 1, "(sh)"),
        ("begins", 2, "ls x"),
        ("exit 3", 1, "(sh)"),
    ]


def test_what_is_refused_or_fails_stands_where_it_would_have() -> None:
    story = Story()
    story.run(10, "sh")
    story.fork(11, 10)
    story.run(11, "cat", 10, result_code=5)
    story.end(11, 126)
    story.fork(12, 10)
    story.run(12, "ls", 10)
    story.lines.take_back(story.sequence, "failed E2BIG")
    story.tally.took_back()
    story.end(12, 126)
    assert story.told()[1:] == [
        ("refused EACCES", 1, "/bin/cat x"),
        ("exit 126", 1, "(sh)"),
        ("begins", 1, "ls x"),
        ("failed E2BIG", 1, "ls x"),
        ("exit 126", 1, "sh"),
    ]
    assert (story.tally.programs, story.tally.failed, story.tally.refused) == (1, 2, 1)


def test_a_command_that_was_refused_has_no_end() -> None:
    story = Story()
    story.run(10, "cat", result_code=5)
    story.end(10, 127, b"")
    assert story.told() == [("refused EACCES", 0, "/bin/cat x")]
    assert (story.tally.programs, story.tally.failed, story.tally.refused) == (0, 0, 1)


def test_who_goes_on_as_what_is_not_shown_ends_and_may_come_back() -> None:
    story = Story()
    story.run(10, "sh")
    story.run(11, "keep", 10)
    story.lines.left(11, 3_000_000, 77)
    story.lines.take_back(77, "failed E2BIG")
    story.end(11)
    story.lines.left(99, 3_000_000, 78)
    story.lines.finish()
    assert story.told() == [
        ("begins", 0, "sh x"),
        ("begins", 1, "keep x"),
        ("executed another", 1, "keep"),
        ("exit 0", 1, "keep"),
        ("still running", 0, "sh x"),
    ]


def test_running_processes_and_handle_operations() -> None:
    story = Story()
    story.lines.found_running(10, 1, "/bin/bash", ["/bin/bash", "-l"], 0)
    story.lines.found_running(11, 10, "kworker", [], 0)
    story.tell(
        "process_handle_operation", 12, originator_process_id=11, original_desired_access=1, desired_access=0
    )
    story.tell("process_handle_operation", 12, originator_process_id=99, original_desired_access=1)
    story.end(50)
    story.end(10)
    assert re.search(r"exit 0, >\d", story.written.pop())
    rows = story.told()
    assert rows[:2] == [("running", 0, "bash -l"), ("running", 1, "kworker")]
    assert rows[2] == ("process_handle_operation", 1, "p12 by 11 p11: TERMINATE  [stripped: TERMINATE]")
    assert rows[3][1] == 0 and rows[4] == ("exit 0", 0, "a")


def test_a_deep_branch_is_indented_no_further_and_keeps_only_its_last_creators() -> None:
    """Programs that go on by forking and ending would be kept for ever else."""
    story = Story()
    story.run(10, "sh")
    for number in range(200):
        story.run(11 + number, "sh", 10 + number)
        story.end(10 + number)
    last = story.lines._living[210]
    kept, branch = 0, last.creator
    while branch is not None:
        kept, branch = kept + 1, branch.creator
    assert last.depth == 200 and kept <= tree_lines.CREATORS_MAX
    assert len(story.lines._living) == 1
    assert story.told()[-2] == ("begins", tree_lines.DEPTH_MAX, "[200] sh x  (of 209 sh)")


@pytest.mark.parametrize(
    ("programs", "timed_out", "lost", "line"),
    [
        (1, 0, 0, "exit 0 after 1.50 s: 1 program, 0 failed, 0 refused"),
        (2, 3, 0, "exit 0 after 1.50 s: 2 programs, 0 failed, 0 refused, 3 timed out"),
        (0, 0, 4, "exit 0 after 1.50 s: 0 programs, 0 failed, 0 refused, 4 events lost"),
    ],
)
def test_the_closing_line(programs: int, timed_out: int, lost: int, line: str) -> None:
    tally = Tally()
    tally.programs = programs
    statistics: Any = SimpleNamespace(timed_out=timed_out, lost=lost)
    assert tally.line(0, 1.5, statistics, False) == line
    assert tally.line(0, 1.5, statistics, True) == f"\x1b[32m{line}\x1b[0m"


def test_the_closing_line_of_a_failure() -> None:
    statistics: Any = SimpleNamespace(timed_out=0, lost=0)
    line = "exit 2 after 1.50 s: 0 programs, 0 failed, 0 refused"
    assert Tally().line(2, 1.5, statistics, True) == f"\x1b[31m{line}\x1b[0m"

"""The live view: its model from events made by hand, its page, and its keys."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from unit.event_blocks import dispatch_once, make_event

from cbprocess import constants
from cbprocess.cli.live import LiveView, Model, model, rates

SECOND_NS = 1_000_000_000
BEGIN_S = 1000  # the story's first second


class Story:
    """Feeds a model with events made by hand, at times of its own in seconds."""

    def __init__(self) -> None:
        self.model = Model(lambda process_id: "victim")

    def tell(self, kind: str, seconds: float, process_id: int, late_s: float = 0, **fields: Any) -> None:
        number = getattr(constants, f"PROC_EVT_{kind.upper()}")
        time_ns = int((BEGIN_S + seconds) * SECOND_NS)
        memory = make_event(number, time_ns=time_ns, process_id=process_id, **fields)
        now_ns = time_ns + int(late_s * SECOND_NS)
        dispatch_once(memory, lambda event: self.model.add(kind, event, now_ns))

    def fork(self, seconds: float, process_id: int, creator: int) -> None:
        self.tell("thread_creation", seconds, process_id, thread_id=process_id, originator_process_id=creator)

    def run(self, seconds: float, process_id: int, name: str, creator: int = 1, **fields: Any) -> None:
        path = f"/usr/bin/{name}".encode()
        fields = {"image_file_name": path, "process_name": path, **fields}
        self.tell(
            "process_creation",
            seconds,
            process_id,
            arguments=[path, b"x"],
            originator_process_id=creator,
            **fields,
        )

    def end(self, seconds: float, process_id: int, status: int = 0) -> None:
        self.tell(
            "process_termination", seconds, process_id, exit_status=status << 8, process_name=b"/usr/bin/a"
        )

    def at(self, seconds: float) -> model.Picture:
        return self.model.picture(int((BEGIN_S + seconds) * SECOND_NS))

    def rows(self, seconds: float) -> list[tuple[int, int, str, str]]:
        return [(row.depth, row.process_id, row.state, row.text) for row in self.at(seconds).rows]


def test_the_tree_of_the_moment() -> None:
    story = Story()
    story.run(0.0, 10, "make")
    story.fork(0.1, 11, 10)
    assert story.rows(0.2) == [(0, 10, "", "make x"), (1, 11, "", "(make)")]
    story.run(0.3, 11, "cc", 10)
    story.run(0.4, 12, "ld", 10)
    story.end(0.5, 11, 2)
    assert story.rows(1.0) == [(0, 10, "", "make x"), (1, 11, "exit 2", "cc x"), (1, 12, "", "ld x")]
    picture = story.at(1.0)
    assert (picture.living, picture.programs, picture.failed, picture.refused) == (2, 3, 1, 0)
    assert [round(row.seconds, 3) for row in picture.rows] == [1.0, 0.4, 0.6]
    # It is shown for a moment only.
    assert story.rows(2.6) == [(0, 10, "", "make x"), (1, 12, "", "ld x")]


def test_who_outlives_its_creator_goes_up_and_an_id_may_come_again() -> None:
    story = Story()
    story.run(0.0, 10, "sh")
    story.fork(0.1, 11, 10)
    story.run(0.2, 12, "daemon", 11)
    story.end(0.3, 11)
    assert [row[0] for row in story.rows(1.0)] == [0, 1, 2]
    assert story.rows(3.0) == [(0, 10, "", "sh x"), (1, 12, "", "daemon x")]
    story.end(3.1, 10)
    assert story.rows(6.0) == [(0, 12, "", "daemon x")]
    story.run(6.1, 10, "ls", 12)
    # The end of the first 11 was told; that of this 10 is lost, and it comes again.
    story.run(6.2, 11, "cat", 10)
    story.end(6.3, 11)
    assert story.rows(9.0) == [(0, 12, "", "daemon x"), (1, 10, "", "ls x")]


def test_executions_that_did_not_happen() -> None:
    story = Story()
    story.run(0.0, 10, "sh", sequence=5)
    story.fork(0.1, 11, 10)
    story.run(0.2, 11, "ls", 10, sequence=7)
    story.model.take_back(7, "failed E2BIG")
    assert story.rows(0.3) == [(0, 10, "", "sh x"), (1, 11, "", "(sh)")]
    assert story.at(0.3).programs == 1
    story.model.left(11, int((BEGIN_S + 0.4) * SECOND_NS), 9)
    assert story.rows(0.5) == [(0, 10, "", "sh x"), (1, 11, "gone", "(sh)")]
    story.model.take_back(9, "failed E2BIG")
    assert story.rows(9.0) == [(0, 10, "", "sh x"), (1, 11, "", "(sh)")]
    story.model.take_back(1234, "an event that nobody has told of")
    assert len(story.rows(9.0)) == 2


def test_a_fork_that_goes_on_as_a_program_that_is_not_shown_is_gone_at_once() -> None:
    story = Story()
    story.run(0.0, 10, "sh")
    story.fork(0.1, 11, 10)
    story.model.left(11, int((BEGIN_S + 0.2) * SECOND_NS), 9)
    assert story.rows(0.3) == [(0, 10, "", "sh x")]
    story.model.take_back(9, "failed E2BIG")
    assert story.rows(9.0) == [(0, 10, "", "sh x"), (1, 11, "", "(sh)")]


def test_who_comes_back_after_its_creator_has_gone_is_shown_once() -> None:
    story = Story()
    story.run(0.0, 10, "sh")
    story.run(0.1, 11, "ls", 10)
    story.model.left(11, int((BEGIN_S + 0.2) * SECOND_NS), 9)
    story.end(0.3, 10)
    assert story.rows(5.0) == []
    story.model.take_back(9, "failed E2BIG")
    assert story.rows(5.1) == [(0, 11, "", "ls x")]


def test_refusals_are_told_with_how_often() -> None:
    story = Story()
    for number in range(3):
        story.run(0.1 * number, 10, "cat", image_file_name=b"/bin/cat", result_code=5)
    asked = {"originator_process_id": 11, "original_desired_access": 1}
    story.tell("process_handle_operation", 1.0, 12, desired_access=0, **asked)
    story.tell("process_handle_operation", 1.0, 12, desired_access=1, **asked)
    picture = story.at(1.0)
    told = [(refusal.process_id, refusal.what, refusal.times) for refusal in picture.refusals]
    assert told == [(11, "stripped", 1), (10, "refused EACCES", 3)]
    assert "/bin/cat: /usr/bin/cat x" in picture.refusals[1].text and "TERMINATE" in picture.refusals[0].text
    assert (picture.refused, picture.programs) == (4, 0)


def test_running_processes_say_that_they_are_older() -> None:
    story = Story()
    now_ns = BEGIN_S * SECOND_NS
    story.model.found_running(10, 1, "/bin/bash", ["-bash"], now_ns)
    story.model.found_running(11, 10, "kworker", [], now_ns)
    story.run(0.5, 12, "ls", 11)
    assert story.rows(1.0) == [(0, 10, "", "-bash"), (1, 11, "", "[kworker]"), (2, 12, "", "ls x")]
    assert [row.is_older for row in story.at(1.0).rows] == [True, True, False]


def test_a_storm_of_short_programs_is_no_storm_of_rows() -> None:
    story = Story()
    story.run(0.0, 10, "make")
    for number in range(3 * model.ENDED_MAX):
        story.run(0.1, 11 + number, "true", 10)
        story.end(0.2, 11 + number)
    assert len(story.rows(0.3)) == model.ENDED_MAX + 1
    assert story.rows(2.4) == [(0, 10, "", "make x")]


def test_a_tree_deeper_than_recursion_allows() -> None:
    story = Story()
    for number in range(3000):
        story.fork(0.0, 10 + number, 9 + number)
    assert story.rows(1.0)[-1][:2] == (2999, 3009)


def test_rates_and_waits() -> None:
    story = Story()
    for number in range(3):
        story.run(0.2, 10 + number, "a", flags=constants.EVENT_FLAG_HELD, late_s=0.01 * number)
    story.end(1.5, 10)
    story.tell("thread_creation", 2.1, 11, late_s=0.9)  # nothing waited
    picture = story.at(2.2)
    assert picture.rates[-2:] == [3, 1] and sum(picture.rates) == 4
    assert picture.by_kind == {"process_termination": 1}
    assert picture.longest_ns == 20_000_000
    assert story.at(7.0).longest_ns == 0
    assert sum(story.at(500).rates) == 0


def test_rates_of_a_clock_that_is_set_back() -> None:
    counted = rates.Rates()
    counted.add("a", 5000 * SECOND_NS, 0)
    counted.add("a", 4990 * SECOND_NS, 0)
    assert sum(counted.per_second(5001 * SECOND_NS)) == 2
    counted.add("a", 1000 * SECOND_NS, 0)
    assert counted.per_second(1001 * SECOND_NS)[-1] == 1 and counted.by_kind(1001 * SECOND_NS) == {"a": 1}


STATISTICS: Any = SimpleNamespace(supervised=3, queued=2, deferred=1, timed_out=4, late=0, lost=5)


def lines(story: Story, rows: int, columns: int = 100, scroll: int = 0, newest: bool = False) -> list[str]:
    drawing = pytest.importorskip("cbprocess.cli.live.drawing", reason="the extra tui is not installed")
    page = drawing.Page("make -j4", 61.0, scroll, newest, "q: quit")
    text, _ = drawing.draw(story.at(1.0), STATISTICS, page, ["printed 1", "printed 2"], columns, rows)
    drawn: list[str] = text.plain.split("\n")
    return drawn


@pytest.mark.parametrize("rows", [1, 2, 5, 6, 9, 24, 60])
@pytest.mark.parametrize("columns", [10, 40, 100])
def test_a_page_is_as_large_as_the_terminal(rows: int, columns: int) -> None:
    from cbprocess.cli.shortening import columns_of

    story = Story()
    for number in range(40):
        story.run(0.1, 10 + number, "日本語" * 40, number // 2 + 9)
        story.run(0.2, 10 + number, "cat", image_file_name=b"/bin/cat", result_code=5)
    drawn = lines(story, rows, columns)
    assert len(drawn) == rows
    assert all(columns_of(line) <= columns for line in drawn)


def test_what_a_page_says() -> None:
    story = Story()
    story.run(0.1, 10, "make")
    story.run(0.2, 11, "cc", 10)
    story.end(0.3, 11, 3)
    story.run(0.4, 10, "cat", image_file_name=b"/bin/cat", result_code=5)
    drawn = lines(story, 24)
    assert "make -j4   1 min 01 s" in drawn[0]
    assert drawn[1].split("   ") == ["living 1", "programs 2", "failed 1", "refused 1", "under the filter 3"]
    assert drawn[2].startswith("events/s 4 ")
    assert drawn[2].endswith("█ process creation 3, process termination 1")
    assert drawn[3].startswith("held now 3   deferred 1   timed out 4   late answers 0   events lost 5")
    assert [line.split() for line in drawn[4:6]] == [
        ["10", "900", "ms", "make", "x"],
        ["11", "100", "ms", "exit", "3", "cc", "x"],
    ]
    assert drawn[5].index("cc x") == drawn[4].index("make x") + 2
    assert [line.strip() for line in drawn[-6:-1]] == [
        "refused",
        "10  refused EACCES  /bin/cat: /usr/bin/cat x",
        "printed by the command",
        "printed 1",
        "printed 2",
    ]
    assert drawn[-1].strip() == "q: quit"


def test_scrolling_and_the_newest_first() -> None:
    story = Story()
    for number in range(40):
        story.run(0.01 * number, 100 + number, "a", 99 + number)
    assert "100" in lines(story, 24)[4] and lines(story, 24)[-1].endswith("1-16 of 40")
    assert "110" in lines(story, 24, scroll=10)[4]
    assert lines(story, 24, scroll=1000)[-1].endswith("25-40 of 40")
    assert "139" in lines(story, 24, newest=True)[4]


def test_what_is_told_cannot_steer_the_terminal() -> None:
    """The path of a rule file, say, or a name that stands in one."""
    view = object.__new__(LiveView)
    view._view = SimpleNamespace(note="")  # type: ignore[assignment]
    view.tell("rules\x1b]0;title\x07.toml: \x9b31m\nnothing")
    assert view._view.note == r"rules\x1b]0;title\x07.toml: \x9b31m\nnothing"


def test_programs_cannot_write_markup_or_escape_sequences() -> None:
    story = Story()
    story.run(0.1, 10, "[bold red]evil[blue]\x1b[2J")
    assert "'[bold red]evil[blue]\\x1b[2J' x" in lines(story, 24)[4]


@pytest.mark.parametrize(
    ("numbers", "bars"),
    [([], ""), ([0, 0], "  "), ([1, 1000, 500, 0], "▁█▄ "), ([8], "█"), (list(range(9)), " ▁▂▃▄▅▆▇█")],
)
def test_sparklines(numbers: list[int], bars: str) -> None:
    drawing = pytest.importorskip("cbprocess.cli.live.drawing", reason="the extra tui is not installed")
    assert drawing.sparkline(numbers) == bars


def test_keys() -> None:
    from cbprocess.cli.live.keyboard import keys_of

    assert keys_of(b"q") == ["q"]
    assert keys_of(b"\x1b[A\x1bOBn\x1b[5~\x1b[6~") == ["up", "down", "n", "page up", "page down"]
    # What is not known is nothing, and is no "q" within.
    assert keys_of(b"\x1b[1;5Cq\x1b[200~\x1b") == ["q"]
    assert keys_of(b"\x1bq") == [] and keys_of(b"\x1b[9") == [] and keys_of(b"") == []
    assert keys_of(b"\xff") == ["\xff"]

"""The summary of the command line, from events of a made-up tree."""

from __future__ import annotations

from typing import Any

from unit.event_blocks import dispatch_once, make_event

from cbprocess import constants
from cbprocess.cli import summary, words
from cbprocess.cli.chronicle import Chronicle

EVENT_KINDS = {name: getattr(constants, f"PROC_EVT_{name.upper()}") for name in words.EVENT_NAMES}


def list_of(value: object) -> list[Any]:
    assert isinstance(value, list)
    return value


class Story:
    """Feeds a summary with events made by hand, one millisecond apart."""

    def __init__(self) -> None:
        self.chronicle = Chronicle()
        self.summary = summary.Summary(self.chronicle)
        self.now_ns = 0
        self.sequence = 0

    def tell(self, kind: str, **fields: Any) -> None:
        self.now_ns += 1_000_000
        self.sequence += 1
        memory = make_event(EVENT_KINDS[kind], time_ns=self.now_ns, sequence=self.sequence, **fields)
        dispatch_once(memory, lambda event: self._hear(kind, event))

    def _hear(self, kind: str, event: Any) -> None:
        self.summary.add(kind, event)
        self.chronicle.add(event)

    def run(self, process: int, creator: int, name: str) -> None:
        path = f"/bin/{name}".encode()
        arguments = [name.encode()]
        self.tell(
            "process_creation",
            process_id=process,
            originator_process_id=creator,
            process_name=path,
            arguments=arguments,
        )

    def refuse(self, process: int, creator: int, name: str) -> None:
        """At the time of what was told last."""
        self.now_ns -= 1_000_000
        fields = {"process_id": process, "originator_process_id": creator, "process_name": name.encode()}
        arguments = [name.encode(), b"-l"]
        path = f"/bin/{name}".encode()
        self.tell("process_creation", result_code=5, arguments=arguments, image_file_name=path, **fields)

    def fork(self, process: int, creator: int) -> None:
        self.tell("thread_creation", process_id=process, thread_id=process, originator_process_id=creator)

    def end(self, process: int, status: int = 0) -> None:
        self.tell("process_termination", process_id=process, exit_status=status)


def test_summary_of_a_small_tree() -> None:
    story = Story()
    story.run(10, 1, "sh")  # 1 ms
    story.fork(10, 1)
    story.fork(11, 10)  # 3
    story.run(11, 10, "ls")  # 4
    story.refuse(11, 10, "wc")
    story.fork(12, 10)  # 5
    story.end(11, 0x0200)  # 6
    story.run(10, 10, "cat")  # 7
    story.end(12)  # 8
    story.run(11, 10, "ls")  # 9: the id again, another process
    record = story.summary.record(10_000_000)
    assert record["counts"] == {"process_creation": 5, "thread_creation": 3, "process_termination": 2}
    processes = record["processes"]
    assert isinstance(processes, list)
    assert [
        (item["process_id"], item["parent_index"], item["command_line"], item["exit_status"])
        for item in processes
    ] == [
        (10, None, "cat", None),
        (11, 0, "ls", 2),
        (12, 0, "sh", 0),
        (11, 0, "ls", None),
    ]
    assert processes[0]["programs"] == ["/bin/sh", "/bin/cat"] and processes[2]["programs"] == []
    programs = record["programs"]
    assert isinstance(programs, list)
    times = {item["program"]: (round(item["seconds"] * 1000), item["runs"]) for item in programs}
    # sh: 1..7 as 10, 3..4 as 11, 5..8 as 12. ls: 4..6 and 9..10. cat: 7..10.
    assert times == {"/bin/sh": (10, 1), "/bin/ls": (3, 2), "/bin/cat": (3, 1)}
    lines = story.summary.lines(10_000_000)
    assert "    11 ls  [exit 2, 0.003 s]" in lines
    assert "  10 cat  [still running, 0.009 s]" in lines
    assert lines[:4] == [
        "",
        "failed or refused",
        "  11 ls  [exit 2, 0.003 s]",
        "  11 wc -l  [refused EACCES, /bin/wc]",
    ]
    assert lines[-2:] == ["", "total: 4 processes, 1 failed, 1 execution refused, 0.009 s"]


def test_summary_of_a_command_that_was_refused() -> None:
    story = Story()
    story.refuse(10, 1, "cat")
    story.end(10)
    assert story.summary.record(story.now_ns)["processes"] == []
    lines = story.summary.lines(story.now_ns)
    assert "  10 cat -l  [refused EACCES, /bin/cat]" in lines
    assert lines[-1].startswith("total: 0 processes, 0 failed, 1 execution refused")
    story.run(10, 1, "ls")  # what became of the next path, before its end
    story.run(12, 10, "sh")
    story.refuse(12, 10, "cat")
    assert len(list_of(story.summary.record(story.now_ns)["processes"])) == 2


def test_summary_of_an_execution_that_is_taken_back() -> None:
    story = Story()
    story.run(10, 1, "sh")
    story.fork(11, 10)
    story.run(11, 10, "ls")
    taken = story.chronicle.take_back(story.sequence, False)
    assert taken is not None and (taken[0], taken[1].command) == (11, "ls")
    story.summary.took_back(11, "ls", "failed E2BIG")
    record = story.summary.record(story.now_ns)
    assert record["counts"] == {"process_creation": 1, "thread_creation": 1}
    assert [(item["command_line"], item["programs"]) for item in list_of(record["processes"])] == [
        ("sh", ["/bin/sh"]),
        ("sh", []),
    ]
    assert "  11 ls  [failed E2BIG]" in story.summary.lines(story.now_ns)
    assert story.chronicle.take_back(story.sequence, False) is None
    story.run(12, 10, "ls")  # nothing was seen of it before: it is what its creator is
    assert story.chronicle.take_back(story.sequence, False) is not None
    story.run(13, 10, "ls")  # without its execution it would not have been shown
    assert story.chronicle.take_back(story.sequence, True) is not None
    assert [item["command_line"] for item in list_of(story.summary.record(0)["processes"])] == ["sh"] * 3


def test_summary_counts_handle_operations_and_makes_no_process_of_them() -> None:
    story = Story()
    story.run(10, 1, "sh")
    story.tell("process_handle_operation", process_id=99, originator_process_id=10)
    story.tell("thread_handle_operation", process_id=98, originator_process_id=10, thread_id=97)
    record = story.summary.record(story.now_ns)
    assert record["counts"] == {
        "process_creation": 1,
        "process_handle_operation": 1,
        "thread_handle_operation": 1,
    }
    assert len(list_of(record["processes"])) == 1


def test_summary_of_what_ran_already() -> None:
    story = Story()
    story.chronicle.found_running(10, 1, "/bin/sh", ["sh", "-c", "a b"], 0)
    story.chronicle.found_running(11, 10, "/bin/ls", ["ls"], 0)
    story.run(11, 11, "cat")  # 1 ms
    story.fork(12, 10)  # 2
    story.end(11)  # 3
    record = story.summary.record(4_000_000)
    assert [
        (item["process_id"], item["parent_index"], item["command_line"], item["exit_status"])
        for item in list_of(record["processes"])
    ] == [(10, None, "sh -c 'a b'", None), (11, 0, "cat", 0), (12, 0, "sh -c 'a b'", None)]
    times = {item["program"]: (item["seconds"], item["runs"]) for item in list_of(record["programs"])}
    assert times == {"/bin/sh": (0.006, 0), "/bin/cat": (0.002, 1), "/bin/ls": (0.001, 0)}


def test_summary_of_a_tree_deeper_than_recursion_allows() -> None:
    story = Story()
    for number in range(2000):
        story.fork(10 + number, 9 + number)
    assert len(story.summary.lines(story.now_ns)) > 2000
    assert len(story.summary.lines(story.now_ns, 40)) < 60
    processes = story.summary.record(story.now_ns)["processes"]
    assert isinstance(processes, list) and len(processes) == 2000


def test_a_fork_that_goes_on_as_a_program_that_is_not_shown_has_not_been_there() -> None:
    story = Story()
    story.run(10, 1, "sh")
    story.fork(11, 10)
    story.chronicle.left(11, story.now_ns, 100)
    story.fork(12, 10)
    story.run(13, 12, "ls")
    story.chronicle.left(12, story.now_ns, 101)
    assert [life.process_id for _, life in story.chronicle.lives()] == [10, 12, 13]
    # Where that program fails to start, it is one.
    story.chronicle.take_back(100, False)
    story.chronicle.take_back(101, False)
    assert [life.process_id for _, life in story.chronicle.lives()] == [10, 12, 13, 11]
    assert all(life.ended_ns is None for _, life in story.chronicle.lives())


def test_a_process_that_ran_before_stays_when_it_goes_on_as_one_that_is_not_shown() -> None:
    story = Story()
    story.chronicle.found_running(10, 1, "/bin/sh", ["sh"], 1)
    story.chronicle.left(10, 2, 100)
    assert [(life.process_id, life.ended_ns) for _, life in story.chronicle.lives()] == [(10, 2)]

"""The command line's parts that need no supervised program: arguments, lines, the doctor."""

from __future__ import annotations

import argparse
import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from terminals import open_terminal
from unit.event_blocks import dispatch_once, make_event

import cbprocess
from cbprocess import cli, constants, drivers
from cbprocess.cli import doctor, output, words

EVENT_KINDS = {name: getattr(constants, f"PROC_EVT_{name.upper()}") for name in words.EVENT_NAMES}


def wrong_usage(*arguments: str) -> None:
    with pytest.raises(SystemExit) as raised:
        cli.parse(list(arguments))
    assert raised.value.code == 2


def test_defaults() -> None:
    options = cli.parse(["run", "--", "ls", "-l"])
    assert options.command == ["ls", "-l"]
    assert options.events == words.PROCESS_NAMES == words.EVENT_NAMES[:2]
    assert cli.parse(["run", "--json", "--", "ls"]).events == words.LIFETIME_NAMES == words.EVENT_NAMES[:4]
    assert (options.json, options.output, options.timeout, options.color) == (False, None, 0, "auto")
    assert (options.name, options.ignore, options.deny, options.protect) == ([], [], [], [])


def test_attach() -> None:
    options = cli.parse(["attach", "12", "34"])
    assert options.process_ids == [12, 34] and options.events == words.PROCESS_NAMES
    assert options.timeout == cli.ATTACH_TIMEOUT_MS >= constants.TIMEOUT_MIN_MS
    line = "attach 7 --json --output f --events all --name a --ignore b --no-children --deny c --protect d"
    options = cli.parse([*line.split(), "--timeout", "0", "--summary", "--color", "always"])
    assert (options.name, options.ignore, options.deny, options.protect) == (["a"], ["b"], ["c"], ["d"])
    assert options.json and options.summary and options.no_children and options.timeout == 0


def test_protection_asks_for_handle_operations() -> None:
    assert cli.parse(["run", "--protect", "p", "--", "x"]).events == (
        *words.PROCESS_NAMES,
        *words.HANDLE_NAMES,
    )
    assert cli.parse(["run", "--protect", "p", "--json", "--", "x"]).events == words.EVENT_NAMES
    chosen = cli.parse(["run", "--protect", "p", "--protect", "q", "--events", "process", "--", "x"])
    assert chosen.events == words.EVENT_NAMES[:2] and chosen.protect == ["p", "q"]


def test_every_option() -> None:
    line = "run --json --output f --events thread --name a --name b --ignore c --no-children --deny d"
    options = cli.parse(
        [*line.split(), "--timeout", "3000", "--summary", "--user", "u", "--color", "never", "--", "x"]
    )
    assert options.events == ("thread_creation", "thread_termination")
    assert (options.name, options.ignore, options.deny) == (["a", "b"], ["c"], ["d"])
    assert (options.timeout, options.summary, options.user, options.color) == (3000, True, "u", "never")
    assert options.no_children and options.json and options.output == "f"


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["run", "ls", "-l"], ["ls", "-l"]),
        (["run", "--json", "ls", "--json"], ["ls", "--json"]),
        (["run", "--", "sh", "-c", "x", "--", "y"], ["sh", "-c", "x", "--", "y"]),
        (["run", "env", "--", "x"], ["env", "--", "x"]),
        (["run", "--", "--json"], ["--json"]),
        (["run", "--", "--", "x"], ["--", "x"]),
        (["run", "--", ""], [""]),
    ],
)
def test_where_the_command_begins(arguments: list[str], command: list[str]) -> None:
    assert cli.parse(arguments).command == command


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nosuch"],
        ["run"],
        ["run", "--"],
        ["run", "--events", "nosuch", "--", "x"],
        ["run", "--events", "", "--", "x"],
        ["run", "--events", "all,", "--", "x"],
        ["run", "--timeout", "1", "--", "x"],
        ["run", "--timeout", "-1", "--", "x"],
        ["run", "--timeout", "4294967296", "--", "x"],
        ["run", "--timeout", "soon", "--", "x"],
        ["run", "--color", "sometimes", "--", "x"],
        ["run", "--nosuch", "--", "x"],
        ["run", "--tree", "--json", "--", "x"],
        ["run", "--tree", "--events", "process,thread", "--", "x"],
        ["run", "--tree", "--events", "handle", "--", "x"],
        ["run", "--follow-rules", "--", "x"],
        ["top", "1", "--follow-rules"],
        ["replay", "f", "--rules", "r", "--follow-rules"],
        ["attach"],
        ["attach", "0"],
        ["attach", "-1"],
        ["attach", "2147483648"],
        ["attach", "me"],
        ["attach", "1", "--user", "nobody"],
        ["attach", "1", "--timeout", "2999"],
        ["attach", "1", "--", "ls"],
        ["doctor", "x"],
        ["doctor", "--", "x"],
    ],
)
def test_wrong_usage(arguments: list[str]) -> None:
    wrong_usage(*arguments)


def test_short_options() -> None:
    options = cli.parse(["run", "-q", "-o", "f", "-e", "thread", "x"])
    assert (options.quiet, options.output, options.events) == (True, "f", words.THREAD_NAMES)
    assert cli.parse(["attach", "-p", "12", "34", "-p", "56"]).process_ids == [34, 12, 56]
    assert not cli.parse(["run", "--tree", "x"]).summary


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    """Of it all without a command, too, which is no success; both with examples."""
    assert cli.main([]) == 2
    without = capsys.readouterr()
    assert without.out == "" and "examples:\n  cbprocess run -- make" in without.err
    for arguments, text in ((["help"], "examples:\n"), (["help", "attach"], "-p PID")):
        with pytest.raises(SystemExit) as raised:
            cli.main(arguments)
        assert raised.value.code == 0 and text in capsys.readouterr().out


def test_event_lists() -> None:
    assert cli.event_list("process_creation,process") == ("process_creation", "process_termination")
    assert cli.event_list("all") == words.EVENT_NAMES
    assert cli.event_list("handle,thread_creation") == (*words.EVENT_NAMES[4:], "thread_creation")


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_version(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        cli.main([option])
    assert raised.value.code == 0
    assert capsys.readouterr().out == f"cbprocess {cbprocess.__version__}\n"


def test_doctor_text(capsys: pytest.CaptureFixture[str]) -> None:
    status = cli.main(["doctor"])
    assert status == (0 if cbprocess.probe_driver().runs else 1)
    text = capsys.readouterr().out
    assert cbprocess.__version__ in text
    told = [line.partition(":")[0] for line in text.splitlines() if re.match(r"\w+: (can|cannot) run", line)]
    here = ["simulated", "debug", "kernel"] if sys.platform == "win32" else ["ptrace", "bpf", "simulated"]
    assert told == here
    cli.main(["doctor", "--all"])
    text = capsys.readouterr().out
    assert all(f"\n{name}: " in text for name in drivers.DRIVERS[1:])


def test_doctor_json(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["doctor", "--json"])
    here = json.loads(capsys.readouterr().out)
    cli.main(["doctor", "--json", "--all"])
    record = json.loads(capsys.readouterr().out)
    assert set(record["drivers"]) == set(drivers.DRIVERS)
    others = {"ptrace", "bpf"} if sys.platform == "win32" else {"debug", "kernel"}
    assert set(here["drivers"]) == set(drivers.DRIVERS) - others
    for name, report in record["drivers"].items():
        bits = sum(cbprocess.Capability[bit] for bit in report["capabilities"])
        assert bits == cbprocess.probe_driver(name).capabilities
        assert report["runs"] is bool(bits)


def test_doctor_says_what_each_bit_means() -> None:
    everything = 0
    for bit in cbprocess.Capability:
        everything |= bit

    def lines(capabilities: int) -> list[str]:
        default = drivers.DriverReport("auto", 0, "")
        return doctor.text_lines([default, drivers.DriverReport("x", capabilities, "")], [])

    for bit in cbprocess.Capability:
        assert lines(everything) != lines(everything & ~bit), bit


def test_doctor_without_a_driver_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        doctor, "probe_driver", lambda name: drivers.DriverReport(name, 0, "ptrace is forbidden")
    )
    assert cli.main(["doctor"]) == 1
    assert "ptrace is forbidden" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain grün 日本", "plain grün 日本"),
        ("a\nb\tc\x1b[31m", "a\\nb\\tc\\x1b[31m"),
        ("\udcff\udc80", "\\xff\\x80"),
        ("\u2028\x85", "\\u2028\\x85"),
        ("", ""),
    ],
)
def test_text_for_terminals(text: str, expected: str) -> None:
    assert output.printable(text) == expected


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (0, "exit 0"),
        (255, "exit 255"),
        (-9, "killed by SIGKILL"),
        (-64, "killed by SIGRTMAX"),
        (-99, "killed by signal 99"),
    ],
)
def test_status_text(status: int, text: str) -> None:
    assert output.status_text(status) == text


def test_lines_line_up() -> None:
    lines = [output.format_line(1.5, name, 7, "TEXT", False) for name in words.EVENT_NAMES]
    assert len({line.index("TEXT") for line in lines}) == 1
    colored = output.format_line(1.5, "process_creation", 7, "TEXT", True)
    assert colored.count("\x1b[0m") == 2 and colored.endswith("TEXT")


def test_color_choice(tmp_path: Path) -> None:
    file_output = output.Output(str(tmp_path / "file"))
    assert file_output.wants_color("always", {})
    assert not file_output.wants_color("never", {})
    assert not file_output.wants_color("auto", {})
    leader, follower = open_terminal()
    terminal = output.Output(f"/dev/fd/{follower}")
    assert terminal.wants_color("auto", {"NO_COLOR": ""})
    assert not terminal.wants_color("auto", {"NO_COLOR": "1"})
    assert not terminal.wants_color("auto", {"TERM": "dumb"})
    os.close(leader)
    os.close(follower)


def test_output_to_a_file_is_utf8_and_replaces_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old " * 100)
    out = output.Output(str(path))
    out.line("grün \udcff")
    assert path.read_bytes() == "grün \\udcff\n".encode()
    assert out.failure is None


def test_a_closed_pipe_ends_the_output_quietly() -> None:
    reading, writing = os.pipe()
    out = output.Output(f"/dev/fd/{writing}")
    os.close(reading)
    os.close(writing)
    out.line("nobody reads")
    out.line("again")
    assert isinstance(out.failure, BrokenPipeError)


def test_a_full_disk_is_remembered() -> None:
    out = output.Output("/dev/full")
    out.line("x")
    assert out.failure is not None and not isinstance(out.failure, BrokenPipeError)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
@pytest.mark.parametrize("command", [["snapshot"], ["snapshot", "--json"], ["doctor"], ["--version"]])
def test_a_full_disk_behind_standard_output_is_told_in_one_line(command: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "cbprocess", *command], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == output.OWN_FAILURE
    assert done.stderr == f"cbprocess: standard output: {os.strerror(errno.ENOSPC)}\n"


def described(kind: str, **fields: Any) -> str:
    programs = {5: "/usr/bin/pkill", 10: "/opt/ser\nver"}
    texts: list[str] = []
    memory = make_event(EVENT_KINDS[kind], **fields)

    def program_of(process_id: int) -> str:
        return os.path.basename(programs.get(process_id, ""))

    dispatch_once(memory, lambda event: texts.append(output.describe(event, program_of)))
    return texts[0]


def test_descriptions() -> None:
    assert described("process_creation", arguments=[b"a", b"b c\n"]) == "a 'b c\\n'"
    refused = described("process_creation", arguments=[b"a"], result_code=5)
    assert refused == "refused EACCES  a"
    fields = {"arguments": [b"a", b"b"], "image_file_name": b"/bin/a"}
    assert described("process_creation", result_code=5, **fields) == "refused EACCES  /bin/a: a b"
    assert described("process_creation", **fields) == "a b"
    ended = described("process_termination", process_name=b"/bin/ls", exit_status=9)
    assert ended == "killed by SIGKILL  ls"
    assert described("thread_creation", thread_id=5, originator_process_id=6) == "thread 5 made by 6"
    assert described("thread_termination", thread_id=5) == "thread 5 ended"


TERMINATE_AND_READ = constants.PROCESS_TERMINATE | constants.PROCESS_VM_READ


@pytest.mark.parametrize(
    ("kind", "fields", "text"),
    [
        ("process", {"original_desired_access": 1, "desired_access": 1}, "ser\\nver by 5 pkill: TERMINATE"),
        (
            "process",
            {"original_desired_access": TERMINATE_AND_READ, "desired_access": 0x10, "flags": 2},
            "ser\\nver by 5 pkill: TERMINATE|VM_READ  [stripped by a rule: TERMINATE]",
        ),
        (
            "process",
            {"original_desired_access": 1, "flags": 0},
            "ser\\nver by 5 pkill: TERMINATE  [stripped: TERMINATE]",
        ),
        (
            "process",
            {"original_desired_access": 0x1, "desired_access": 1, "result_code": 5, "process_id": 77},
            "refused EACCES  by 5 pkill: TERMINATE",
        ),
        (
            "process",
            {"flags": 16, "source_process_id": 3, "target_process_id": 4, "originator_process_id": 9},
            "ser\\nver by 9: 0x0, duplicated from 3 for 4",
        ),
        (
            "process",
            {"original_desired_access": 0x80101000, "desired_access": 0x80101000},
            "ser\\nver by 5 pkill: QUERY_LIMITED_INFORMATION|SYNCHRONIZE|0x80000000",
        ),
        (
            "thread",
            {"thread_id": 12, "original_desired_access": 0x8, "desired_access": 0x8},
            "ser\\nver thread 12 by 5 pkill: GET_CONTEXT",
        ),
        (
            "thread",
            {"thread_id": 12, "process_id": 77, "original_desired_access": 3, "flags": 2},
            "thread 12 by 5 pkill: TERMINATE|SUSPEND_RESUME  [stripped by a rule: TERMINATE|SUSPEND_RESUME]",
        ),
    ],
)
def test_descriptions_of_handle_operations(kind: str, fields: dict[str, int], text: str) -> None:
    values = {"process_id": 10, "originator_process_id": 5, **fields}
    assert described(f"{kind}_handle_operation", **values) == text


def test_user_only_as_root(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    from cbprocess.cli import as_user

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert cli.main(["run", "--user", "nobody", "--", "true"]) == words.OWN_FAILURE
    assert "only as root" in capfd.readouterr().err
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert cli.main(["run", "--user", "no such user", "--", "true"]) == words.OWN_FAILURE
    assert "no user" in capfd.readouterr().err
    keywords = as_user.user_keywords("root", ())
    assert (keywords["user"], keywords["group"]) == (0, 0)
    assert keywords["env"]["LOGNAME"] == keywords["env"]["USER"] == "root"


def test_an_output_that_cannot_be_opened(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "--output", "/no/such/folder/file", "--", "true"]) == words.OWN_FAILURE
    assert "/no/such/folder/file" in capfd.readouterr().err


def test_option_parsers_complain_in_words() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="nosuch"):
        cli.event_list("nosuch")
    with pytest.raises(argparse.ArgumentTypeError, match="3000"):
        cli.milliseconds("5")

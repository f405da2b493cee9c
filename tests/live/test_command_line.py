"""`cbprocess run` and `cbprocess doctor` on real programs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import supervised
from live_tools import Programs, name_of, wait_until
from test_equality import MODES

RUN = [*supervised.COMMAND_LINE, "run"]


def cbprocess_run(*line: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*RUN, *line], capture_output=True, text=True, timeout=60, **options)


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 7"], 7),
        (["sh", "-c", "exit 255"], 255),
        (["sh", "-c", "kill -9 $$"], 137),
        (["sh", "-c", "kill -TERM $$"], 143),
        (["no-such-program-anywhere"], 127),
        (["/nowhere/program"], 127),
        (["/etc/passwd"], 126),
        (["/"], 126),
    ],
)
def test_exit_status(command: list[str], status: int) -> None:
    done = cbprocess_run("--", *command)
    assert done.returncode == status
    assert "Traceback" not in done.stderr
    if status in (126, 127):
        assert command[0] in done.stderr


EACH_EVENT = ("--events", "process,thread")
LINE = re.compile(r" *(\d+\.\d+) +(\w+) +(\d+) +(.*)")


def lines_of(text: str) -> list[tuple[float, str, int, str]]:
    """Time, event, process id and the rest of each line; anything else is an error."""
    result = []
    for line in text.splitlines():
        match = LINE.fullmatch(line)
        assert match is not None, line
        result.append((float(match.group(1)), match.group(2), int(match.group(3)), match.group(4)))
    return result


def test_lines_of_text(programs: Programs) -> None:
    line = ["sh", "-c", f"{programs['status']} 3 'an argument'; echo output; kill -9 $$"]
    done = cbprocess_run(*EACH_EVENT, "--", *line)
    assert done.stdout == "output\n"
    lines = [line[1:] for line in lines_of(done.stderr) if line[1].startswith("process")]
    command, program = (line[1] for line in lines[:2])
    assert [line[:2] for line in lines] == [
        ("process_creation", command),
        ("process_creation", program),
        ("process_termination", program),
        ("process_termination", command),
    ]
    shell = Path("/bin/sh").resolve().name
    assert [line[2] for line in lines[1:]] == [
        f"{programs['status']} 3 'an argument'",
        "exit 3  status",
        "killed by SIGKILL  " + ("sh" if shell == "sh" else f"sh ({shell})"),
    ]


def test_a_line_for_each_program(programs: Programs) -> None:
    """With nothing asked for; and nothing but the output of the command where nothing is wanted."""
    script = f"{programs['status']} 3; sleep 1.5; exec {programs['status']} 4"
    done = cbprocess_run("--", "sh", "-c", script)
    *told, end = done.stderr.splitlines()
    told = [re.sub(r"^ *\S+ +|\d+(\.\d+)? m?s|  +\d+", "", line) for line in told]
    assert [" ".join(line.split()) for line in told] == [
        "exit 3, status 3",
        f"running sh -c '{script}'",
        "running sleep 1.5",
        "exit 0, sleep 1.5",
        "exit 4, status 4",
    ]
    assert re.fullmatch(r"exit 4 after [1-9]\.\d\d s: 4 programs, 2 failed, 0 refused", end)
    done = cbprocess_run("--wide", "--", "sh", "-c", script)
    assert f"  {programs['status']} 3\n" in done.stderr
    done = cbprocess_run("-q", "--", "sh", "-c", "echo output; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, "output\n", "")


def test_a_tree_as_it_grows(programs: Programs) -> None:
    """Each program below its creator, however they end, and forks where something grows from them."""
    script = f"({programs['status']} 3; true); exec {programs['status']} 4"
    done = cbprocess_run("--tree", "--", "sh", "-c", script)
    assert done.returncode == 4
    rows = re.findall(r"^ *\d+\.\d{3}  (.{24}) +(\d+)  ( *)(.*)$", done.stderr, re.MULTILINE)
    told = [(re.sub(r", .*", "", how).strip(), len(indent) // 2, text) for how, _, indent, text in rows]
    shell = f"sh -c '{script}'"
    assert told == [
        ("begins", 0, shell),
        ("forked", 1, "(sh)"),
        ("begins", 2, "status 3"),
        ("exit 3", 2, "status"),
        ("exit 0", 1, "sh"),
        ("executes", 0, "status 4"),
        ("exit 4", 0, "status"),
    ]
    begun = {process for how, process, _, _ in rows if how.strip() in ("begins", "forked")}
    assert begun == {process for how, process, _, _ in rows if how.startswith("exit")} and len(begun) == 3
    assert done.stderr.splitlines()[-1].endswith(": 3 programs, 2 failed, 0 refused")


@pytest.mark.parametrize("options", [(), EACH_EVENT], ids=["lines", "events"])
def test_a_search_in_path_that_is_refused(options: tuple[str, ...], tmp_path: Path) -> None:
    """Each path that was tried has a line, and whatever was to execute the command is no program of it."""
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "prog").symlink_to("/bin/true")
    search = f"{tmp_path}/one:{tmp_path}/two"
    line = (*options, "--summary", "--deny", "*/prog", "--", "prog")
    done = cbprocess_run(*line, env={**os.environ, "PATH": search})
    assert (done.returncode, done.stdout) == (126, "")
    lines, *rest = done.stderr.split("\n\n")
    refused = [" ".join(line.split()[-2:]) for line in lines.splitlines() if "refused EACCES" in line]
    assert refused == [f"{tmp_path}/{folder}/prog: prog" for folder in ("one", "two")]
    assert options or "exit" not in lines, lines
    assert rest[-1].startswith("total: 0 processes, 0 failed, 2 executions refused")


def test_no_argument_can_break_a_line(programs: Programs) -> None:
    """Line feeds, escape sequences and bytes that are no text come out visibly, not as themselves."""
    done = cbprocess_run(*EACH_EVENT, "--", programs["status"], "0", "a\nb\x1b[2J\r", os.fsdecode(b"\xff"))
    creations = [line[3] for line in lines_of(done.stderr) if line[1] == "process_creation"]
    assert len(creations) == 1
    assert all(text in creations[0] for text in (r"a\nb\x1b[2J\r", r"\xff"))
    assert creations[0].isprintable()


def test_lines_are_whole_with_many_processes_at_once(programs: Programs) -> None:
    done = cbprocess_run(*EACH_EVENT, "--", programs["processes"], "storm", "8", "25", programs["status"])
    assert done.returncode == 0
    lines = lines_of(done.stderr)
    assert [line[3] for line in lines if line[1] == "process_creation"].count("storm 0") == 200
    counts = Counter(line[1] for line in lines)
    assert counts == {
        "process_creation": 201,
        "thread_creation": 209,
        "thread_termination": 209,
        "process_termination": 209,
    }


@pytest.mark.parametrize("color", ["auto", "always", "never"])
def test_color(color: str) -> None:
    done = cbprocess_run("--color", color, "--", "true")
    assert ("\x1b[" in done.stderr) == (color == "always")


def test_no_color_is_honoured() -> None:
    done = cbprocess_run("--", "true", env={**os.environ, "NO_COLOR": "1"})
    assert "\x1b" not in done.stderr


def test_standard_input_is_the_command_s(programs: Programs) -> None:
    done = cbprocess_run("--", "sh", "-c", "cat; read x || echo end", input="one\ntwo\n")
    assert (done.returncode, done.stdout) == (0, "one\ntwo\nend\n")


def test_output_to_a_file(tmp_path: Path) -> None:
    done = cbprocess_run("--output", str(tmp_path / "lines"), "--", "sh", "-c", "echo error >&2")
    assert (done.returncode, done.stderr) == (0, "error\n")
    assert "echo error" in (tmp_path / "lines").read_text()


def test_json_fields(programs: Programs, environment: dict[str, str], tmp_path: Path) -> None:
    command = ["sh", "-c", f"{programs['status']} 6; exit 2"]
    events, done = supervised.run(command, tmp_path / "events", env=environment)
    creations = [event for event in events if event["event"] == "process_creation"]
    assert [event["arguments"] for event in creations] == [command, [programs["status"], "6"]]
    first, second = creations
    assert second["process_name"] == second["image_file_name"] == programs["status"]
    assert second["parent_process_id"] == second["creating_process_id"] == first["process_id"]
    assert second["user_id"] == os.geteuid()
    assert second["command_line"] == f"{programs['status']} 6"
    assert int(second["time_ns"]) >= int(first["time_ns"]) and second["sequence"] > first["sequence"]
    end = [event for event in events if event["event"] == "process_termination"]
    assert [(event["process_id"], event["exit_status"]) for event in end] == [
        (second["process_id"], 6),
        (first["process_id"], 2),
    ]
    assert done.returncode == 2


def test_json_on_standard_error() -> None:
    done = cbprocess_run("--json", "--", "true")
    assert [json.loads(line)["event"] for line in done.stderr.splitlines()].count("process_termination") == 1


def events_of(tmp_path: Path, *options: str, text: str) -> list[Any]:
    return supervised.run(["sh", "-c", text], tmp_path / "events", *options)[0]


def test_choice_of_events(tmp_path: Path) -> None:
    events = events_of(tmp_path, "--events", "process_creation,process_termination", text="/bin/true; exit 0")
    assert [event["event"] for event in events] == ["process_creation"] * 2 + ["process_termination"] * 2
    done = cbprocess_run("--events", "no_such_event", "--", "true")
    assert done.returncode not in (0, 1) and "no_such_event" in done.stderr and "Traceback" not in done.stderr


def programs_of(events: list[Any]) -> list[str]:
    return [name_of(e["arguments"][0]) for e in events if e["event"] == "process_creation"]


def ends_of(events: list[Any]) -> list[str]:
    return [name_of(e["process_name"]) for e in events if e["event"] == "process_termination"]


def test_choice_of_names(programs: Programs, tmp_path: Path) -> None:
    text = f"{programs['status']}; /bin/echo x; exit 0"
    everything = events_of(tmp_path, text=text)
    assert programs_of(everything) == ["sh", "status", "echo"]
    only = events_of(tmp_path, "--name", "status", text=text)
    assert programs_of(only) == ends_of(only) == ["status"]
    both = events_of(tmp_path, "--name", "status", "--name", "e*o", text=text)
    assert programs_of(both) == ends_of(both) == ["status", "echo"]
    without = events_of(tmp_path, "--ignore", "echo", text=text)
    assert programs_of(without) == ["sh", "status"]
    assert ends_of(without) == ["status", Path("/bin/sh").resolve().name]


def test_without_children(tmp_path: Path) -> None:
    events = events_of(tmp_path, "--no-children", text="sh -c '/bin/true; exit 0'; exit 0")
    assert programs_of(events) == ["sh"]
    assert len({event["process_id"] for event in events}) == 1


def test_summary() -> None:
    done = cbprocess_run("--summary", "--", "sh", "-c", "/bin/true; /bin/true; exit 3")
    assert done.returncode == 3
    _, failed, counts, seconds, tree, total = done.stderr.split("\n\n")
    assert (
        len(failed.splitlines()) == 2 and failed.startswith("failed or refused\n") and "[exit 3, " in failed
    )
    assert re.fullmatch(r"total: 3 processes, 1 failed, 0 executions refused, \d+\.\d+ s\n", total)
    assert re.search(r"^ +3  process_creation$", counts, re.MULTILINE)
    assert re.search(r"^ +\d+\.\d+ +2  /(usr/)?bin/true$", seconds, re.MULTILINE)
    rows = [re.sub(r"\d+\.\d+|(?<= )\d+(?= )", "N", line) for line in tree.splitlines()[1:]]
    assert rows == [
        "  N sh -c '/bin/true; /bin/true; exit 3'  [exit 3, N s]",
        "    N /bin/true  [exit 0, N s]",
        "    N /bin/true  [exit 0, N s]",
    ]


def test_a_long_summary_is_cut_unless_asked(programs: Programs) -> None:
    """Its lists have 40 lines each and say what is left out; the totals count everybody."""
    script = f"for i in $(seq 44); do {programs['status']} 1; done; exit 0"
    for options, shown in ((["--summary"], 40), (["--summary", "--tree"], None)):
        done = cbprocess_run("-q", *options, "--", "sh", "-c", script)
        assert done.returncode == 0
        failed, _, _, tree, total = (part.splitlines() for part in done.stderr.strip().split("\n\n"))
        for rows, count in ((failed[1:], 44), (tree[1:], 46)):
            if shown is None:
                assert len(rows) == count
            else:
                assert len(rows) == shown + 1
                assert rows[-1] == f"  ... and {count - shown} more (--tree shows all)"
        assert total[0].startswith("total: 46 processes, 44 failed, 0 executions refused")


def test_a_closed_pipe_is_no_traceback(programs: Programs) -> None:
    """When nobody reads the events any more the command still runs to its end."""
    line = [*RUN, "--", "sh", "-c", f"{programs['processes']} vfork 200 {programs['status']}; exit 9"]
    process = subprocess.Popen(line, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stderr is not None and process.stderr.readline()
    process.stderr.close()
    assert process.wait(60) == 9


def test_sigterm_is_passed_on(tmp_path: Path) -> None:
    line = [*RUN, "--json", "--output", str(tmp_path / "events"), "--"]
    line += ["sh", "-c", "trap 'exit 6' TERM; echo ready; while :; do sleep 0.05; done"]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30)[1] == "" and process.returncode == 6
    assert supervised.read(tmp_path / "events")[-1]["exit_status"] == 6


@MODES
def test_what_outlives_the_command_goes_on(options: tuple[str, ...], tmp_path: Path) -> None:
    """cbprocess ends with the command, and who reads its output does not have to wait for the rest; unless
    something is denied, which it is until the rest has ended, too."""
    mark = tmp_path / "mark"
    text = f"(sleep 5; /bin/echo done > {mark}) > /dev/null 2>&1 & exit 0"
    begin = time.monotonic()
    _, done = supervised.run(["sh", "-c", text], tmp_path / "events", *options)
    assert done.returncode == 0
    if "--deny" in options:
        assert mark.read_text() == "done\n"
    else:
        assert time.monotonic() - begin < 4.5
        assert not mark.exists()
    wait_until(lambda: mark.exists() and mark.read_text() == "done\n", 20, "what outlived the command")


@pytest.mark.parametrize(
    "line",
    [
        [],
        ["--"],
        ["--timeout", "5", "--", "true"],
        ["--timeout", "x", "--", "true"],
        ["--timeout", "-1", "--", "true"],
        ["--color", "maybe", "--", "true"],
        ["--deny", "", "--", "true"],
        ["--deny", "x" * 5000, "--", "true"],
        ["--name", "", "--", "true"],
        ["--output", "/nowhere/file", "--", "true"],
        ["--no-such-option", "--", "true"],
        ["--user", "no-such-user", "--", "true"],
    ],
)
def test_bad_options_run_nothing(line: list[str], tmp_path: Path) -> None:
    marked = [str(tmp_path / "mark") if word == "true" else word for word in line]
    (tmp_path / "mark").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (tmp_path / "mark").chmod(0o755)
    done = cbprocess_run(*marked)
    assert done.returncode != 0 and done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "ran").exists()


def test_another_user(tmp_path: Path) -> None:
    line = ["--user", "nobody", "--", "sh", "-c", "id -u; id -G; echo $USER $LOGNAME $HOME"]
    done = cbprocess_run(*line, cwd="/")
    if os.getuid() != 0:
        assert done.returncode != 0 and done.stdout == "" and "root" in done.stderr
        return
    import pwd

    nobody = pwd.getpwnam("nobody")
    assert done.stdout.splitlines() == [
        str(nobody.pw_uid),
        " ".join(map(str, os.getgrouplist("nobody", nobody.pw_gid))),
        f"nobody nobody {nobody.pw_dir}",
    ]


def test_doctor() -> None:
    done = subprocess.run([*supervised.COMMAND_LINE, "doctor"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "ptrace" in done.stdout
    data = subprocess.run(
        [*supervised.COMMAND_LINE, "doctor", "--json"], capture_output=True, text=True, timeout=60
    )
    assert data.returncode == 0 and "ptrace" in json.dumps(json.loads(data.stdout))


def test_version_and_the_installed_command() -> None:
    import cbprocess

    line = [*supervised.COMMAND_LINE, "--version"]
    assert cbprocess.__version__ in subprocess.check_output(line, text=True, timeout=60)
    installed = Path(sys.executable).with_name("cbprocess")
    if not installed.exists():
        pytest.skip("the package is not installed in this Python's environment")
    assert subprocess.check_output([installed, "--version"], text=True, timeout=60)

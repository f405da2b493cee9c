"""Plain lines are read without argparse: to the same options, or not at all."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import cbprocess
from cbprocess.cli import completed, parse
from cbprocess.cli.parser import make_parser
from cbprocess.cli.plain_options import NotPlain, PlainReader, read_plain
from cbprocess.cli.run_options import add_run

# Each of these is an option of another kind, a value that some options take, or what is no plain option.
WORDS = (
    *("-q", "-e", "-o", "-h", "-V", "-qe", "-eall", "-", "", "--", "x", "a b", "-1", "3000", "0", "2999"),
    *("--json", "--jso", "--json=1", "--format", "ecs", "--format=ocsf", "--format=none", "--events=all"),
    *("--name", "--name=", "--name=a=b", "*", "--deny", "--allow", "/bin/x", "--protect=p", "--rules", "f"),
    *("--timeout", "--timeout=5000", "--color=always", "--color", "never", "--redact-also=pin", "--redact"),
    *("--enrich=cwd", "--enrich", "nothing", "--spool=/s", "--spool-limit", "1M", "1G", "--wait-all", "run"),
    *("--publish=nats://h", "--publish-wait", "2.5", "--host", "--tenant=t", "--user", "--preserve-env=A,B"),
    *("--live", "--tree", "--summary", "--wide", "--record=r", "--timeline", "--no-children", "--ignore=y"),
    *(
        "--help",
        "--version",
        "--scope-signals",
        "--follow-rules",
        "-x",
        "--unknown",
        "--unknown=1",
        "process",
    ),
)


def both(words: list[str]) -> tuple[dict[str, Any] | None, dict[str, Any] | str]:
    """The options that are read plainly, or None; and those that argparse reads, or that it refuses."""
    plain = whole = None
    with contextlib.suppress(NotPlain):
        plain = vars(read_plain(add_run, words, command_name="run"))
    try:
        whole = vars(make_parser("run").parse_args(["run", *words]))
    except SystemExit:
        return plain, "refused"
    for options in (plain, whole):
        if options is not None:
            options.pop("parser")
    return plain, whole


@settings(deadline=None)
@example(["--deny", "a", "--deny=b", "--name", "c"])
@example(["-o", "-", "-q", "-e", "all,thread"])
@given(st.lists(st.sampled_from(WORDS), max_size=6))
def test_what_is_plain_is_what_argparse_reads(words: list[str]) -> None:
    # The command begins behind the first of them.
    words = words[: words.index("--")] if "--" in words else words
    plain, whole = both(words)
    assert plain is None or plain == whole


@pytest.mark.parametrize(
    "line",
    [
        "",
        "-q",
        "-q --json -o out",
        "--summary --tree --wide --wait-all",
        "--deny * --allow /usr/bin/cc --protect=server",
        "--events thread --timeout 5000 --color=never --name a --name b --ignore c",
        "--record r --timeline=t --trace - --redact --redact-also pin,key --enrich cwd,user",
        "--spool /tmp/s --spool-limit 1G --host h",
        "--user nobody --preserve-env A,B --scope-signals --scope-proc-files",
    ],
)
def test_lines_that_are_plain(line: str) -> None:
    plain, whole = both(line.split())
    assert plain is not None and plain == whole


@pytest.mark.parametrize("words", [["-o"], ["--jso"], ["-h"], ["make"], ["-qe", "all"], ["--name", "-x"]])
def test_lines_that_are_not(words: list[str]) -> None:
    assert both(words)[0] is None


def test_every_option_of_run_is_of_a_kind_that_is_known() -> None:
    """One of another kind would be left to argparse, and each start with it would take longer."""
    reader: Any = PlainReader()
    add_run(reader)
    assert len(reader._options) > 40
    for name, (_, keywords) in reader._options.items():
        assert keywords.get("action", "store") in ("store", "store_true", "append"), name
        assert "nargs" not in keywords, name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "-q", "--"], "a command to run is missing"),
        (["run", "--preserve-env", "A", "--", "x"], "--preserve-env is for --user"),
        (["run", "--allow", "/x", "--", "x"], "give both"),
        (["run", "--timeout", "5", "--", "x"], "5 is neither 0 nor from 3000"),
        (["run", "--color", "blue", "--", "x"], "invalid choice: 'blue'"),
    ],
)
def test_mistakes_are_told_by_argparse(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(words)
    errors = capsys.readouterr().err
    assert ended.value.code == 2 and errors.startswith("usage: cbprocess ")
    assert message in errors


def test_the_whole_command_is_taken_over() -> None:
    options = parse(["run", "--", "a", "--", "-q", ""])
    assert options.command == ["a", "--", "-q", ""] and not options.quiet
    parser = make_parser("run")
    whole = completed(parser.parse_args(["run"]), ["a", "--", "-q", ""], parser)
    assert {**vars(options), "parser": None} == {**vars(whole), "parser": None}


# ---- The modules that a start imports ----

# Each of these takes a tenth of Python's own start and more, most with those that it imports itself.
DEAR = {
    *("argparse", "asyncio", "collections", "contextlib", "dataclasses", "enum", "functools", "gettext"),
    *("importlib.metadata", "inspect", "json", "locale", "logging", "pathlib", "re", "selectors", "shlex"),
    *("shutil", "signal", "socket", "subprocess", "tempfile", "threading", "traceback", "typing", "warnings"),
}
PROBE = """
import atexit, os, sys
sys.path.append({folder!r})
file = os.open({found!r}, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC)
atexit.register(lambda: os.write(file, " ".join(sys.modules).encode()))
sys.argv[1:] = {words!r}
{statement}
"""
COMMAND = "from cbprocess.cli.entry import main; sys.exit(main())"
INITIALIZE = (
    "from cbprocess import CBProcess; CBProcess().initialize('{6F0C2B1E-93A5-4D5B-8A77-1F2E3D4C5B6A}')"
)


def modules_of(
    statement: str, words: list[str], tmp_path: Path
) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """The modules that a Python has imported at its end. It runs without site, whose modules depend on what
    is installed."""
    folder = str(Path(cbprocess.__file__).parent.parent)
    found = tmp_path / "modules"
    code = PROBE.format(folder=folder, found=str(found), words=words, statement=statement)
    line = [sys.executable, "-I", "-S", "-c", code]
    done = subprocess.run(line, capture_output=True, text=True, timeout=100)
    return done, set(found.read_text().split())


@pytest.mark.skipif(sys.platform == "win32", reason="on Windows a command is a subprocess.Popen")
@pytest.mark.parametrize(
    "words", ["-- true", "-q -- /bin/true", "--name * --wide --wait-all --events process,thread -o - -- true"]
)
def test_a_plain_run_imports_nothing_dear(words: str, tmp_path: Path) -> None:
    done, found = modules_of(COMMAND, ["run", *words.split()], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "cbprocess.cli.run" in found and found & DEAR == set()


# These modules of the package are for options, and for commands that do not end as they should.
NOT_FOR_PLAIN_LINES = {
    *("_api.statistics", "_api.supervision", "_spool.layout", "records", "rules", "running"),
    *(
        "cli.destinations",
        "cli.fleet_options",
        "cli.live",
        "cli.parser",
        "cli.rule_options",
        "cli.signals",
    ),
}


@pytest.mark.skipif(sys.platform == "win32", reason="on Windows a command is a subprocess.Popen")
def test_a_plain_run_imports_nothing_of_options(tmp_path: Path) -> None:
    done, found = modules_of(COMMAND, ["run", "--", "true"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert found & {f"cbprocess.{name}" for name in NOT_FOR_PLAIN_LINES} == set()


def test_initialize_imports_nothing_dear(tmp_path: Path) -> None:
    done, found = modules_of(INITIALIZE, [], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "cbprocess._binding.session" in found and found & DEAR == set()


def test_handlers_find_the_main_thread(tmp_path: Path) -> None:
    """Python before 3.13 takes the first thread that imports module threading for the main one. The filter's
    threads must not be it, whatever a handler imports."""
    statement = (
        INITIALIZE
        + """
process = CBProcess()
process.config("Driver=simulated")
process.start_filter(0)
import threading
assert threading.main_thread() is threading.current_thread()
assert "threading" in sys.modules
process.stop_filter()
"""
    )
    done, _ = modules_of(statement, [], tmp_path)
    assert done.returncode == 0, done.stderr


COMMANDS = [["run", "-q", "--", sys.executable, "-c", "pass"], ["snapshot", "-o", os.devnull]]
# Where module threading is loaded, the command line returns from its end.
AS_PROGRAM = """
import gc, threading
from cbprocess.cli.entry import main
kept = [[] for _ in range(1000)]
gc.disable()
assert main() == 0
assert gc.isenabled() and gc.get_freeze_count() > len(kept)
"""
# A host of the command line decides by itself when its garbage is collected.
AS_PART = """
import gc
from cbprocess.cli import main
for change in (gc.disable, gc.enable):
    change()
    assert main(sys.argv[1:]) == 0
    assert gc.isenabled() == (change is gc.enable) and gc.get_freeze_count() == 0
"""


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="looks at what CPython's collector has")
@pytest.mark.parametrize("statement", [AS_PROGRAM, AS_PART], ids=["program", "part"])
@pytest.mark.parametrize("words", COMMANDS, ids=[words[0] for words in COMMANDS])
def test_the_collector_begins_behind_the_start(statement: str, words: list[str], tmp_path: Path) -> None:
    """Its first look was at everything that the start had made."""
    done, _ = modules_of(statement, words, tmp_path)
    assert done.returncode == 0, done.stderr

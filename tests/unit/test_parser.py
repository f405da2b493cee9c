"""The parser of one command is that of all commands, as far as that command goes."""

from __future__ import annotations

import argparse

import pytest

from cbprocess import cli
from cbprocess.cli.manual import commands_of
from cbprocess.cli.parser import COMMANDS, make_parser
from cbprocess.cli.words import PROCESS_NAMES, THREAD_NAMES


def helps(parser: argparse.ArgumentParser) -> dict[str, str]:
    """The help of each command, and of each command in a command."""
    found = {}
    pending = [("", parser)]
    while pending:
        name, made = pending.pop()
        found[name] = made.format_help()
        pending += [(f"{name} {inner}".strip(), chosen) for inner, chosen, _ in commands_of(made)]
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_a_parser_for_one_command_knows_it_whole_and_names_the_others(name: str) -> None:
    whole, one = helps(make_parser()), helps(make_parser(name))
    assert one[""] == whole[""]
    mine = {key for key in whole if key.split(" ")[0] == name}
    assert {key: one[key] for key in mine} == {key: whole[key] for key in mine}
    assert set(one) == {*mine, *COMMANDS, ""}


@pytest.mark.parametrize("line", ["run x", "attach 1", "monitor", "replay f"])
def test_a_description_says_what_a_line_is(line: str) -> None:
    options = cli.parse(line.split())
    made = {name: chosen for name, chosen, _ in commands_of(make_parser())}[options.command_name]
    # With threads each event has a line, without them each program.
    assert options.events[:2] == PROCESS_NAMES and not {*options.events} & {*THREAD_NAMES}
    assert made.description is not None and "one line a program" in made.description


@pytest.mark.parametrize("command", ["run", "attach", "monitor", "top", "replay"])
def test_help_says_which_commands_read_rules_again(command: str) -> None:
    text = " ".join(helps(make_parser())[command].split())
    assert "--rules FILE" in text
    assert ("SIGHUP, which the command" in text, "--follow-rules" in text) == (command != "replay",) * 2


def test_help_says_which_events_are_told_without_a_choice() -> None:
    text = " ".join(helps(make_parser())["run"].split())
    assert "the default is process, one line a program, and with --json process,thread" in text
    default, as_json, chosen = (
        cli.parse(["run", *line.split(), "--", "x"]).events
        for line in ("", "--json", "--events process,thread")
    )
    assert default == PROCESS_NAMES and set(as_json) == set(chosen) == {*PROCESS_NAMES, *THREAD_NAMES}


def test_the_list_of_commands_can_be_read_line_by_line() -> None:
    assert not [name for name, (about, _) in COMMANDS.items() if about.startswith("the same")]


@pytest.mark.parametrize("arguments", [["nothing"], ["--nothing"], ["nothing", "run"], ["--", "run"]])
def test_what_is_no_command_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.parse(arguments)
    assert end.value.code == 2
    assert "usage: cbprocess" in capsys.readouterr().err

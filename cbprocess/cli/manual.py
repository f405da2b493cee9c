"""The manual page as text for troff, from the parser: what `--help` says of everything, in one page.

Knows parsers; nothing of commands. man(7) has the macros."""

from __future__ import annotations

import argparse
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

SECTION = 1
# An option stands in bold, and the name of its value in italics.
BOLD, ITALIC, ROMAN = r"\fB", r"\fI", r"\fR"

EXIT_STATUS = """\
run ends with the status of the command, and with 128 plus the number of the signal that has ended it; 126 \
if the command cannot be executed, 127 if it is not found. All commands end with 2 for wrong arguments and \
with 125 for failures of their own; what else they end with stands with them."""


def page(parser: argparse.ArgumentParser, version: str) -> list[str]:
    """The lines of the page."""
    name = parser.prog
    lines = [
        f'.TH {name.upper()} {SECTION} "" "{name} {version}" "User Commands"',
        ".SH NAME",
        f"{name} \\- {escaped((parser.description or '').rstrip('.'))}",
        ".SH SYNOPSIS",
        f".B {name}",
        ".I COMMAND",
        "[options]",
        ".SH DESCRIPTION",
        *paragraph(parser.description or ""),
        *arguments(parser),
    ]
    lines += sections(parser, "")
    lines += [".SH EXIT STATUS", *paragraph(EXIT_STATUS), *examples(parser.epilog or "")]
    return lines


def sections(parser: argparse.ArgumentParser, outer: str) -> Iterator[str]:
    """The sections of a parser's commands, and below each those of its own commands."""
    for name, chosen, about in commands_of(parser):
        whole = f"{outer} {name}".strip()
        yield f'.SS "{whole}"' if outer else f'.SH "{whole.upper()}"'
        yield from usage(chosen)
        yield from paragraph(chosen.description or f"{about[:1].upper()}{about[1:]}.")
        yield from arguments(chosen)
        yield from sections(chosen, whole)


def commands_of(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser, str]]:
    """The commands of a parser, each with its own parser and what its list says of it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, chosen in action.choices.items():
                yield name, chosen, helps.get(name, "")


def usage(parser: argparse.ArgumentParser) -> list[str]:
    """How the command is called, in one line: troff breaks it."""
    text = " ".join(parser.format_usage().split())
    return [f".B {escaped(text.partition(': ')[2])}", ".PP"]


def arguments(parser: argparse.ArgumentParser) -> list[str]:
    """Options and arguments, with their help."""
    lines = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction) or action.help == argparse.SUPPRESS:
            continue
        lines += [".TP", heading(action)]
        text = parser._get_formatter()._expand_help(action) if action.help else ""
        # An argument without help still needs a body.
        lines.append(escaped(text) or "\\&")
    return lines


def heading(action: argparse.Action) -> str:
    """`-o, --output FILE`, with its styles."""
    if not action.option_strings:
        name = action.metavar or action.dest
        return f"{ITALIC}{escaped(name if isinstance(name, str) else ' '.join(name))}{ROMAN}"
    text = ", ".join(f"{BOLD}{escaped(option)}{ROMAN}" for option in action.option_strings)
    if action.nargs == 0:
        return text
    if action.choices is not None and action.metavar is None:
        value = "|".join(map(str, action.choices))
    else:
        name = action.metavar or action.dest.upper()
        value = name if isinstance(name, str) else " ".join(name)
    return f"{text} {ITALIC}{escaped(value)}{ROMAN}"


def examples(epilog: str) -> list[str]:
    """The examples of the help, line by line, as they stand there."""
    title, _, rest = epilog.partition("\n")
    if not rest:
        return []
    lines = [f'.SH "{title.rstrip(":").upper()}"', ".nf"]
    lines += [escaped(line.strip()) for line in rest.rstrip("\n").split("\n")]
    return [*lines, ".fi"]


def paragraph(text: str) -> list[str]:
    return [".PP", escaped(text)]


def escaped(text: str) -> str:
    """The text on one line, in which troff finds no command of its own. A hyphen can be copied as one."""
    text = re.sub(r"\s+", " ", text) if "\n" in text else text
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    text = "".join(letter if letter.isascii() else f"\\[u{ord(letter):04X}]" for letter in text)
    # A line that begins with a point is a request.
    return f"\\&{text}" if text.startswith(".") else text

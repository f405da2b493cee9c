"""`cbprocess completion`: a script that completes our command line in a shell, from the parser itself.

The library shtab, an extra, knows the shells."""

from __future__ import annotations

import argparse

from .output import complain, print_lines
from .parser import make_parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MISSING = "completion needs the library shtab: pip install 'cbprocess[completion]'"
# Arguments with these names in the help are files, and folders.
FILES = ("FILE", "PACKAGE", "RECORDING")
FOLDERS = ("FOLDER", "DIR")


def completion(options: argparse.Namespace) -> int:
    """Prints the script. The exit status: 125 where shtab is missing, or does not know the shell."""
    try:
        import shtab
    except ModuleNotFoundError:
        return complain(MISSING)
    if options.shell not in shtab.SUPPORTED_SHELLS:
        return complain(f"this shtab knows {', '.join(shtab.SUPPORTED_SHELLS)}, not {options.shell}")
    parser = make_parser()
    for action in actions_of(parser):
        if action.metavar in FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif action.metavar in FOLDERS:
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    return print_lines([shtab.complete(parser, options.shell)], options.output)


def actions_of(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """All arguments of a parser and of its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in dict.fromkeys(action.choices.values()):
                yield from actions_of(command)

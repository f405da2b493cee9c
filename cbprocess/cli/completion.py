"""`cbprocess completion`: a script that completes our command line in a shell, from the parser itself.

The library shtab, an extra, knows the shells."""

from __future__ import annotations

import argparse

from .._extras import need
from .output import complain, print_lines
from .parser import make_parser
from .words import PUBLIC_MODE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# shtab looks at this attribute of an argument.
COMPLETE = "complete"
# Arguments with these names in the help are files, and folders.
FILES = ("FILE", "PACKAGE", "PATH")
FOLDERS = ("FOLDER", "DIR")


def completion(options: argparse.Namespace) -> int:
    """Prints the script. The exit status: 125 where shtab does not know the shell. Error 50 without shtab."""
    shtab = need("shtab", "completion")
    if options.shell not in shtab.SUPPORTED_SHELLS:
        return complain(f"this shtab knows {', '.join(shtab.SUPPORTED_SHELLS)}, not {options.shell}")
    parser = make_parser()
    for action in actions_of(parser):
        if action.metavar in FILES:
            setattr(action, COMPLETE, shtab.FILE)
        elif action.metavar in FOLDERS:
            setattr(action, COMPLETE, shtab.DIRECTORY)
    return print_lines([shtab.complete(parser, options.shell)], options.output, PUBLIC_MODE)


def actions_of(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """All arguments of a parser and of its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in dict.fromkeys(action.choices.values()):
                yield from actions_of(command)

"""The command line `cbprocess`: from its arguments to the status of a command. Each command has a module of
its name. The parser is in parser.py, and plain lines of `run` do without it (plain_options.py)."""

from __future__ import annotations

import sys

from .._lean import suppress
from ..errors import CBProcessError
from .common_options import ATTACH_TIMEOUT_MS
from .plain_options import NotPlain, read_plain
from .run_options import add_run
from .spool_options import check_spool, default_spool
from .words import (
    HANDLE_NAMES,
    LIFETIME_NAMES,
    PROCESS_NAMES,
    STANDARD_OUTPUT,
    THREAD_NAMES,
    event_list,
    milliseconds,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

__all__ = [
    "ATTACH_TIMEOUT_MS",
    "collect_from_now_on",
    "event_list",
    "hold_back_collector",
    "main",
    "milliseconds",
    "parse",
]

PATH_SEPARATORS = "/\\" if sys.platform == "win32" else "/"

WRONG_USAGE = 2

# These commands can write to a spool.
SPOOLING = ("run", "attach", "monitor")
# These commands print events.
PRINTING = ("run", "attach", "monitor", "top", "replay")

_is_collector_held_back = False


def hold_back_collector() -> None:
    """Has Python collect no garbage until the start is over, in a process that is the command line's own.
    What a start makes stays: to look for garbage in it a hundred times is in vain."""
    global _is_collector_held_back
    import gc

    gc.disable()
    _is_collector_held_back = True


def collect_from_now_on() -> None:
    """Has Python collect garbage again where that was held back. What the start has made the collector never
    gets to see: its first look at all of that would take longer than any later one. In a process that is not
    the command line's own, the collector is its owner's business."""
    global _is_collector_held_back
    if not _is_collector_held_back:
        return
    _is_collector_held_back = False
    import gc

    # PyPy has no freeze().
    with suppress(AttributeError):
        gc.freeze()
    gc.enable()


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments:
        from .parser import make_parser

        make_parser().print_help(sys.stderr)
        return WRONG_USAGE
    if arguments[0] == "help":
        # "help run" is "run --help".
        from .parser import make_parser

        make_parser().parse_args([*arguments[1:2], "--help"])
    options = parse(arguments)
    from .output import complain

    try:
        # Each command is a function with its name, in a module with its name.
        # __import__() is what importlib does, which costs a start half a millisecond.
        command = __import__(f"{__name__}.{options.command_name}", fromlist=["*"])
        # Run begins a command first.
        if options.command_name != "run":
            collect_from_now_on()
        status: int = getattr(command, options.command_name)(options)
        return status
    except CBProcessError as error:
        return complain(str(error))
    except OSError as error:
        # This is an error of --output: commands tell other failures themselves.
        if not error.filename or error.filename != getattr(options, "output", None):
            raise
        return complain(f"{error.filename}: {error.strerror}")


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options. Everything behind the first -- is the command and stays as it is."""
    own, command = arguments, None
    if "--" in arguments:
        position = arguments.index("--")
        own, command = arguments[:position], arguments[position + 1 :]
    if own and own[0] == "run":
        try:
            options = read_plain(add_run, own[1:], command_name="run")
            return completed(options, command, options.parser)
        except NotPlain:
            pass
    from .parser import COMMANDS, make_parser

    parser = make_parser(own[0] if own and own[0] in COMMANDS else None)
    return completed(parser.parse_args(own), command, parser)


def completed(
    options: argparse.Namespace, command: list[str] | None, parser: argparse.ArgumentParser
) -> argparse.Namespace:
    """The options with what follows from others. The parser refuses those that do not go together. command:
    what stands behind the first --, if there is one."""
    if options.command_name == "run":
        if options.command and command is not None:
            command = [*options.command, "--", *command]
        options.command = command or options.command
        if options.preserve_env and options.user is None:
            options.parser.error("--preserve-env is for --user: without it the environment stays as it is")
        if options.live and options.user is not None:
            options.parser.error("--live is not for --user: the command would have the terminal of the view")
        if not options.command:
            options.parser.error("a command to run is missing")
    elif command:
        parser.error("unexpected arguments behind --")
    if options.command_name == "attach":
        options.process_ids += options.more_ids
        if not options.process_ids:
            options.parser.error("the processes are missing")
    is_machine = options.command_name == "monitor" or (
        options.command_name == "top" and not options.process_ids
    )
    if is_machine and options.no_children and not options.name:
        options.parser.error("--no-children is for the programs of --name")
    if options.command_name in PRINTING:
        options.json = options.json or options.format is not None
        options.format = options.format or "cbprocess"
        check_list(options, parser)
        check_outputs(options, parser)
        check_tree(options, parser)
        check_rules(options, parser)
        check_records(options, parser)
        if options.command_name == "run" and options.publish is not None and options.spool is None:
            options.spool = default_spool(options)
        if options.command_name in SPOOLING:
            check_spool(options)
    if options.command_name in PRINTING and options.events is None:
        options.events = default_events(options)
    return options


def default_events(options: argparse.Namespace) -> tuple[str, ...]:
    """Programs, and for programs that read JSON their threads. Handle operations belong to --protect, because
    they show what it has prevented, and to a recording, which has them if they were asked for."""
    with_handles = options.protect or options.command_name == "replay"
    names = LIFETIME_NAMES if options.json else PROCESS_NAMES
    return (*names, *HANDLE_NAMES) if with_handles else names


def check_list(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuses --allow where not everything else is denied, and patterns of it that are no paths."""
    if options.allow and "*" not in options.deny:
        parser.error("--allow permits what --deny '*' denies: give both")
    for pattern in options.allow:
        if not any(separator in pattern for separator in PATH_SEPARATORS):
            parser.error(f"--allow {pattern}: give a path, since any file can be called {pattern}")


def check_tree(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuses a tree where lines are not those of programs, unless it is the summary's."""
    if not options.tree or options.summary:
        return
    if options.json:
        parser.error("--tree is for people: give --json or --tree")
    if options.events is not None and set(options.events) & set(THREAD_NAMES):
        parser.error("--tree has a line for a program, and none for threads")
    if options.events is not None and not set(options.events) >= set(PROCESS_NAMES):
        parser.error("--tree needs the events of processes")


def check_rules(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuses to follow a file that is not given."""
    if options.follow_rules and options.rules is None:
        parser.error("--follow-rules follows the file of --rules: give both")


def check_records(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuses to hide what would be written all the same, and to tell what cannot be known any more."""
    if options.record and (options.redact or options.redact_also):
        parser.error("--record writes command lines as they are: it cannot go with --redact")
    if options.command_name == "replay" and options.enrich:
        parser.error("--enrich asks for processes that run: those of a recording have ended")


def check_outputs(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuses two outputs in one file, which would overwrite each other, and an output in the recording that
    is read."""
    names = ("output", "timeline", "trace", "record")
    files = [(f"--{name}", getattr(options, name)) for name in names]
    if options.command_name == "replay" and options.path != STANDARD_OUTPUT:
        files.append(("the recording", options.path))
    if all(path is None for _, path in files):
        return
    from .destinations import clash

    trouble = clash(files)
    if trouble:
        parser.error(trouble)

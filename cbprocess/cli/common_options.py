"""The options that run, attach, monitor, top and replay have in common, with their help.

Knows no command: what differs between them is an argument."""

from __future__ import annotations

import sys

from .words import EVENT_NAMES, TREE_LINES, event_list, milliseconds, name_list, wrong_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from ..records import Redactor

ATTACH_TIMEOUT_MS = 5000
FORMATS = ("cbprocess", "ecs", "ocsf", "otel")
FORMAT_HELP = (
    "print JSON Lines in this format: cbprocess as --json does, the Elastic Common Schema, OCSF process "
    "activities, or OpenTelemetry log records"
)
EVENTS_HELP = (
    f"which events, separated by commas: {', '.join(EVENT_NAMES)}; or process, thread, handle, all; the "
    "default is process, one line a program, and with --json process,thread; with thread each event has a "
    "line"
)
SUMMARY_HELP = (
    "print at the end what failed, counts, times, the process tree (of a long one its first "
    f"{TREE_LINES} lines) and totals"
)
TREE_HELP = (
    "print the process tree as it grows: a line where a program begins and one where it ends, below the "
    "program that has started it; with --summary, the summary has the whole tree, however long"
)
PROTECT_HELP = (
    "nobody in the tree may end, stop, trace, read or change programs whose name matches P; the default of "
    "--events is then process,handle"
)
WAIT_ALL_HELP = (
    "stay until all descendants have ended, too, as always with --deny, --protect and --rules; the second "
    "signal leaves them"
)
ALLOW_HELP = (
    "with --deny '*', execute nothing but what matches P: the path of the file itself, not of a link to it; "
    "a P without wildcards that is a link stands for its file, too"
)
TIMEOUT_HELP = "how long an operation may wait to be printed: 0 (no limit) or at least 3000 (default: {})"
RULES_HELP = "the rules of FILE (TOML or JSON) beside the other options"
# Windows has no such signal.
SIGNAL_HELP = "; read again at SIGHUP, which the command of run does not get then"
LIVE_RULES_HELP = RULES_HELP if sys.platform == "win32" else RULES_HELP + SIGNAL_HELP
FOLLOW_HELP = "read the file of --rules again whenever it has changed"
REDACT_HELP = (
    "hide the values of options and variables whose names end in password, token, secret, api-key and the "
    "like, wherever command lines are printed or written; a recording cannot hide anything"
)
REDACT_ALSO_HELP = "hide the values of these options, too: names without dashes, separated by commas"
ENRICH_HELP = (
    "with --json, tell of each process in addition, separated by commas: its working directory (cwd), its "
    "control group and container (cgroup), its session and terminal (terminal), its user's name (user)"
)


def add_common(
    parser: argparse.ArgumentParser, subject: str, timeout_ms: int, *, is_live: bool = True
) -> None:
    """Adds the options that run, attach, monitor, top and replay have in common. is_live: programs run while
    the command does."""
    add = parser.add_argument
    add("--json", action="store_true", help="print JSON Lines")
    add("--format", choices=FORMATS, help=FORMAT_HELP)
    add(
        "-o",
        "--output",
        metavar="FILE",
        help="print to FILE instead of standard error; in place of any FILE - is standard output",
    )
    add("-q", "--quiet", action="store_true", help="print no events, only errors and the summary")
    add("-e", "--events", metavar="LIST", type=event_list, help=EVENTS_HELP)
    names: dict[str, Any] = {"metavar": "P", "action": "append", "default": []}
    add("--name", help="show only programs whose name matches P (* and ?), and what they start", **names)
    add("--ignore", help="show nothing of programs whose name matches P, nor of what they start", **names)
    add("--no-children", action="store_true", help=f"show only {subject}, or the programs named")
    add("--deny", help="refuse to execute what matches P; '*': everything", **names)
    add("--allow", help=ALLOW_HELP, **names)
    add("--protect", help=PROTECT_HELP, **names)
    add_rules_options(parser, is_live)
    timeout_help = TIMEOUT_HELP.format(timeout_ms)
    add("--timeout", metavar="MS", type=milliseconds, default=timeout_ms, help=timeout_help)
    add_record_options(parser)
    add("--record", metavar="FILE", help="write what happens to FILE, for replay")
    add("--timeline", metavar="FILE", help="draw the processes over time in FILE, a web page")
    add("--trace", metavar="FILE", help="write FILE for Perfetto and chrome://tracing")
    add("--summary", action="store_true", help=SUMMARY_HELP)
    add("--tree", action="store_true", help=TREE_HELP)
    add("--wide", action="store_true", help="show command lines whole, also on a narrow terminal")
    parser.set_defaults(live=False)
    add("--color", choices=("auto", "always", "never"), default="auto", help="colours (default: auto)")


def add_rules_options(parser: argparse.ArgumentParser, is_live: bool) -> None:
    """Adds the options for the commands that apply rules. is_live: they apply them to programs that run, and
    read the file again; a replay reads it once."""
    parser.add_argument("--rules", metavar="FILE", help=LIVE_RULES_HELP if is_live else RULES_HELP)
    if not is_live:
        parser.set_defaults(follow_rules=False)
        return
    parser.add_argument("--follow-rules", action="store_true", help=FOLLOW_HELP)


def add_record_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--redact", action="store_true", help=REDACT_HELP)
    add("--redact-also", metavar="LIST", type=option_names, default=(), help=REDACT_ALSO_HELP)
    add("--enrich", metavar="LIST", type=enrichments, default=(), help=ENRICH_HELP)


def enrichments(text: str) -> tuple[str, ...]:
    from .._records.context import checked_enrichments
    from ..errors import CBProcessError

    try:
        return checked_enrichments(text)
    except CBProcessError as error:
        raise wrong_value(error.message) from None


def option_names(text: str) -> tuple[str, ...]:
    from ..errors import CBProcessError
    from ..records import Redactor

    names = name_list(text)
    try:
        Redactor(names)
    except CBProcessError as error:
        raise wrong_value(error.message) from None
    return names


def redactor_of(options: argparse.Namespace) -> Redactor | None:
    """What hides the values that these options name; None where they hide nothing."""
    if not options.redact and not options.redact_also:
        return None
    from ..records import DEFAULT_REDACTED, Redactor

    return Redactor((*DEFAULT_REDACTED, *options.redact_also))

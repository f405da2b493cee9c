"""The options of `cbprocess run`. Knows nothing of what they do."""

from __future__ import annotations

from .common_options import WAIT_ALL_HELP, add_common
from .plain_options import REMAINDER
from .spool_options import add_publish, add_spool
from .words import name_list

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

USER_HELP = (
    "run the command as this user (root only): with its groups, an environment of its own (HOME, SHELL, "
    "USER, LOGNAME, PATH), and on a terminal with a terminal of its own"
)
LIVE_HELP = (
    "show a view with the tree, rates, refusals and waits while the command runs (cbprocess[tui]); what the "
    "command prints to the terminal is kept in a temporary file until then, and it cannot read the terminal"
)


def add_run(parser: argparse.ArgumentParser) -> None:
    parser.description = "Run a command under the filter and print one line a program. Ends with its status."
    parser.usage = "cbprocess run [options] -- COMMAND..."
    parser.set_defaults(parser=parser)
    add_common(parser, "the command itself", 0)
    add_spool(parser)
    add_publish(parser)
    parser.add_argument("--live", action="store_true", help=LIVE_HELP)
    parser.add_argument("--wait-all", action="store_true", help=WAIT_ALL_HELP)
    parser.add_argument("--user", metavar="NAME", help=USER_HELP)
    parser.add_argument(
        "--preserve-env",
        metavar="LIST",
        type=name_list,
        default=(),
        help="variables that a command with --user keeps, separated by commas",
    )
    parser.add_argument(
        "--scope-signals",
        action="store_true",
        help="let the command signal nobody outside of its own tree (needs Landlock, Linux 6.12)",
    )
    parser.add_argument(
        "--scope-proc-files",
        action="store_true",
        help="let the command write no file below /proc, its own included, and read the memory, environment "
        "and descriptors of nobody outside of its own tree (needs Landlock, Linux 5.19)",
    )
    parser.add_argument("command", metavar="COMMAND", nargs=REMAINDER, help="the command and its arguments")

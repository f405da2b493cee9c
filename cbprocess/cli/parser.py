"""The parser of the command line: its commands, each with its options. A command whose options are many has
them in a module of its own.

Knows nothing of what commands do, and imports nothing of them: help comes at once."""

from __future__ import annotations

import argparse

from .common_options import (
    ATTACH_TIMEOUT_MS,
    FORMAT_HELP,
    FORMATS,
    WAIT_ALL_HELP,
    add_common,
    add_record_options,
)
from .convert_options import add_convert
from .fleet_options import add_fleet
from .machine_options import add_install, add_product, add_status, add_uninstall
from .rule_options import add_rules
from .run_options import add_run
from .spool_options import add_ship, add_spool
from .top_options import add_top
from .words import process_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, NoReturn

SHELLS = ("bash", "zsh", "tcsh", "fish", "powershell")
EXAMPLES = """\
examples:
  cbprocess run -- make -j4                        one line for each program
  cbprocess run --summary -q -- make -j4           what failed and what took how long
  cbprocess run --deny '*/cat' -- sh job.sh        executing cat fails with EACCES
  cbprocess run --protect server -- ./start        nobody in the tree ends or reads it
  cbprocess run -e all --json -o events -- make    everything, for other programs
  cbprocess attach -p 1234                         processes that run already
  cbprocess monitor --summary                      the whole machine (root, or an administrator)
  cbprocess run --live -- make -j4                 a live view, as `cbprocess top` is
  cbprocess help run                               all options of a command
"""


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        from .._checks import printable

        super().error(printable(message))


def make_parser(only: str | None = None) -> argparse.ArgumentParser:
    """The parser. only: the name of the command whose arguments are to be understood; the others are only
    named then, because all options of all commands together cost several milliseconds at each start."""
    parser = Parser(
        prog="cbprocess",
        description="Watch and control what processes and threads do.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-V", "--version", action=VersionAction, help="print the version and exit")
    commands = parser.add_subparsers(dest="command_name", required=True, metavar="COMMAND", title="commands")
    for name, (about, add) in COMMANDS.items():
        command = commands.add_parser(name, help=about)
        if only is None or name == only:
            add(command)
    return parser


def add_attach(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Print what running processes and their descendants do, one line a program, until the processes have "
        "ended (status 0) or until SIGINT, SIGTERM or SIGHUP (128 plus its number). Processes that are left "
        "go on as before."
    )
    parser.usage = "cbprocess attach PID... [options]"
    # The reader of the output may be one of the processes, so no operation may wait for it for ever.
    add_common(parser, "the processes themselves", ATTACH_TIMEOUT_MS)
    add_spool(parser)
    parser.add_argument("--wait-all", action="store_true", help=WAIT_ALL_HELP)
    parser.set_defaults(parser=parser)
    pid: dict[str, Any] = {"metavar": "PID", "type": process_id}
    parser.add_argument("process_ids", nargs="*", help="the processes, by their ids", **pid)
    parser.add_argument(
        "-p",
        dest="more_ids",
        action="append",
        default=[],
        help="another form of PID, as other tools have it",
        **pid,
    )


def add_monitor(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Print what all processes of the machine do, one line a program, until Ctrl-C (status 0). No "
        "operation waits for its line; nothing is refused without --deny, --protect or --rules. Takes root; "
        "on Windows an administrator, and the kernel driver (cbprocess install)."
    )
    parser.usage = "cbprocess monitor [options]"
    add_common(parser, "the programs named", ATTACH_TIMEOUT_MS)
    add_spool(parser)
    add_product(parser)
    parser.set_defaults(parser=parser, wait_all=False)


def add_replay(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Print the events of a recording (--record), one line a program, as far as it is sound. The answers "
        "that were recorded stand, and the rules given here decide too."
    )
    parser.usage = "cbprocess replay FILE [options]"
    add_common(parser, "the first process", 0, is_live=False)
    add = parser.add_argument
    add("--speed", choices=("max", "recorded"), default="max", help="how fast (default: max)")
    add("path", metavar="FILE", help="the recording")


class VersionAction(argparse.Action):
    """--version, which asks the native library only when it is given."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help=help)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        from .. import __version__
        from .output import print_lines

        parser.exit(print_lines([f"cbprocess {__version__}"], None))


def add_snapshot(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON Lines")
    parser.add_argument("--format", choices=FORMATS, help=FORMAT_HELP)
    parser.add_argument(
        "--source",
        choices=("auto", "proc", "bpf"),
        default="auto",
        help="read /proc, or ask programs in the kernel (Linux 6.1 and later, root)",
    )
    add_record_options(parser)
    add_output(parser)


def add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--all", action="store_true", help="tell of other systems' drivers, too")
    add_output(parser)


def add_completion(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Print a script that completes our commands and options in a shell: `cbprocess completion bash "
        ">~/.local/share/bash-completion/completions/cbprocess`. Needs the extra cbprocess[completion]."
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell")
    add_output(parser)


def add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", metavar="FILE", help="print to FILE instead of standard output")


def add_nothing(parser: argparse.ArgumentParser) -> None:
    """A command without options."""


# What the list of commands says of each, and the function that gives it its options.
COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "run": ("run a command and print what its processes and threads do", add_run),
    "attach": ("print what running processes do", add_attach),
    "monitor": ("print what all processes of the machine do (root)", add_monitor),
    "top": ("a live view of the machine (root), or of processes", add_top),
    "replay": ("print a recording, or what rules would have done to it", add_replay),
    "convert": ("turn recordings and JSON Lines into another program's format", add_convert),
    "rules": ("check rule files, and make them of Sigma rules", add_rules),
    "ship": ("ship the events of --spool to a file, a collector, or Kafka", add_ship),
    "fleet": ("watch many hosts, and give them rules", add_fleet),
    "snapshot": ("list the processes that run now", add_snapshot),
    "doctor": ("tell what the drivers can do on this machine", add_doctor),
    "completion": ("print a script that completes arguments in a shell", add_completion),
    "man": ("print the manual page: cbprocess man | man -l -", add_output),
    "install": ("install the driver of the machine for a product", add_install),
    "uninstall": ("remove it", add_uninstall),
    "status": ("tell whether it is installed", add_status),
    "help": ("print this", add_nothing),
}

"""The command line `cbprocess`: its arguments. Each command has a module of its name."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from ..errors import CBProcessError
from .machine_options import add_install, add_product, add_status, add_uninstall
from .words import EVENT_GROUPS, EVENT_NAMES, HANDLE_NAMES, LIFETIME_NAMES, PROCESS_NAMES, TREE_LINES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn

PATH_SEPARATORS = "/\\" if sys.platform == "win32" else "/"

WRONG_USAGE = 2

# These commands print events.
PRINTING = ("run", "attach", "monitor", "replay")

COMMANDS = "run | attach | monitor | replay | snapshot | doctor | install | uninstall | status | help"
EXAMPLES = """\
examples:
  cbprocess run -- make -j4                        one line for each program
  cbprocess run --summary -q -- make -j4           what failed and what took how long
  cbprocess run --deny '*/cat' -- sh job.sh        executing cat fails with EACCES
  cbprocess run --protect server -- ./start        nobody in the tree ends or reads it
  cbprocess run -e all --json -o events -- make    everything, for other programs
  cbprocess attach -p 1234                         processes that run already
  cbprocess monitor --summary                      the whole machine (root, or an administrator)
  cbprocess help run                               all options of a command
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments:
        make_parser().print_help(sys.stderr)
        return WRONG_USAGE
    if arguments[0] == "help":
        # "help run" is "run --help".
        make_parser().parse_args([*arguments[1:2], "--help"])
    options = parse(arguments)
    from .output import complain

    try:
        # Each command is a function with its name, in a module with its name.
        command = import_module(f".{options.command_name}", __name__)
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
    own, command = arguments, []
    if "--" in arguments:
        position = arguments.index("--")
        own, command = arguments[:position], arguments[position + 1 :]
    parser = make_parser()
    options = parser.parse_args(own)
    if options.command_name == "run":
        if options.command and "--" in arguments:
            command = [*options.command, "--", *command]
        options.command = command or options.command
        if options.preserve_env and options.user is None:
            options.parser.error("--preserve-env is for --user: without it the environment stays as it is")
        if not options.command:
            options.parser.error("a command to run is missing")
    elif command:
        parser.error("unexpected arguments behind --")
    if options.command_name == "attach":
        options.process_ids += options.more_ids
        if not options.process_ids:
            options.parser.error("the processes are missing")
    if options.command_name == "monitor" and options.no_children and not options.name:
        options.parser.error("--no-children is for the programs of --name")
    if options.command_name in PRINTING:
        check_list(options, parser)
        check_outputs(options, parser)
        options.summary = options.summary or options.tree
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


def check_outputs(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuses two outputs in one file, which would overwrite each other, and an output in the recording that
    is read."""
    from .destinations import STANDARD_OUTPUT, clash

    names = ("output", "timeline", "trace", "record")
    files = [(f"--{name}", getattr(options, name)) for name in names]
    if options.command_name == "replay" and options.path != STANDARD_OUTPUT:
        files.append(("the recording", options.path))
    trouble = clash(files)
    if trouble:
        parser.error(trouble)


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        from .._binding.texts import printable

        super().error(printable(message))


def make_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="cbprocess",
        description="Watch and control what processes and threads do.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-V", "--version", action=VersionAction, help="print the version and exit")
    commands = parser.add_subparsers(dest="command_name", required=True, metavar=COMMANDS)
    add_run(commands.add_parser("run", help="run a command and print what its processes and threads do"))
    add_attach(commands.add_parser("attach", help="the same for processes that run already"))
    add_monitor(commands.add_parser("monitor", help="the same for the whole machine (root)"))
    add_replay(commands.add_parser("replay", help="print a recording, or what rules would have done to it"))
    snapshot = commands.add_parser("snapshot", help="list the processes that run now")
    snapshot.add_argument("--json", action="store_true", help="print JSON Lines")
    snapshot.add_argument(
        "--source",
        choices=("auto", "proc", "bpf"),
        default="auto",
        help="read /proc, or ask programs in the kernel (Linux 6.1 and later, root)",
    )
    doctor = commands.add_parser("doctor", help="tell what the drivers can do on this machine")
    doctor.add_argument("--json", action="store_true", help="print one JSON object")
    for command in (snapshot, doctor):
        command.add_argument(
            "-o", "--output", metavar="FILE", help="print to FILE instead of standard output"
        )
    add_install(commands.add_parser("install", help="install the driver of the machine for a product"))
    add_uninstall(commands.add_parser("uninstall", help="remove it"))
    add_status(commands.add_parser("status", help="tell whether it is installed"))
    commands.add_parser("help", help="print this")
    return parser


def add_run(parser: argparse.ArgumentParser) -> None:
    parser.description = "Run a command under the filter and print one line a program. Ends with its status."
    parser.usage = "cbprocess run [options] -- COMMAND..."
    parser.set_defaults(parser=parser)
    add_common(parser, "the command itself", 0)
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
    parser.add_argument(
        "command", metavar="COMMAND", nargs=argparse.REMAINDER, help="the command and its arguments"
    )


def add_attach(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Print what running processes and their descendants do, one line an event, until the processes have "
        "ended (status 0) or until SIGINT, SIGTERM or SIGHUP (128 plus its number); who is left goes on as "
        "before."
    )
    parser.usage = "cbprocess attach PID... [options]"
    # The reader of the output may be one of the processes, so no operation may wait for it for ever.
    add_common(parser, "the processes themselves", ATTACH_TIMEOUT_MS)
    parser.add_argument("--wait-all", action="store_true", help=WAIT_ALL_HELP)
    parser.set_defaults(parser=parser)
    pid: dict[str, Any] = {"metavar": "PID", "type": process_id}
    parser.add_argument("process_ids", nargs="*", help="the processes, by their ids", **pid)
    parser.add_argument(
        "-p", dest="more_ids", action="append", default=[], help="the same, as other tools have it", **pid
    )


def add_monitor(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Print what all processes of the machine do, one line an event, until Ctrl-C (status 0). No "
        "operation waits for its line; nothing is refused without --deny or --protect. Takes root; on "
        "Windows an administrator, and the kernel driver (cbprocess install)."
    )
    parser.usage = "cbprocess monitor [options]"
    add_common(parser, "the programs named", ATTACH_TIMEOUT_MS)
    add_product(parser)
    parser.set_defaults(parser=parser, wait_all=False)


def add_replay(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Print the events of a recording (--record), one line a program, as far as it is sound. The answers "
        "that were recorded stand, and the rules given here decide too."
    )
    parser.usage = "cbprocess replay FILE [options]"
    add_common(parser, "the first process", 0)
    add = parser.add_argument
    add("--speed", choices=("max", "recorded"), default="max", help="how fast (default: max)")
    add("path", metavar="FILE", help="the recording")


def add_common(parser: argparse.ArgumentParser, subject: str, timeout_ms: int) -> None:
    """Adds the options that run, attach and replay have in common."""
    add = parser.add_argument
    add("--json", action="store_true", help="print JSON Lines")
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
    timeout_help = TIMEOUT_HELP.format(timeout_ms)
    add("--timeout", metavar="MS", type=milliseconds, default=timeout_ms, help=timeout_help)
    add("--record", metavar="FILE", help="write what happens to FILE, for replay")
    add("--timeline", metavar="FILE", help="draw the processes over time in FILE, a web page")
    add("--trace", metavar="FILE", help="write FILE for Perfetto and chrome://tracing")
    add("--summary", action="store_true", help=SUMMARY_HELP)
    add("--tree", action="store_true", help="the summary with the whole process tree, however long")
    add("--color", choices=("auto", "always", "never"), default="auto", help="colours (default: auto)")


ATTACH_TIMEOUT_MS = 5000
EVENTS_HELP = (
    f"which events, separated by commas: {', '.join(EVENT_NAMES)}; or process, thread, handle, all; the "
    "default is process, one line a program; with thread each event has a line"
)
SUMMARY_HELP = (
    "print at the end what failed, counts, times, the process tree (of a long one its first "
    f"{TREE_LINES} lines) and totals"
)
PROTECT_HELP = (
    "nobody in the tree may end, stop, trace, read or change programs whose name matches P; the default of "
    "--events is then process,handle"
)
WAIT_ALL_HELP = (
    "stay until all descendants have ended, too, as always with --deny and --protect; the second signal "
    "leaves them"
)
USER_HELP = (
    "run the command as this user (root only): with its groups, an environment of its own (HOME, SHELL, "
    "USER, LOGNAME, PATH), and on a terminal with a terminal of its own"
)
ALLOW_HELP = (
    "with --deny '*', execute nothing but what matches P: the path of the file itself, not of a link to it; "
    "a P without wildcards that is a link stands for its file, too"
)
TIMEOUT_HELP = "how long an operation may wait to be printed: 0 (no limit) or at least 3000 (default: {})"


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


def event_list(text: str) -> tuple[str, ...]:
    names: list[str] = []
    for part in text.split(","):
        if part in EVENT_GROUPS:
            names += EVENT_GROUPS[part]
        elif part in EVENT_NAMES:
            names.append(part)
        else:
            raise argparse.ArgumentTypeError(f"{part!r} is no event; possible: {', '.join(EVENT_NAMES)}")
    return tuple(dict.fromkeys(names))


def name_list(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(",")))


def milliseconds(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of milliseconds") from None
    if value != 0 and not 3000 <= value <= 0xFFFFFFFF:
        raise argparse.ArgumentTypeError(f"{value} is neither 0 nor from 3000 to {0xFFFFFFFF}")
    return value


def process_id(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if not 0 < value < 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is no process id")
    return value

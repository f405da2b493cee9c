"""The options of convert."""

from __future__ import annotations

from .common_options import FORMATS, REDACT_ALSO_HELP, option_names

REDACT_HELP = "hide the values of options and variables whose names end in password, token and the like"

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def add_convert(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Convert recordings (--record) and JSON Lines (--json, --spool) to the JSON Lines of another "
        "program, one line an event. What is damaged is left out, and told at the end (status 125)."
    )
    parser.usage = "cbprocess convert FILE... [options]"
    parser.set_defaults(parser=parser)
    add = parser.add_argument
    add(
        "paths",
        metavar="FILE",
        nargs="+",
        help="a recording, JSON Lines, a folder of them as --spool makes it, or - for standard input",
    )
    add(
        "--format",
        choices=FORMATS,
        default="cbprocess",
        help="cbprocess (default): records of schema 1; ecs: Elastic Common Schema; ocsf: OCSF process "
        "activities; otel: OpenTelemetry log records",
    )
    add("-o", "--output", metavar="FILE", help="write to FILE instead of standard output")
    add("--host", metavar="NAME", help="the host's name, for records without one, as those of recordings")
    add("--redact", action="store_true", help=REDACT_HELP)
    add("--redact-also", metavar="LIST", type=option_names, default=(), help=REDACT_ALSO_HELP)

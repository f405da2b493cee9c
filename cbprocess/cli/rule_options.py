"""The options of the command `rules`. Knows nothing of what they do."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def add_rules(parser: argparse.ArgumentParser) -> None:
    parser.description = "Check rule files, and make them of Sigma rules."
    commands = parser.add_subparsers(dest="rules_command", required=True, metavar="check | import-sigma")
    check = commands.add_parser(
        "check",
        help="tell what is wrong with rule files",
        description="Tell what is wrong with rule files: status 1 for a mistake; doubts leave it 0.",
    )
    check.add_argument("paths", metavar="FILE", nargs="+", help="a rule file, TOML or JSON")
    check.add_argument("--list", action="store_true", help="print the rules, too, one line a rule")
    check.add_argument("--json", action="store_true", help="print one JSON object a file")
    check.set_defaults(parser=check)
    convert = commands.add_parser(
        "import-sigma",
        help="make a rule file of Sigma rules",
        description=(
            "Make a rule file of the Sigma rules of category process_creation that say no more than rules "
            "can say, and tell of each other one why it does not fit. Takes the extra cbprocess[sigma]."
        ),
    )
    convert.add_argument("paths", metavar="PATH", nargs="+", help="a Sigma rule, or a folder of them")
    convert.add_argument(
        "-o", "--output", metavar="FILE", help="write the rule file to FILE instead of standard output"
    )
    convert.add_argument(
        "--system",
        choices=("linux", "windows"),
        default="windows" if sys.platform == "win32" else "linux",
        help="rules of this product, or of none (default: this system)",
    )
    convert.add_argument(
        "--min-level",
        choices=("informational", "low", "medium", "high", "critical"),
        help="leave out Sigma rules of a lower level",
    )
    convert.add_argument(
        "--code", metavar="N", type=int, default=5, help="the code of a refusal (default: 5)"
    )
    convert.set_defaults(parser=convert)

"""The options about what is in a record: what is hidden, and what is told in addition; and what they ask for.

Knows no command."""

from __future__ import annotations

from .values import name_list, wrong_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from ..records import Redactor

REDACT_HELP = (
    "hide the values of options and variables whose names end in password, token, secret, api-key and the "
    "like, wherever command lines are printed or written; a recording cannot hide anything"
)
REDACT_ALSO_HELP = "hide the values of these options, too: names without dashes, separated by commas"
ENRICH_HELP = (
    "with --json, tell of each process in addition, separated by commas: its working directory (cwd), its "
    "control group and container (cgroup), its session and terminal (terminal), its user's name (user)"
)


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

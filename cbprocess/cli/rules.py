"""`cbprocess rules`: tells what is wrong with rule files, and makes them of Sigma rules."""

from __future__ import annotations

import json
import os

from .._checks import printable
from ..errors import CBProcessError
from ..rule_files import RuleFileError, RuleSet, file_warnings
from .output import complain, print_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from ..sigma import Import

WRONG = 1


def rules(options: argparse.Namespace) -> int:
    """The exit status for the options of `cbprocess rules`."""
    return check(options) if options.rules_command == "check" else import_sigma(options)


def check(options: argparse.Namespace) -> int:
    """Tells of each file what is wrong, or how many rules it has. 1 if something is wrong."""
    lines: list[str] = []
    status = 0
    for path in options.paths:
        found = looked_at(path)
        status = WRONG if found["mistakes"] else status
        lines += [json.dumps(found)] if options.json else lines_of(found, options.list)
    return print_lines(lines, None) or status


def looked_at(path: str) -> dict[str, Any]:
    """What is known of a file, for JSON."""
    found: dict[str, Any] = {"file": path, "mistakes": [], "warnings": [], "rules": []}
    try:
        rules = RuleSet.from_file(path)
        found["warnings"] = [*rules.warnings(), *file_warnings(path)]
        found["rules"] = [rule.to_dict() for rule in rules]
    except RuleFileError as error:
        found["mistakes"] = list(error.mistakes)
    except CBProcessError as error:
        found["mistakes"] = [error.message]
    except OSError as error:
        found["mistakes"] = [str(error.strerror)]
    return found


def lines_of(found: dict[str, Any], has_list: bool) -> list[str]:
    path = printable(found["file"])
    lines = [f"{path}: wrong: {printable(text)}" for text in found["mistakes"]]
    lines += [f"{path}: doubtful: {printable(text)}" for text in found["warnings"]]
    if not found["mistakes"]:
        lines.append(f"{path}: {counted(len(found['rules']), 'rule')}")
    if has_list:
        lines += [f"  {described(rule)}" for rule in found["rules"]]
    return lines


def described(rule: dict[str, Any]) -> str:
    """One rule in a line: deny */cat and descendants (code 5)."""
    whom = "everything" if "process_id" in rule else printable(rule["name"])
    more = " and descendants" if rule.get("include_children") else ""
    value = f" (code {rule['code']})" if "code" in rule else ""
    if "access" in rule:
        from .output import right_names

        value = f" ({right_names(rule['access'], False)})"
    return f"{rule['action']} {whom}{more}{value}"


def import_sigma(options: argparse.Namespace) -> int:
    """Prints, or writes, a rule file. Each Sigma rule that does not fit is told on standard error. 1 if none
    fits, though there are some."""
    from .. import sigma

    try:
        found = sigma.import_files(
            options.paths, system=options.system, code=options.code, min_level=options.min_level
        )
    except OSError as error:
        return complain(f"{error.filename}: {error.strerror}")
    tell(found)
    text = json.dumps(found.rules.to_dict(), indent=1)
    if options.output is not None and options.output != "-":
        try:
            found.rules.write_file(options.output, 0o644 & ~current_umask())
        except OSError as error:
            return complain(f"{options.output}: {error.strerror}")
        return WRONG if found.refused and not found.imported else 0
    return print_lines([text], None) or (WRONG if found.refused and not found.imported else 0)


def tell(found: Import) -> None:
    for rule in found.refused:
        complain(f"{rule.source}: {rule.title!r} does not fit: {rule.why}")
    for note in found.notes:
        complain(f"note: {note}")
    rules, fit = counted(len(found.rules), "rule"), counted(len(found.imported), "Sigma rule")
    rest = f"{len(found.refused)} {'does' if len(found.refused) == 1 else 'do'} not fit"
    complain(f"{rules} of {fit}; {rest}")


def counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def current_umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask

#!/usr/bin/env python3
"""Writes docs/api.md, the reference of the Python API, from the docstrings of cbprocess/.

Reads the modules as text; imports none of them. With --check it writes nothing and ends with status 1 when
the page is not what it would write, or when something public has no docstring."""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "cbprocess"
PAGE = ROOT / "docs" / "api.md"
WIDTH = 100

INTRODUCTION = """\
# The Python API

Made by `tools/generate_api.py` from the docstrings; not to be edited.

Names without a module are imported from `cbprocess`. Programs begin with `monitor()` or with
`CBProcess`. Every constant has its bare name, too (`ACTION_DENY`, `PROCESS_TERMINATE`), as the
class reference has it; `from cbprocess.reference import *` gives these names alone. A parameter
`timeout_ms` is in milliseconds, `timeout` in seconds, but in the methods that the class reference
has, whose units are its own. `help(cbprocess.CBProcess)` says the same as this page. How it all
belongs together is told elsewhere: [coming from cbfsfilter](migrating.md),
[iterators and asyncio](asyncio.md), [Linux](linux.md), [threads](threads.md),
[recordings and tests](recording.md).
"""


class Part(NamedTuple):
    title: str
    module: str
    classes: tuple[str, ...]
    functions: tuple[str, ...] = ()


PARTS = (
    Part("The filter", "_api/process", ("CBProcess",)),
    Part("Handlers", "_api/properties", ("HandlerProperties",)),
    Part("Properties", "_api/properties", ("Settings",)),
    Part("Rules", "_api/rule_methods", ("Rules",)),
    Part("A rule as a value", "rules", ("Rule",)),
    Part("Running processes, index by index", "_api/installation", ("Snapshots",)),
    Part("Running processes, as a list", "running", ("RunningProcess",), ("snapshot", "running_processes")),
    Part("Drivers and the machine", "_api/installation", ("Installation",)),
    Part("What drivers can do", "drivers", ("DriverReport",), ("probe_driver",)),
    Part(
        "Events",
        "events",
        (
            "EventParams",
            "NamedEventParams",
            "CBProcessProcessCreationEventParams",
            "CBProcessProcessTerminationEventParams",
            "CBProcessThreadCreationEventParams",
            "CBProcessThreadTerminationEventParams",
            "CBProcessProcessHandleOperationEventParams",
            "CBProcessThreadHandleOperationEventParams",
            "CBProcessErrorEventParams",
            "CBProcessWorkerThreadCreationEventParams",
            "CBProcessWorkerThreadTerminationEventParams",
        ),
    ),
    Part("Answers after the handler", "_binding/deferred", ("DeferredAnswer",)),
    Part("A loop over events", "_streams/monitoring", ("Monitor",), ("monitor",)),
    Part("How much may wait", "_streams/feed", ("Overflow",)),
    Part(
        "Events that a loop holds",
        "_streams/held",
        (
            "HeldEvent",
            "HeldHandleEvent",
            "HeldProcessCreation",
            "HeldProcessTermination",
            "HeldThreadCreation",
            "HeldThreadTermination",
            "HeldProcessHandleOperation",
            "HeldThreadHandleOperation",
            "Outcome",
        ),
    ),
    Part("Coroutines as handlers: cbprocess.aio", "aio", ("AsyncCBProcess",)),
    Part("Counts", "_api/statistics", ("Statistics",)),
    Part("Errors", "errors", ("CBProcessError", "CBProcessWarning")),
    Part(
        "Constants",
        "enums",
        (
            "Action",
            "ProcessAccess",
            "ThreadAccess",
            "EventType",
            "EventFlag",
            "Capability",
            "TimeoutAction",
            "RefuseWith",
            "Serialize",
            "ModuleStatus",
            "InstallFlag",
            "UninstallFlag",
            "ErrorCode",
        ),
    ),
    Part(
        "Records: cbprocess.records",
        "records _records/strict _records/reading _records/origin _records/redaction",
        ("Recorder", "Origin", "Redactor"),
        (
            "record_of",
            "line_of",
            "text_of",
            "read_lines",
            "exact",
            "process_identity",
            "here",
            "made",
            "schema",
        ),
    ),
    Part(
        "Formats of other programs: cbprocess.formats",
        "formats/__init__ formats/_fields formats/otel",
        (),
        ("converter", "encoder", "entity_id", "event_id", "logs_data"),
    ),
    Part(
        "The spool: cbprocess.spool",
        "spool _spool/layout _spool/writing _spool/reading _spool/sealing",
        ("SpoolWriter", "SpoolCounts", "SessionReader", "SessionState", "Batch"),
        ("sessions", "states", "follow", "seal", "lock_shipper", "host_of"),
    ),
    Part(
        "Sinks of a spool: cbprocess.sinks, cbprocess.sinks.shipping",
        "sinks/__init__ sinks/shipping",
        ("Sink", "Refused", "Later", "Shipper", "ShipperCounts"),
        ("open_sink", "schemes"),
    ),
    Part(
        "Many hosts: cbprocess.fleet",
        "fleet/agent fleet/hub fleet/feed fleet/counts fleet/link fleet/presence fleet/setup",
        ("Agent", "Hub", "Reach", "StoredRules", "Feed", "FeedCounts", "Access", "Host", "Plan"),
    ),
    Part(
        "Rule files: cbprocess.rule_files",
        "rule_files applied_rules",
        ("RuleSet", "RuleFile", "AppliedRules", "RuleChange", "RuleFileError"),
        ("file_warnings",),
    ),
    Part(
        "Sigma rules: cbprocess.sigma",
        "sigma",
        ("Import", "Imported", "Unfit"),
        ("import_files", "import_texts"),
    ),
    Part("Tables: cbprocess.frames", "frames", (), ("pandas", "polars", "arrow", "batches")),
    Part("Metrics: cbprocess.metrics", "metrics", ("Collector",), ("collector",)),
    Part("Tests without a driver: cbprocess.testing", "testing", ("Simulator", "Verdict")),
)

Function = (ast.FunctionDef, ast.AsyncFunctionDef)
missing: list[str] = []


def marked(text: str) -> str:
    """Identifiers as code, where the text has not marked them itself."""

    def mark(piece: str) -> str:
        piece = re.sub(r"(?<![\w`*])((?:\w+\.)*\w+\(\))", r"`\1`", piece)
        return re.sub(r"(?<![\w`.])(\w*[A-Za-z0-9]_\w*(?:\.\.\.)?)(?![\w`(])", r"`\1`", piece)

    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(piece if index % 2 else mark(piece) for index, piece in enumerate(pieces))


def wrapped(text: str, first: str = "", rest: str = "") -> str:
    text = " ".join(text.split())
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def prose(documentation: str) -> list[str]:
    """The paragraphs of a docstring; its lists stay lists, its indented blocks programs."""
    lines = []
    for paragraph in inspect.cleandoc(documentation).split("\n\n"):
        if paragraph.startswith("    "):
            lines += ["```python", textwrap.dedent(paragraph), "```"]
        elif paragraph.startswith("- "):
            items = re.split(r"^- ", paragraph, flags=re.MULTILINE)[1:]
            lines += [wrapped(marked(item), "- ", "  ") for item in items]
        else:
            lines.append(wrapped(marked(paragraph)))
        lines.append("")
    return lines[:-1]


def documentation_of(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, where: str) -> str:
    text = ast.get_docstring(node)
    if text is None:
        missing.append(where)
    return text or ""


def _before(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """How a function is used in a coroutine."""
    if not isinstance(node, ast.AsyncFunctionDef):
        return ""
    if any("asynccontextmanager" in ast.unparse(each) for each in node.decorator_list):
        return "async with "
    is_generator = any(isinstance(each, ast.Yield) for each in ast.walk(node))
    return "async for ... in " if is_generator else "await "


def signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    arguments = node.args
    for listed in (arguments.posonlyargs, arguments.args):
        if listed and listed[0].arg in ("self", "cls"):
            del listed[0]
    result = ast.unparse(node.returns) if node.returns else "None"
    return f"{_before(node)}{node.name}({ast.unparse(arguments)}) -> {result}"


def decorators(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    return [ast.unparse(item) for item in node.decorator_list]


def member(node: ast.FunctionDef | ast.AsyncFunctionDef, settable: bool, where: str) -> list[str]:
    text = documentation_of(node, f"{where}.{node.name}")
    if {"property", "handler_property"} & set(decorators(node)):
        title = f"`{node.name}: {property_type(node)}`" + ("" if settable else ", to be read")
    else:
        title = f"`{signature(node)}`"
    return [f"#### {node.name}", "", wrapped(title), "", *prose(text), ""]


def property_type(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """The type of a property. One for handlers is declared as a handler that it can be set to."""
    if "handler_property" in decorators(node):
        annotation = node.args.args[1].annotation
        text = f"Optional[Callable[[{ast.unparse(annotation)}], object]]" if annotation else ""
    else:
        text = ast.unparse(node.returns) if node.returns else ""
    return text.replace("events.", "")


def values(node: ast.ClassDef, source: list[str]) -> list[str]:
    """The members of an enumeration, with the comments beside them."""
    lines = []
    for item in node.body:
        if isinstance(item, ast.Assign) and ast.unparse(item.targets[0]).isupper():
            row = source[item.lineno - 1].strip()
            assignment, _, text = row.partition("  # ")
            lines.append(wrapped(f"`{assignment}`: {marked(text)}", "- ", "  "))
    return lines


def class_section(node: ast.ClassDef, source: list[str]) -> list[str]:
    bases = [ast.unparse(base) for base in node.bases]
    known = [base.rpartition(".")[2] for base in bases if not base.startswith(("Generic", "Turn"))]
    lines = [f"### {node.name}", ""]
    shown = [
        base
        for base in known
        if base not in ("Enum", "IntEnum", "IntFlag", "str", "Exception", "RuntimeWarning")
    ]
    if shown:
        lines += [wrapped(f"Has all of {', '.join(f'`{base}`' for base in shown)}."), ""]
    lines += [*prose(documentation_of(node, node.name)), ""]
    functions = [item for item in node.body if isinstance(item, Function)]
    settable = {
        item.name for item in functions if {f"{item.name}.setter", "handler_property"} & set(decorators(item))
    }
    for item in functions:
        is_accessor = any(text.endswith((".setter", "overload")) for text in decorators(item))
        # Methods that a base only declares raise NotImplementedError.
        is_declared_only = ast.unparse(item.body[-1]) == "raise NotImplementedError"
        if item.name.startswith("_") or is_accessor or is_declared_only:
            continue
        lines += member(item, item.name in settable, node.name)
    found = values(node, source)
    return [*lines, *found, *([""] if found else [])]


def function_section(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    return [
        f"### {node.name}",
        "",
        wrapped(f"`{signature(node)}`"),
        "",
        *prose(documentation_of(node, node.name)),
        "",
    ]


def part_section(part: Part) -> list[str]:
    # A part may have several files, whose names are unique in it.
    texts = [(PACKAGE / f"{name}.py").read_text(encoding="utf-8") for name in part.module.split()]
    nodes = {
        item.name: (item, text.splitlines())
        for text in texts
        for item in ast.parse(text).body
        if isinstance(item, (ast.ClassDef, *Function)) and not _is_overload(item)
    }
    lines = [f"## {part.title}", ""]
    for name in part.functions:
        node, _ = nodes[name]
        assert isinstance(node, Function)
        lines += function_section(node)
    for name in part.classes:
        node, source = nodes[name]
        assert isinstance(node, ast.ClassDef)
        lines += class_section(node, source)
    return lines


def _is_overload(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return "overload" in [ast.unparse(item) for item in node.decorator_list]


def page() -> str:
    lines = [INTRODUCTION]
    for part in PARTS:
        lines += part_section(part)
    return "\n".join(line.rstrip() for line in "\n".join(lines).splitlines()).rstrip() + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="compare only")
    check = parser.parse_args().check
    text = page()
    if missing:
        print(f"without a docstring: {', '.join(missing)}", file=sys.stderr)
        return 1
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    if check:
        print(f"{PAGE.relative_to(ROOT)} is not up to date: run tools/generate_api.py", file=sys.stderr)
        return 1
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Which way the modules of the Python package look: only down, and never in a circle. Imports in functions
count, and so do those for type checkers."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

# From the ground up. What stands in one line may look at each other, in no circle.
STOREYS = (
    ("constants", "enums", "errors", "_checks", "_event_fields", "_extras", "_lean"),
    ("_binding", "events"),
    ("drivers", "running", "records", "_records", "rules"),
    ("_api",),
    (
        "_streams",
        "recording",
        "script",
        "rule_files",
        "applied_rules",
        "formats",
        "spool",
        "_spool",
        "_sources",
    ),
    ("aio", "testing", "pytest_plugin", "reference", "fleet", "sigma", "sinks", "frames", "metrics"),
    ("cli", "__main__"),
)
PACKAGE = "cbprocess"


def modules(checkout: Path) -> dict[str, Path]:
    """The modules of the package with their files, named from the package on; the package itself is ""."""
    found = {}
    for path in sorted((checkout / PACKAGE).rglob("*.py")):
        parts = path.relative_to(checkout / PACKAGE).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    return found


def imported(name: str, path: Path, known: dict[str, Path]) -> Iterator[str]:
    """The modules of the package that one of them imports, wherever in its text; "" for the package
    itself."""
    folder = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [part for part in folder if part][: len(folder) - node.level + 1]
            base += node.module.split(".") if node.module else []
            for alias in node.names:
                whole = ".".join([*base, alias.name])
                found = whole if whole in known else ".".join(base)
                if found != name:
                    yield found


def graph(checkout: Path) -> dict[str, set[str]]:
    known = modules(checkout)
    return {name: set(imported(name, path, known)) for name, path in known.items()}


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """The modules that are left when those that look at nothing else, and those at which nothing else looks,
    are taken away again and again."""
    left = {name: others & arrows.keys() for name, others in arrows.items()}
    while True:
        seen = set().union(*left.values())
        ends = {name for name, others in left.items() if not others or name not in seen}
        if not ends:
            return sorted(left)
        left = {name: others - ends for name, others in left.items() if name not in ends}


def storey_of(module: str) -> int:
    top = module.partition(".")[0]
    return next(number for number, tops in enumerate(STOREYS) if top in tops)


def test_a_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}) == ["b", "c"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_the_arrows_of_a_module_are_found(checkout: Path) -> None:
    arrows = graph(checkout)
    assert {"events", "_binding.hooks", "_binding.structures"} <= arrows["_binding.callbacks"]
    assert "_binding.session" in arrows["_api.process"]


def test_no_module_looks_at_itself_by_way_of_others(checkout: Path) -> None:
    arrows = graph(checkout)
    del arrows[""]  # the front, through which everything is seen
    assert circle(arrows) == []


@pytest.mark.parametrize("top", [top for tops in STOREYS for top in tops])
def test_no_module_looks_up(checkout: Path, top: str) -> None:
    wrong = [
        (name, other)
        for name, others in graph(checkout).items()
        for other in others
        if name.partition(".")[0] == top and other and storey_of(other) > storey_of(name)
    ]
    assert wrong == []


def test_every_module_has_its_storey(checkout: Path) -> None:
    tops = {name.partition(".")[0] for name in modules(checkout)}
    assert tops - {""} == {top for storey in STOREYS for top in storey}

"""The documentation as a site: its navigation names every page, and pages keep to what its Markdown knows.

`.ci/run site` builds it, and there a link or an anchor that leads nowhere fails."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def site_pages() -> ModuleType:
    specification = importlib.util.spec_from_file_location("site_pages", ROOT / "tools/site_pages.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


SITE = site_pages()
PAGES = sorted([*(ROOT / "docs").glob("**/*.md"), *(ROOT / path for path in SITE.PAGES)])


def test_the_navigation_names_every_page_once() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = re.findall(r"^ +- (?:[^:\n]+: )?(\S+\.md)$", text.split("\nnav:\n")[1], re.MULTILINE)
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").glob("**/*.md")]
    assert sorted(named) == sorted([*pages, *SITE.PAGES.values()])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_lists_are_lists_in_the_site_too(page: Path) -> None:
    """Its Markdown wants a blank line before a list, and four blanks before what belongs to an item."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    lines = ["", *text.splitlines()]
    for before, line in zip(lines, lines[1:]):
        assert not re.match(r" {1,3}([-*] |\d+\. )", line), line
        assert before or not re.match(r" {1,3}\S", line), line
        if re.match(r"([-*] |\d+\. )", line):
            assert not before or re.match(r"[-*] |\d+\. | ", before), line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_lines_end_at_100_characters(page: Path) -> None:
    """So that a change of a page can be read. Tables and programs are as wide as they have to be."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert not [
        line for line in text.splitlines() if len(line) > 100 and not line.startswith(("|", "#", "    "))
    ]


@pytest.mark.parametrize(
    ("page", "link", "in_site"),
    [
        ("README.md", "[x](docs/linux.md#yama)", "[x](linux.md#yama)"),
        ("README.md", "![x](docs/pictures/badge-state.svg)", "![x](pictures/badge-state.svg)"),
        ("README.md", "[x](CONTRIBUTING.md)", "[x](contributing.md)"),
        ("README.md", "[x](https://semver.org)", "[x](https://semver.org)"),
        ("docs/c-api.md", "[x](../examples/README.md)", "[x](examples.md)"),
        ("docs/decisions/0001-refusals.md", "[x](../../SECURITY.md)", "[x](../security.md)"),
        ("docs/decisions/0001-refusals.md", "[x](../limits.md)", "[x](../limits.md)"),
        ("docs/recording.md", "[x](#the-format)", "[x](#the-format)"),
        ("examples/README.md", "[x](c/monitor.c)", "[x](examples/c/monitor.c)"),
        ("docs/limits.md", "[x](no-such-page.md)", "[x](no-such-page.md)"),
    ],
)
def test_links_are_right_at_the_place_in_the_site(page: str, link: str, in_site: str) -> None:
    assert SITE.for_site(page, link) == in_site


def test_a_source_file_that_a_page_links_to_is_known() -> None:
    assert SITE.linked_files("docs/c-api.md", "[a](../examples/nodejs/session.js) [b](gone.md)") == {
        "examples/nodejs/session.js"
    }

"""The manual page: troff formats it without a warning, and it says what --help says of every command."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from cbprocess import cli
from cbprocess.cli import parser as parsers
from cbprocess.cli.manual import commands_of, escaped, heading, page

GROFF = shutil.which("groff")
needs_groff = pytest.mark.skipif(GROFF is None, reason="groff is not here")


def formatted(text: str) -> str:
    """The page as groff prints it, in one line, unhyphenated and with plain quotes. A warning fails."""
    assert GROFF is not None
    # A page without breaks is as long as its text, and a long line needs no words cut in two.
    line = [GROFF, "-man", "-Tutf8", "-P-cbou", "-ww", "-rHY=0", "-rLL=400n"]
    done = subprocess.run(line, input=text.encode(), capture_output=True, timeout=60)
    assert done.stderr == b"", done.stderr.decode()
    plain = re.sub(r"\x1b\[[0-9;]*m|.\x08", "", done.stdout.decode())
    return " ".join(plain.translate({0x2010: "-", 0x2212: "-", 0x2019: "'", 0x2018: "`"}).split())


@needs_groff
def test_it_says_everything_that_help_says(tmp_path: Path) -> None:
    path = tmp_path / "cbprocess.1"
    assert cli.main(["man", "-o", str(path)]) == 0
    text = formatted(path.read_text())
    count = 0
    pending = [("", parsers.make_parser())]
    while pending:
        name, made = pending.pop()
        assert name.upper() in text or name in text
        for inner, chosen, _ in commands_of(made):
            pending.append((f"{name} {inner}".strip(), chosen))
        assert " ".join((made.description or "").split()) in text
        for action in made._actions:
            if isinstance(action, argparse._SubParsersAction) or action.help == argparse.SUPPRESS:
                continue
            for option in action.option_strings:
                assert option in text, option
            expanded = made._get_formatter()._expand_help(action) if action.help else ""
            assert " ".join(expanded.split()) in text, (name, action.dest)
            count += 1
    assert count > 100


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_everybody_can_read_an_installed_page(tmp_path: Path, mask: int, mode: int) -> None:
    path = tmp_path / "cbprocess.1"
    before = os.umask(mask)
    try:
        assert cli.main(["man", "-o", str(path)]) == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode


@needs_groff
@pytest.mark.parametrize(
    "text",
    [
        ".start of a request",
        "'start of another",
        "a back\\slash, \\n and \\fB",
        "--option-with-hyphens",
        "quotes \"double\", 'single' and `back`",
        "several\n   lines",
        "grün 日本",
        "..",
    ],
)
def test_troff_finds_no_command_in_a_text(text: str) -> None:
    made = argparse.ArgumentParser(prog="x", description="d")
    made.add_argument("--o", help=text.replace("%", "%%"))
    assert " ".join(text.split()) in formatted("\n".join(page(made, "1")))


def test_headings() -> None:
    made = argparse.ArgumentParser()
    add = made.add_argument
    assert heading(add("-o", "--output", metavar="FILE")) == r"\fB\-o\fR, \fB\-\-output\fR \fIFILE\fR"
    assert heading(add("--json", action="store_true")) == r"\fB\-\-json\fR"
    assert heading(add("--color", choices=("auto", "never"))) == r"\fB\-\-color\fR \fIauto|never\fR"
    assert heading(add("path", metavar="FILE")) == r"\fIFILE\fR"
    assert heading(add("count")) == r"\fIcount\fR"
    assert heading(add("--size", nargs=2, metavar=("W", "H"))) == r"\fB\-\-size\fR \fIW H\fR"


def test_no_text_is_a_request() -> None:
    assert not escaped(".x").startswith(".") and not escaped("'x").startswith("'")

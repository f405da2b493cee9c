"""The script that completes our command line: shells run it, and what they offer is what the parser has."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from cbprocess import cli
from cbprocess.cli import parser as parsers
from cbprocess.cli.manual import commands_of
from cbprocess.cli.words import OWN_FAILURE

BASH = shutil.which("bash")
needs_shtab = pytest.mark.usefixtures("shtab")


@pytest.fixture
def shtab() -> None:
    pytest.importorskip("shtab", reason="the extra completion is not installed")


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script"
    assert cli.main(["completion", "bash", "-o", str(path)]) == 0
    return path


@needs_shtab
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_everybody_can_read_an_installed_script(tmp_path: Path) -> None:
    path = tmp_path / "script"
    before = os.umask(0o022)
    try:
        assert cli.main(["completion", "bash", "-o", str(path)]) == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def offered(script: Path, *words: str) -> set[str]:
    """What bash offers for the last of the words."""
    assert BASH is not None
    text = (
        'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
        'COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}; _shtab_cbprocess; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    line = [BASH, "--norc", "-c", text, "bash", str(script), "cbprocess", *words]
    done = subprocess.run(line, capture_output=True, text=True, timeout=30, cwd=script.parent)
    assert done.stderr == ""
    return {word.strip() for word in done.stdout.split()}


@needs_shtab
@pytest.mark.skipif(BASH is None, reason="bash is not here")
def test_bash_offers_commands_options_values_and_files(script: Path) -> None:
    (script.parent / "alpha").touch()
    made = parsers.make_parser()
    commands = {name: chosen for name, chosen, _ in commands_of(made)}
    assert (
        {"run", "replay", "doctor"} <= set(commands) == offered(script, "") - set(made._option_string_actions)
    )
    assert offered(script, "re") == {"replay"}
    for name in ("run", "attach", "snapshot"):
        assert offered(script, name, "--") == {
            option for option in commands[name]._option_string_actions if option.startswith("--")
        }
    assert offered(script, "run", "--color", "a") == {"auto", "always"}
    assert offered(script, "run", "--record", "al") == offered(script, "replay", "al") == {"alpha"}


@needs_shtab
@pytest.mark.skipif(BASH is None, reason="bash is not here")
def test_bash_offers_what_commands_of_commands_take(script: Path) -> None:
    (script.parent / "alpha").touch()
    (script.parent / "alps").mkdir()
    commands = {name: chosen for name, chosen, _ in commands_of(parsers.make_parser())}
    for outer in ("fleet", "rules"):
        inner = {name for name, _, _ in commands_of(commands[outer])}
        assert len(inner) > 1 and offered(script, outer, "") == inner
    assert offered(script, "fleet", "rules", "") == {"put", "show", "diff", "status"}
    assert offered(script, "fleet", "rules", "put", "alpha") == {"alpha"}
    assert offered(script, "rules", "import-sigma", "al") == {"alpha", "alps"}
    assert offered(script, "ship", "al") == offered(script, "fleet", "agent", "--spool", "al") == {"alps"}
    assert offered(script, "convert", "--format", "o") == {"ocsf", "otel"}
    assert {"--no-children", "--tree"} <= offered(script, "top", "--")


@needs_shtab
@pytest.mark.parametrize("shell", parsers.SHELLS)
def test_every_shell_has_a_script(shell: str, tmp_path: Path) -> None:
    """A shell that is here reads it without a complaint."""
    path = tmp_path / "script"
    import shtab

    known = shell in shtab.SUPPORTED_SHELLS
    assert cli.main(["completion", shell, "-o", str(path)]) == (0 if known else OWN_FAILURE)
    program = shutil.which(shell)
    if known and program is not None and shell in ("bash", "zsh", "fish"):
        assert subprocess.run([program, "-n", str(path)], timeout=30, check=False).returncode == 0


def test_without_shtab_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert cli.main(["completion", "bash"]) == OWN_FAILURE
    said = capfd.readouterr()
    assert said.out == "" and "cbprocess[completion]" in said.err


def test_an_unknown_shell_is_wrong_usage() -> None:
    with pytest.raises(SystemExit) as raised:
        cli.main(["completion", "cmd"])
    assert raised.value.code == 2

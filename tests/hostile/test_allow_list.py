"""A list of what may run: everything is denied but the paths on it. Each way to pass off another file for one
of them ends in a refusal, and so does what no deny rule for a name could refuse."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest
from hostile_tools import Setting
from live_tools import recording, run_checked

import cbprocess

PAGE = Path(__file__).resolve().parents[2] / "docs" / "limits.md"
ATTEMPTS = (
    "itself",
    "a copy",
    "a link",
    "a hard link",
    "by descriptor",
    "a memory file",
    "by the loader",
    "a script",
    "by a shell",
    "a bind mount",
    "another root",
    "a mounted root",
    "a removed file",
)
IN_NAMESPACES = ("a bind mount", "another root", "a mounted root")
LOADERS = ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1")


class Cast:
    """The programs, in folders of a test's own: one that the list has, and one that it has not."""

    def __init__(self, folder: Path, program: str) -> None:
        self.folder = folder / "work"
        self.folder.mkdir()
        self.allowed = str(shutil.copy(program, folder / "allowed"))
        self.denied = str(shutil.copy(program, folder / "denied"))
        loader = next((path for path in LOADERS if os.path.exists(path)), "no loader")
        self.arguments = [str(self.folder), self.allowed, self.denied, loader]
        self.command = [self.allowed, *self.arguments]


@pytest.fixture
def cast(attack: Callable[..., str], tmp_path: Path) -> Cast:
    # Static: in a root of its own there are no libraries.
    return Cast(tmp_path.resolve(), attack("unlisted", "-static"))


def outcomes(output: str) -> dict[str, str]:
    return dict(line.split(": ") for line in output.splitlines())


def has_namespaces() -> bool:
    line = ["unshare", "--user", "--map-root-user", "--mount", "true"]
    return subprocess.run(line, capture_output=True).returncode == 0


def test_the_attempts_succeed_where_nothing_is_denied(cast: Cast) -> None:
    """Otherwise the other tests would say nothing."""
    found = outcomes(subprocess.run(cast.command, capture_output=True, text=True, timeout=60).stdout)
    expected = dict.fromkeys(ATTEMPTS, "ran")
    if not has_namespaces():
        expected.update(dict.fromkeys(IN_NAMESPACES, "impossible"))
    assert found == expected


def rules_of_a_list(process: cbprocess.CBProcess, cast: Cast) -> None:
    process.add_rule(process_id=-1, action="deny")
    process.add_rule(name=cast.allowed, action="allow")


def test_what_is_not_on_the_list_does_not_run(setting: Setting, cast: Cast) -> None:
    with recording(*setting.config, events=setting.events) as recorder:
        rules_of_a_list(recorder.filter, cast)
        status, output, errors = run_checked(recorder, cast.command)
        refused = recorder.filter.statistics().refused
    found = outcomes(output)
    assert (status, set(found)) == (0, set(ATTEMPTS)), errors
    if not has_namespaces():
        for name in IN_NAMESPACES:
            assert found.pop(name) in ("impossible", "refused")
    assert set(found.values()) == {"refused" if setting.has_filter else "killed"}
    assert refused >= len(found)


def test_a_list_that_comes_later(cast: Cast) -> None:
    """Who runs already counts as what it executed then."""
    with recording() as recorder:
        child = recorder.filter.popen(
            ["/bin/sh", "-c", 'read line; exec "$@"', "sh", *cast.command], stdin=subprocess.PIPE
        )
        recorder.filter.add_rule(name="/bin/*", action="allow")
        recorder.filter.add_rule(name=cast.denied, action="allow")
        recorder.filter.add_rule(process_id=-1, action="deny")
        child.communicate(b"\n", timeout=60)
        assert child.returncode == 126
        recorder.filter.add_rule(name=cast.allowed, action="allow")
        assert run_checked(recorder, [cast.allowed])[0] == 42
        assert run_checked(recorder, [cast.denied])[0] == 42
        recorder.filter.remove_rule(name=cast.denied, action="allow")
        with pytest.raises(PermissionError):
            run_checked(recorder, [cast.denied])


@pytest.mark.parametrize("config", [(), ("RefuseWith=kill",)], ids=["errno", "kill"])
def test_who_runs_already_when_a_list_comes_is_known_by_its_file(
    config: tuple[str, ...], tmp_path: Path
) -> None:
    """Which file a program is was not looked up while no rule asked: it is when the first one does."""
    kept, exchanged = (str(shutil.copy("/bin/cat", tmp_path / name)) for name in ("kept", "exchanged"))
    with recording(*config) as recorder:
        children = [recorder.filter.popen([name], stdin=subprocess.PIPE) for name in (kept, exchanged)]
        shutil.copy("/bin/true", tmp_path / "another")
        os.replace(tmp_path / "another", exchanged)
        for name in (kept, exchanged):
            recorder.filter.add_rule(name=name, action="allow")
        for child in children:
            child.communicate(timeout=60)
        ends = {row["process_id"]: row["decided_by_rule"] for row in recorder.of("process_termination")}
    assert [ends[child.pid] for child in children] == [True, False]


@pytest.mark.parametrize("config", [(), ("RefuseWith=kill",)], ids=["errno", "kill"])
def test_an_allow_rule_spares_a_handler_nothing_for_a_name_that_was_made_up(
    config: tuple[str, ...], cast: Cast
) -> None:
    """No rule denies anything here: a handler refuses what it is asked about, all but the first program."""

    def decide(name: str, event: Any) -> None:
        if name == "process_creation" and event.arguments[0] != program:
            event.result_code = cbprocess.ERROR_ACCESS_DENIED

    program = str(shutil.copy(cast.denied, Path(cast.folder, "first")))
    with recording(*config, decide=decide) as recorder:
        recorder.filter.add_rule(name=cast.allowed, action="allow")
        assert run_checked(recorder, [cast.allowed])[0] == 42
        status, output, errors = run_checked(recorder, [program, *cast.arguments])
    assert status == 0, errors
    found = {name: outcome for name, outcome in outcomes(output).items() if outcome != "impossible"}
    assert set(found.values()) == {"killed" if config else "refused"}


# ---- The page ----


def command_of_the_page() -> str:
    text = PAGE.read_text(encoding="utf-8")
    section = text[text.index("<!-- allow-list:begin -->") : text.index("<!-- allow-list:end -->")]
    block = re.search(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert block is not None
    return block[1]


def test_the_command_of_the_page(tmp_path: Path) -> None:
    """It does the job, and nothing else that the job's script tries."""
    (tmp_path / "names.txt").write_text("b\na\n")
    (tmp_path / "job.sh").write_text(
        "sort names.txt > sorted.txt\n"
        "for program in ./copy ./link /usr/bin/id ./script; do\n"
        "  $program > /dev/null 2>&1; echo $?\n"
        "done > outcomes.txt\n"
    )
    shutil.copy("/usr/bin/id", tmp_path / "copy")
    (tmp_path / "link").symlink_to("copy")
    (tmp_path / "script").write_text("#!/usr/bin/id\n")
    (tmp_path / "script").chmod(stat.S_IRWXU)
    line = [sys.executable, "-m", "cbprocess"]
    command = command_of_the_page().replace("cbprocess ", f'"{line[0]}" -m cbprocess ', 1)
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "sorted.txt").read_text() == "a\nb\n"
    assert (tmp_path / "outcomes.txt").read_text().split() == ["126"] * 4
    assert len(re.findall(r"refused EACCES", done.stderr)) >= 4


def test_the_command_line_takes_a_list_of_paths() -> None:
    for arguments, reason in (
        (["--allow", "/usr/bin/id"], "--deny '*'"),
        (["--deny", "*", "--allow", "id"], "give a path"),
    ):
        line = [sys.executable, "-m", "cbprocess", "run", *arguments, "--", "/usr/bin/id"]
        done = subprocess.run(line, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (2, "")
        assert reason in done.stderr

"""The events of a run are those that an independent tracer, strace, reports for the same command: the same
processes, argument lists, threads and ends, none missing, none extra. The command itself behaves the same:
its output and its exit status are equal too."""

from __future__ import annotations

import functools
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable, Union

import pytest
import strace_oracle
import supervised
from attempts import attempt_of
from live_tools import PROGRAMS, Programs
from process_tree import assert_equal

Command = Sequence[Union[str, bytes]]

# A rule that matches nothing here: with one, refusals are by errno, so a seccomp filter is in the tree.
ERRNO_MODE = ("--deny", "no program has this name")
MODES = pytest.mark.parametrize("options", [(), ERRNO_MODE], ids=["kill", "errno"])

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


def helper(program: str, *arguments: str) -> Callable[[Programs, Path], Command]:
    """A run of a helper program; an argument in braces stands for another one's path."""

    def command(programs: Programs, folder: Path) -> Command:
        return [programs[program], *(programs[a[1:-1]] if a.startswith("{") else a for a in arguments)]

    return command


def shell(text: str) -> Callable[[Programs, Path], Command]:
    return lambda programs, folder: ["sh", "-c", text]


def make_project(programs: Programs, folder: Path) -> Command:
    """A C project of several files, made anew, whose build runs shells, the compiler and the linker."""
    project = folder / "project"
    shutil.rmtree(project, ignore_errors=True)
    project.mkdir()
    names = [f"part{number}" for number in range(8)]
    for number, name in enumerate(names):
        (project / f"{name}.c").write_text(f"int {name}(void) {{ return {number}; }}\n")
    declared = "".join(f"int {name}(void);\n" for name in names)
    total = " + ".join(f"{name}()" for name in names)
    (project / "main.c").write_text(f"{declared}int main(void) {{ return {total}; }}\n")
    objects = " ".join(f"{name}.o" for name in [*names, "main"])
    (project / "Makefile").write_text(
        f"total: {objects}\n\tcc -o $@ $^\n\t./total; test $$? = 28\n"
        "%.o: %.c\n\t@echo compiling $<; cc -O1 -c -o $@ $<\n"
    )
    return ["make", "-s", "-j4", "-C", str(project)]


def scripts(programs: Programs, folder: Path) -> Command:
    """Scripts whose interpreters are scripts in turn."""
    inner, middle, outer = folder / "inner", folder / "middle", folder / "outer"
    inner.write_text('#!/bin/sh -e\necho inner "$@"\nexec ' + programs["status"] + " 4\n")
    middle.write_text(f"#!{inner} one argument with spaces\n")
    outer.write_text(f"#! {middle}\n")
    named = folder / "bin" / "named"
    named.parent.mkdir(exist_ok=True)
    named.write_text(f'#!/bin/sh\n"{outer}" "$@" & wait $!; exit $?\n')
    for path in (inner, middle, outer, named):
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return ["sh", "-c", f"PATH={named.parent}:$PATH; named last; exit $?"]


def plain_text_script(programs: Programs, folder: Path) -> Command:
    """A file without an interpreter line, which a shell runs itself after ENOEXEC."""
    path = folder / "no-interpreter"
    path.write_text("echo from a file without an interpreter line\n")
    path.chmod(0o755)
    return ["sh", "-c", f"{path}; env true; nosuchprogram; exit 9"]


def parallel(method: str) -> Callable[[Programs, Path], Command]:
    # The pipe's end waits for the tracker process of multiprocessing, which outlives the program.
    line = ["sh", "-c", '"$0" "$@" 2>&1 | cat']
    return lambda programs, folder: [*line, sys.executable, str(PROGRAMS / "parallel.py"), method]


CASES: dict[str, Callable[[Programs, Path], Command]] = {
    "pipeline": shell("ls /usr | sort -r | head -3 | wc -l; exit 3"),
    "subshells": shell(
        "(exit 4); (true; false) || x=$(echo $(echo deep)); test $x = deep & wait; kill -9 $$"
    ),
    "make": make_project,
    "python-fork": parallel("fork"),
    "python-spawn": parallel("spawn"),
    "search-of-path": helper("processes", "search", "status"),
    "scripts": scripts,
    "plain-text-script": plain_text_script,
    "vfork": helper("processes", "vfork", "20", "{status}"),
    "vfork-without-execution": helper("processes", "vfork-exit"),
    "vfork-in-a-vfork": helper("processes", "vfork-nested", "{status}"),
    "posix-spawn": helper("processes", "spawn", "{status}", "status"),
    "forks": helper("processes", "forks", "40"),
    "chain-of-executions": helper("processes", "chain", "4", "{processes}"),
    "execution-by-a-thread": helper("threads", "execute", "{status}", "idle"),
    "execution-by-a-thread-among-busy-ones": helper("threads", "execute", "{status}", "busy"),
    "threads": helper("threads", "run", "200"),
    "exit-group-of-200": helper("threads", "end", "200", "exit"),
    "kill-of-200": helper("threads", "end", "200", "kill"),
    "first-thread-ends-first": helper("threads", "leader"),
    "threads-that-start-programs": helper("threads", "spawn", "4", "{status}"),
    "daemon": helper("processes", "daemon", "{status}"),
    "clone-parent": helper("processes", "clone-parent", "{status}"),
    "empty-arguments": helper("processes", "empty", "{status}"),
    "two-megabytes-of-arguments": helper("processes", "long", "18", "110000", "{status}"),
    "stops": helper("signals", "stops", "0"),
    "stops-of-threads": helper("signals", "stops", "5"),
    "kill-of-a-stopped-process": helper("signals", "kill-stopped"),
    "interrupted-call": helper("signals", "interrupted"),
    "not-utf-8": lambda programs, folder: [
        programs["status"],
        "0",
        b"\xff\xfe\x80 \xc3(",
        "\u00e9\u4e16",
        'q"\\\n',
    ],
}


@pytest.fixture(scope="module")
def traced(
    programs: Programs, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, int], tuple[Path, str, subprocess.CompletedProcess[bytes]]]:
    """Runs a case under strace, once for all tests at the same attempt: its folder, strace's output and how
    the command ended."""

    @functools.cache
    def run(name: str, attempt: int) -> tuple[Path, str, subprocess.CompletedProcess[bytes]]:
        folder = tmp_path_factory.mktemp("equality")
        command = CASES[name](programs, folder)
        output, done = strace_oracle.trace(command, folder / "strace", cwd=folder, env=environment)
        return folder, output, done

    return run


def as_code(status: int) -> int:
    """The exit code that reports how a command ended: 128 + N for a signal."""
    return status if status >= 0 else 128 - status


@needs_strace
@MODES
@pytest.mark.parametrize("name", CASES)
def test_same_as_strace(
    name: str,
    options: tuple[str, ...],
    traced: Any,
    programs: Programs,
    environment: dict[str, str],
    request: pytest.FixtureRequest,
) -> None:
    folder, output, bare = traced(name, attempt_of(request))
    command = CASES[name](programs, folder)
    events, done = supervised.run(command, folder / "events", *options, cwd=folder, env=environment)
    assert (done.returncode, done.stderr) == (as_code(bare.returncode), bare.stderr)
    assert sorted(done.stdout.splitlines()) == sorted(bare.stdout.splitlines())  # make -j: in any order
    tree = supervised.tree(events)
    assert_equal(tree, strace_oracle.parse(output, scripts_by_path=options != ERRNO_MODE))
    assert as_code(tree.end if tree.end is not None else -1) == done.returncode


@needs_strace
@MODES
def test_32_bit_program(
    options: tuple[str, ...], programs: Programs, environment: dict[str, str], tmp_path: Path
) -> None:
    from live_tools import compile_program

    narrow = tmp_path / "processes-32"
    if compile_program("processes.c", narrow, "-m32").returncode != 0:
        pytest.skip("the C compiler makes no 32-bit programs here")
    for mode in (
        ["vfork", "5", programs["status"]],
        ["spawn", str(programs["status"]), "status"],
        ["forks", "5"],
    ):
        command = [str(narrow), *mode]
        if subprocess.run(command, env=environment, timeout=30).returncode != 0:
            pytest.skip("the system runs no 32-bit programs")
        output, bare = strace_oracle.trace(command, tmp_path / "strace", env=environment)
        events, done = supervised.run(command, tmp_path / "events", *options, env=environment)
        assert (done.returncode, done.stderr) == (bare.returncode, bare.stderr) == (0, b"")
        assert_equal(supervised.tree(events), strace_oracle.parse(output))


@MODES
@pytest.mark.parametrize("repetition", range(3))
def test_execution_while_siblings_make_threads(
    repetition: int, options: tuple[str, ...], programs: Programs, environment: dict[str, str], tmp_path: Path
) -> None:
    # How many threads there were differs from run to run; the events must still be complete and in order.
    command = [programs["threads"], "execute", programs["status"], "making"]
    events, done = supervised.run(command, tmp_path / "events", *options, env=environment)
    tree = supervised.tree(events)
    assert done.returncode == tree.end == 11
    assert [image[0] for image in tree.images] == [programs["threads"], "from-a-thread"]
    assert tree.thread_count >= 4 and not tree.children


def test_descriptors_of_the_program_are_its_own(
    programs: Programs, environment: dict[str, str], tmp_path: Path
) -> None:
    """Nothing of the product leaks into the program: the same descriptors are open in it as without."""
    command = ["ls", "/proc/self/fd"]
    bare = subprocess.run(command, capture_output=True, timeout=30, env=environment)
    events, done = supervised.run(command, tmp_path / "events", *ERRNO_MODE, env=environment)
    assert done.stdout == bare.stdout
    assert os.linesep.encode() in bare.stdout and len(supervised.tree(events).images) == 1

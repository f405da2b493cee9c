"""The program `cbprocess` (native/front/front.c): what comes before Python sees what the caller gave, hands
it on, and becomes the Python that it was installed for. A signal while that begins ends it without a word."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sameness
import supervised
from early_signals import AT_THE_START, ENDS, MOMENTS_MS, without_core_file
from live_tools import Programs

NOTE = "CBPROCESS_CALLER"


def front_in(folder: Path, script: str) -> str:
    """A copy of the front, and this script in the place of the one that an installer has written."""
    folder.mkdir(parents=True, exist_ok=True)
    front = folder / "cbprocess"
    shutil.copy2(sameness.PROGRAM, front)
    path = folder / "cbprocess-python"
    path.write_text(script)
    path.chmod(0o755)
    return str(front)


# ---- Who is executed, and with what ----


def test_it_is_a_program_and_python_its_sibling() -> None:
    assert Path(sameness.PROGRAM).read_bytes()[:4] == b"\x7fELF"
    assert Path(f"{sameness.PROGRAM}-python").read_bytes()[:2] == b"#!"


def test_it_changes_nothing_but_that_there_is_a_note(programs: Programs, tmp_path: Path) -> None:
    """The script's interpreter is a program that writes down how it finds itself."""
    state = tmp_path / "state"
    front = front_in(tmp_path / "bin", f"#!{programs['state']} {state}\n")
    found = []
    for program in (f"{front}-python", front):
        state.write_text("")
        done = sameness.called([program, "an argument", ""], tmp_path / "output", sameness_set_up)
        assert (done.status, done.output, done.errors) == (3, "", "")
        found.append([line for line in state.read_text("latin-1").splitlines() if is_no_note(line)])
    assert found[1] == found[0]
    assert "signal 13 ignored" in found[0] and "blocked 2" not in found[0]


def sameness_set_up() -> None:
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    os.dup2(os.open("/etc/passwd", os.O_RDONLY), 7)


def is_no_note(line: str) -> bool:
    """Beside the note, SIGINT is blocked: in one line here, in a set of signals in /proc."""
    return not (line.startswith((f"environment {NOTE}=", "blocked 2")) or "SigBlk:" in line)


WITH_SHELL = "#!/bin/sh\n'''exec' {} \"$0\" \"$@\"\n' '''\n"
ECHO = "import os, sys\nprint(sys.argv[1:], sorted(os.environ))\n"


@pytest.mark.parametrize("name", ["with a blank", "longer than the kernel reads " + "x" * 150])
def test_an_interpreter_that_the_kernel_cannot_find(name: str, tmp_path: Path) -> None:
    """No shell comes in between, which would add to the environment."""
    python = tmp_path / name / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    front = front_in(tmp_path / "bin", WITH_SHELL.format(f'"{python}"') + ECHO)
    done = subprocess.run(
        [front, "a b", ""], env={"PYTHONCOERCECLOCALE": "0"}, capture_output=True, text=True, timeout=100
    )
    assert (done.returncode, done.stdout) == (0, f"['a b', ''] ['{NOTE}', 'PYTHONCOERCECLOCALE']\n"), (
        done.stderr
    )


@pytest.mark.parametrize("name", ["with a blank", "longer than the kernel reads " + "x" * 200])
def test_an_interpreter_that_stands_there_all_the_same(name: str, tmp_path: Path) -> None:
    """Installers do so where the script is the package's own and not of their making."""
    python = tmp_path / name / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    front = front_in(tmp_path / "bin", f"#!{python}\n{ECHO}")
    done = subprocess.run([front, "a b", ""], env={}, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout[:12]) == (0, "['a b', ''] "), done.stderr


def test_an_interpreter_with_an_option(tmp_path: Path) -> None:
    """The kernel passes it on, as ever."""
    front = front_in(
        tmp_path / "bin", f"#!{sys.executable} -B\nimport sys\nprint(sys.flags[4], sys.argv[1:])\n"
    )
    done = subprocess.run([front, "x"], env={}, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout) == (0, "1 ['x']\n"), done.stderr


def test_an_interpreter_that_only_a_shell_can_find(tmp_path: Path) -> None:
    """Some installers write it relative to the script."""
    front = front_in(tmp_path / "bin", WITH_SHELL.format('"$(dirname -- "$0")"/python') + ECHO)
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    done = subprocess.run([front, "x"], env={"PATH": os.defpath}, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout[:6]) == (0, "['x'] "), done.stderr


def test_it_is_found_through_links(tmp_path: Path) -> None:
    front = front_in(tmp_path / "bin", f"#!{sys.executable}\n{ECHO}")
    (tmp_path / "link").symlink_to(front)
    (tmp_path / "link-to-it").symlink_to("link")
    done = subprocess.run(["./link-to-it", "x"], cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout[:6]) == (0, "['x'] "), done.stderr


def test_without_its_sibling_it_says_so(tmp_path: Path) -> None:
    front = front_in(tmp_path / "bin", "")
    os.unlink(f"{front}-python")
    done = subprocess.run([front], capture_output=True, text=True, timeout=100)
    message = f"cbprocess: {front}-python cannot be executed: it is not there, or its Python is not\n"
    assert (done.returncode, done.stdout, done.stderr) == (125, "", message)


@pytest.mark.parametrize("way", sorted(sameness.WAYS))
@pytest.mark.parametrize("note", ["1 0 1000", "", "no numbers", "1 0 1000 0"])
def test_a_note_of_another_process_means_nothing(way: str, note: str, tmp_path: Path) -> None:
    script = f"echo ${{{NOTE}-none}}; grep SigIgn /proc/self/status"
    command = ["sh", "-c", script]
    bare, wrapped = sameness.both(way, command, tmp_path, lambda: None, {**os.environ, NOTE: note})
    assert wrapped.lines() == ["none", bare.lines()[-1]]


def test_it_is_called_as_it_was_called(tmp_path: Path) -> None:
    """For pgrep and killall it is no script and no Python."""
    command = ["sh", "-c", "cat /proc/$PPID/comm"]
    done = sameness.called([sameness.PROGRAM, "run", "-q", "--", *command], tmp_path / "output")
    assert done == (0, "cbprocess\n", "")


# ---- Signals while it begins ----


@pytest.mark.parametrize("number", ENDS)
def test_a_signal_while_the_interpreter_begins(number: int, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(AT_THE_START)
    file = tmp_path / "has run"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "NUMBER": str(int(number))}
    done = subprocess.run(
        [sameness.PROGRAM, "run", "--", "touch", str(file)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        preexec_fn=without_core_file,
    )
    assert (sameness.shell_status(done.returncode), done.stdout, done.stderr) == (128 + number, "", "")
    assert not file.exists()


def test_an_interrupt_that_the_caller_ignores_or_blocks(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(AT_THE_START)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "NUMBER": "2"}
    # The command is no Python, and nothing interrupts it.
    for set_up in (
        lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
        lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT]),
    ):
        line = [sameness.PROGRAM, "run", "-q", "--", "sh", "-c", "exit 3"]
        done = sameness.called(line, tmp_path / "output", set_up, environment)
        assert done == (3, "", "")


@pytest.mark.parametrize("number", ENDS)
def test_a_signal_at_any_moment(number: int) -> None:
    """Never a word about our code; and the status says the signal, if the command had not ended yet."""
    found = {}
    for moment in MOMENTS_MS:
        process = subprocess.Popen(
            [sameness.PROGRAM, "run", "-q", "--", "sleep", "0.1"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=without_core_file,
        )
        # Whatever has been reached by then, the result holds.
        time.sleep(moment / 1000)
        process.send_signal(number)
        output, errors = process.communicate(timeout=100)
        found[moment] = (output, errors, sameness.shell_status(process.returncode))
    allowed = [("", "", 0), ("", "", 128 + number)]
    assert {moment: result for moment, result in found.items() if result not in allowed} == {}


def test_both_ways_know_the_same_commands() -> None:
    """The front adds none and takes none away."""
    lines = [[*line, "--help"] for line in (sameness.WAYS["program"], supervised.COMMAND_LINE)]
    texts = [subprocess.run(line, capture_output=True, text=True, timeout=100).stdout for line in lines]
    assert texts[0] == texts[1] and "attach" in texts[0]

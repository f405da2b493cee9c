"""`cbprocess run, attach, snapshot, doctor, replay` with real programs: what they print, how they end."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from windows.windows_tools import living, sleeper, wait_for

from cbprocess._binding.library import native_folder

LINE = re.compile(r" *(\d+\.\d{6})  (\w+) +(\d+)  (.*)")
PROGRAM = "hostname & cmd /c exit 4 & exit 9"
ENDS = ("thread_termination", "process_termination")
BEGINS = ("process_creation", "thread_creation")


# One line for each event; otherwise there is one for each program.
EACH_EVENT = ("--events", "process,thread")


def cbprocess(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cbprocess", *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=100, **options)


def rows(text: str) -> list[tuple[str, int, str]]:
    """The printed lines as event, process id, rest; every line is one."""
    found = [LINE.fullmatch(line) for line in text.splitlines()]
    assert found and all(found), text
    times = [float(match[1]) for match in found if match]
    assert times == sorted(times)
    return [(match[2], int(match[3]), match[4]) for match in found if match]


def check_tree(printed: list[tuple[str, int, str]]) -> None:
    """That of PROGRAM: cmd, in it one after the other hostname and another cmd."""
    assert [event for event, _id, _rest in printed] == [*BEGINS, *BEGINS, *ENDS, *BEGINS, *ENDS, *ENDS]
    ids = [process_id for _event, process_id, _rest in printed]
    root, first, second = ids[0], ids[2], ids[6]
    assert ids == [root, root, *[first] * 4, *[second] * 4, root, root] and len({root, first, second}) == 3
    rests = [rest for _event, _id, rest in printed]
    assert rests[0] == f'cmd /c "{PROGRAM}"'
    assert rests[2].strip() == "hostname" and rests[6].strip() == "cmd /c exit 4"
    assert [rests[5], rests[9], rests[11]] == ["exit 0  hostname.exe", "exit 4  cmd.exe", "exit 9  cmd.exe"]
    assert rests[3].endswith(f"made by {root}")


# What was tried, in small letters, and the arguments.
REFUSED = r"refused (error 5)  c:\windows\system32\hostname.exe: hostname"


class TestRun:
    def test_prints_the_tree(self) -> None:
        done = cbprocess("run", *EACH_EVENT, "--", "cmd", "/c", PROGRAM)
        assert done.returncode == 9
        assert len(done.stdout.split()) == 1  # what hostname says
        check_tree(rows(done.stderr))

    def test_json(self) -> None:
        done = cbprocess("run", "--json", "--", "cmd", "/c", "exit 4")
        events = [json.loads(line) for line in done.stderr.splitlines()]
        assert done.returncode == 4
        assert [event["event"] for event in events] == [*BEGINS, *ENDS]
        assert [event["sequence"] for event in events] == [1, 2, 3, 4]
        assert events[0]["command_line"] == 'cmd /c "exit 4"' and "held" in events[0]["flags"]
        assert events[0]["process_name"].lower().endswith(r"\cmd.exe")
        assert events[3]["exit_status"] == 4
        assert len({event["start_time"] for event in events}) == 1

    def test_denies_and_sums_up(self) -> None:
        done = cbprocess(
            "run", *EACH_EVENT, "--deny", "*\\HOSTNAME.EXE", "--summary", "--", "cmd", "/c", PROGRAM
        )
        assert (done.returncode, done.stdout) == (9, "")
        lines, _empty, summary = done.stderr.partition("\n\n")
        refused = [rest for event, _id, rest in rows(lines) if event == "process_creation"][1]
        assert refused.strip().lower() == REFUSED
        assert re.search(r" 3  process_creation\n +2  process_termination\n", summary)
        assert f'cmd /c "{PROGRAM}"  [exit 9, ' in summary
        assert re.search(r"\n    \d+ cmd /c exit 4 +\[exit 4, ", summary)

    def test_of_what_is_refused_or_not_there(self) -> None:
        done = cbprocess("run", "--deny", "*\\hostname.exe", "--", "hostname")
        assert done.returncode == 126 and "refused (error 5)" in done.stderr
        done = cbprocess("run", "--", "no-such-program")
        assert (done.returncode, done.stdout) == (127, "") and "no-such-program: " in done.stderr
        done = cbprocess("run", "--user", "somebody", "--", "hostname")
        assert (done.returncode, done.stdout) == (
            125,
            "",
        ) and "--user is not possible on Windows" in done.stderr

    def test_only_what_is_named(self) -> None:
        done = cbprocess("run", "--name", "hostname.exe", *EACH_EVENT, "--", "cmd", "/c", PROGRAM)
        assert done.returncode == 9
        seen = [event for event, _id, _rest in rows(done.stderr)]
        assert [event for event in seen if event in (BEGINS[0], ENDS[1])] == [BEGINS[0], ENDS[1]]
        done = cbprocess("run", "--ignore", "hostname.exe", *EACH_EVENT, "--", "cmd", "/c", PROGRAM)
        ends = [rest for event, _id, rest in rows(done.stderr) if event == ENDS[1]]
        assert ends == ["exit 4  cmd.exe", "exit 9  cmd.exe"]


class TestReplay:
    @pytest.fixture(scope="class")
    def recorded(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("recorded \u00e9")
        files = [
            "--record",
            "r.rec",
            "--timeline",
            "t.html",
            "--trace",
            "t.json",
            "--output",
            "lines",
            *EACH_EVENT,
        ]
        assert cbprocess("run", *files, "--", "cmd", "/c", PROGRAM, cwd=folder).returncode == 9
        return folder

    def test_prints_what_was_recorded(self, recorded: Path) -> None:
        done = cbprocess("replay", *EACH_EVENT, str(recorded / "r.rec"))
        assert done.returncode == 0
        check_tree(rows(done.stderr))
        lived = (recorded / "lines").read_text(encoding="utf-8")
        assert rows(done.stderr) == rows(lived)

    def test_asks_what_rules_would_have_done(self, recorded: Path) -> None:
        done = cbprocess("replay", "--deny", "*\\hostname.exe", *EACH_EVENT, str(recorded / "r.rec"))
        created = [rest for event, _id, rest in rows(done.stderr) if event == BEGINS[0]]
        assert created[1].strip().lower() == REFUSED

    def test_of_a_damaged_recording(self, recorded: Path) -> None:
        damaged = recorded / "damaged.rec"
        damaged.write_bytes((recorded / "r.rec").read_bytes()[:-40])
        done = cbprocess("replay", str(damaged))
        assert done.returncode == 125
        assert "offset" in done.stderr.splitlines()[-1]

    def test_pictures(self, recorded: Path) -> None:
        assert "hostname" in (recorded / "t.html").read_text(encoding="utf-8")
        trace = json.loads((recorded / "t.json").read_text(encoding="utf-8"))
        assert any("hostname" in str(event) for event in trace["traceEvents"])


class TestAttach:
    def start(self, child: subprocess.Popen[str]) -> subprocess.Popen[str]:
        """`cbprocess attach`, which gets as a signal what stands on its standard input."""
        program = (
            "import signal, sys, threading; from cbprocess.cli import main\n"
            "def send(): [signal.raise_signal(int(line)) for line in sys.stdin]\n"
            "threading.Thread(target=send, daemon=True).start()\n"
            "sys.exit(main(sys.argv[1:]))"
        )
        command = [sys.executable, "-u", "-c", program, "attach", str(child.pid), "--json"]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, **pipes)

    def working(self) -> subprocess.Popen[str]:
        """A Python that begins a thread for each line that it gets, and ends with status 6 at the last."""
        program = (
            "import sys, threading\nfor line in sys.stdin:\n"
            "  t = threading.Thread(target=int); t.start(); t.join(); print('done', flush=True)\nsys.exit(6)"
        )
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        return subprocess.Popen([sys.executable, "-c", program], **pipes)

    def work_until_seen(
        self, child: subprocess.Popen[str], attached: subprocess.Popen[str]
    ) -> dict[str, Any]:
        """Until one of its threads is told of: the filter has it by then."""
        assert child.stdin is not None and child.stdout is not None and attached.stderr is not None

        lines: list[str] = []
        reader = threading.Thread(target=lambda: lines.append(attached.stderr.readline()))  # type: ignore[union-attr]
        reader.start()
        while reader.is_alive():
            child.stdin.write("\n")
            child.stdin.flush()
            assert child.stdout.readline() == "done\n"
            reader.join(0.05)
        return dict(json.loads(lines[0]))

    def test_until_it_ends(self) -> None:
        child = self.working()
        attached = self.start(child)
        first = self.work_until_seen(child, attached)
        # The end of a thread, if that is what happens next: its beginning was before.
        assert first["event"].startswith("thread_") and first["process_id"] == child.pid
        child.communicate()
        assert child.returncode == 6
        told = [json.loads(line) for line in attached.communicate(timeout=60)[1].splitlines()]
        assert attached.returncode == 0
        assert (told[-1]["event"], told[-1]["exit_status"]) == ("process_termination", 6)

    @pytest.mark.parametrize("name", ["SIGINT", "SIGBREAK"])
    def test_until_it_is_interrupted(self, name: str) -> None:
        """As by Ctrl-C and Ctrl-Break, which take a console; the process goes on."""
        child = self.working()
        attached = self.start(child)
        self.work_until_seen(child, attached)
        number = int(getattr(signal, name))
        attached.communicate(f"{number}\n", timeout=60)
        assert attached.returncode == 128 + number
        assert child.poll() is None
        assert child.communicate("\n\n")[0].endswith("done\n" * 2)
        assert child.returncode == 6

    def test_of_what_is_not_there(self) -> None:
        done = cbprocess("attach", str(0x7FFFFFF0))
        assert done.returncode == 125
        assert done.stderr == f"cbprocess: there is no process {0x7FFFFFF0}\n"


class TestSnapshot:
    def test_lists_what_runs(self) -> None:
        child = sleeper()
        before = living()
        done = cbprocess("snapshot", "--json")
        listed = {row["process_id"]: row for row in map(json.loads, done.stdout.splitlines())}
        assert before & living() <= set(listed)
        assert listed[child.pid]["command_line"].endswith("-c input()")
        assert listed[child.pid]["parent_process_id"] == os.getpid()
        heading, *lines = cbprocess("snapshot").stdout.splitlines()
        assert heading.split() == ["PID", "PARENT", "THREADS", "COMMAND"]
        (own,) = [line.split(maxsplit=3) for line in lines if line.split()[0] == str(child.pid)]
        assert own[1] == str(os.getpid()) and own[3].endswith("-c input()")
        child.communicate("\n")
        wait_for(lambda: child.pid not in living())


def is_administrator() -> bool:
    return bool(ctypes.WinDLL("shell32").IsUserAnAdmin())  # type: ignore[attr-defined]


class TestDoctor:
    def test_says_what_can_run(self) -> None:
        """For an administrator the default driver is the kernel driver, which is not installed here."""
        done = cbprocess("doctor")
        default = "a creation is refused by ending the new process"
        if is_administrator():
            default = "cbprocess.sys does not run here: cbprocess install installs it"
        can = "cannot" if is_administrator() else "can"
        assert done.returncode == int(is_administrator())
        assert f"the default driver {can} run here: {default}" in done.stdout
        assert "\ndebug: can run\n" in done.stdout and "ptrace" not in done.stdout
        debug = done.stdout.partition("\ndebug: ")[2].partition("\nkernel: ")[0]
        assert re.search(r"process creation +yes +yes +by ending it", debug)
        assert re.search(r"process handle operation +no +no +no", debug)

    def test_json(self) -> None:
        report = json.loads(cbprocess("doctor", "--json").stdout)
        assert report["system"] == "Windows" and report["default_runs"] is not is_administrator()
        drivers = {name: driver["runs"] for name, driver in report["drivers"].items()}
        assert drivers["debug"] and drivers["simulated"] and not drivers["kernel"] and "ptrace" not in drivers
        assert "KILL_PROCESS_CREATION" in report["drivers"]["debug"]["capabilities"]
        assert Path(report["native_folder"], "cbprocess-debug.exe").is_file()

    def test_without_the_helper(self, tmp_path: Path) -> None:
        """A package that lost a file: what is missing is named, and the status says no."""
        shutil.copy(Path(native_folder(), "cbprocess.dll"), tmp_path)
        done = cbprocess("doctor", env={**os.environ, "CBPROCESS_NATIVE_DIR": str(tmp_path)})
        assert done.returncode == 1
        assert "cbprocess-debug.exe is missing from the package" in done.stdout

"""Trees that try to make the helper wait for ever, by a file system that does not answer it. Whatever the
helper looks at there - a path, a script's header, a working folder, an argument that is a mapped file - it
does without after a while, and everybody else goes on meanwhile.

Needs /dev/fuse: as root, or where an ordinary user may mount in a namespace of its own. Memory whose faults
nobody serves is the other kind, and needs /dev/userfaultfd."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from hostile_tools import FOLDER, HANDLES, Setting
from live_tools import LIFETIMES, Task, is_alive, recording, run_checked, tracer_of, wait_until

import cbprocess

Attack = Callable[..., str]
Start = Callable[..., Any]
CASES = ["program", "script", "interpreter", "folder", "argument", "descriptor", "locked"]
# A look may last a second, and an execution takes up to three. More than that, a few times over:
PATIENCE_S = 20
# What everybody else may take meanwhile: on a busy machine, too, less than a look may last.
SOON_S = 0.9


def end_server(process_id: int) -> None:
    """The file system goes with its server, and then nobody waits for it any more. A server that stands at
    its exit, for a tracer that waits for it, needs a second signal."""
    end = time.monotonic() + 5
    while process_id != 0 and is_alive(process_id) and time.monotonic() < end:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process_id, signal.SIGKILL)
        time.sleep(0.02)


class Attacker:
    """One program that serves a file system and executes something from it."""

    def __init__(self, start: Start, program: str, folder: Path, case: str) -> None:
        mount = folder / case / "mount"
        mount.mkdir(parents=True)
        self.case = case
        self.server = 0
        self.process = start(
            [program, str(mount), case, str(mount.parent)], stdout=subprocess.PIPE, text=True
        )

    def wait_until_it_executes(self) -> None:
        first = self.process.stdout.readline().split()
        if first[:1] != ["server"]:
            self.process.wait(timeout=PATIENCE_S)
            pytest.skip("no such file system or memory can be had here: " + " ".join(first))
        self.server = int(first[1])
        assert self.process.stdout.readline() == "now\n"

    def outcome(self) -> tuple[int, str]:
        output = self.process.communicate(timeout=PATIENCE_S)[0]
        return self.process.returncode, output

    def runs(self) -> bool:
        """Whether its program has been executed. The one whose argument is a page that the helper has asked
        for waits for that page itself, until its server ends."""
        if self.case in ("argument", "memory"):
            end_server(self.server)
        return self.outcome() in ((0, "ran\n"), (0, "an argument\n")) or self.case == "argument"

    def end(self) -> None:
        end_server(self.server)
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()


@contextlib.contextmanager
def attackers(start: Start, program: str, folder: Path, cases: list[str]) -> Iterator[list[Attacker]]:
    """One for each case, all about to execute what they want to."""
    started: list[Attacker] = []
    try:
        for case in cases:
            started.append(Attacker(start, program, folder, case))
            started[-1].wait_until_it_executes()
        yield started
    finally:
        for attacker in started:
            attacker.end()
        for attacker in started:
            attacker.process.communicate(timeout=PATIENCE_S)


@contextlib.contextmanager
def ended(process: subprocess.Popen[Any]) -> Iterator[None]:
    try:
        yield
    finally:
        process.kill()
        process.wait(timeout=PATIENCE_S)


def seconds(action: Callable[[], Any]) -> float:
    start = time.monotonic()
    action()
    return time.monotonic() - start


def test_everybody_else_goes_on(setting: Setting, attack: Attack, tmp_path: Path) -> None:
    program = attack("silent_files")
    with recording(*setting.config, events=setting.events) as recorder:
        victim = recorder.filter.popen(["sleep", "60"])
        with ended(victim), attackers(recorder.filter.popen, program, tmp_path, CASES) as attacking:
            for _ in range(4):
                assert seconds(lambda: run_checked(recorder, ["/bin/sh", "-c", "/bin/true; :"])) < SOON_S
            victim.kill()
            assert victim.wait(timeout=SOON_S) == -signal.SIGKILL
            wait_until(
                lambda: victim.pid in [event["process_id"] for event in recorder.of("process_termination")],
                SOON_S,
                "the end of a killed process is told",
            )
            for attacker in attacking:
                assert attacker.runs(), attacker.case
        assert not recorder.errors


def test_a_tree_uses_up_its_own_readers_only(attack: Attack, tmp_path: Path) -> None:
    """One tree has the helper look again and again into a folder that is locked. Another tree's operation is
    known as before, and goes on; what is not known would be refused, for a rule takes that right."""
    line = "sleep 20 > /dev/null 2>&1 & for i in 1 2 3 4 5; do kill $! && exec echo killed; done"
    with recording(events=LIFETIMES | HANDLES) as recorder:
        recorder.filter.add_rule(name="*/guarded", action="strip", access=cbprocess.PROCESS_TERMINATE)
        with attackers(recorder.filter.popen, attack("silent_files"), tmp_path, ["many"]) as attacking:
            assert run_checked(recorder, ["/bin/sh", "-c", line]) == (0, "killed\n", "")
            assert is_alive(attacking[0].server)


def test_memory_whose_faults_nobody_serves(setting: Setting, attack: Attack, tmp_path: Path) -> None:
    """Whoever reads the argument that lies there waits, and so does the execution itself, until the process
    ends that the faults belong to."""
    with recording(*setting.config, events=setting.events) as recorder:
        with attackers(recorder.filter.popen, attack("silent_memory"), tmp_path, ["memory"]) as attacking:
            for _ in range(4):
                assert seconds(lambda: run_checked(recorder, ["/bin/sh", "-c", "/bin/true; :"])) < SOON_S
            assert is_alive(attacking[0].server)
            assert attacking[0].runs()
        assert not recorder.errors


def test_those_that_wait_can_be_killed_and_their_neighbours_go_on(
    setting: Setting, attack: Attack, tmp_path: Path
) -> None:
    line = '"$0" mount script . & for i in 1 2 3; do read x; /bin/true; echo done; done; wait'
    (tmp_path / "mount").mkdir()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with recording(*setting.config, events=setting.events) as recorder:
        tree = recorder.filter.popen(
            ["sh", "-c", line, attack("silent_files")], cwd=tmp_path, text=True, bufsize=1, **pipes
        )
        first = tree.stdout.readline().split()
        try:
            if first[:1] != ["server"]:
                pytest.skip("no such file system can be mounted here: " + " ".join(first))
            assert tree.stdout.readline() == "now\n"
            for _ in range(3):
                tree.stdin.write("go on\n")
                start = time.monotonic()
                assert tree.stdout.readline() == "done\n"
                assert time.monotonic() - start < SOON_S
            attacker = Task(int(first[1])).parent
            os.kill(attacker, signal.SIGKILL)
            wait_until(lambda: not is_alive(attacker), SOON_S, "the attacker ends")
        finally:
            end_server(int(first[1]) if first[:1] == ["server"] else 0)
            tree.kill()
            tree.communicate(timeout=PATIENCE_S)


def test_what_is_not_known_is_refused(setting: Setting, attack: Attack, tmp_path: Path) -> None:
    """With a deny rule that the program matches: it runs neither because its names could not be read in time,
    nor because they were read and did not match."""
    program = attack("silent_files")
    with recording(*setting.config, events=setting.events) as recorder:
        recorder.filter.add_rule(name="*/mount/*", action="deny", code=5)
        with attackers(recorder.filter.popen, program, tmp_path, [*CASES[:4], "descriptor"]) as attacking:
            for attacker in attacking:
                status, output = attacker.outcome()
                assert status in (3, -signal.SIGKILL) and output == "", attacker.case
        assert not recorder.errors


def test_a_deadline_passes(attack: Attack, tmp_path: Path) -> None:
    def decide(kind: str, event: Any) -> None:
        if kind == "process_creation" and event.process_name.endswith("/true"):
            time.sleep(3.5)

    with (
        recording(timeout_ms=3000, decide=decide) as recorder,
        attackers(recorder.filter.popen, attack("silent_files"), tmp_path, ["argument"]),
    ):
        assert seconds(lambda: run_checked(recorder, ["/bin/true"])) < 3 + SOON_S
        assert recorder.filter.statistics().timed_out == 1


def test_stopping_waits_for_nobody(setting: Setting, attack: Attack, tmp_path: Path) -> None:
    with (
        recording(*setting.config, events=setting.events) as recorder,
        attackers(recorder.filter.popen, attack("silent_files"), tmp_path, CASES) as attacking,
    ):
        assert seconds(recorder.filter.stop_filter) < SOON_S
        for attacker in attacking:
            assert attacker.runs(), attacker.case


def test_the_death_of_the_controller_lets_everybody_go(
    setting: Setting, attack: Attack, tmp_path: Path
) -> None:
    folder = tmp_path / "mount"
    folder.mkdir()
    script = str(FOLDER / "programs" / "silent_controller.py")
    attacker = [attack("silent_files"), str(folder), "script", str(tmp_path)]
    controller = subprocess.Popen(
        [sys.executable, script, str(setting.events), *setting.config, "--", *attacker],
        stdout=subprocess.PIPE,
        text=True,
    )
    server = bystander = 0
    try:
        assert controller.stdout is not None
        bystander = int(controller.stdout.readline())
        first = controller.stdout.readline().split()
        if first[:1] != ["server"]:
            pytest.skip("no such file system can be mounted here: " + " ".join(first))
        server = int(first[1])
        assert controller.stdout.readline() == "now\n"
        helper = tracer_of(bystander)
        time.sleep(0.2)
        controller.kill()
        # With its filter a tree keeps its tracer, as a pass-through.
        if not setting.has_filter:
            wait_until(lambda: tracer_of(bystander) == 0, SOON_S, "the bystander is let go")
        assert controller.stdout.readline() == "ran\n"
        os.kill(bystander, signal.SIGKILL)
        wait_until(lambda: not is_alive(bystander), SOON_S, "the bystander ends")
        wait_until(lambda: not is_alive(helper), PATIENCE_S, "the helper ends")
    finally:
        controller.kill()
        end_server(server)
        with contextlib.suppress(ProcessLookupError):
            if bystander != 0:
                os.kill(bystander, signal.SIGKILL)
        controller.communicate(timeout=PATIENCE_S)


def thread_states(process_id: int) -> list[str]:
    """The states of a process's threads. It may have ended, and they not."""
    states = []
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{process_id}/task").iterdir():
            with contextlib.suppress(OSError):
                stat = (entry / "stat").read_text()
                states.append(stat[stat.rindex(")") + 2])
    return states


@pytest.mark.parametrize("who", ["a reader", "the look for risks"], ids=["reader", "risks"])
def test_the_helper_is_ended_while_it_waits_somewhere(
    who: str, setting: Setting, attack: Attack, tmp_path: Path
) -> None:
    """One of its threads waits for what never comes, for a process whose folder nobody can look into, and
    cannot even be ended. The controller is told nevertheless, the tree goes on, or ends where it has a
    filter, and another helper can be had at once."""
    with contextlib.ExitStack() as stack:
        attacking = attackers(subprocess.Popen, attack("silent_files"), tmp_path, ["own"])
        if who != "a reader":
            stack.enter_context(attacking)
        recorder = stack.enter_context(recording(*setting.config, events=setting.events))
        victim = recorder.filter.popen(["sleep", "60"])
        stack.enter_context(ended(victim))
        helper = tracer_of(victim.pid)
        if who == "a reader":
            stack.enter_context(attacking)
            with contextlib.suppress(cbprocess.CBProcessError):  # every process is looked at
                recorder.filter.add_filtered_process_by_name("/nowhere", False)
        wait_until(lambda: "D" in thread_states(helper), PATIENCE_S, who + " waits")
        os.kill(helper, signal.SIGKILL)
        wait_until(lambda: recorder.errors, PATIENCE_S, "the end of the helper is told")
        assert [code for code, _ in recorder.errors] == [cbprocess.ERROR_BROKEN_PIPE]
        if setting.has_filter:
            assert victim.wait(PATIENCE_S) == -signal.SIGKILL
        else:
            wait_until(lambda: tracer_of(victim.pid) == 0, PATIENCE_S, "the tree is let go")
            assert victim.poll() is None
        recorder.filter.stop_filter()
        recorder.filter.start_filter(0)
        assert run_checked(recorder, ["/bin/echo", "here"]) == (0, "here\n", "")
        assert set(thread_states(helper)) == {"D", "Z"}
    wait_until(lambda: not Path(f"/proc/{helper}").exists(), PATIENCE_S, "nothing is left of it")


def test_attaching_to_a_process_that_cannot_execute_its_program_ends(attack: Attack, tmp_path: Path) -> None:
    """The kernel lets a tracer wait until an execve is over: here for ever."""
    with (
        recording() as recorder,
        attackers(subprocess.Popen, attack("silent_files"), tmp_path, ["stuck"]) as attacking,
    ):
        process_id = attacking[0].process.pid
        wait_until(lambda: Task(process_id).state in "SD", PATIENCE_S, "it waits for its file system")
        start = time.monotonic()
        with pytest.raises(cbprocess.CBProcessError) as caught:
            recorder.filter.add_filtered_process_by_id(process_id, False)
        assert caught.value.code == 170
        assert time.monotonic() - start < 1 + SOON_S
        assert run_checked(recorder, ["/bin/echo", "here"])[1] == "here\n"


def test_attaching_to_a_process_that_keeps_its_name_silent(
    setting: Setting, attack: Attack, tmp_path: Path
) -> None:
    """The path by which it was started stands in its memory: it is attached to without, under the name of its
    program, by its id and by that name."""
    program = attack("silent_files")
    with recording(*setting.config, events=setting.events) as recorder:
        victim = recorder.filter.popen(["sleep", "60"])
        with ended(victim), attackers(subprocess.Popen, program, tmp_path, ["nameless"]) as attacking:
            process_id = attacking[0].process.pid
            assert seconds(lambda: recorder.filter.add_filtered_process_by_id(process_id, False)) < SOON_S
            assert tracer_of(process_id) == tracer_of(victim.pid) != 0
            server = attacking[0].server
            by_name = lambda: recorder.filter.add_filtered_process_by_name(program, False)  # noqa: E731
            assert seconds(by_name) < SOON_S
            assert tracer_of(server) == tracer_of(victim.pid)
            assert run_checked(recorder, ["/bin/echo", "here"])[1] == "here\n"
        assert not recorder.errors


@pytest.mark.skipif(os.getuid() != 0, reason="needs namespaces and /dev/fuse at once, which root has")
def test_nobody_can_list_processes(attack: Attack, tmp_path: Path) -> None:
    """What needs such a list fails, and says so; nobody waits. In a /proc that nobody else uses."""
    script = str(FOLDER / "programs" / "unlisted_controller.py")
    apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    done = subprocess.run(
        [*apart, sys.executable, script, attack("silent_files"), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.stdout.startswith("cannot") or done.stderr.startswith("unshare"):
        pytest.skip("no such file system, or no namespaces here: " + done.stdout + done.stderr)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    outcomes = {what: outcome for what, _, outcome in lines}
    assert outcomes == {"signal": "1", "tree": "170", "name": "170", "victim": "-9", "later": "None"}
    assert all(float(took) < SOON_S for _, took, _ in lines), lines

"""What the bpf driver tells of processes that it does not hold, and how it decides: every short life whole
and in order, rules by id, name and children, several filters, deadlines, the controller's own requests."""

from __future__ import annotations

import collections
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live_tools import GUID, LIFETIMES, Programs, Recorder, is_alive, wait_until
from machine import own_place
from machine.native.machine_tools import (
    FANOTIFY,
    GATE,
    has_gate,
    ids_of,
    in_shell,
    observing,
    run,
    wait_for_ends,
    watching,
    ways,
)

import cbprocess

WHOLE_LIFE = ["process_creation", "thread_creation", "thread_termination", "process_termination"]
CREATION = cbprocess.PROC_EVT_PROCESS_CREATION
CREATIONS = cbprocess.PROC_EVT_PROCESS_CREATION | cbprocess.PROC_EVT_THREAD_CREATION


@pytest.fixture
def status(programs: Programs) -> str:
    return own_place.program(programs["status"], "status")


def lives_of(recorder: Recorder) -> dict[int, list[str]]:
    lives: dict[int, list[str]] = collections.defaultdict(list)
    for row in list(recorder.events):
        lives[row["process_id"]].append(row["event"])
    return lives


def wait_for_end_of(recorder: Recorder, process_id: int) -> None:
    ends = recorder.of
    wait_until(
        lambda: process_id in {row["process_id"] for row in ends("process_termination")}, 60, "the end"
    )


# ---- Lives ----


def test_short_lives_are_whole_and_in_order(status: str) -> None:
    """/proc has nothing of them any more when a handler is told."""
    with observing() as recorder:
        recorder.filter.add_rule(process_id=-1, action="allow")
        in_shell(f"for i in $(seq 2000); do {status} 3 life; done")
        ids = wait_for_ends(recorder, "life", 2000)
        counts = recorder.filter.statistics()
    assert (counts.lost, counts.timed_out, recorder.errors) == (0, 0, [])
    lives = lives_of(recorder)
    assert {tuple(sorted(lives[number])) for number in ids} == {tuple(sorted(WHOLE_LIFE))}
    for number in ids:
        assert lives[number][-2:] == WHOLE_LIFE[-2:]
    rows = [row for row in recorder.events if row["process_id"] in set(ids)]
    assert {row["user_id"] for row in rows} == {os.getuid()}
    assert len({(row["process_id"], row["start_time"]) for row in rows}) == 2000
    ends = {row["exit_status"] for row in rows if row["event"] == "process_termination"}
    assert ends == {3}
    sequences = sorted(row["sequence"] for row in recorder.events)
    assert sequences == list(range(1, len(sequences) + 1)), "no gap and nothing twice"


def test_a_creation_names_program_and_creator(status: str) -> None:
    with observing() as recorder:
        recorder.filter.add_rule(process_id=-1, action="allow")
        before = time.time_ns()
        shell = subprocess.Popen(["/bin/sh", "-c", f"{status} 5 told 'two words'; exit 0"])
        shell.wait(60)
        (number,) = wait_for_ends(recorder, "told", 1)
    (row,) = [row for row in recorder.of("process_creation") if row["process_id"] == number]
    assert row["process_name"] == status and row["image_file_name"] == status
    assert row["arguments"] == [status, "5", "told", "two words"]
    assert row["creating_process_id"] == row["parent_process_id"] == shell.pid
    assert row["creating_thread_id"] == shell.pid
    assert before <= row["time_ns"] <= time.time_ns()
    assert row["decided_by_rule"] and not row["held"]


def test_ends_by_signals_and_of_threads(programs: Programs) -> None:
    with observing() as recorder:
        recorder.filter.add_rule(process_id=-1, action="allow")
        in_shell("/bin/sh -c 'kill -9 $$' killed")
        wait_for_ends(recorder, "killed", 1)
        (number,) = ids_of(recorder, "killed")
    (end,) = [row for row in recorder.of("process_termination") if row["process_id"] == number]
    assert end["exit_status"] == -9


def test_forks_count_if_that_is_asked_for(status: str) -> None:
    with observing("ForkIsCreation=True") as recorder:
        recorder.filter.add_rule(process_id=-1, action="allow")
        in_shell(f"( {status} 0 forked; {status} 0 forked )")
        wait_for_ends(recorder, "forked", 2)
    forks = [row for row in recorder.of("process_creation") if row["flags"] & cbprocess.EVENT_FLAG_FORK]
    assert {row["process_id"] for row in forks} >= set(ids_of(recorder, "forked"))


# ---- Rules ----


def test_a_rule_for_one_process_and_for_its_children(status: str) -> None:
    script = f"read line; {status} 0 direct; /bin/sh -c '{status} 0 deeper; true'"
    for children, expected in ((False, {"direct"}), (True, {"direct", "deeper"})):
        shell = subprocess.Popen(["/bin/sh", "-c", script], stdin=subprocess.PIPE)
        with observing(events=LIFETIMES) as recorder:
            recorder.filter.add_rule(process_id=shell.pid, action="allow", include_children=children)
            shell.communicate(b"\n", 60)
            wait_for_end_of(recorder, shell.pid)
            found = {name for name in ("direct", "deeper") if ids_of(recorder, name)}
            assert found == expected
            others = {row["process_id"] for row in recorder.of("process_termination")} - {shell.pid}
            assert (others != set()) == children, "the ends of children are theirs"


def test_a_rule_by_name_follows_executions(programs: Programs, tmp_path: Path) -> None:
    """A process is matched again under each program that it executes."""
    named = own_place.program(programs["status"], "named-by-rule")
    other = own_place.program(programs["status"], "not-named")
    with observing() as recorder:
        recorder.filter.add_rule(name="named-by-*", action="allow")
        in_shell(f"{other} 0 no", f"{named} 0 yes", f"exec {named} 0 after")
        wait_for_ends(recorder, "yes", 1)
        wait_for_ends(recorder, "after", 1)
    names = {Path(row["process_name"]).name for row in recorder.of("process_termination")}
    assert names == {"named-by-rule"}
    assert ids_of(recorder, "no") == []


def test_an_ignored_process_is_silent(status: str) -> None:
    with observing() as recorder:
        recorder.filter.add_rule(process_id=-1, action="allow")
        recorder.filter.add_rule(name="status", action="ignore")
        in_shell(f"{status} 0 silent", "/bin/sh -c 'exit 0' loud")
        wait_for_ends(recorder, "loud", 1)
    ends = {Path(row["process_name"]).name for row in recorder.of("process_termination")}
    assert "status" not in ends


def test_rules_that_go_and_come(status: str) -> None:
    with observing() as recorder:
        for _ in range(3):
            recorder.filter.add_rule(name="status", action="allow")
            in_shell(f"{status} 0 on")
            wait_until(lambda: ids_of(recorder, "on"), 60, "the event")
            recorder.filter.remove_rule(name="status", action="allow")
            in_shell(f"{status} 0 off")
            recorder.events.clear()
        time.sleep(0.3)
        assert ids_of(recorder, "off") == []


# ---- The controller's own requests, and what handlers start ----


def test_own_requests_fire_only_if_that_is_asked_for(status: str) -> None:
    for own in (False, True):
        with watching(f"FilterOwnRequests={own}", events=CREATION) as recorder:
            assert subprocess.run([status, "0", "own"], timeout=60).returncode == 0
            in_shell(f"{status} 0 others")
            wait_until(lambda: ids_of(recorder, "others"), 60, "another's request")
            time.sleep(0.2)
            rows = [row for row in recorder.of("process_creation") if "own" in row["arguments"]]
            assert len(rows) == own
            assert not any(row["held"] for row in rows), "its own requests are never held"


def test_nothing_of_what_a_handler_starts_fires(status: str) -> None:
    """Whole trees, also those that outlive the handler."""
    started: list[int] = []

    def decide(kind: str, event: Any) -> None:
        if kind == "process_creation" and "trigger" in event.arguments:
            line = f"{status} 0 inner; /bin/sh -c '{status} 0 inner; true'; (sleep 0.3; {status} 0 inner) &"
            started.append(subprocess.Popen(["/bin/sh", "-c", line]).wait(60))

    with watching(decide=decide) as recorder:
        in_shell(f"{status} 0 trigger")
        wait_until(lambda: started, 60, "the handler")
        time.sleep(1)
        in_shell(f"{status} 0 outer")
        wait_for_ends(recorder, "outer", 1)
        assert recorder.errors == []
    assert ids_of(recorder, "inner") == []


# ---- Deciding ----


@pytest.fixture(params=ways())
def way(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


def test_answers_in_parallel(way: str, status: str) -> None:
    """Each handler waits until all have been asked."""
    barrier = threading.Barrier(4, timeout=30)

    def decide(kind: str, event: Any) -> None:
        if kind == "process_creation" and "together" in event.arguments:
            barrier.wait()

    with watching(way, events=CREATION, decide=decide) as recorder:
        in_shell(" & ".join([f"{status} 0 together"] * 4) + " & wait")
        assert recorder.errors == []
        assert len(ids_of(recorder, "together")) == 4


def test_the_refusal_of_one_filter_refuses(way: str, status: str) -> None:
    """Two filters of one program are both asked, the one with the higher altitude first."""

    def refuse(kind: str, event: Any) -> None:
        if kind == "process_creation" and "bad" in event.arguments:
            event.result_code = cbprocess.ERROR_ACCESS_DENIED

    with watching(way, "Altitude=100", events=CREATION, decide=refuse) as low:
        with watching(way, "Altitude=200", events=CREATION) as high:
            done = in_shell(f"{status} 0 good && echo good", f"{status} 0 bad || echo refused")
            assert done.stdout.split() == ["good", "refused"]
            assert (low.filter.statistics().refused, high.filter.statistics().refused) == (1, 0)
        assert [len(ids_of(low, name)) for name in ("good", "bad")] == [1, 1]
        assert [len(ids_of(high, name)) for name in ("good", "bad")] == [1, 1]
        in_shell(f"{status} 0 later")
        wait_until(lambda: ids_of(low, "later"), 60, "the other filter goes on")
        assert ids_of(high, "later") == []


def test_rules_for_exact_paths_hold_these_files_alone(status: str, programs: Programs) -> None:
    """Also a file that takes the place of another one."""
    listed, other = own_place.program(status, "listed"), own_place.program(status, "unlisted")

    def refuse(kind: str, event: Any) -> None:
        if kind == "process_creation" and "no" in event.arguments:
            event.result_code = cbprocess.ERROR_ACCESS_DENIED

    with watching(FANOTIFY, events=CREATION, everything=False, decide=refuse) as recorder:
        recorder.filter.add_filtered_process_by_name(listed, False)
        assert in_shell(f"{listed} 0 yes && echo ran", f"{listed} 0 no || echo refused").stdout.split() == [
            "ran",
            "refused",
        ]
        assert in_shell(f"{other} 0 no && echo ran").stdout == "ran\n"
        fresh = Path(listed).with_name("fresh")
        shutil.copy(status, fresh)
        fresh.rename(listed)
        time.sleep(0.5)
        assert in_shell(f"{listed} 0 no || echo refused").stdout == "refused\n"
        assert recorder.errors == []
    rows = recorder.of("process_creation")
    assert [row["process_name"] for row in rows] == [listed] * 3
    assert all(row["held"] for row in rows)


IN_MEMORY = """
import os, shutil
file = os.memfd_create("late", 0)
os.write(file, open(shutil.which("sleep"), "rb").read())
os.execve(file, ["sleep", "20"], {})
"""


@pytest.mark.parametrize("by_rule", [True, False])
def test_what_nothing_holds_is_refused_late(by_rule: bool) -> None:
    """A rule for an exact path marks that file alone, and a file in memory has no mark: it runs already when
    it is refused, and ends then. Nobody else is concerned, so this needs no HoldPaths."""

    def refuse(kind: str, event: Any) -> None:
        event.result_code = cbprocess.ERROR_ACCESS_DENIED

    with watching("HoldPaths=", events=CREATION, everything=False, decide=refuse) as recorder:
        if by_rule:
            recorder.filter.add_rule(name="/memfd:late", action="deny")
        else:
            recorder.filter.add_filtered_process_by_name("/memfd:late", False)
        starter = "import subprocess, sys; print(subprocess.call([sys.executable, '-c', sys.argv[1]]))"
        assert run([sys.executable, "-c", starter, IN_MEMORY]).stdout == "-9\n"
        wait_until(lambda: recorder.filter.statistics().refused == 1, 60, "the count")
        (row,) = recorder.of("process_creation")
        assert row["process_name"] == "/memfd:late" and not row["held"]
        assert row["decided_by_rule"] == by_rule


@pytest.mark.parametrize("action", ["allow", "deny"])
def test_a_deadline_passes(way: str, action: str, status: str) -> None:
    """The operation goes on after it, or is refused, and the late answer changes nothing."""
    late = threading.Event()

    def decide(kind: str, event: Any) -> None:
        if kind == "process_creation" and "slow" in event.arguments:
            late.wait(20)
            event.result_code = cbprocess.ERROR_ACCESS_DENIED if action == "allow" else 0

    with watching(
        way, f"TimeoutAction={action}", events=CREATION, timeout_ms=3000, decide=decide
    ) as recorder:
        begun = time.monotonic()
        done = in_shell(f"{status} 0 slow && echo ran")
        took = time.monotonic() - begun
        late.set()
        assert done.stdout == ("ran\n" if action == "allow" else "")
        assert 2.9 < took < 12
        wait_until(lambda: recorder.filter.statistics().late == 1, 60, "the late answer")
        counts = recorder.filter.statistics()
        assert (counts.timed_out, counts.refused) == (1, int(action == "deny"))


def test_a_deadline_is_moved(way: str, status: str) -> None:
    def decide(kind: str, event: Any) -> None:
        if kind == "process_creation" and "slow" in event.arguments:
            for _ in range(3):
                time.sleep(1.5)
                assert recorder.filter.reset_timeout(3000)
            event.result_code = cbprocess.ERROR_ACCESS_DENIED

    with watching(way, events=CREATION, timeout_ms=3000, decide=decide) as recorder:
        assert in_shell(f"{status} 0 slow && echo ran").stdout == ""
        counts = recorder.filter.statistics()
        assert (counts.timed_out, counts.refused) == (0, 1)
        assert recorder.errors == []


def test_a_stop_in_a_handler_lets_everybody_go(way: str, status: str) -> None:
    def decide(kind: str, event: Any) -> None:
        if kind == "process_creation" and "stop" in event.arguments:
            recorder.filter.stop_filter()

    with watching(way, events=CREATION, decide=decide) as recorder:
        done = in_shell(f"{status} 0 stop && echo one", f"{status} 0 after && echo two")
        assert done.stdout.split() == ["one", "two"]
        wait_until(lambda: not recorder.filter.active, 60, "the stop")
        assert ids_of(recorder, "after") == []


def test_starts_and_stops_over_and_over(way: str, status: str) -> None:
    """While programs run: none is lost or stays held."""
    script = f"i=0; while [ $i -lt 400 ]; do {status} 0 || exit 1; i=$((i+1)); done; echo all"
    shell = subprocess.Popen(["/bin/sh", "-c", script], stdout=subprocess.PIPE, text=True)
    for _ in range(5):
        with watching(way, events=LIFETIMES):
            time.sleep(0.1)
    assert shell.communicate(timeout=60)[0] == "all\n"


@pytest.mark.skipif(not has_gate(), reason="the bpf driver has no gate on this kernel")
def test_starts_and_ends_wait_for_their_handler(status: str) -> None:
    """An exit that is held keeps the process: it is alive, and no zombie, while its handler looks."""
    looks: list[bool] = []

    def decide(kind: str, event: Any) -> None:
        if kind == "process_termination" and Path(event.process_name).name == "status":
            looks.append(is_alive(event.process_id))

    with watching(GATE, events=LIFETIMES, decide=decide) as recorder:
        in_shell(*[f"{status} 0 held" for _ in range(20)])
        ids = set(wait_for_ends(recorder, "held", 20))
        rows = [row for row in recorder.events if row["process_id"] in ids]
    assert looks == [True] * 20
    assert all(row["held"] for row in rows)
    assert recorder.errors == []


def test_an_overflow_is_counted(status: str) -> None:
    """A controller that stands still does not take what happens; the count says how much it has missed.
    Longer lists would get only a half of the ring."""
    count, long = 2300, ["x" * 4000] * 4
    script = f"""
import os, subprocess, sys
for number in range({count}):
    subprocess.run([{status!r}, "77", "over", *{long!r}])
subprocess.run([{status!r}, "0", "last"])
"""
    line = [sys.executable, str(Path(__file__).with_name("overflow_controller.py"))]
    everybody = {name: value for name, value in os.environ.items() if name != own_place.ONLY_DESCENDANTS}
    controller = subprocess.Popen(
        line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=everybody
    )
    assert controller.stdin and controller.stdout
    try:
        assert controller.stdout.readline() == "ready\n"
        controller.send_signal(signal.SIGSTOP)
        assert run([sys.executable, "-c", script]).returncode == 0
        controller.send_signal(signal.SIGCONT)
        time.sleep(2)
        run([status, "0", "afterwards"])
        time.sleep(1)
        controller.stdin.close()
        found = json.loads(controller.stdout.read())
    finally:
        controller.kill()
        controller.wait()
    missed = [count - found[kind] for kind in ("creations", "ends", "threads")]
    assert missed[0] > 0 and missed[1] > 0, "the ring has room for fewer"
    assert missed[0] + missed[1] <= found["lost"]
    if own_place.is_guest():  # elsewhere others make records, too
        assert found["lost"] <= sum(missed) + 10
    assert found["errors"] == [cbprocess.ERROR_NO_SYSTEM_RESOURCES]
    assert found["afterwards"] == 1


# ---- The controller ----


def test_a_fork_has_no_part_in_the_filter(status: str) -> None:
    with observing() as recorder:
        recorder.filter.add_rule(process_id=-1, action="allow")
        child = os.fork()
        if child == 0:
            try:
                recorder.filter.statistics()
            except cbprocess.CBProcessError as error:
                os._exit(error.code)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == cbprocess.ERROR_NOT_READY
        in_shell(f"{status} 0 after-fork")
        wait_for_ends(recorder, "after-fork", 1)
        assert recorder.errors == []


@pytest.fixture
def user() -> Iterator[int]:
    yield 65534


def test_who_is_not_root_is_told_what_is_missing(user: int) -> None:
    script = f"""
import os, cbprocess
cbprocess.probe_driver("bpf")
os.setgid({user}); os.setuid({user})
report = cbprocess.probe_driver("bpf")
print(report.runs, report.reason)
"""
    done = run([sys.executable, "-c", script])
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("False") and "CAP_" in done.stdout


def test_the_machine_is_counted(status: str) -> None:
    with observing() as recorder:
        recorder.filter.add_rule(process_id=-1, action="allow")
        supervised = recorder.filter.statistics().supervised
        running = sum(name.isdigit() for name in os.listdir("/proc"))
    assert abs(supervised - running) < 0.5 * running
    assert recorder.filter.config("Driver") == "bpf"
    assert GUID.startswith("{")

"""`cbprocess run` changes nothing for the command but what was asked: bare and under it a command finds,
writes and ends alike, whatever its caller is like."""

from __future__ import annotations

import ctypes
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import compilers
import pytest
import sameness
from live_tools import PROGRAMS, Programs, helper_is_sanitized, recording, wait_until
from sameness import SetUp, both, states

PR_SET_PDEATHSIG = 1
PR_SET_TIMERSLACK = 29
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
SYS_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
ADDR_NO_RANDOMIZE = 0x0040000

C = ctypes.CDLL(None)


@pytest.fixture(params=sorted(sameness.WAYS))
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def ignoring(*numbers: int) -> SetUp:
    return lambda: [signal.signal(number, signal.SIG_IGN) for number in numbers]


def blocking(*numbers: int) -> SetUp:
    return lambda: signal.pthread_sigmask(signal.SIG_BLOCK, numbers)


def limited(which: int, soft: int) -> SetUp:
    return lambda: resource.setrlimit(which, (soft, resource.getrlimit(which)[1]))


def with_oom_score() -> None:
    Path("/proc/self/oom_score_adj").write_text("500")


def in_a_folder_that_is_gone() -> None:
    # One name for all children of this process, bare or not.
    folder = os.path.join(tempfile.gettempdir(), f"cbprocess-gone-{os.getppid()}")
    os.mkdir(folder)
    os.chdir(folder)
    os.rmdir(folder)


SIGNALS: dict[str, SetUp] = {
    "children ignored": ignoring(signal.SIGCHLD),
    "ends ignored": ignoring(signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP),
    "others ignored": ignoring(signal.SIGUSR1, signal.SIGTSTP, signal.SIGALRM, signal.SIGRTMIN + 3),
    "ends blocked": blocking(signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGRTMAX),
    "all blocked": blocking(*signal.valid_signals()),
}
SETTINGS: dict[str, SetUp] = {
    "nothing": lambda: None,
    "umask": lambda: os.umask(0o027),
    "nice": lambda: os.nice(5),
    "descriptors limited": limited(resource.RLIMIT_NOFILE, 300),
    "core files limited": limited(resource.RLIMIT_CORE, 4096),
    "stack limited": limited(resource.RLIMIT_STACK, 1 << 20),
    "memory limited": limited(resource.RLIMIT_AS, 2 << 30),
    "files limited": limited(resource.RLIMIT_FSIZE, 1000 << 10),
    "personality": lambda: C.personality(ADDR_NO_RANDOMIZE),
    "oom score": with_oom_score,
    "folder": lambda: os.chdir("/"),
    "folder that is gone": in_a_folder_that_is_gone,
    "one processor": lambda: os.sched_setaffinity(0, [max(os.sched_getaffinity(0))]),
    "batch": lambda: os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0)),
    "idle input": lambda: C.syscall(SYS_IOPRIO_SET[os.uname().machine], 1, 0, 3 << 13),
    "no new rights": lambda: C.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
    "no core files": limited(resource.RLIMIT_CORE, 0),
    "what core files hold": lambda: Path("/proc/self/coredump_filter").write_text("0x7f"),
    "processor time limited": limited(resource.RLIMIT_CPU, 1000),
    "signals limited": limited(resource.RLIMIT_SIGPENDING, 64),
    "locked memory limited": limited(resource.RLIMIT_MEMLOCK, 0),
    "message queues limited": limited(resource.RLIMIT_MSGQUEUE, 0),
    "death signal": lambda: C.prctl(PR_SET_PDEATHSIG, signal.SIGUSR2, 0, 0, 0),
    "reaper": lambda: C.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0),
    "timer slack": lambda: C.prctl(PR_SET_TIMERSLACK, 70000, 0, 0, 0),
    "session": os.setsid,
    "group": lambda: os.setpgid(0, 0),
}


def of_one_group(lines: list[str], set_up: SetUp) -> list[str]:
    """Without the numbers of a session or a group that the caller has made for itself."""
    own = set_up in (SETTINGS["session"], SETTINGS["group"])
    return [line for line in lines if not (own and line.startswith("session "))]


@pytest.mark.parametrize("name", sorted(SIGNALS))
def test_signals(way: str, name: str, programs: Programs, tmp_path: Path) -> None:
    bare, supervised = states(way, programs["state"], tmp_path, SIGNALS[name])
    assert supervised == bare


# CPython ignores these two itself: only the program that comes before it knows whether its caller does.
OF_PYTHON: dict[str, SetUp] = {
    "pipe ignored": ignoring(signal.SIGPIPE),
    "sizes ignored": ignoring(signal.SIGXFSZ),
    "both ignored and blocked": lambda: [
        set_up(signal.SIGPIPE, signal.SIGXFSZ)() for set_up in (ignoring, blocking)
    ],
    "all ignored": ignoring(*signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}),
}


@pytest.mark.parametrize("name", sorted(OF_PYTHON))
def test_signals_that_python_ignores(name: str, programs: Programs, tmp_path: Path) -> None:
    bare, supervised = states("program", programs["state"], tmp_path, OF_PYTHON[name])
    assert supervised == bare
    assert [line for line in bare if line.startswith("signal ") and line.endswith(" ignored")]


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_settings(way: str, name: str, programs: Programs, tmp_path: Path) -> None:
    bare, supervised = (
        of_one_group(lines, SETTINGS[name])
        for lines in states(way, programs["state"], tmp_path, SETTINGS[name])
    )
    assert supervised == bare


def with_descriptors(closed: tuple[int, ...] = (), more: tuple[int, ...] = ()) -> SetUp:
    """Some of the standard descriptors closed, and pipes and files under other numbers."""

    def set_up() -> None:
        for number in more:
            source = os.open("/etc/passwd", os.O_RDONLY) if number % 2 else os.eventfd(0)
            os.dup2(source, number)
            if source != number:
                os.close(source)
        for number in closed:
            os.close(number)

    return set_up


DESCRIPTORS: dict[str, SetUp] = {
    "none more": with_descriptors(),
    "more": with_descriptors(more=(3, 4, 5, 9, 200)),
    "no input": with_descriptors(closed=(0,)),
    "no output": with_descriptors(closed=(1,)),
    "no errors": with_descriptors(closed=(2,)),
    "only errors": with_descriptors(closed=(0, 1), more=(3, 8)),
    "none at all": with_descriptors(closed=(0, 1, 2)),
}


@pytest.mark.skipif(not hasattr(os, "eventfd"), reason="a Python before 3.10 makes no eventfd")
@pytest.mark.parametrize("name", sorted(DESCRIPTORS))
def test_descriptors(way: str, name: str, programs: Programs, tmp_path: Path) -> None:
    bare, supervised = states(way, programs["state"], tmp_path, DESCRIPTORS[name])
    assert supervised == bare


def test_nothing_takes_the_place_of_closed_errors(way: str, tmp_path: Path) -> None:
    """What is to be said there is said nowhere: not in the file that has been opened first."""
    events = tmp_path / "events"
    line = [*sameness.WAYS[way], "run", "--output", str(events), "--", "/nowhere/program"]
    done = sameness.called(line, tmp_path / "output", with_descriptors(closed=(2,)))
    assert (done, events.read_text()) == ((127, "", ""), "")


def test_what_bash_makes_of_a_file_is_one(way: str, tmp_path: Path) -> None:
    if shutil.which("bash") is None:
        pytest.skip("there is no bash here")
    line = shlex.join([*sameness.WAYS[way], "run", "--output", os.devnull, "--"])
    done = sameness.called(["bash", "-c", f"{line} cat <(echo one) <(echo two)"], tmp_path / "output")
    assert done == (0, "one\ntwo\n", "")


PATH = f"PATH={os.defpath}".encode()
ENVIRONMENTS: dict[str, list[bytes]] = {
    "empty": [],
    "nothing said": [PATH],
    "the C locale": [PATH, b"LANG=C"],
    "the C locale for all": [PATH, b"LC_ALL=C"],
    "the C locale for characters": [b"LC_CTYPE=C", PATH],
    "another locale for characters": [b"LC_CTYPE=POSIX", b"LANG=C.UTF-8", PATH],
    "a locale": [b"LANG=C.UTF-8", PATH],
    "Python's": [PATH, b"PYTHONSAFEPATH=1", b"PYTHONUTF8=0", b"PYTHONCOERCECLOCALE=0"],
    "Python's, warned": [PATH, b"PYTHONDONTWRITEBYTECODE=1", b"PYTHONHASHSEED=7"],
    "no text": [PATH, b"A=\xff\xfe", b"\xff=1", b"LANG=\xc3"],
    "twice": [b"A=1", PATH, b"A=2", b"LC_CTYPE=C", b"LC_CTYPE=POSIX"],
    "no variables": [b"nothing", PATH, b"", b"=", b"=C:=x"],
    "another's sockets": [PATH, b"LISTEN_PID=1", b"LISTEN_FDS=1", b"LISTEN_PIDFDID=17"],
    "the locale of programs": [PATH, b"LOCPATH=/nowhere", b"LANGUAGE=de", b"LC_MESSAGES=C"],
}


@pytest.mark.parametrize("name", sorted(ENVIRONMENTS))
def test_environment(way: str, name: str, programs: Programs, tmp_path: Path) -> None:
    file = tmp_path / "state"
    command = [programs["state"], str(file)]
    found = []
    for front in ([], [*sameness.WAYS[way], "run", "--output", os.devnull, "--"]):
        line = [*front, *command]
        file.write_text("")
        sameness.called(
            line, tmp_path / "output", lambda line=line: sameness.execute_with(ENVIRONMENTS[name], line)
        )
        found.append(file.read_text("latin-1").splitlines())
    assert [line for line in found[0] if line.startswith("environment ")] or name == "empty"
    assert found[1] == found[0]


def test_sockets_that_are_handed_over(way: str, tmp_path: Path) -> None:
    """They are for the process whose id LISTEN_PID says: the command."""
    script = (
        'test "$LISTEN_PID" = "$$" && echo "$LISTEN_FDS ${LISTEN_PIDFDID-none} $(readlink /proc/$$/fd/3)"'
    )

    def run_by_a_manager(line: list[str]) -> sameness.Result:
        def set_up() -> None:
            os.dup2(os.open("/dev/null", os.O_RDONLY), 3)
            entries = [PATH, f"LISTEN_PID={os.getpid()}".encode(), b"LISTEN_FDS=1", b"LISTEN_PIDFDID=99"]
            sameness.execute_with(entries, line)

        return sameness.called(line, tmp_path / "output", set_up)

    command = ["/bin/sh", "-c", script]
    assert run_by_a_manager(command).output == "1 99 /dev/null\n"
    supervised = run_by_a_manager([*sameness.WAYS[way], "run", "--output", os.devnull, "--", *command])
    assert supervised == (0, "1 none /dev/null\n", "")


def test_make_has_its_job_server(way: str, tmp_path: Path) -> None:
    """Two recipes that wait for one another end only if both run at once."""
    if shutil.which("make") is None:
        pytest.skip("there is no make here")
    wrapped = shlex.join([*sameness.WAYS[way], "run", "--output", os.devnull, "--"])
    (tmp_path / "outer").write_text(f"all:\n\t+@{wrapped} $(MAKE) -s -f inner both\n")
    wait = "i=0; while [ ! -e {} ] && [ $$i -lt 3000 ]; do i=$$((i+1)); sleep 0.01; done"
    meet = f"\t@touch $@; {wait}; test -e {{}}\n"
    (tmp_path / "inner").write_text(
        "both: one two\n.PHONY: both one two\n"
        f"one:\n{meet.format('two', 'two')}two:\n{meet.format('one', 'one')}"
    )
    done = subprocess.run(
        ["make", "-s", "-j2", "-f", "outer"], cwd=tmp_path, capture_output=True, text=True, timeout=110
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    "script", ["exit 3", "kill -9 $$", "kill -TERM $$", "exit 255", "sleep 0 & wait $!; exit 7"]
)
@pytest.mark.parametrize("name", ["nothing", "children ignored"])
def test_status(way: str, name: str, script: str, tmp_path: Path) -> None:
    set_up = {**SIGNALS, **SETTINGS}[name]
    bare, supervised = both(way, ["sh", "-c", script], tmp_path, set_up)
    assert supervised == bare


def prepared_to_wait(folder: Path) -> list[str]:
    """Options with which `cbprocess run` waits for the reader of a pipe before it starts the command."""
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    return ["--output", str(pipe)]


def started(way: str, options: list[str], command: list[str]) -> subprocess.Popen[str]:
    line = [*sameness.WAYS[way], "run", *options, "--", *command]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def is_blocked(process_id: int, number: int) -> bool:
    status = Path(f"/proc/{process_id}/status").read_text()
    mask = next(line.split()[1] for line in status.splitlines() if line.startswith("SigBlk:"))
    return bool(int(mask, 16) >> (number - 1) & 1)


ENDS = [signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGALRM]


@pytest.mark.parametrize("number", ENDS)
def test_a_signal_before_the_command_runs(way: str, number: int, tmp_path: Path) -> None:
    """It is never started then, and nobody reads about our code; nor is what we wait for waited for."""
    options = prepared_to_wait(tmp_path)
    wrapper = started(way, options, ["touch", str(tmp_path / "has run")])
    # All of them are blocked at once; SIGINT alone may have been before.
    wait_until(lambda: is_blocked(wrapper.pid, signal.SIGUSR2), 100, "signals are blocked")
    wrapper.send_signal(number)
    try:
        output, errors = wrapper.communicate(timeout=100)
    finally:
        wrapper.kill()
    assert (wrapper.returncode, output, errors) == (128 + number, "", "")
    assert not (tmp_path / "has run").exists()


@pytest.mark.parametrize("number", ENDS)
def test_a_signal_to_us_alone_goes_to_the_command(way: str, number: int) -> None:
    script = (
        f"import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [{int(number)}]); "
        f"print('ready', flush=True); print(signal.sigwaitinfo([{int(number)}]).si_signo)"
    )
    wrapper = started(way, ["--output", os.devnull], [sys.executable, "-c", script])
    assert wrapper.stdout is not None and wrapper.stdout.readline() == "ready\n"
    wrapper.send_signal(number)
    output, errors = wrapper.communicate(timeout=100)
    assert (wrapper.returncode, output, errors) == (0, f"{int(number)}\n", "")


# The interpreter notes each signal in the pipe when it comes, wherever the program is just then.
COUNTING = """
import os, signal, sys
noted, notes = os.pipe()
os.set_blocking(notes, False)
signal.set_wakeup_fd(notes)
for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1):
    signal.signal(number, lambda number, frame: None)
os.write(1, b"ready\\n")
counts = dict.fromkeys([signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1], 0)
while not counts[signal.SIGUSR1]:
    counts[os.read(noted, 1)[0]] += 1
    os.write(1, b"got it\\n")
# Of several that come at once the last one is noted first.
os.set_blocking(noted, False)
try:
    while True:
        counts[os.read(noted, 1)[0]] += 1
except BlockingIOError:
    pass
os.write(1, b"%d %d\\n" % (counts[signal.SIGINT], counts[signal.SIGQUIT]))
"""


def test_what_the_terminal_sends_comes_once(way: str) -> None:
    """The command has it from the terminal: from us it would come again."""
    master, slave = os.openpty()
    line = [*sameness.WAYS[way], "run", "--output", os.devnull, "--", sys.executable, "-c", COUNTING]
    at_terminal = [sys.executable, str(PROGRAMS / "at_terminal.py")]
    wrapper = subprocess.Popen([*at_terminal, *line], stdin=slave, stdout=subprocess.PIPE, text=True)
    try:
        assert wrapper.stdout is not None and wrapper.stdout.readline() == "ready\n"
        # What it sent on at once would be one with what the terminal has sent, as long as that is pending.
        wrapper.send_signal(signal.SIGSTOP)
        for key in (b"\x03", b"\x1c"):
            os.write(master, key)
            assert wrapper.stdout.readline() == "got it\n"
        wrapper.send_signal(signal.SIGCONT)
        # Sent on behind those before it.
        wrapper.send_signal(signal.SIGUSR1)
        assert wrapper.communicate(timeout=100)[0] == "got it\n1 1\n"
    finally:
        wrapper.kill()
        wrapper.wait()
        os.close(master)
        os.close(slave)


def test_what_a_signal_ends_before_it_runs_has_ended_by_it() -> None:
    """The launcher is the program that is not there yet."""
    with recording() as recorder:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        try:
            child = recorder.filter._popen(
                True,
                ["sh", "-c", "exit 4"],
                preexec_fn=lambda: os.kill(os.getpid(), signal.SIGTERM),
                _words=" 0 0 0 0 0",
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        assert child.wait() == -signal.SIGTERM


BURYING = """
import ctypes, subprocess, sys
from cbprocess.cli.children import wait_for_end
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # orphans come to us, as to process 1
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]])
wait_for_end(child, True)
sys.exit(child.wait())
"""
LEAVING_ORPHANS = """
import os, subprocess, sys, time
for _ in range(3):
    subprocess.run(["sh", "-c", "sleep 0 &"])
limit = time.monotonic() + 100
parent = os.getppid()
while open(f"/proc/{parent}/task/{parent}/children").read().split() != [str(os.getpid())]:
    if time.monotonic() > limit:
        sys.exit(1)
    time.sleep(0.01)
sys.exit(7)
"""


def test_orphans_that_come_to_us_are_buried() -> None:
    done = subprocess.run([sys.executable, "-c", BURYING, LEAVING_ORPHANS], timeout=110)
    assert done.returncode == 7


@pytest.mark.parametrize(
    ("which", "soft", "name"),
    [
        (resource.RLIMIT_FSIZE, 0, "RLIMIT_FSIZE (0 bytes)"),
        (resource.RLIMIT_FSIZE, 65536, "RLIMIT_FSIZE (65536 bytes)"),
        (resource.RLIMIT_NOFILE, 10, "RLIMIT_NOFILE (10 for this process)"),
    ],
)
def test_a_limit_that_leaves_no_room_is_named(
    way: str, which: int, soft: int, name: str, tmp_path: Path
) -> None:
    line = [*sameness.WAYS[way], "run", "--output", os.devnull, "--", "touch", str(tmp_path / "has run")]
    done = subprocess.run(line, capture_output=True, text=True, timeout=100, preexec_fn=limited(which, soft))
    assert done.returncode == 125
    assert name in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "has run").exists()


AT_THE_LIMIT = """
import resource, signal, sys
import cbprocess
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # as a program in C has it
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
errors = []
instance = cbprocess.CBProcess()
instance.initialize("{5ABD3A8B-6A3F-4C52-9F0C-5E1F0A1C7D11}")
instance.on_error = lambda error: errors.append(error.error_code)
instance.config("EventsToFire=-1")
instance.config(f"RecordTo={sys.argv[1]}")
instance.start_filter(0)
assert instance.popen(["true"]).wait() == 0
resource.setrlimit(resource.RLIMIT_FSIZE, (64, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
assert instance.popen(["true"]).wait() == 0
try:
    for number in range(2000):
        instance.add_rule(name=f"/nowhere/{number}", action="deny")
except cbprocess.CBProcessError as error:
    print(error.code)
instance.stop_filter()
print("stopped", cbprocess.ERROR_NO_SYSTEM_RESOURCES)
"""


def test_a_controller_outlives_its_limit_on_files(tmp_path: Path) -> None:
    """Shared memory, rules and a recording are files: at the limit there are errors, and no SIGXFSZ."""
    line = [sys.executable, "-c", AT_THE_LIMIT, str(tmp_path / "recording")]
    done = subprocess.run(line, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout) == (0, "1450\nstopped 1450\n"), done.stderr


LIAR = """
#include <unistd.h>
uid_t getuid(void) { return 4321; }
uid_t geteuid(void) { return 4321; }
"""


def test_a_library_that_lies_about_the_user(tmp_path: Path) -> None:
    """As fakeroot's does: who somebody is the kernel says."""
    if helper_is_sanitized():
        pytest.skip("a sanitizer's library has to be the first that is loaded")
    (tmp_path / "liar.c").write_text(LIAR)
    library = tmp_path / "liar.so"
    line = [*compilers.c_compiler(), "-shared", "-fPIC", "-o", str(library), str(tmp_path / "liar.c")]
    subprocess.run(line, check=True, timeout=100)
    done = subprocess.run(
        [*sameness.WAYS["module"], "run", "--output", os.devnull, "--", "sh", "-c", "id -u; exit 4"],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "LD_PRELOAD": str(library)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (4, "4321\n", "")

"""What the programs tell of operations on other processes, and what they refuse where BPF LSM is active.

Each operation is done by another process, which says how it has ended. Rules are entries of the table of
processes that the tests make for a target of their own."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple, Optional

import pytest
from machine.programs import records
from machine.programs.gate_server import HANDLE as STOP_HANDLE
from machine.programs.gate_server import GateServer, Stop
from machine.programs.records import (
    EXEMPT,
    HANDLE,
    HOLD_SHIFT,
    PROCESS_HANDLE,
    REFUSED,
    THREAD_HANDLE,
    Programs,
    Record,
)

pytestmark = pytest.mark.skipif(bool(records.obstacle()), reason=records.obstacle() or "runs")

WANTED = PROCESS_HANDLE | THREAD_HANDLE
TERMINATE, VM_OPERATION, VM_READ, VM_WRITE, DUP_HANDLE = 0x1, 0x8, 0x10, 0x20, 0x40
SET_QUOTA, SET_INFORMATION, QUERY_INFORMATION, SUSPEND = 0x100, 0x200, 0x400, 0x800
QUERY_LIMITED, SYNCHRONIZE, EVERYTHING = 0x1000, 0x100000, 0x101FFF
THREAD_TERMINATE, THREAD_SUSPEND, THREAD_SET, THREAD_QUERY = 0x1, 0x2, 0x20, 0x800

PRELUDE = """
import ctypes, os, resource, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(*arguments):
    if libc.syscall(*[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]) < 0:
        raise OSError(ctypes.get_errno(), "")
def move_memory(number):
    lines = open(f"/proc/{target}/maps").read().splitlines()
    place = int(next(line for line in lines if "[stack]" in line).split("-")[0], 16)  # not used yet
    local = ctypes.create_string_buffer(8)
    own = (ctypes.c_uint64 * 2)(ctypes.addressof(local), 8)
    other = (ctypes.c_uint64 * 2)(place, 8)
    call(number, target, own, 1, other, 1, 0)
target = int(sys.argv[1])
sys.stdin.readline()
try:
    ORDER
except OSError as error:
    sys.exit(error.errno)
"""


class Operation(NamedTuple):
    order: str
    access: int
    is_thread: bool = False
    count: int = 1
    is_asked: bool = True  # a handler can decide
    needs: tuple[int, int] = (5, 8)  # the kernel whose security hooks see it


OPERATIONS = {
    "kill-0": Operation("os.kill(target, 0)", QUERY_LIMITED),
    "kill-term": Operation("os.kill(target, 12)", TERMINATE),
    "kill-cont": Operation("os.kill(target, signal.SIGCONT)", SUSPEND),
    "kill-group": Operation("os.killpg(target, 0)", QUERY_LIMITED, is_asked=False),
    "tgkill": Operation("call(234, target, target, 12)", THREAD_TERMINATE, True),
    "tkill": Operation("call(200, target, 12)", THREAD_TERMINATE, True),
    "pidfd_open": Operation("os.pidfd_open(target)", QUERY_LIMITED | SYNCHRONIZE, needs=(6, 9)),
    "process_vm_readv": Operation("move_memory(310)", VM_READ, is_asked=False),
    "process_vm_writev": Operation("move_memory(311)", VM_WRITE | VM_OPERATION, is_asked=False),
    "prlimit-get": Operation("resource.prlimit(target, resource.RLIMIT_NOFILE)", QUERY_INFORMATION),
    "prlimit-set": Operation(
        "resource.prlimit(target, resource.RLIMIT_CORE, (0, 0))", SET_QUOTA | QUERY_INFORMATION
    ),
    "setpriority": Operation("os.setpriority(os.PRIO_PROCESS, target, 1)", SET_INFORMATION),
    "ioprio_set": Operation("call(251, 1, target, 2 << 13 | 4)", SET_INFORMATION),
    "sched_setaffinity": Operation("os.sched_setaffinity(target, {0})", THREAD_SET, True),
    "sched_setscheduler": Operation(
        "os.sched_setscheduler(target, os.SCHED_BATCH, os.sched_param(0))", THREAD_SET, True
    ),
    "ptrace": Operation("call(101, 0x4206, target, 0, 0)", VM_READ | VM_WRITE | VM_OPERATION | SUSPEND),
    "memory-read": Operation("os.open(f'/proc/{target}/mem', os.O_RDONLY)", VM_READ),
    "memory-write": Operation("os.open(f'/proc/{target}/mem', os.O_WRONLY)", VM_WRITE | VM_OPERATION),
    "setown": Operation("import fcntl; fcntl.fcntl(1, fcntl.F_SETOWN, target)", TERMINATE | SUSPEND),
    "kcmp": Operation("call(312, os.getpid(), target, 0, 0, 0)", QUERY_INFORMATION, is_asked=False),
}
if os.uname().machine != "x86_64":
    OPERATIONS = {name: value for name, value in OPERATIONS.items() if "call(" not in value.order}


def has_lsm() -> bool:
    return bool(records.bpf_table().is_lsm_active())


class Target:
    """A process that handles signals, in a group of its own, in which operations are done on it."""

    def __init__(self, programs: Programs) -> None:
        self._programs = programs
        code = "import signal, sys, time\nsignal.signal(12, lambda *_: None)\nprint(flush=True)\n"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code + "while True: time.sleep(100)"],
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self.process.stdout
        self.process.stdout.readline()
        self.pid = self.process.pid

    def operate(self, order: str, mask: int = 0) -> tuple[int, int]:
        """Id and exit code of the process that has done it: 0, or the errno."""
        actor = self.start(order, mask)
        actor.communicate(b"\n", timeout=60)
        return actor.pid, actor.returncode

    def start(self, order: str, mask: int = 0) -> subprocess.Popen[bytes]:
        code = PRELUDE.replace("ORDER", order)
        actor = subprocess.Popen([sys.executable, "-c", code, str(self.pid)], stdin=subprocess.PIPE)
        self._programs.set_task(actor.pid, mask)
        return actor

    def end(self) -> None:
        self._programs.tasks.remove(self.pid)  # a strip rule protects it from this test, too
        self.process.kill()
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()


@pytest.fixture(scope="module")
def loaded() -> Iterator[Programs]:
    with Programs("lsm" if has_lsm() else "handles") as made:
        yield made


@pytest.fixture
def programs(loaded: Programs) -> Programs:
    loaded.reset()
    return loaded


@pytest.fixture
def target(programs: Programs) -> Iterator[Target]:
    made = Target(programs)
    try:
        yield made
    finally:
        made.end()


def told_by(programs: Programs, process_id: int) -> list[Record]:
    return [r for r in programs.read() if r.type == HANDLE and r.process_id == process_id]


def hook_is_missing(operation: Operation) -> bool:
    return has_lsm() and records.bpf_table().kernel_version() < operation.needs


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_told(programs: Programs, target: Target, name: str) -> None:
    operation = OPERATIONS[name]
    if hook_is_missing(operation):
        pytest.skip("this kernel has no security hook there")
    programs.set_task(target.pid, WANTED)
    process_id, code = target.operate(operation.order)
    assert code == 0
    told = told_by(programs, process_id)
    assert len(told) == operation.count
    values = told[0].handle()
    assert values["target_process_id"] == target.pid
    assert values["target_thread_id"] == (target.pid if operation.is_thread else 0)
    assert (values["access"], values["lost_access"], told[0].flags) == (operation.access, 0, 0)
    assert programs.setting("waked") >= 1


def test_the_callers_mask_is_enough(programs: Programs, target: Target) -> None:
    process_id, _ = target.operate("os.kill(target, 0)", mask=PROCESS_HANDLE)
    assert len(told_by(programs, process_id)) == 1


def test_what_nobody_wants_is_not_told(programs: Programs, target: Target) -> None:
    programs.set_task(target.pid, THREAD_HANDLE)
    process_id, _ = target.operate("os.kill(target, 0)")
    assert not told_by(programs, process_id)


def test_an_exempt_caller_is_not_told(programs: Programs, target: Target) -> None:
    programs.set_task(target.pid, WANTED)
    process_id, _ = target.operate("os.kill(target, 0)", mask=EXEMPT)
    assert not told_by(programs, process_id)


def test_operations_on_oneself_are_not_told(programs: Programs, target: Target) -> None:
    order = "os.kill(os.getpid(), 0); os.sched_setaffinity(0, {0}); open('/proc/self/mem')"
    order += "; os.pidfd_open(os.getpid())"
    process_id, code = target.operate(order, mask=WANTED)
    assert code == 0
    assert not told_by(programs, process_id)


def test_the_controllers_own_operations(programs: Programs, target: Target) -> None:
    programs.set(controller_process_id=os.getpid())
    programs.set_task(target.pid, WANTED)
    os.kill(target.pid, 0)
    assert not told_by(programs, os.getpid())
    programs.set(observes_own=1)
    os.kill(target.pid, 0)
    assert len(told_by(programs, os.getpid())) == 1


def test_a_duplication(programs: Programs, target: Target) -> None:
    programs.set_task(target.pid, WANTED)
    number = 438
    process_id, code = target.operate(f"call({number}, os.pidfd_open(target), 1, 0)")
    assert code == 0
    found = [r for r in told_by(programs, process_id) if r.handle()["system_call"] == number]
    assert len(found) == 1
    values = found[0].handle()
    assert (values["source_process_id"], values["target_process_id"]) == (target.pid, target.pid)
    assert values["access"] == DUP_HANDLE


@pytest.mark.parametrize("order", ["os.pidfd_open(target)", "os.open(f'/proc/{target}', os.O_RDONLY)"])
def test_a_signal_by_descriptor(programs: Programs, target: Target, order: str) -> None:
    programs.set_task(target.pid, WANTED)
    process_id, code = target.operate(f"signal.pidfd_send_signal({order}, 12)")
    assert code == 0
    assert [r.handle()["access"] for r in told_by(programs, process_id)][-1] == TERMINATE


def test_a_signal_to_a_threads_descriptor(programs: Programs, target: Target) -> None:
    if records.bpf_table().kernel_version() < (6, 9):
        pytest.skip("pidfds of threads are younger")
    programs.set_task(target.pid, WANTED)
    process_id, code = target.operate("signal.pidfd_send_signal(os.pidfd_open(target, os.O_EXCL), 12)")
    assert code == 0
    values = [r.handle() for r in told_by(programs, process_id)]
    assert [v["target_thread_id"] for v in values] == [target.pid] * 2
    assert [v["access"] for v in values] == [THREAD_QUERY | SYNCHRONIZE, THREAD_TERMINATE]


def test_a_caller_in_another_namespace(programs: Programs, target: Target) -> None:
    """It names its child by another number than the system does."""
    programs.set(default_mask=0)
    script = "sleep 1000 & kill -0 $!; kill -9 $!; wait"
    process = subprocess.Popen(
        ["unshare", "-pf", "/bin/sh", "-c", f"echo; read a; {script}; :"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout and process.stdin
    process.stdout.readline()
    (inner,) = [
        r.process_id for r in programs.read() if r.type == records.FORK and r.fork()[0] == process.pid
    ]
    programs.set_task(inner, WANTED)
    process.communicate(b"\n")
    told = [(r, r.handle()) for r in programs.read() if r.type == HANDLE]
    accesses = [v["access"] for r, v in told if r.process_id == inner]
    assert accesses == [QUERY_LIMITED, TERMINATE]
    assert all(v["target_process_id"] > inner for r, v in told if r.process_id == inner)


# ---- Strip rules ----

needs_lsm = pytest.mark.skipif(not has_lsm(), reason="BPF LSM is not active")


@needs_lsm
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_strip_rule_refuses(programs: Programs, target: Target, name: str) -> None:
    operation = OPERATIONS[name]
    if hook_is_missing(operation):
        pytest.skip("this kernel has no security hook there")
    programs.set_task(target.pid, WANTED, strip=EVERYTHING)
    process_id, code = target.operate(operation.order)
    assert code == errno.EPERM
    (record,) = told_by(programs, process_id)
    assert record.flags == REFUSED
    assert record.handle()["lost_access"] == operation.access
    assert target.process.poll() is None


@needs_lsm
def test_other_rights_are_left(programs: Programs, target: Target) -> None:
    programs.set_task(target.pid, WANTED, strip=TERMINATE)
    assert target.operate("os.kill(target, 0)")[1] == 0
    assert target.operate("os.kill(target, 9)")[1] == errno.EPERM
    assert target.operate("os.open(f'/proc/{target}/mem', os.O_RDONLY)")[1] == 0
    assert target.process.poll() is None


@needs_lsm
def test_a_refusal_is_told_although_nobody_wants_it(programs: Programs, target: Target) -> None:
    programs.set_task(target.pid, 0, strip=TERMINATE)
    process_id, _ = target.operate("os.kill(target, 9)")
    assert len(told_by(programs, process_id)) == 1
    assert programs.setting("waked") == 0


@needs_lsm
def test_a_protected_creator_keeps_its_rights(programs: Programs, target: Target) -> None:
    actor = target.start("os.kill(target, 12)")
    start = 77
    programs.set_task(target.pid, 0, strip=TERMINATE, creator=actor.pid, creator_start=start)
    programs.set_task(actor.pid, 0, strip=TERMINATE, start=start)
    actor.communicate(b"\n")
    assert actor.returncode == 0
    other = target.start("os.kill(target, 12)")
    programs.set_task(other.pid, 0, strip=TERMINATE, start=start)
    other.communicate(b"\n")
    assert other.returncode == errno.EPERM


# ---- A handler's decision ----

needs_gate = pytest.mark.skipif(
    not has_lsm() or records.bpf_table().kernel_version() < (6, 18), reason="needs BPF LSM and Linux 6.18"
)


class Asked:
    """Programs with which a handler decides; the verdict may be changed."""

    def __init__(self) -> None:
        self.verdict: Optional[bool] = True
        self.programs = Programs(records.of_this_kernel("lsmgate"))
        self.server = GateServer(self.programs.objects[0].map_descriptor("slots"), self._decide)
        self.target: Optional[Target] = None

    def _decide(self, stop: Stop) -> Optional[bool]:
        return self.verdict

    def begin(self) -> Target:
        self.programs.reset()
        self.server.stops.clear()
        self.programs.set(
            controller_process_id=os.getpid(),
            gate_address=self.server.address,
            gate_process_id=self.server.process_id,
        )
        self.target = Target(self.programs)
        return self.target

    def end(self) -> None:
        if self.target:
            self.target.end()
        self.programs.set(gate_process_id=0)

    def close(self) -> None:
        self.programs.__exit__()
        self.server.close()


def target_of(asked: Asked) -> Target:
    assert asked.target
    return asked.target


@pytest.fixture(scope="module")
def gate() -> Iterator[Asked]:
    made = Asked()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def asked(gate: Asked) -> Iterator[Asked]:
    gate.begin()
    try:
        yield gate
    finally:
        gate.end()


@needs_gate
@pytest.mark.parametrize("verdict", [True, False, None])
@pytest.mark.parametrize("name", [name for name, operation in OPERATIONS.items() if operation.is_asked])
def test_a_handler_decides(asked: Asked, name: str, verdict: Optional[bool]) -> None:
    operation = OPERATIONS[name]
    asked.verdict = verdict
    asked.programs.set_task(target_of(asked).pid, WANTED << HOLD_SHIFT | WANTED)
    process_id, code = target_of(asked).operate(operation.order)
    assert code == (errno.EPERM if verdict is False else 0)
    stops = [Record.of(stop.body) for stop in asked.server.stops if stop.stop == STOP_HANDLE]
    assert [(r.process_id, r.handle()["access"]) for r in stops] == [(process_id, operation.access)]
    assert not told_by(asked.programs, process_id)


@needs_gate
def test_the_caller_waits_and_can_be_killed(asked: Asked) -> None:
    asked.programs.set_task(target_of(asked).pid, WANTED << HOLD_SHIFT | WANTED)
    with asked.server.stopped():
        actor = target_of(asked).start("os.kill(target, 12)")
        assert actor.stdin
        actor.stdin.write(b"\n")
        actor.stdin.flush()
        time.sleep(1)
        assert actor.poll() is None
        actor.kill()
        actor.wait(10)
        record = asked.programs.read_until(lambda r: r.type == HANDLE and r.process_id == actor.pid)[-1]
        assert record.flags == 0


@needs_gate
def test_many_callers_at_once(asked: Asked) -> None:
    """Each of them gets its own verdict."""
    asked.programs.set_task(target_of(asked).pid, WANTED << HOLD_SHIFT | WANTED)
    asked.verdict = False
    code = PRELUDE.replace(
        "    ORDER",
        "    for _ in range(50):\n        try:\n            os.kill(target, 12)\n            sys.exit(99)\n"
        "        except PermissionError:\n            pass",
    )
    actors = [
        subprocess.Popen([sys.executable, "-c", code, str(target_of(asked).pid)], stdin=subprocess.PIPE)
        for _ in range(4)
    ]
    threads = [threading.Thread(target=actor.communicate, args=(b"\n",)) for actor in actors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert [actor.returncode for actor in actors] == [0] * 4
    assert len(asked.server.stops) == 200

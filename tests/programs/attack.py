"""Starts a server (guarded.py) and attacks it in one way: attack.py ATTACK SERVER.

Prints one JSON object: what the attack got ("result": 0 if it went through, else an errno or a status),
how the server is afterwards, and how it ended when it was asked to.
"""

import ctypes
import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time

C = ctypes.CDLL(None, use_errno=True)
TGKILL, PIDFD_GETFD = (131, 438) if os.uname().machine == "aarch64" else (234, 438)
PTRACE_ATTACH, PTRACE_SEIZE = 16, 0x4206
Facts = "dict[str, int]"


def errno_of(call: object) -> int:
    try:
        call()
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def by_number(*arguments: int) -> int:
    return 0 if C.syscall(*arguments) >= 0 else ctypes.get_errno()


def status_of(*line: object) -> int:
    words = [str(word) for word in line]
    return subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode


def gdb(facts: Facts) -> int:
    line = ["gdb", "-nx", "-batch", "-p", str(facts["process"]), "-ex", "kill"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    return errno.EPERM if "not permitted" in done.stdout + done.stderr else 0


def write_memory(facts: Facts) -> int:
    class Part(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]

    value = ctypes.c_uint64(2222)
    mine, its = Part(ctypes.addressof(value), 8), Part(facts["word_address"], 8)
    moved = C.process_vm_writev(facts["process"], ctypes.byref(mine), 1, ctypes.byref(its), 1, 0)
    return 0 if moved == 8 else ctypes.get_errno()


def trace(facts: Facts, request: int, target: int) -> int:
    C.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    return 0 if C.ptrace(request, target, None, None) == 0 else ctypes.get_errno()


ATTACKS = {
    "kill": lambda facts: errno_of(lambda: os.kill(facts["process"], signal.SIGKILL)),
    "kill-command": lambda facts: status_of("sh", "-c", f"kill -9 {facts['process']}"),
    "pkill": lambda facts: status_of("pkill", "-KILL", "-P", os.getpid()),
    "pidfd": lambda facts: errno_of(lambda: signal.pidfd_send_signal(facts["pidfd"], signal.SIGKILL)),
    "stop": lambda facts: errno_of(lambda: os.kill(facts["process"], signal.SIGSTOP)),
    "group": lambda facts: errno_of(lambda: os.killpg(facts["process"], signal.SIGKILL)),
    "tgkill": lambda facts: by_number(TGKILL, facts["process"], facts["threads"][1], signal.SIGKILL),
    "gdb": gdb,
    "ptrace": lambda facts: trace(facts, PTRACE_ATTACH, facts["process"]),
    "ptrace-thread": lambda facts: trace(facts, PTRACE_SEIZE, facts["threads"][2]),
    "memory": write_memory,
    "limit": lambda facts: errno_of(
        lambda: resource.prlimit(facts["process"], resource.RLIMIT_CORE, (0, resource.RLIM_INFINITY))
    ),
    "priority": lambda facts: errno_of(lambda: os.setpriority(os.PRIO_PROCESS, facts["process"], 19)),
    "descriptor": lambda facts: by_number(PIDFD_GETFD, facts["pidfd"], facts["descriptor"], 0),
    "none": lambda facts: 0,
}


def ask(server: "subprocess.Popen[str]", what: str) -> "dict[str, object]":
    server.stdin.write(what + "\n")
    server.stdin.flush()
    return json.loads(server.stdout.readline())


def state_of(process_id: int) -> str:
    """ "alive", or the letter that tells how it is not."""
    with open(f"/proc/{process_id}/status") as file:
        fields = dict(line.split(":", 1) for line in file)
    letter = fields["State"].split()[0]
    return letter if letter in "ZXT" else "alive"


def main() -> None:
    attack, program = sys.argv[1:]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    server = subprocess.Popen([program], start_new_session=True, **pipes)
    facts = json.loads(server.stdout.readline())
    facts["pidfd"] = os.pidfd_open(server.pid)
    result = ATTACKS[attack](facts)
    time.sleep(0.1)
    outcome = {"result": result, "state": state_of(server.pid)}
    if attack.startswith("ptrace") and result == 0:
        outcome["state"] = "traced"
    if outcome["state"] == "alive":
        outcome["server"] = ask(server, "state")
        outcome["workers"] = {kind: ask(server, kind) for kind in ("worker", "fork")}
        server.stdin.write("quit\n")
        server.stdin.close()
    else:
        server.kill()
    if outcome["state"] != "traced":  # else it is this process that keeps it from ending
        outcome["end"] = server.wait(20)
    print(json.dumps(outcome))


main()

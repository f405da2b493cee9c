"""A controller for test_blocking.py, in a PID namespace with a /proc of its own: an attacker outside of its
tree makes it impossible to list processes there. Prints how long each thing took that needs such a list, or
goes on without, and how it ended; nobody else on the machine shall have to wait for that.

unlisted_controller.py ATTACKER FOLDER"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable

import cbprocess


def report(what: str, action: Callable[[], Any]) -> None:
    start = time.monotonic()
    try:
        outcome = action()
    except cbprocess.CBProcessError as error:
        outcome = error.code
    print(what, f"{time.monotonic() - start:.3f}", outcome, flush=True)


def signal_everybody() -> str:
    """By a member of the tree."""
    assert shell.stdin is not None and shell.stdout is not None
    shell.stdin.write("go on\n")
    shell.stdin.flush()
    return str(shell.stdout.readline().strip())


def end_victim() -> int:
    victim.kill()
    return int(victim.wait())


flt = cbprocess.CBProcess()
flt.initialize("{5ABD3A8B-6A3F-4C52-9F0C-5E1F0A1C7D12}")
handles = cbprocess.PROC_EVT_PROCESS_HANDLE_OPERATION | cbprocess.PROC_EVT_THREAD_HANDLE_OPERATION
flt.config(f"EventsToFire={handles}")
flt.on_process_handle_operation = lambda event: None
flt.start_filter(0)
flt.add_filtered_process_by_name("*", False)
pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
shell = flt.popen(["sh", "-c", "read x; kill -CONT -1 2>&-; echo $?; read x"], **pipes)
victim = flt.popen(["sleep", "60"])
outsider = subprocess.Popen(["sleep", "60"])
for process in (shell, victim, outsider):  # what is known already needs no look into the folder
    for name in ("stat", "status", "auxv", "exe"):
        Path(f"/proc/{process.pid}/{name}").exists()
attacker = subprocess.Popen([sys.argv[1], sys.argv[2], "listed"], stdout=subprocess.PIPE, text=True)
assert attacker.stdout is not None
first = attacker.stdout.readline().split()
if first[:1] != ["server"]:
    print("cannot", *first)
    sys.exit()
assert attacker.stdout.readline() == "now\n"
report("signal", signal_everybody)
report("tree", lambda: flt.add_filtered_process_by_id(outsider.pid, True))
report("name", lambda: flt.add_filtered_process_by_name("*/sleep", True))
report("victim", end_victim)
os.kill(int(first[1]), signal.SIGKILL)
attacker.kill()
attacker.wait()
report("later", lambda: flt.add_filtered_process_by_id(outsider.pid, True))
for process in (shell, outsider):
    process.kill()
    process.wait()
flt.stop_filter()

"""A controller of its own, for attacks that might end it. Arguments: the setting of RefuseWith, EventsToFire,
other settings, "--", and the command of the tree, in which HELPER and CONTROLLER become process ids, GROUP
the id of the controller's process group. Prints one JSON object: the command's status and output, and what
on_error was told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import cbprocess

GUID = "{5ABD3A8B-6A3F-4C52-9F0C-5E1F0A1C7D12}"


def helper_of(instance: cbprocess.CBProcess) -> int:
    """Who traces what the instance starts."""
    with instance.popen(["sleep", "60"]) as program:
        with open(f"/proc/{program.pid}/status") as status:
            tracer = next(line for line in status if line.startswith("TracerPid:")).split()[1]
        program.kill()
    return int(tracer)


def main() -> None:
    at = sys.argv.index("--")
    refuse_with, events, *others = sys.argv[1:at]
    errors: list[list[Any]] = []
    instance = cbprocess.CBProcess()
    instance.initialize(GUID)
    instance.on_error = lambda error: errors.append([error.error_code, error.description])
    for setting in [f"RefuseWith={refuse_with}", f"EventsToFire={events}", *others]:
        instance.config(setting)
    with instance:
        instance.start_filter(0)
        ids = {"HELPER": str(helper_of(instance)), "CONTROLLER": str(os.getpid()), "GROUP": str(os.getpgrp())}
        command = [ids.get(word, word) for word in sys.argv[at + 1 :]]
        done = instance.popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        output, complaint = done.communicate(timeout=60)
    print(json.dumps({"status": done.returncode, "out": output, "err": complaint, "errors": errors}))


main()

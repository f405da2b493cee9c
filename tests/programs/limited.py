"""A controller that meets a limit. Arguments: RLIMIT_NPROC or RLIMIT_NOFILE, the limit, and the user to run
as (0: stay who it is). Prints one JSON object: how the start and a popen ended under the limit, what was
left, and how the same went without it."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from typing import Any

import cbprocess

# What is imported when it is first needed: under the limit there may be no descriptor to import it with.
import cbprocess._api.launch
import cbprocess._api.supervision


def attempt(process: cbprocess.CBProcess) -> dict[str, Any]:
    try:
        process.start_filter(0)
    except cbprocess.CBProcessError as error:
        return {"failed": "start", "code": error.code, "message": error.message}
    try:
        return {"failed": None, "status": process.popen(["true"]).wait()}
    except cbprocess.CBProcessError as error:
        return {"failed": "popen", "code": error.code, "message": error.message}
    except OSError as error:
        return {"failed": "popen", "errno": error.errno, "message": error.strerror}
    finally:
        process.stop_filter()


def state() -> tuple[list[str], int]:
    """Descriptors and threads of this process."""
    return sorted(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))


def others_of(user: int) -> list[int]:
    """What else runs as this user; who has ended and is not reaped yet does not."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            with open(f"/proc/{entry}/stat", "rb") as file:
                ended = file.read().rpartition(b")")[2].split()[0] in (b"Z", b"X")
            if os.stat(f"/proc/{entry}").st_uid == user and not ended and int(entry) != os.getpid():
                found.append(int(entry))
        except (OSError, ValueError):
            continue
    return found


def main() -> None:
    kind, limit, user = getattr(resource, sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    process = cbprocess.CBProcess()
    process.initialize("{0C9B2A54-7F0E-4E0B-8E6C-5B8A6E4F7A10}")
    process.serialize_events = 1
    if user:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    helper = os.path.join(cbprocess._binding.library.native_folder(), "cbprocess-ptrace")
    result: dict[str, Any] = {"reachable": os.access(helper, os.X_OK)}
    before = state()
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (limit, hard))
    result["under"] = attempt(process)
    resource.setrlimit(kind, (soft, hard))
    result["same"] = state() == before
    end = time.monotonic() + 10
    while user and others_of(user) and time.monotonic() < end:
        time.sleep(0.01)
    result["left"] = others_of(user) if user else []
    result["after"] = attempt(process)
    print(json.dumps(result))


main()

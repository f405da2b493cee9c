"""Tries to change another process through files of /proc.

proc_files.py SERVER    starts it, opens and writes or reads each of the files, and prints the errnos as JSON
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

FILES = {"timerslack_ns": b"50000000", "setgroups": b"deny", "comm": b"other", "stack": b""}


def errno_of(path: str, text: bytes) -> int:
    try:
        descriptor = os.open(path, os.O_WRONLY if text else os.O_RDONLY)
        try:
            os.write(descriptor, text) if text else os.read(descriptor, 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        return error.errno or -1
    return 0


server = subprocess.Popen([sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
print(json.dumps({name: errno_of(f"/proc/{server.pid}/{name}", text) for name, text in FILES.items()}))
assert server.stdin is not None
server.stdin.close()
server.wait(10)

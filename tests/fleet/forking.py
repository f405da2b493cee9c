"""A program that forks shippers and kills each at a random moment: fleet.forking TIMES SEED ARGUMENTS.

They are forked, because fifty starts of Python would take half a minute. The last one is left to finish, and
its status is the program's."""

from __future__ import annotations

import os
import random
import signal
import sys
import time

from cbprocess.fleet import needs, ship


def main() -> int:
    times, seed, arguments = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    for module in ("nats", "nats.js.api", "nats.js.errors", "nkeys"):
        needs.need(module)
    draw = random.Random(seed)
    for _ in range(times):
        child = fork(arguments)
        # From before it has connected until it has shipped a good deal.
        time.sleep(draw.uniform(0.0, 0.06))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    _, status = os.waitpid(fork(arguments), 0)
    return os.waitstatus_to_exitcode(status)


def fork(arguments: list[str]) -> int:
    child = os.fork()
    if child == 0:
        os._exit(ship.main(arguments))
    return child


if __name__ == "__main__":
    sys.exit(main())

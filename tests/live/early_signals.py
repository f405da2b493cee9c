"""When a signal can come to a command before it has begun its work, and which ones ask for its end."""

from __future__ import annotations

import resource
import signal

ENDS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT]
# As sitecustomize.py it is imported by the interpreter before anything of ours.
AT_THE_START = "import os\nos.kill(os.getpid(), int(os.environ['NUMBER']))\n"
# Close to one another at first: where the interpreter begins.
MOMENTS_MS = (0, 4, 8, 12, 16, 20, 30, 40, 60, 100, 180, 300)


def without_core_file() -> None:
    """In the new process: SIGQUIT ends it with no more than that."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))

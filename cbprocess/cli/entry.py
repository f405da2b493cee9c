"""The beginning of the program `cbprocess` and of `python -m cbprocess`: a process that is the command line's
own."""

from __future__ import annotations

import sys


def main() -> int:
    """Runs the command line; returns its exit status."""
    if sys.platform != "win32":
        from .caller import take_over

        take_over()
    from . import main as command_line

    return command_line()

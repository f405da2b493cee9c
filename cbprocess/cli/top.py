"""`cbprocess top`: monitor or attach with a live view, until q or Ctrl-C."""

from __future__ import annotations

import os
import signal

from .attach import attach
from .monitor import monitor
from .words import SIGNAL_BASE

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def top(options: argparse.Namespace) -> int:
    """The exit status for the options of `cbprocess top`: 0 after q or Ctrl-C, which are its ordinary end."""
    if options.output is None and os.isatty(2):
        if options.json:
            options.parser.error("--json and --format need -o: the view has the terminal")
        # The view has the terminal, and no lines shall follow it.
        options.quiet = True
    status = attach(options) if options.process_ids else monitor(options)
    return 0 if status == SIGNAL_BASE + signal.SIGINT else status

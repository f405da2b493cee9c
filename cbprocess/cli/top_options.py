"""The options of `cbprocess top`. Knows nothing of what they do."""

from __future__ import annotations

import argparse

from .common_options import ATTACH_TIMEOUT_MS, add_common
from .machine_options import add_product
from .words import process_id


def add_top(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Show a view with the tree of processes, rates of events, refusals and how long operations wait, "
        "until q or Ctrl-C (status 0). Without a PID it is about the whole machine, as monitor is, and takes "
        "what that takes; with them about these processes and their descendants, as attach is. Needs the "
        "extra cbprocess[tui]."
    )
    parser.usage = "cbprocess top [PID...] [options]"
    add_common(parser, "the processes themselves", ATTACH_TIMEOUT_MS)
    add_product(parser)
    parser.add_argument(
        "process_ids", nargs="*", metavar="PID", type=process_id, help="the processes, by their ids"
    )
    parser.set_defaults(parser=parser, live=True, wait_all=False)

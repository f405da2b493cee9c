"""`cbprocess man`: the manual page, which `man -l -` shows and /usr/share/man/man1 keeps."""

from __future__ import annotations

from .. import __version__
from .manual import page
from .output import print_lines
from .parser import make_parser
from .words import PUBLIC_MODE

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def man(options: argparse.Namespace) -> int:
    """Prints the page. The exit status."""
    return print_lines(page(make_parser(), __version__), options.output, PUBLIC_MODE)

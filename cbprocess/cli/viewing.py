"""What the commands that print events know of the live view, which costs them nothing where it is not asked
for."""

from __future__ import annotations

from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from contextlib import AbstractContextManager

    from .._api.process import CBProcess
    from .live import LiveView
    from .printer import Printer


def live_view(
    options: argparse.Namespace, process: CBProcess, printer: Printer, title: str
) -> LiveView | None:
    """The view that the options ask for, if they do: one that the printer tells of everything."""
    if not options.live:
        return None
    from .live import LiveView

    view = LiveView(process, printer.program_of, printer.output, title, options.command_name == "run")
    printer.show_in(view)
    return view


def shown(view: LiveView | None) -> AbstractContextManager[object]:
    """Shows the view, if there is one, for a block."""
    # A lock of nobody else's is a block in which nothing happens.
    return allocate_lock() if view is None else view.shown()

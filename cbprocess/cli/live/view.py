"""The live view: a thread that draws the model on the terminal twice a second, and at each key.

It never holds anything: handlers only add to the model, and a terminal that is slow or gone is waited for by
this thread alone. Knows how to draw and where; nothing of how events come."""

from __future__ import annotations

import contextlib
import os
import threading
import time

from rich.console import Console
from rich.live import Live

from ...errors import CBProcessError
from .drawing import Page, draw
from .keyboard import Keyboard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

    from ..._api.process import CBProcess
    from .model import Model
    from .printed import Printed

DRAW_S = 0.5
# Keys that are held down draw no more often than this.
KEY_S = 0.03
# The thread ends within this time, unless the terminal takes nothing.
END_LIMIT_S = 2.0


class View:
    """Draws while it is entered, until `q` is typed. OSError where there is no terminal to draw on.

    `title` names the command. `printed` is what the command prints, if the view shows it. `quit_words` say
    what `q` does; `on_quit` is called after that, in the view's thread, when the terminal is as it was. After
    the block it is as it was in any case."""

    def __init__(
        self,
        process: CBProcess,
        model: Model,
        title: str,
        printed: Printed | None,
        quit_words: str,
        on_quit: Callable[[], None],
    ) -> None:
        self._process = process
        self._model = model
        self._title = title
        self._printed = printed
        self._keys = f"up, down, page up, page down: scroll   n: newest first   q: {quit_words}"
        self._on_quit = on_quit
        self.note = ""  # is told instead of the keys
        self._keyboard = Keyboard()
        self._started_s = time.monotonic()
        self._scroll = self._most = 0
        self._newest_first = False
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cbprocess-live", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._is_over.set()
        self._thread.join(END_LIMIT_S)

    def _run(self) -> None:
        has_quit = False
        # The terminal may go, and the filter may stop. The command goes on.
        with contextlib.suppress(OSError, CBProcessError), self._keyboard:
            has_quit = self._show()
        if has_quit:
            self._on_quit()

    def _show(self) -> bool:
        """Draws until the end. Gives whether `q` was typed."""
        console = Console(
            file=self._keyboard.screen, force_terminal=True, legacy_windows=False, emoji=False, markup=False
        )
        live = Live(
            console=console,
            screen=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        with live:
            drawn_s = 0.0
            while not self._is_over.is_set():
                now_s = time.monotonic()
                if now_s - drawn_s >= KEY_S:
                    self._draw(console, live)
                    drawn_s = now_s
                # A short wait, so that the end of the command is seen at once.
                for key in self._wait(drawn_s + DRAW_S):
                    if key in ("q", "Q"):
                        return True
                    self._typed(key)
        return False

    def _wait(self, until_s: float) -> list[str]:
        """The keys that are typed before that time."""
        while not self._is_over.is_set() and time.monotonic() < until_s:
            keys = self._keyboard.wait(min(max(until_s - time.monotonic(), 0), 0.1))
            if keys:
                return keys
        return []

    def _typed(self, key: str) -> None:
        page = max(self._keyboard.size().lines - 6, 1)
        steps = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -page, "page down": page, " ": page}
        if key in steps:
            self._scroll = min(max(self._scroll + steps[key], 0), self._most)
        elif key in ("home", "g"):
            self._scroll = 0
        elif key in ("end", "G"):
            self._scroll = self._most
        elif key in ("n", "N"):
            self._newest_first = not self._newest_first
            self._scroll = 0

    def _draw(self, console: Console, live: Live) -> None:
        columns, rows = self._keyboard.size()
        # A terminal that does not know its size says 0.
        columns, rows = columns or 80, rows or 24
        console.size = (columns, rows)
        page = Page(
            self._title,
            time.monotonic() - self._started_s,
            self._scroll,
            self._newest_first,
            self.note or self._keys,
        )
        printed = self._printed.tail(rows) if self._printed is not None else []
        text, self._most = draw(
            self._model.picture(time.time_ns()), self._process.statistics(), page, printed, columns, rows
        )
        live.update(text, refresh=True)


def is_possible() -> str:
    """Why this terminal cannot show a page, or ""."""
    if os.environ.get("TERM", "") in ("dumb", "unknown") and os.name != "nt":
        return "the terminal (TERM) cannot move its cursor"
    return ""

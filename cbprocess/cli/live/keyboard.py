"""The terminal of the live view: where it is drawn, and the keys that are typed there.

While it is entered the terminal gives each key at once, shows none of them, and stops nobody on Ctrl-Z, which
would leave our page on it. Ctrl-C stays what it is. Knows nothing of what is drawn."""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from typing_extensions import Self

# Keys that send several bytes have names; any other key is its character.
SEQUENCES = {
    b"\x1b[A": "up",
    b"\x1bOA": "up",
    b"\x1b[B": "down",
    b"\x1bOB": "down",
    b"\x1b[5~": "page up",
    b"\x1b[6~": "page down",
    b"\x1b[H": "home",
    b"\x1b[1~": "home",
    b"\x1b[F": "end",
    b"\x1b[4~": "end",
}


def keys_of(data: bytes) -> list[str]:
    """The keys that these bytes are. A sequence that is not known is no key."""
    keys = []
    while data:
        found = next((sequence for sequence in SEQUENCES if data.startswith(sequence)), None)
        if found is not None:
            keys.append(SEQUENCES[found])
            data = data[len(found) :]
        elif data[:1] == b"\x1b":
            data = _behind_sequence(data)
        else:
            keys.append(data[:1].decode("latin-1"))
            data = data[1:]
    return keys


def _behind_sequence(data: bytes) -> bytes:
    """What follows an escape sequence, by the form that all of them have (ECMA-48)."""
    if data[1:2] != b"[":
        return data[2:]
    end = 2
    while end < len(data) and not 0x40 <= data[end] <= 0x7E:
        end += 1
    return data[end + 1 :]


if sys.platform == "win32":
    import msvcrt

    from ..console_windows import carries_out_escapes

    LOOK_S = 0.02
    CONSOLE_KEYS = {"H": "up", "P": "down", "I": "page up", "Q": "page down", "G": "home", "O": "end"}

    class Keyboard:
        """The console. OSError where there is none."""

        def __init__(self) -> None:
            if not sys.stdin.isatty():
                raise OSError(0, "there is no console")
            self.screen: TextIO = open("CONOUT$", "w", encoding="utf-8")  # noqa: SIM115, until the end
            if not carries_out_escapes(self.screen.fileno()):
                self.screen.close()
                raise OSError(0, "this console is older than Windows 10")

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *exception: object) -> None:
            self.screen.close()

        def size(self) -> os.terminal_size:
            return os.get_terminal_size(self.screen.fileno())

        def wait(self, seconds: float) -> list[str]:
            """The keys that were typed by now, or within this time."""
            end = time.monotonic() + seconds
            while not msvcrt.kbhit():
                if time.monotonic() > end:
                    return []
                time.sleep(LOOK_S)
            key = msvcrt.getwch()
            return [CONSOLE_KEYS.get(msvcrt.getwch(), "")] if key in "\0\xe0" else [key]

else:
    import contextlib
    import select
    import termios

    LOCAL_FLAGS, CONTROL_CHARACTERS = 3, 6
    DISABLED = b"\0"

    class Keyboard:
        """The controlling terminal, wherever standard streams go to. OSError where there is none, or where
        other jobs have it."""

        def __init__(self) -> None:
            fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
            self.screen: TextIO = os.fdopen(fd, "w", encoding="utf-8", errors="replace")
            if os.tcgetpgrp(fd) != os.getpgrp():
                self.screen.close()
                raise OSError(0, "the terminal is another job's: this one runs in the background")
            self._fd = fd
            self._modes = termios.tcgetattr(fd)

        def __enter__(self) -> Self:
            modes = termios.tcgetattr(self._fd)
            modes[LOCAL_FLAGS] &= ~(termios.ICANON | termios.ECHO)
            characters = modes[CONTROL_CHARACTERS] = list(modes[CONTROL_CHARACTERS])
            characters[termios.VMIN], characters[termios.VTIME] = 1, 0
            characters[termios.VSUSP] = DISABLED
            termios.tcsetattr(self._fd, termios.TCSADRAIN, modes)
            return self

        def __exit__(self, *exception: object) -> None:
            # There is nothing to restore where the terminal has gone.
            with contextlib.suppress(OSError, termios.error):
                termios.tcsetattr(self._fd, termios.TCSADRAIN, self._modes)
            with contextlib.suppress(OSError):
                self.screen.close()

        def size(self) -> os.terminal_size:
            return os.get_terminal_size(self._fd)

        def wait(self, seconds: float) -> list[str]:
            """The keys that were typed by now, or within this time."""
            if not select.select([self._fd], [], [], seconds)[0]:
                return []
            data = os.read(self._fd, 64)
            if not data:
                raise OSError(0, "the terminal has gone")
            return keys_of(data)

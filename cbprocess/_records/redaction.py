"""Hides the values of options that hold secrets, in argument lists and command lines.

It knows names of options, no programs: what has no name (a password in the middle of a URL, a lone argument)
stays as it is."""

from __future__ import annotations

import re
import sys
from functools import lru_cache

from .. import events
from .._checks import quoted, wrong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

REDACTED = "[redacted]"

# The last words of names of options, and of variables, that hold secrets.
DEFAULT_REDACTED = (
    "access-key",
    "api-key",
    "apikey",
    "auth-token",
    "authorization",
    "bearer",
    "client-secret",
    "credential",
    "credentials",
    "pass",
    "passphrase",
    "passwd",
    "password",
    "private-key",
    "pwd",
    "secret",
    "secret-key",
    "token",
)
NAME_SIZE_MAX = 64
_NAME = re.compile(r"[a-z0-9]+([-_.][a-z0-9]+)*\Z")


class Redactor:
    """Hides values. names: the names of options whose values are hidden, without dashes; case, and the
    difference between - and _, do not count. `token` stands for `--token`, for `--github-token` and for the
    variable `GITHUB_TOKEN=`. A value is what follows = or : in the argument, or else the next argument.

    Error 87 for a name that no option has. May be used in any thread."""

    __slots__ = ("_in_text", "_names", "_option", "_pair")

    def __init__(self, names: Iterable[str] = DEFAULT_REDACTED) -> None:
        self._names = tuple(sorted({_checked(name) for name in names}, key=lambda name: (-len(name), name)))
        if not self._names:
            raise wrong("names of options to be hidden are missing")
        self._option, self._pair, self._in_text = _patterns(self._names)

    def __repr__(self) -> str:
        return f"Redactor({self._names!r})"

    def arguments(self, arguments: list[str]) -> list[str]:
        """The argument list with hidden values, as long as it was."""
        result: list[str] = []
        is_value = False
        for argument in arguments:
            if is_value:
                result.append(REDACTED)
                is_value = False
                continue
            is_value = bool(self._option.match(argument))
            pair = None if is_value else self._pair.match(argument)
            if pair is not None:
                result.append(pair[0] + REDACTED if len(argument) > pair.end() else argument)
            else:
                # This may be the script of a shell: a command line of its own.
                result.append(argument if is_value else self.command_line(argument))
        return result

    def command_line(self, text: str) -> str:
        """A command line, or any text, with hidden values."""
        return self._in_text.sub(_hidden, text)

    def event(self, event: events.EventParams) -> events.EventParams:
        """The event; for a process creation a copy of its own, which can only be read, and whose `arguments`
        and `command_line` have hidden values."""
        if isinstance(event, events.CBProcessProcessCreationEventParams):
            return RedactedCreation(event, self)
        return event


class RedactedCreation(events.CBProcessProcessCreationEventParams):
    """A process creation with hidden values. It has memory of its own."""

    __slots__ = ("_hidden",)

    def __init__(self, event: events.CBProcessProcessCreationEventParams, redactor: Redactor) -> None:
        super().__init__(event._words, event._quads, event._chars, event._name)
        self._detach()
        if sys.platform == "win32":
            self._hidden = [redactor.command_line(super().command_line)]
        else:
            self._hidden = redactor.arguments(super().arguments)

    @property
    def arguments(self) -> list[str]:
        """The argument list with hidden values."""
        return list(self._hidden)

    @property
    def command_line(self) -> str:
        """The command line with hidden values."""
        return self._hidden[0] if sys.platform == "win32" else quoted(self._hidden)


def _checked(name: object) -> str:
    text = name.lower().strip().lstrip("-").replace("_", "-") if isinstance(name, str) else ""
    if not _NAME.match(text) or len(text) > NAME_SIZE_MAX:
        raise wrong(f"{name!r:.100} is no name of an option whose value can be hidden")
    return text


@lru_cache(maxsize=16)
def _patterns(names: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    words = "|".join(re.escape(name).replace("\\-", "[-_]?") for name in names)
    name = rf"(?:[\w.-]*[-_.])?(?:{words})"
    dashes = "(?:--?|/)" if sys.platform == "win32" else "--?"
    # A text has quotes around a value with blanks; the last quote may be missing.
    value = r"""(?:"(?:[^"\\]|\\.)*"?|'[^']*'?|[^\s"']+)+"""
    flags = re.IGNORECASE | re.DOTALL
    option = re.compile(rf"{dashes}{name}\Z", flags)
    pair = re.compile(rf"(?:{dashes}{name}[=:]|{name}=)", flags)
    begin = rf"(?<![\w.-])(?:{dashes}{name}(?:\s*[=:]\s*|\s+)|{name}=)"
    return option, pair, re.compile(rf"({begin})({value})", flags)


def _hidden(match: re.Match[str]) -> str:
    quote = match[2][0] if match[2][0] in "\"'" else ""
    return f"{match[1]}{quote}{REDACTED}{quote}"

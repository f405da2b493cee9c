"""Hides the values of options that hold secrets, in argument lists and command lines, and passwords in URLs.

It knows names of options, and of programs cURL alone: a secret without a name (a lone argument) stays as it
is."""

from __future__ import annotations

import re
import sys

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
    "keypass",
    "pass",
    "passin",
    "passout",
    "passphrase",
    "passwd",
    "password",
    "private-key",
    "pwd",
    "secret",
    "secret-key",
    "sshpass",
    "storepass",
    "token",
)
# Of these any name may end in one, with nothing between: PGPASSWORD, userpasswd. No other word does.
GLUED = ("passphrase", "passwd", "password")
NAME_SIZE_MAX = 64
_NAME = re.compile(r"[a-z0-9]+([-.][a-z0-9]+)*\Z")

# Options begin with a dash, on Windows with a slash, too; a variable with neither.
SLASH = "/" if sys.platform == "win32" else None
OPTION_SIGNS = ("-", "/") if SLASH else ("-",)
QUOTES = "\"'"
# Where a word begins within a name: accessToken, IDToken.
_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
# None of these goes back over what it has read: an argument can have megabytes, and be made for that.
_WORD = re.compile(r"[\w.-]+")
_EQUAL = re.compile("=")
# A header of a request, which names the kind of its secret first; and a key in JSON.
_BLANKS = r"(?:\\?[ \t])+"
_HEADER = re.compile(
    rf"(:{_BLANKS}(?:(?:basic|bearer|digest|negotiate|token){_BLANKS})?)([^\s\"']+)", re.IGNORECASE
)
_JSON = re.compile(r"""("\s*:\s*)("(?:[^"\\]|\\.)*"?|[^\s"',}\]]+)""", re.DOTALL)
# An option of one letter can have its value, with a name of its own, in one word: -Dtoken=x.
_LETTER = re.compile("-[A-Za-z](?=[A-Za-z])")
_URL = re.compile(r"""(://[^/\s:@"']*:)[^/\s@"']+(?=@)""")
# `user:password` of cURL, in a text and as an argument of its own. Options without values can stand in front.
CURL = "curl"
_CURL_OPTION = r"-(?:[#0-46BGIJLMNORSafgijklnpqsv]{0,8}[uU]|-user|-proxy-user)"
_CURL_USER = re.compile(rf"""((?:^|(?<=[\s"'])){_CURL_OPTION}(?:\s+|=)?["']?[^\s:"']+:)[^\s"']+""")
_CURL_LAST = re.compile(rf"{_CURL_OPTION}\Z")
_OPTION_SIGN = re.compile(r"\s*[=:]\s*|\s+")
# A value with blanks has quotes around it in a text; the last one may be missing.
_VALUE = re.compile(r"""(?:"(?:[^"\\]|\\.)*"?|'[^']*'?|[^\s"']+)+""", re.DOTALL)


class Redactor:
    """Hides values. names: the names of options whose values are hidden, without dashes; case, and the
    difference between - and _, do not count. `token` stands for `--token`, for `--github-token`, for
    `accessToken` and for the variable `GITHUB_TOKEN=`; `password` also for `PGPASSWORD=`. A value is what
    follows = or : in the argument, or else the next argument. Passwords in URLs and of cURL are hidden, too.

    Error 87 for a name that no option has. May be used in any thread."""

    __slots__ = ("_endings", "_names", "_stems", "_words")

    def __init__(self, names: Iterable[str] = DEFAULT_REDACTED) -> None:
        self._names = tuple(sorted({_checked(name) for name in names}))
        if not self._names:
            raise wrong("names of options to be hidden are missing")
        self._words = {*self._names, *(name.replace("-", "") for name in self._names)}
        glued = tuple(word for word in GLUED if word in self._words)
        self._endings = (*glued, *(f"{sign}{word}" for word in sorted(self._words) for sign in "-."))
        # Most command lines have none of these, which is found out at once.
        self._stems = sorted({re.split("[-.]", name)[-1] for name in self._names})

    def __repr__(self) -> str:
        return f"Redactor({self._names!r})"

    def arguments(self, arguments: list[str]) -> list[str]:
        """The argument list with hidden values, as long as it was."""
        if not self._has_stem("\0".join(arguments)):
            return list(arguments)
        is_curl = CURL in arguments[0].casefold()
        result: list[str] = []
        is_value = False
        for argument in arguments:
            if is_value:
                result.append(REDACTED)
                is_value = False
                continue
            if is_curl and (_CURL_USER.match(argument) or _CURL_LAST.match(result[-1] if result else "")):
                user, colon, password = argument.partition(":")
                result.append(user + colon + (REDACTED if password else ""))
                continue
            if self._is_letter(argument):
                result.append(argument[:2] + self.arguments([argument[2:]])[0])
                continue
            name = _WORD.match(argument, 1 if argument[:1] == SLASH else 0)
            if name is None or not self._is_secret(name[0]):
                # This may be the script of a shell: a command line of its own.
                result.append(self.command_line(argument))
                continue
            is_option = argument[0] in OPTION_SIGNS
            begin = name.end()
            is_value = is_option and begin == len(argument)
            has_value = argument[begin : begin + 1] in ("=:" if is_option else "=") and begin + 1 < len(
                argument
            )
            if has_value:
                result.append(argument[: begin + 1] + REDACTED)
            else:
                result.append(argument if begin == len(argument) else self.command_line(argument))
        return result

    def command_line(self, text: str) -> str:
        """A command line, or any text, with hidden values."""
        if not self._has_stem(text):
            return text
        parts: list[str] = []
        done = 0
        for name in _WORD.finditer(text):
            begin, word = name.start(), name[0]
            is_letter = self._is_letter(word)
            if begin < done or not (is_letter or self._is_secret(word)):
                continue
            is_option = not is_letter and (
                word[0] == "-" or (text[begin - 1 : begin] == SLASH and _begins_word(text, begin - 1))
            )
            begin, end = self._value(text, name.end(), word[2:] if is_letter else word, is_option)
            if begin < end:
                quote = text[begin] if text[begin] in QUOTES else ""
                parts += text[done:begin], quote, REDACTED, quote
                done = end
        result = _URL.sub(rf"\1{REDACTED}", "".join([*parts, text[done:]]))
        return _CURL_USER.sub(rf"\1{REDACTED}", result) if CURL in result.casefold() else result

    def _value(self, text: str, at: int, name: str, is_option: bool) -> tuple[int, int]:
        """The place of the value of an option, a variable, a header or a key in JSON with this name, which
        ends there."""
        if not is_option:
            is_header = name.lower().endswith("authorization") or name[:2].lower() == "x-"
            found = _JSON.match(text, at) or (_HEADER.match(text, at) if is_header else None)
            if found:
                return found.span(2)
        between = (_OPTION_SIGN if is_option else _EQUAL).match(text, at)
        value = _VALUE.match(text, between.end()) if between else None
        return value.span() if value else (0, 0)

    def _is_secret(self, word: str) -> bool:
        """Whether this is the name, with or without dashes, of an option or variable that holds a secret."""
        end = word[-NAME_SIZE_MAX - 2 :].replace("_", "-")
        name = end.casefold()
        if name in self._words or name.endswith(self._endings):
            return True
        return name != end and _CAPITAL.sub("-", end).casefold().endswith(self._endings)

    def _is_letter(self, argument: str) -> bool:
        """Whether this begins with an option of one letter and the name of a secret."""
        found = _LETTER.match(argument)
        name = _WORD.match(argument, found.end()) if found else None
        return name is not None and self._is_secret(name[0])

    def _has_stem(self, text: str) -> bool:
        folded = text.casefold()
        return "://" in folded or CURL in folded or any(stem in folded for stem in self._stems)

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


def _begins_word(text: str, place: int) -> bool:
    return place == 0 or text[place - 1].isspace() or text[place - 1] in QUOTES

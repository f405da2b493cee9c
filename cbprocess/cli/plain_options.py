"""A reader of plain options, which are most: each written whole, as `--name VALUE` or `--name=VALUE`. It has
them from the function that gives them to argparse, too (run_options.py), and spares a start argparse, which
takes as long as Python itself. Whatever is not plain, help and every mistake included, is argparse's.

Knows neither options nor commands."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from typing import Any, NoReturn

# This is argparse.REMAINDER.
REMAINDER = "..."


class NotPlain(Exception):
    """The line is for argparse."""


class Options:
    """What argparse calls a Namespace."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values)


class PlainReader:
    """Takes options as an ArgumentParser does. An option of a kind that it does not know is not plain."""

    def __init__(self) -> None:
        self.description = ""
        self.usage = ""
        self._values: dict[str, Any] = {}
        self._options: dict[str, tuple[str, dict[str, Any]]] = {}

    def add_argument(self, *names: str, **keywords: Any) -> None:
        long = [name for name in names if name.startswith("--")]
        dest = keywords.get("dest") or (long or names)[0].lstrip("-").replace("-", "_")
        if not names[0].startswith("-"):
            if keywords.get("nargs") != REMAINDER:
                raise NotPlain
            self._values[dest] = []
            return
        is_flag = keywords.get("action") == "store_true"
        default = keywords.get("default", self._values.get(dest, False if is_flag else None))
        self._values[dest] = default
        self._options.update(dict.fromkeys(names, (dest, keywords)))

    def add_argument_group(self, title: str) -> PlainReader:
        return self

    def set_defaults(self, **values: Any) -> None:
        self._values.update(values)

    def error(self, message: str) -> NoReturn:
        """Has argparse read the line, and say so."""
        raise NotPlain

    def read(self, words: list[str]) -> Options:
        """The options of these words. NotPlain: they have to be read by argparse."""
        values, position = self._values, 0
        while position < len(words):
            name, is_assigned, text = words[position].partition("=")
            position += 1
            if name not in self._options:
                raise NotPlain
            dest, keywords = self._options[name]
            action = keywords.get("action", "store")
            if action == "store_true" and not is_assigned:
                values[dest] = True
                continue
            if not is_assigned and position < len(words):
                text = words[position]
                position += 1
                if text.startswith("-") and text != "-":
                    raise NotPlain
            elif not (is_assigned and text and name.startswith("--")):
                raise NotPlain
            if action not in ("store", "append") or keywords.get("nargs") is not None:
                raise NotPlain
            value = self._value(text, keywords)
            values[dest] = [*values[dest], value] if action == "append" else value
        return Options(values)

    def _value(self, text: str, keywords: dict[str, Any]) -> Any:
        convert: Callable[[str], Any] = keywords.get("type", str)
        try:
            value = convert(text)
        except Exception:
            # Argparse tells of it.
            raise NotPlain from None
        if value not in keywords.get("choices", (value,)):
            raise NotPlain
        return value


def read_plain(add: Callable[[argparse.ArgumentParser], None], words: list[str], **values: Any) -> Any:
    """The options that this function adds, as these words give them, and further values. Its `parser` refuses
    with NotPlain, and so does this function."""
    reader: Any = PlainReader()
    reader.set_defaults(**values)
    add(reader)
    return reader.read(words)

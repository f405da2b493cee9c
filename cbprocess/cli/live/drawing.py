"""The live view as text with styles, for the library rich: a page of so many columns and rows.

Knows pictures of the model; nothing of events and of the terminal itself. A text that programs have made is
printable by now, and never markup."""

from __future__ import annotations

from typing import NamedTuple

from rich.text import Text

from ..shortening import columns_of, duration_text, fitted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..._api.statistics import Statistics
    from .model import Picture, Refusal, Row

BARS = " ▁▂▃▄▅▆▇█"
# The heads and the keys take so many rows, and a list at most such a part of the rest.
FIXED_ROWS = 5
REFUSAL_ROWS = 6
OUTPUT_ROWS = 10
DEPTH_MAX = 20

RED, GREEN, DIM, HEAD = "bold red", "green", "dim", "bold reverse"


class Page(NamedTuple):
    """What the user has chosen to see."""

    title: str
    seconds: float
    scroll: int
    newest_first: bool
    keys: str


def draw(
    picture: Picture,
    statistics: Statistics,
    page: Page,
    printed: list[str],
    columns: int,
    rows: int,
) -> tuple[Text, int]:
    """The page. `printed` is the end of what the command has printed. Gives the number of rows that can be
    scrolled, too."""
    room = max(rows - FIXED_ROWS, 1)
    refusals = [_refusal(refusal) for refusal in picture.refusals[: min(REFUSAL_ROWS, room // 4)]]
    shown = printed[-min(OUTPUT_ROWS, room // 3) :] if room >= 3 else []
    room -= sum(len(part) + 1 for part in (refusals, shown) if part)
    tree = _ordered(picture.rows, page.newest_first)
    most = max(len(tree) - max(room, 1), 0)
    first = min(page.scroll, most)
    lines = [*_heads(picture, statistics, page, columns)]
    for row in tree[first : first + max(room, 1)]:
        lines.append(_row(row, page.newest_first))
    lines += [Text()] * (max(room, 1) - (len(lines) - _HEADS))
    for title, part in (("refused", refusals), ("printed by the command", [Text(line) for line in shown])):
        if part:
            lines += [_bar(title, columns), *part]
    more = f"   {first + 1}-{min(first + max(room, 1), len(tree))} of {len(tree)}" if most else ""
    lines.append(Text(page.keys + more, DIM))
    return Text("\n").join(_cut(line, columns) for line in lines[:rows]), most


_HEADS = 4


def _heads(picture: Picture, statistics: Statistics, page: Page, columns: int) -> Iterable[Text]:
    title = fitted(page.title, columns - 20)
    yield _bar(f"{title}   {duration_text(page.seconds)}", columns)
    yield _counts(
        ("living", picture.living, ""),
        ("programs", picture.programs, ""),
        ("failed", picture.failed, RED),
        ("refused", picture.refused, RED),
        ("under the filter", statistics.supervised, ""),
    )
    rate = picture.rates[-1]
    kinds = ", ".join(
        f"{name.replace('_', ' ')} {count}" for name, count in sorted(picture.by_kind.items()) if count
    )
    yield Text(f"events/s {rate} {sparkline(picture.rates[-30:])} {kinds}")
    held = _counts(
        ("held now", statistics.queued + statistics.deferred, ""),
        ("deferred", statistics.deferred, ""),
        ("timed out", statistics.timed_out, RED),
        ("late answers", statistics.late, RED),
        ("events lost", statistics.lost, RED),
    )
    held.append(f"   longest wait {duration_text(picture.longest_ns / 1e9)}")
    yield held


def sparkline(numbers: list[int]) -> str:
    """Numbers as bars; the highest is that of the largest number."""
    most = max(numbers, default=0)
    if not most:
        return BARS[0] * len(numbers)
    # A small number beside a large one is more than nothing.
    return "".join(BARS[(number * 8 + most - 1) // most] for number in numbers)


def _counts(*parts: tuple[str, int, str]) -> Text:
    """Names with numbers; a style is for a number that is not 0."""
    text = Text()
    for name, number, style in parts:
        text.append("   " if text else "")
        text.append(f"{name} ")
        text.append(str(number), style if number and style else "bold" if number else DIM)
    return text


def _bar(text: str, columns: int) -> Text:
    return Text(f" {text} ".ljust(columns - (columns_of(text) - len(text))), HEAD)


def _ordered(rows: list[Row], newest_first: bool) -> list[Row]:
    return sorted(rows, key=lambda row: row.seconds) if newest_first else rows


def _row(row: Row, is_flat: bool) -> Text:
    style = RED if row.has_failed else DIM if row.state else ""
    age = f"{'>' if row.is_older else ''}{duration_text(row.seconds)}"
    text = Text(f"{row.process_id:>8}  {age:>12}  ", style or DIM)
    text.append(f"{row.state:<10}  ", style if row.has_failed else GREEN)
    depth = 0 if is_flat else min(row.depth, DEPTH_MAX)
    text.append("  " * depth + row.text, style)
    return text


def _refusal(refusal: Refusal) -> Text:
    text = Text(f"{refusal.process_id:>8}  ")
    text.append(refusal.what, RED)
    text.append(f"  {refusal.text}")
    if refusal.times > 1:
        text.append(f"  ({refusal.times} times)", "bold")
    return text


def _cut(line: Text, columns: int) -> Text:
    line.truncate(columns)
    line.no_wrap = True
    return line

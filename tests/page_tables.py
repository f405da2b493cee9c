"""The tables of a page of docs, row by row. Knows nothing of what stands in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path


def table_rows(page: Path, cell_count: int, behind: str = "") -> Iterator[tuple[int, list[str]]]:
    """The number of each row's line and its cells, heads left out: of all tables behind the first line that
    begins so, each with that many columns."""
    lines = page.read_text(encoding="utf-8").splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith(behind))
    for number, line in enumerate(lines[first:], first + 1):
        is_head = lines[number : number + 1] and lines[number].startswith("| ---")
        if line.startswith("| ") and not line.startswith("| ---") and not is_head:
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            assert len(cells) == cell_count, f"{page.name}, line {number}: {line}"
            yield number, cells

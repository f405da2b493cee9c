"""The text of the public headers, all of them together."""

from __future__ import annotations

from pathlib import Path


def header_text(checkout: Path) -> str:
    headers = sorted((checkout / "native" / "include").glob("*.h"))
    return "\n".join(header.read_text(encoding="utf-8") for header in headers)

"""Compiled rule sets by hand, from the text of cbp_ruleset_layout.h; for controllers without the core."""

from __future__ import annotations

import struct

ASK, IGNORE, ALLOW, DENY, STRIP = range(5)
BYTES, UTF16 = 1, 2  # how names are compared


def rules_for_all(*rules: tuple[int, int, int], flags: int = 0, comparison: int = BYTES) -> bytes:
    """A compiled set of rules (id, action, value) that match every process; ids rise."""
    size = 128 + 2 * 8 + 3 * 4 + 20 * len(rules)
    offsets = (128, 128, 128, 128, 144, 156, size)
    counts = (size, comparison, len(rules), 0, 0, 0, 1, 1, 1 if rules else 0)
    header = struct.pack("=II9I6I7I4Q", 0x52504243, 1, *counts, *[0] * 6, *offsets, *[0] * 4)
    body = bytearray(2 * 8 + 3 * 4)
    for position, (ident, action, value) in enumerate(rules, 1):
        following = position + 1 if position < len(rules) else 0
        body += struct.pack("=4I4B", ident, value, 0, following, 0, flags, action, 0)
    return header + bytes(body)

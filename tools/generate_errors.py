#!/usr/bin/env python3
"""Writes docs/errors.md from the list of error codes in driver/protocol/cbp_constants.h and the contracts in
native/include, which name the codes that each function gives.

Reads all of them as text. With --check it writes nothing and ends with status 1 when the page is not what it
would write."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from generate_constants import HEADER, ROOT, read_groups

FUNCTIONS = ROOT / "native" / "include"
PAGE = ROOT / "docs" / "errors.md"

INTRODUCTION = """\
# Error codes

`tools/generate_errors.py` makes this page from `driver/protocol/cbp_constants.h` and the comments
of the headers in `native/include`. It is not edited by hand.

Every function of the C library returns 0 or one of these codes. They are Windows' own numbers, on
every system. `cbp_error_message()` gives the sentence of a code, and `cbp_error_detail()` a
sentence about the call that failed. In Python the code is the `code` of `CBProcessError`
(`CBFSFilterError` is another name of it), whose `message` is the detail. C names the codes
`CBP_ERROR_...`. Python names them `ERROR_...`, and has them as members of `ErrorCode`.

A handler refuses an operation with a code, too (`result_code`), and can use any code. The program
that asked for the operation sees an error of its system:
[linux.md](linux.md#refusing-an-execution) has the table.

| code | name | what it says | C functions whose contract names it |
| --- | --- | --- | --- |
"""

CLOSING = """
Where a comment refers to another function's rules ("Buffer rules as in ..."), the codes of that
function are meant as well. 87 can come from any function that takes an argument, 21 from any that
takes a session, and 8 from any that needs memory.
"""


def contracts(header: str) -> dict[str, str]:
    """The comment in front of each function; functions that follow one another share it."""
    found = {}
    block = r"/\*((?:(?!\*/).)*)\*/\s*((?:(?:CBP_API|struct \w+;)[^;/]*;?\s*)+)"
    for comment, declarations in re.findall(block, header, re.DOTALL):
        for name in re.findall(r"\bCBP_CALL (cbp_\w+)\(", declarations):
            found[name] = comment
    return found


def functions_by_code(header: str) -> dict[str, list[str]]:
    naming: dict[str, list[str]] = {}
    for function, comment in contracts(header).items():
        for name in sorted(set(re.findall(r"\bCBP_(ERROR_\w*[A-Z])\b", comment))):
            naming.setdefault(name, []).append(function)
    return naming


def page() -> str:
    headers = sorted(FUNCTIONS.glob("*.h"), key=lambda header: (header.name != "cbprocess.h", header.name))
    naming = functions_by_code("\n".join(header.read_text(encoding="utf-8") for header in headers))
    errors = read_groups(HEADER.read_text(encoding="utf-8"))["error"]
    unknown = set(naming) - {error.name for error in errors}
    if unknown:
        raise SystemExit(f"{FUNCTIONS}: no such error code: {', '.join(sorted(unknown))}")
    rows = [
        f"| {error.value} | `{error.name}` | {error.text} "
        f"| {', '.join(f'`{function}`' for function in naming.get(error.name, []))} |"
        for error in sorted(errors, key=lambda error: error.value)
    ]
    return INTRODUCTION + "\n".join(rows) + "\n" + CLOSING


def main() -> int:
    parser = argparse.ArgumentParser(description="Writes docs/errors.md.")
    parser.add_argument("--check", action="store_true", help="compare only")
    check = parser.parse_args().check
    text = page()
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    if check:
        print(f"{PAGE.relative_to(ROOT)} is not up to date: run tools/generate_errors.py", file=sys.stderr)
        return 1
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Patterns of rules, and names of programs. Knows the library, whose rules decide the matter."""

from __future__ import annotations

from ctypes import byref, c_uint32

from .._checks import checked_pattern, checked_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .._api.process import CBProcess

    # It says whether a pattern matches the name of a program.
    Matches = Callable[[str, str], bool]


def matching(process: CBProcess) -> Matches:
    """The function that says so as rules of this instance would. It is to be called when that is initialized,
    in any thread."""

    def matches(pattern: str, program: str) -> bool:
        result = c_uint32()
        wanted, name = checked_pattern(pattern, "a pattern"), checked_text(program, "a program")
        process._ready().library.cbp_pattern_match(wanted, len(wanted), name, len(name), byref(result))
        return bool(result.value)

    return matches

"""The surroundings of a process, as the system tells them: start time, working directory, control group,
terminal, user name. Each is one read.

The process may end while it is looked at: what cannot be had is None. Knows nothing of events."""

from __future__ import annotations

import contextlib
import os
import sys
from functools import lru_cache

from .._checks import as_text, wrong
from ..constants import ERROR_NOT_SUPPORTED
from ..errors import CBProcessError
from .strict import put

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

# The names of enrichments, in the order in which their keys stand in a record, each with these keys.
ENRICHMENTS = {
    "cwd": ("working_directory",),
    "cgroup": ("cgroup", "container_id"),
    "terminal": ("session_id", "terminal"),
    "user": ("user_name",),
}
READ_SIZE = 65536
# /proc/PID/stat: the places of fields behind the name, which may hold blanks and parentheses.
SESSION, TERMINAL, START_TIME = 3, 4, 19
PTS_MAJORS = range(136, 144)
TTY_MAJOR, CONSOLES = 4, 64
CONTAINER_ID_SIZE = 64


def checked_enrichments(names: Iterable[str] | str) -> tuple[str, ...]:
    """The names of enrichments, each once and in their order. A text has commas between them; blanks and case
    do not count. Error 87 for an unknown name, 50 where this system tells none of it."""
    if isinstance(names, str):
        names = names.split(",") if names.strip() else ()
    wanted = {str(name).strip().lower() for name in names}
    unknown = sorted(wanted - ENRICHMENTS.keys())
    if unknown:
        raise wrong(f"there is no enrichment {unknown[0]!r:.100}: {', '.join(ENRICHMENTS)}")
    if wanted and sys.platform == "win32":
        raise CBProcessError(ERROR_NOT_SUPPORTED, "Windows tells no surroundings of a process")
    return tuple(name for name in ENRICHMENTS if name in wanted)


def start_time_of(process_id: int) -> int | None:
    """The start time of a running process, in the unit of events. None if there is no such process, and where
    the system has no cheap answer."""
    fields = _stat(process_id)
    return None if fields is None else int(fields[START_TIME])


def put_context(
    record: dict[str, Any], names: Iterable[str], process_id: int, start_time: int, user_id: int, sure: bool
) -> None:
    """Adds what these enrichments say of a process. sure: whether it waits, so that its id is still its own.
    Otherwise its start time is compared afterwards, and with another one all of it is None."""
    found: dict[str, Any] = {}
    for name in names:
        found.update(dict.fromkeys(ENRICHMENTS[name]))
        with contextlib.suppress(OSError):
            _READERS[name](found, process_id, user_id)
    if not sure and start_time and names and start_time_of(process_id) != start_time:
        name_of_user = found.get("user_name")
        found = dict.fromkeys(key for name in names for key in ENRICHMENTS[name])
        if "user_name" in found:
            found["user_name"] = name_of_user  # of the id that the event has
    record.update(found)


def _read(process_id: int, name: str) -> bytes:
    fd = os.open(f"/proc/{process_id}/{name}", os.O_RDONLY)
    try:
        return os.read(fd, READ_SIZE)
    finally:
        os.close(fd)


def _stat(process_id: int) -> list[bytes] | None:
    if process_id <= 0 or sys.platform == "win32":
        return None
    try:
        fields = _read(process_id, "stat").rpartition(b")")[2].split()
    except OSError:
        return None
    return fields if len(fields) > START_TIME else None


def _put_directory(found: dict[str, Any], process_id: int, user_id: int) -> None:
    put(found, "working_directory", as_text(os.readlink(f"/proc/{process_id}/cwd".encode())))


def _put_group(found: dict[str, Any], process_id: int, user_id: int) -> None:
    path = control_group(_read(process_id, "cgroup"))
    if path is not None:
        put(found, "cgroup", as_text(path))
        found["container_id"] = container_id(path)


def control_group(data: bytes) -> bytes | None:
    """The path in the unified hierarchy, out of /proc/PID/cgroup. Without one, or where it is the root, it is
    that of the first other hierarchy that has a path."""
    paths = {}
    for line in data.splitlines():
        number, _, rest = line.partition(b":")
        paths[number] = rest.partition(b":")[2]
    unified = paths.pop(b"0", None)
    if unified not in (None, b"/"):
        return unified
    return next((path for path in paths.values() if path not in (b"", b"/")), unified)


def container_id(path: bytes) -> str | None:
    """The id of a container: the last part of a control group's path that is made of 64 hexadecimal digits, a
    prefix and a suffix aside (docker-ID.scope, cri-containerd-ID.scope, libpod-ID, ID)."""
    for part in reversed(path.split(b"/")):
        word = part.rpartition(b"-")[2].partition(b".")[0]
        if len(word) == CONTAINER_ID_SIZE and not word.strip(b"0123456789abcdef"):
            return word.decode("ascii")
    return None


def _put_terminal(found: dict[str, Any], process_id: int, user_id: int) -> None:
    fields = _stat(process_id)
    if fields is not None:
        found["session_id"] = int(fields[SESSION])
        found["terminal"] = terminal_name(int(fields[TERMINAL]))


def terminal_name(number: int) -> str | None:
    """The file of a terminal, by the device number in /proc/PID/stat; "major:minor" for another device, None
    for no terminal."""
    number &= 0xFFFFFFFF
    major, minor = number >> 8 & 0xFFF, number & 0xFF | number >> 12 & 0xFFF00
    if number == 0:
        return None
    if major in PTS_MAJORS:
        return f"/dev/pts/{minor + (major - PTS_MAJORS.start) * 256}"
    if major == TTY_MAJOR:
        return f"/dev/tty{minor}" if minor < CONSOLES else f"/dev/ttyS{minor - CONSOLES}"
    return f"{major}:{minor}"


@lru_cache(maxsize=1024)
def user_name(user_id: int) -> str | None:
    """The name of a user, as the system's user database has it; remembered, because that may be a server."""
    if sys.platform == "win32":
        return None
    import pwd

    try:
        return pwd.getpwuid(user_id).pw_name
    except (KeyError, OverflowError):
        return None


def _put_user(found: dict[str, Any], process_id: int, user_id: int) -> None:
    name = user_name(user_id)
    if name is not None:
        put(found, "user_name", name)


_READERS: dict[str, Callable[[dict[str, Any], int, int], None]] = {
    "cwd": _put_directory,
    "cgroup": _put_group,
    "terminal": _put_terminal,
    "user": _put_user,
}

"""The origin of records: host, boot and session. An event's number is unique with these three.

Asks the system who it is; knows nothing of events."""

from __future__ import annotations

import contextlib
import os
import sys
from functools import cache
from typing import NamedTuple

from .._checks import wrong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional, Protocol

    class Head(Protocol):
        """The part of a recording's head that its identity is made from."""

        platform: str
        process_id: int
        time_ns: int


BOOT_ID = "/proc/sys/kernel/random/boot_id"


class Origin(NamedTuple):
    """The place that records come from. host: the machine's name. boot: the id of its boot, which is another
    after each start. session: one stream of events; two streams never share it. None stands for what is not
    known, as the host of a recording."""

    host: Optional[str]
    boot: Optional[str]
    session: Optional[str]

    @classmethod
    def here(cls, host: str | None = None, session: str | None = None) -> Origin:
        """The origin of a new stream of this machine. host: a name in place of the machine's own. session: an
        id in place of a new one of 32 random hexadecimal digits. Error 87 for anything but texts that are not
        empty and have no control characters."""
        return cls(
            host_name() if host is None else checked_name(host, "host"),
            boot_id(),
            new_session() if session is None else checked_name(session, "session"),
        )

    @classmethod
    def of_recording(cls, head: Head, host: str | None = None) -> Origin:
        """The origin of the events of a recording, from its head (a Recording, too). The session is made from
        the head, so that it is the same each time. Host and boot are not in a recording: host can be given.
        """
        session = f"{head.time_ns:016x}{head.process_id:08x}"
        # A script names no system, and is taken for one of this.
        kind = KINDS.get(head.platform.partition(" ")[0], cls)
        return kind(None if host is None else checked_name(host, "host"), None, session)

    @property
    def is_this_boot(self) -> bool:
        """Whether this machine has made the records, and has not been restarted since. Its processes can be
        asked then."""
        return self.boot is not None and self.boot == boot_id()

    @property
    def is_of_windows(self) -> bool:
        """Whether the events are of Windows. It has command lines in place of argument lists, and its users
        are no numbers: 0 would be root for a reader of the record."""
        return sys.platform == "win32"


class WindowsOrigin(Origin):
    """The origin of a recording that was made on Windows, wherever it is read."""

    __slots__ = ()

    @property
    def is_of_windows(self) -> bool:
        return True


class LinuxOrigin(Origin):
    """The origin of a recording that was made on Linux, wherever it is read."""

    __slots__ = ()

    @property
    def is_of_windows(self) -> bool:
        return False


# By the first word of the platform in a recording's head.
KINDS: dict[str, type[Origin]] = {"Windows": WindowsOrigin, "Linux": LinuxOrigin}


def checked_name(value: object, name: str) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise wrong(f"{name} must be a text that can be printed, not {value!r:.100}")
    return value


def new_session() -> str:
    return os.urandom(16).hex()


@cache
def host_name() -> str:
    """The machine's name, as it was at the first call."""
    if sys.platform == "win32":
        from socket import gethostname

        name = gethostname()
    else:
        # This tells it without importing sockets, which takes long.
        name = os.uname().nodename
    return "".join(c for c in name if c.isprintable()) or "localhost"


@cache
def boot_id() -> str | None:
    """The id of this machine's boot: on Linux the kernel's, as hexadecimal digits; on Windows the count of
    boots. None where the system does not tell."""
    if sys.platform == "win32":
        import winreg

        path = r"SYSTEM\CurrentControlSet\Control\Session Manager\Memory Management\PrefetchParameters"
        with contextlib.suppress(OSError), winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, path) as key:
            return str(winreg.QueryValueEx(key, "BootId")[0])
        return None
    with contextlib.suppress(OSError), open(BOOT_ID, encoding="ascii") as file:
        return file.read().strip().replace("-", "") or None
    return None


_own: tuple[int, Origin] | None = None


def own_origin() -> Origin:
    """The origin of records that nobody gave one. It is made at the first call in a process; a fork of the
    process has another."""
    global _own
    if _own is None or _own[0] != os.getpid():
        _own = os.getpid(), Origin.here()
    return _own[1]

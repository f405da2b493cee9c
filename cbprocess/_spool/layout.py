"""The files of a spool, by name and meaning: folders of sessions, segments, and numbers kept in place.

    SPOOL/.shipper                            the lock of the one shipper
    SPOOL/host                                the name of this host in a fleet, where it has an agent
    SPOOL/<boot>-<session>/lock               held by the writer as long as it lives
    SPOOL/<boot>-<session>/head.json          whose lines they are; a folder without it is no session
    SPOOL/<boot>-<session>/<number>.jsonl     segments, each named by the number of its first line
    SPOOL/<boot>-<session>/acked              the number up to which a shipper has everything
    SPOOL/<boot>-<session>/end                the last number; blank until the session has ended

Knows nothing of what the lines say but where their number stands, and nothing of events and networks."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import stat
import sys
from pathlib import Path
from typing import NamedTuple

from .._checks import wrong
from ..constants import ERROR_NOT_FOUND
from ..errors import CBProcessError
from ..records import Origin

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

SEGMENT_SUFFIX = ".jsonl"
TEMPORARY = ".tmp"
SEGMENT_DIGITS = 12
NUMBER_SIZE = 20
HEAD, LOCK, ACKED, END = "head.json", "lock", "acked", "end"
SHIPPER_LOCK = ".shipper"
HOST = "host"
UNKNOWN_BOOT = "unknown"
BLANK = b" " * NUMBER_SIZE + b"\n"
TAIL_SIZE = 1 << 16
# On Windows a lock keeps others from reading the bytes that it covers, so it covers one far behind the last.
LOCKED_BYTE = 1 << 30
# A full disk is no reason to give up. A folder that may not be written is.
FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
NOT_INHERITED: int = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOINHERIT", 0)
BINARY: int = getattr(os, "O_BINARY", 0)
# A link in the place of one of our files is somebody's trap.
NO_LINK: int = getattr(os, "O_NOFOLLOW", 0)
_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


class Batch(NamedTuple):
    """Whole lines of one session, in the order of their numbers."""

    origin: Origin
    first: int
    """The number of the first line."""
    last: int
    """The number of the last line. Between the two, numbers may be missing: these lines were lost."""
    count: int  # type: ignore[assignment]  # a tuple has a method of this name
    """The number of lines."""
    data: bytes
    """The lines, each with its end."""


def host_of(root: os.PathLike[str] | str) -> str | None:
    """The name that this host has in a fleet, as its agent has written it to SPOOL/host; None without."""
    try:
        return (Path(root) / HOST).read_text(encoding="utf-8").strip() or None
    except (OSError, ValueError):
        return None


def session_folder(root: Path, origin: Origin) -> Path:
    """The folder of a session. Error 87 if boot or session is no name that a file can have."""
    boot = UNKNOWN_BOOT if origin.boot is None else origin.boot
    for key, value in (("boot", boot), ("session", origin.session)):
        if not isinstance(value, str) or not _SAFE_NAME.fullmatch(value):
            raise wrong(f"{key} of a spooled session must be a plain name, not {value!r:.100}")
    return root / f"{boot}-{origin.session}"


def session_folders(root: Path) -> list[Path]:
    """The folders of all sessions, in no order. None where there is no spool (yet)."""
    try:
        with os.scandir(root) as entries:
            names = [
                entry.name
                for entry in entries
                if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
            ]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [root / name for name in names if (root / name / HEAD).exists()]


def make_root(root: Path) -> None:
    """Makes the folder of a spool where there is none. PermissionError for one in which others could put
    files and links: whoever writes to the spool, and root above all, would write where they lead."""
    root.parent.mkdir(parents=True, exist_ok=True)
    root.mkdir(exist_ok=True, mode=0o700)
    if sys.platform == "win32":
        return
    found = root.stat()
    for owner in (root.lstat().st_uid, found.st_uid):
        if owner not in (0, os.geteuid()):
            trouble = f"the spool belongs to another user (id {owner})"
            raise PermissionError(errno.EPERM, trouble, str(root))
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(errno.EPERM, "others can write to the spool (chmod go-w)", str(root))


def read_origin(folder: Path) -> Origin:
    """The origin of a session's lines. Error 1168 for a folder that is none of a session."""
    try:
        head = json.loads((folder / HEAD).read_bytes())
        origin = Origin(head["host"], head["boot"], head["session"])
        session_folder(folder, origin)
        return origin
    except (OSError, ValueError, KeyError, TypeError, CBProcessError):
        raise CBProcessError(ERROR_NOT_FOUND, f"{folder} is no session of a spool") from None


def segment_name(number: int) -> str:
    return f"{number:0{SEGMENT_DIGITS}d}{SEGMENT_SUFFIX}"


def segments(folder: Path) -> list[tuple[int, Path]]:
    """The segments of a session with the numbers of their first lines, in order."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = []
    for name in names:
        stem = name[: -len(SEGMENT_SUFFIX)]
        if name.endswith(SEGMENT_SUFFIX) and stem.isascii() and stem.isdigit():
            found.append((int(stem), folder / name))
    return sorted(found)


def _open_or_make(path: Path, access: int) -> int:
    """A descriptor of the file, which no child gets. One that is made belongs to its owner alone."""
    return os.open(path, access | os.O_CREAT | NO_LINK | NOT_INHERITED | BINARY, 0o600)


def make_number_file(path: Path) -> None:
    """Makes a file that a number can be written to later, even if the disk is full then."""
    fd = _open_or_make(path, os.O_WRONLY)
    try:
        os.write(fd, BLANK)
    finally:
        os.close(fd)


def read_number(path: Path) -> int | None:
    """The number in such a file; None where there is none."""
    try:
        text = path.read_bytes()[:NUMBER_SIZE].strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def write_number(path: Path, number: int) -> None:
    """Writes the number over the one that stands there. That takes no room on the disk."""
    fd = _open_or_make(path, os.O_WRONLY)
    try:
        os.write(fd, b"%0*d\n" % (NUMBER_SIZE, number))
    finally:
        os.close(fd)


def lock(path: Path, *, wait: bool = False) -> int:
    """Opens the file and locks it; gives the descriptor, whose closing unlocks it. BlockingIOError if another
    descriptor has the lock and `wait` is False. The system takes the lock away when its process dies."""
    fd = _open_or_make(path, os.O_RDWR)
    try:
        if sys.platform == "win32":
            os.lseek(fd, LOCKED_BYTE, os.SEEK_SET)
            try:
                msvcrt.locking(fd, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
            except OSError as error:
                raise BlockingIOError(errno.EAGAIN, "the file is locked", str(path)) from error
        else:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BaseException:
        os.close(fd)
        raise
    return fd


@contextlib.contextmanager
def lock_shipper(root: os.PathLike[str] | str) -> Iterator[None]:
    """Keeps other shippers away from this spool for the length of a `with` block. BlockingIOError where
    another shipper has it, PermissionError where the spool is another user's or others can write to it. Makes
    the folder where there is none."""
    folder = Path(root)
    make_root(folder)
    fd = lock(folder / SHIPPER_LOCK)
    try:
        yield
    finally:
        os.close(fd)


def is_live(folder: Path) -> bool:
    """Whether the session's writer lives."""
    if not (folder / LOCK).exists():
        return False
    try:
        os.close(lock(folder / LOCK))
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def last_number(path: Path) -> int | None:
    """The number of the last whole line of a segment; None if it has none."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            data, begin = b"", size
            # One line may be longer than what is looked at first.
            while begin > 0:
                begin = max(0, begin - max(TAIL_SIZE, len(data)))
                file.seek(begin)
                data = file.read(size - begin)
                lines = data.split(b"\n")[:-1] if begin == 0 else data.split(b"\n")[1:-1]
                for line in reversed(lines):
                    number = line_number(line)
                    if number is not None:
                        return number
    except OSError:
        return None
    return None


def line_number(line: bytes) -> int | None:
    """The number of a line; None if that is no line of a spool."""
    try:
        number = json.loads(line)["number"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return number if isinstance(number, int) and not isinstance(number, bool) and number > 0 else None


def remove_folder(folder: Path) -> None:
    """Removes a session. Others may be removing it at the same time."""
    # Without its head it is none any more, so that nobody begins to read what is left.
    names = [HEAD, *(path.name for _, path in segments(folder)), ACKED, END]
    with contextlib.suppress(OSError):
        # Whoever was killed before it could rename them has left these.
        names += [name for name in os.listdir(folder) if name.endswith(TEMPORARY)]
    for name in (*names, LOCK):
        with contextlib.suppress(OSError):
            (folder / name).unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()

"""The bound of a spool: what all of its sessions may take of the disk, and which segments go when it is more.

Each writer keeps the bound, for all sessions. The oldest segments go first, and of each session in the order
of their numbers. The one that a living writer writes to stays. Knows files only; writers tell the loss."""

from __future__ import annotations

import contextlib
import heapq
import time
from pathlib import Path
from typing import NamedTuple

from ..errors import CBProcessError
from ..records import Origin
from .layout import (
    ACKED,
    END,
    HEAD,
    is_live,
    last_number,
    read_number,
    read_origin,
    remove_folder,
    segments,
    session_folders,
)
from .sealing import seal
from .tales import tales_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# A folder and its small files take so much, whatever stands in them.
FOLDER_BYTES = 5 * 4096
BLOCK = 4096
# More sessions than these are removed as if they were too large: looking at each of them takes time, too.
SESSIONS_MAX = 1000
SEGMENT_BYTES = 4 << 20
SEGMENT_BYTES_MIN = 16 << 10
# So many segments fit, at least.
SEGMENTS_MIN = 16
# A session is made in less time than this.
DEBRIS_S = 3600


class Removed(NamedTuple):
    """Lines of one session that went for want of room before a shipper had them, as far as is known. The
    range begins behind what is acknowledged: what went before told of itself in lines that may have gone,
    too."""

    origin: Origin
    first: int
    last: int
    total: int
    """The numbers that went now."""
    tales: list[dict[str, Any]]
    """What these lines told of other sessions, and of losses without numbers: to be told again by the one who
    has removed them, and by nobody else. Empty for the own session."""
    lines: list[tuple[int, int]]
    """The first and the last number of each segment that went now."""


class Held(NamedTuple):
    """The outcome of a look: what is there now, and what went."""

    total: int
    """Bytes of all sessions."""
    share: int
    """The bytes that a writer's segment should have at most."""
    removed: list[Removed]


class _Session:
    def __init__(self, folder: Path, own: Path | None) -> None:
        self.folder = folder
        self.is_own = folder == own
        self.is_live = self.is_own or is_live(folder)
        self.is_stuck = False
        self.ages: list[int] = []
        self.sizes: list[int] = []
        self.parts: list[tuple[int, Path]] = []
        for part in segments(folder):
            # A shipper removes what is done at the same time.
            with contextlib.suppress(OSError):
                status = part[1].stat()
                self.ages.append(status.st_mtime_ns)
                self.sizes.append(-(-status.st_size // BLOCK) * BLOCK)
                self.parts.append(part)

    @property
    def total(self) -> int:
        return FOLDER_BYTES + sum(self.sizes)

    @property
    def has_candidate(self) -> bool:
        return not self.is_stuck and (len(self.parts) > 1 or not self.is_live)

    @property
    def age(self) -> int:
        # A session without segments is done, and goes first.
        return self.ages[0] if self.ages else 0


def hold_bound(root: Path, limit: int, own: Path | None, extra: int = 0) -> Held:
    """Removes segments until `extra` bytes more fit into `limit`. Sessions whose writer has died are ended.
    `own` is the folder of the caller, who writes to its last segment."""
    sessions = [_Session(folder, own) for folder in session_folders(root)]
    for session in sessions:
        if not session.is_live:
            with contextlib.suppress(OSError):
                seal(session.folder)
    _sweep(root)
    live = max(1, sum(session.is_live for session in sessions))
    share = min(SEGMENT_BYTES, max(SEGMENT_BYTES_MIN, limit // SEGMENTS_MIN // live))
    # Other writers look only now and then, as this one does.
    goal = limit - extra - share // 2 * live
    total = sum(session.total for session in sessions)
    count = len(sessions)
    removed: dict[int, Removed] = {}
    queue = [(each.age, index) for index, each in enumerate(sessions) if each.has_candidate]
    heapq.heapify(queue)
    while queue and (total > goal or count > SESSIONS_MAX):
        _, index = heapq.heappop(queue)
        session = sessions[index]
        size, gone = _remove_oldest(session)
        total -= size
        if gone is not None:
            before = removed.get(index)
            if before is not None:
                gone = gone._replace(
                    total=before.total + gone.total,
                    tales=before.tales + gone.tales,
                    lines=before.lines + gone.lines,
                )
            removed[index] = gone
        if session.parts and session.has_candidate:
            heapq.heappush(queue, (session.age, index))
        elif not session.parts and not session.is_stuck:
            total -= FOLDER_BYTES
            count -= 1
    return Held(total, share, list(removed.values()))


def _remove_oldest(session: _Session) -> tuple[int, Removed | None]:
    """Removes the oldest segment of a session, and a session without segments. Gives the bytes, and what went
    with them: with a session also those lines at its end that never came to the disk."""
    size, first, last = 0, 0, None
    acked = read_number(session.folder / ACKED) or 0
    tales: list[dict[str, Any]] = []
    path = None
    if session.parts:
        # In any case this part has had its turn: a session that another writer removes must not come again.
        first, path = session.parts.pop(0)
        size = session.sizes.pop(0)
        session.ages.pop(0)
    try:
        origin = read_origin(session.folder)
        if path is None:
            last = read_number(session.folder / END)
        else:
            last = session.parts[0][0] - 1 if session.parts else last_number(path)
            if not session.parts and not session.is_live:
                last = read_number(session.folder / END) or last
            # A writer has its own tales in memory.
            tales = [] if session.is_own else tales_in(path.read_bytes(), acked)
            path.unlink()
    except (FileNotFoundError, CBProcessError):
        # A shipper had everything of it, or another writer has removed it.
        last = None
    except OSError:
        # Somebody has it open, where that matters. The session stays as it is.
        session.is_stuck = True
        return 0, None
    if not session.parts and not session.is_live:
        remove_folder(session.folder)
    if last is None or last <= acked:
        return size, None
    return size, Removed(origin, acked + 1, last, last - max(first - 1, acked), tales, [(first, last)])


def _sweep(root: Path) -> None:
    """Removes what a writer has left that was killed while it made its session."""
    with contextlib.suppress(OSError):
        for folder in root.iterdir():
            # Folders of an agent and of reports are no sessions.
            is_old = not folder.name.startswith(".") and time.time() - folder.stat().st_mtime > DEBRIS_S
            if is_old and folder.is_dir() and not (folder / HEAD).exists() and not is_live(folder):
                remove_folder(folder)

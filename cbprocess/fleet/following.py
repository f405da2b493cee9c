"""A session that spools follows the rules that its host's agent keeps in the spool, from before its first
program on, with or without a server.

SPOOL/rules.json has the rules, SPOOL/.rules/<session>.json says what the session makes of them.
Needs no extra. Knows rule files and one instance's rules; the agent knows of signatures and networks."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import time
from pathlib import Path

from ..errors import CBProcessError
from ..rule_files import RuleSet, file_warnings, replace_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Any

    from ..applied_rules import AppliedRules

RULES, REPORTS = "rules.json", ".rules"
LAYER = "fleet"
LOOK_S = 0.25
SIZE_MAX = 4 << 20


def digest_of(data: bytes) -> str:
    """A short name of a file's content, by which agent and sessions mean the same rules."""
    return hashlib.sha256(data).hexdigest()[:16]


def write_rules(root: Path, rules: RuleSet) -> str:
    """Puts these rules in the place of the spool's, whole or not at all. Gives their digest. OSError if the
    disk does not take them: then the rules before stay."""
    data = (json.dumps(rules.to_dict(), indent=1) + "\n").encode()
    path = root / RULES
    with contextlib.suppress(OSError):
        if path.read_bytes() == data:
            return digest_of(data)
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    replace_file(os.fspath(path), data)
    return digest_of(data)


def reports(root: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """What sessions say, by the names of their folders. Reports of sessions that have gone are removed."""
    for path in (root / REPORTS).glob("*.json"):
        if not (root / path.stem).is_dir():
            with contextlib.suppress(OSError):
                path.unlink()
            continue
        with contextlib.suppress(OSError, ValueError, RecursionError):
            found = json.loads(path.read_bytes())
            if isinstance(found, dict):
                yield path.stem, found


class RuleFollower:
    """Keeps the rules of a spool in force at one instance, as a layer of their own.

    load() before the filter starts; start() for a thread that looks for changes; close() ends it. What
    cannot be read, is no rule file, or can be written by others changes nothing and is told in the report.
    check may refuse rules by a CBProcessError; on_change is called in the thread with a sentence."""

    def __init__(
        self,
        applied: AppliedRules,
        folder: Path,
        on_change: Callable[[str], None] | None = None,
        check: Callable[[RuleSet], None] | None = None,
    ) -> None:
        self._applied = applied
        self._path = folder.parent / RULES
        self._report = folder.parent / REPORTS / f"{folder.name}.json"
        self._on_change = on_change
        self._check = check
        self._mark: object = None
        self._told: dict[str, Any] = {"digest": None, "count": 0}
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> RuleFollower:
        self.load()
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def load(self) -> bool:
        """Looks once. Gives whether the rules in force have changed."""
        mark = self._look()
        if mark is None or mark == self._mark:
            return False
        self._mark = mark
        try:
            others = file_warnings(os.fspath(self._path))
            if others:
                raise CBProcessError(5, others[0])
            with open(self._path, "rb") as file:
                data = file.read(SIZE_MAX)
            rules = RuleSet.from_dict(json.loads(data))
            if self._check is not None:
                self._check(rules)
            change = self._applied.apply(LAYER, rules)
        except (OSError, ValueError, RecursionError, CBProcessError) as error:
            self._tell(error=str(error)[:300])
            return False
        self._tell(digest=digest_of(data), count=len(self._applied.rules(LAYER)), error=None)
        if change and self._on_change is not None:
            self._on_change(f"rules of the fleet: {change}")
        return bool(change)

    def start(self) -> None:
        """Begins to look for changes, in a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="cbprocess-fleet-rules", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the looking. The rules stay in force as long as the instance has them."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
        with contextlib.suppress(OSError):
            self._report.unlink()

    def _run(self) -> None:
        while not self._closing.wait(LOOK_S):
            # The thread has to outlive whatever a file or a stopping instance does.
            with contextlib.suppress(CBProcessError, OSError):
                self.load()

    def _look(self) -> object:
        with contextlib.suppress(OSError):
            found = os.stat(self._path)
            return found.st_mtime_ns, found.st_ino, found.st_size
        return None

    def _tell(self, **news: Any) -> None:
        self._told.update(news, at=time.time())
        with contextlib.suppress(OSError):
            self._report.parent.mkdir(mode=0o700, exist_ok=True)
            replace_file(os.fspath(self._report), json.dumps(self._told).encode())

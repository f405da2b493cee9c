"""A session that spools follows the rules that its host's agent keeps in the spool, from before its first
program on, with or without a server, and until they expire, with or without an agent.

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

from .._checks import wrong
from ..constants import ERROR_INVALID_DATA
from ..errors import CBProcessError
from ..rule_files import RuleSet, file_warnings, open_regular, replace_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType
    from typing import Any

    from ..applied_rules import AppliedRules

    # From when on, in seconds since 1970, and what is in force from then on.
    Step = tuple[float, RuleSet]

RULES, REPORTS = "rules.json", ".rules"
LAYER = "fleet"
LATER = "later"
LOOK_S = 0.25
SIZE_MAX = 64 << 20
STEPS_MAX = 1000


def digest_of(data: bytes) -> str:
    """A short name of a file's content, by which agent and sessions mean the same rules."""
    return hashlib.sha256(data).hexdigest()[:16]


def write_rules(root: Path, rules: RuleSet, later: Iterable[Step] = ()) -> str:
    """Puts these rules in the place of the spool's, whole or not at all. Gives their digest.

    later: times in seconds since 1970, in order, each with the rules that are left from then on. Sessions go
    by them, also where the agent has gone. OSError if the disk does not take them, error 87 for more than
    64 MiB: then the rules before stay."""
    content = rules.to_dict()
    steps = [{"from": start, "rules": left.to_dict()["rules"]} for start, left in later]
    if steps:
        content[LATER] = steps
    data = (json.dumps(content, separators=(",", ":")) + "\n").encode()
    if len(data) > SIZE_MAX:
        raise wrong(f"the rules of the fleet take {len(data)} bytes; at most {SIZE_MAX} are read")
    path = root / RULES
    with contextlib.suppress(OSError):
        if path.read_bytes() == data:
            return digest_of(data)
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    replace_file(os.fspath(path), data)
    return digest_of(data)


def read_steps(data: bytes) -> list[Step]:
    """What write_rules() has written: the rules of now, from 0 on, and those of later. ValueError and
    CBProcessError for what is no such file."""
    content = json.loads(data)
    later = content.pop(LATER, []) if isinstance(content, dict) else []
    if not isinstance(later, list) or len(later) > STEPS_MAX:
        raise ValueError(f"{LATER} is no list of at most {STEPS_MAX}")
    steps: list[Step] = [(0.0, RuleSet.from_dict(content))]
    for entry in later:
        start = entry.get("from") if isinstance(entry, dict) else None
        if isinstance(start, bool) or not isinstance(start, (int, float)) or not start >= steps[-1][0]:
            raise ValueError(f"{LATER} has no times in their order")
        steps.append((start, RuleSet.from_dict({"rules": entry.get("rules")})))
    return steps


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
    cannot be read, is no rule file, or can be written by others changes nothing and is told in the report;
    a trouble that may pass is tried again at each look. Rules that expire go out of force at their time; a
    clock that is set back later does not bring them back here. check may refuse rules by a CBProcessError;
    on_change is called in the thread with a sentence."""

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
        # Of the file that was read last: how it looked, its digest, its steps, and the one that is in force.
        self._mark: object = None
        self._digest: str | None = None
        self._steps: list[Step] = []
        self._current: int | None = None
        # Why the file that is there now is not the one that was read last.
        self._failure: str | None = None
        self._told: dict[str, Any] = {"digest": None, "count": 0, "error": None}
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
        if mark is not None and mark != self._mark:
            try:
                digest, steps = self._read()
            except OSError as error:
                # As where there is no free descriptor: the next look may find the file.
                self._failure = str(error)[:300]
            except (ValueError, RecursionError, CBProcessError) as error:
                self._mark, self._failure = mark, str(error)[:300]
            else:
                self._mark, self._digest, self._steps, self._current = mark, digest, steps, None
                self._failure = None
            if self._failure is not None:
                self._tell(error=self._failure)
        return self._step()

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
            return found.st_mtime_ns, found.st_ino, found.st_size, found.st_mode, found.st_uid
        return None

    def _read(self) -> tuple[str, list[Step]]:
        path = os.fspath(self._path)
        others = file_warnings(path)
        if others:
            raise CBProcessError(5, others[0])
        with open_regular(path) as file:
            if file is None:
                raise CBProcessError(ERROR_INVALID_DATA, f"{path} is no regular file")
            data = file.read(SIZE_MAX + 1)
        if len(data) > SIZE_MAX:
            raise CBProcessError(ERROR_INVALID_DATA, f"{path} has more than {SIZE_MAX} bytes")
        steps = read_steps(data)
        if self._check is not None:
            for _, rules in steps:
                self._check(rules)
        return digest_of(data), steps

    def _step(self) -> bool:
        """Puts in force what holds now, if it is not. What fails is tried again at the next look."""
        now = time.time()
        reached = sum(start <= now for start, _ in self._steps) - 1
        reached = max(reached, -1 if self._current is None else self._current)
        if reached < 0 or reached == self._current:
            return False
        try:
            change = self._applied.apply(LAYER, self._steps[reached][1])
        except (OSError, CBProcessError) as error:
            self._tell(error=str(error)[:300])
            return False
        self._current = reached
        self._tell(digest=self._digest, count=len(self._applied.rules(LAYER)), error=self._failure)
        if change and self._on_change is not None:
            self._on_change(f"rules of the fleet: {change}")
        return bool(change)

    def _tell(self, **news: Any) -> None:
        """Writes the report, where it says something else than before."""
        told = {**self._told, **news}
        if told == self._told:
            return
        self._told = told
        with contextlib.suppress(OSError):
            self._report.parent.mkdir(mode=0o700, exist_ok=True)
            replace_file(os.fspath(self._report), json.dumps({**told, "at": time.time()}).encode())

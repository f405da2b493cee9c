"""The agent of one host: ships the spool, keeps the fleet's rules, tells of itself. In an event loop, with no
hand in any operation: sessions write files and read files, and never wait for it.

Knows the parts and puts them together."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import random
import time
from pathlib import Path

from .. import records, spool
from .._checks import wrong
from ..errors import CBProcessError
from ..rule_files import replace_file
from . import following, names
from .bell import Bell
from .link import Access, Link, end
from .presence import EVERY_MAX_S, EVERY_S
from .rules import RuleKeeper, scopes_of
from .shipping import StreamPublisher, StreamShipper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType
    from typing import Any

    from ..applied_rules import AppliedRules

HOST_FILE = "host"
EXPIRY_S = 1.0
TELL_LIMIT_S = 5.0
# Changes of rules are told at once, but a flood of them is not.
TELL_AGAIN_S = 0.2
END_LIMIT_S = 2.0


class Agent:
    """One host of a fleet, as an `async with` block; everything runs in the background of its event loop.

    access: how to reach the servers (an Access, a URL or a list of URLs). tenant: whose host it is. host: its
    name; by default the machine's. spool: the folder that sessions write to (`cbprocess run --spool`); None
    ships nothing. state: the folder for what has to outlive a restart; by default `.agent` in the spool.
    trust: public keys of signers of rules; without one no rules are taken. groups: names of groups whose
    rules are for this host, too. applied: the rules of an instance of this process, which get the fleet's;
    other sessions of the host get them through the spool. every: seconds between two words of itself
    (0.1 .. 600).

    Entering makes folders and files of the spool (OSError), takes the spool's shipper lock (BlockingIOError
    where another agent has it) and puts cached rules in force; it waits for no server. Error 87 for wrong
    arguments, 50 without nats-py."""

    def __init__(
        self,
        access: Access | str | Sequence[str] = Access(),  # noqa: B008 - a value that cannot be changed
        *,
        tenant: str = "default",
        host: str | None = None,
        spool: str | os.PathLike[str] | None = None,
        state: str | os.PathLike[str] | None = None,
        trust: Iterable[str] = (),
        groups: Iterable[str] = (),
        applied: AppliedRules | None = None,
        every: float = EVERY_S,
    ) -> None:
        self._access = access if isinstance(access, Access) else Access(access)
        self.tenant = names.checked_tenant(tenant)
        self._origin = records.Origin.here(host=host)
        self.host = str(self._origin.host)
        self._token = names.token(self.host)
        self._spool = None if spool is None else Path(os.path.abspath(spool))
        if state is None and self._spool is not None:
            state = self._spool / ".agent"
        self._trust = tuple(trust)
        self.keeper: RuleKeeper | None = None
        if self._trust:
            if state is None:
                raise wrong("rules need a folder: state or spool")
            self.keeper = RuleKeeper(
                applied,
                Path(state),
                tenant=tenant,
                believed=self._trust,
                scopes=scopes_of(self.host, tuple(groups)),
            )
        self._scopes = scopes_of(self.host, tuple(groups))
        if not 0.1 <= every <= EVERY_MAX_S:
            raise wrong(f"every must be from 0.1 to {EVERY_MAX_S:.0f} seconds, not {every}")
        self._every = every
        self._started = time.time()
        self._digest: str | None = None
        self._stack = contextlib.AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._is_ending = False
        self.shipper: StreamShipper | None = None

    async def __aenter__(self) -> Agent:
        async with contextlib.AsyncExitStack() as stack:
            if self._spool is not None:
                stack.enter_context(spool.lock_shipper(self._spool))
                self._name_spool(self._spool)
            if self.keeper is not None:
                await asyncio.to_thread(self.keeper.load_cached)
                self._hand_over_rules()
            prefix = names.inbox_prefix(self.host)
            name = f"cbprocess agent {self.host}"
            self.link = await stack.enter_async_context(Link(self._access, name, prefix))
            self._tell_now = asyncio.Event()
            self._stack = stack.pop_all()
        self._start_tasks()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_ending = True
        if self.shipper is not None:
            self.shipper.stop()
        with contextlib.suppress(asyncio.TimeoutError, OSError):
            await asyncio.wait_for(self._tell_end(), END_LIMIT_S)
        await end(self._tasks)
        await self._stack.aclose()

    async def run(self, until: Callable[[], bool] | None = None) -> None:
        """Waits until `until` says so, or for ever. Raises what ended one of the agent's tasks."""
        while until is None or not until():
            done, _ = await asyncio.wait(self._tasks, timeout=0.1, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
                raise RuntimeError("a task of the agent has ended")

    def status(self) -> dict[str, Any]:
        """What the agent tells of itself, as a dictionary for JSON."""
        told: dict[str, Any] = {
            "schema": 1,
            "host": self.host,
            "boot": self._origin.boot,
            "agent": self._origin.session,
            "version": _version(),
            "started": self._started,
            "at": time.time(),
            "every": self._every,
            "is_ending": self._is_ending,
            "connects": self.link.connects,
            "rules": self.keeper.report() if self.keeper is not None else {},
        }
        if self.shipper is not None and self._spool is not None:
            told["shipping"] = {
                **dataclasses.asdict(self.shipper.counts),
                "in_flight": self.shipper.in_flight,
            }
            told["sessions"] = sessions = self._sessions(self._spool)
            # Rules that sessions cannot find, or refuse, are not in force here, whatever was taken.
            told["rules_failed"] = self.keeper is not None and (
                self._digest is None or sessions["failed_rules"] > 0
            )
        troubles = [
            trouble for trouble in (self.link.trouble, getattr(self.shipper, "trouble", None)) if trouble
        ]
        last = max(troubles, key=lambda trouble: trouble.at if trouble.count else 0.0)
        if last.count:
            told["trouble"] = {"text": last.text, "count": last.count}
        return told

    def _sessions(self, root: Path) -> dict[str, Any]:
        """Counts over the sessions of the spool, and how many live ones have the rules of now."""
        found: dict[str, Any] = {"live": 0, "waiting": 0, "bytes": 0, "with_rules": 0, "failed_rules": 0}
        told = dict(following.reports(root))
        with contextlib.suppress(OSError):
            for state in spool.states(root):
                found["live"] += state.is_live
                found["bytes"] += state.bytes
                found["waiting"] += max(0, (state.last or 0) - (state.acked or 0))
                report = told.get(state.folder.name)
                if report is not None and state.is_live:
                    found["with_rules"] += report.get("digest") == self._digest
                    found["failed_rules"] += bool(report.get("error"))
        return found

    def _failed_rules(self) -> object:
        """What sessions say against the rules, and whether they have got them at all."""
        if self._spool is None:
            return None
        with contextlib.suppress(OSError):
            errors = sorted(name for name, told in following.reports(self._spool) if told.get("error"))
            return self._digest is None, errors
        return None

    def _name_spool(self, root: Path) -> None:
        """Tells sessions that begin in this spool which host they are of."""
        path = root / HOST_FILE
        text = (self.host + "\n").encode("utf-8", "surrogateescape")
        if not path.exists() or path.read_bytes() != text:
            replace_file(os.fspath(path), text)

    def _start_tasks(self) -> None:
        loop = asyncio.get_running_loop()
        parts = [self._be_present()]
        if self._spool is not None:
            publisher = StreamPublisher(self.link, self.tenant)
            self.shipper = StreamShipper(publisher, self.tenant, self.host, self._spool, is_locked=True)
            parts.append(self.shipper.run())
        if self.keeper is not None:
            bucket = names.rules_bucket(self.tenant)
            parts += [Bell(self.link, bucket, self._scopes, self._take).run(), self._watch_expiry()]
        self._tasks = [loop.create_task(part) for part in parts]

    async def _take(self, scope: str, data: bytes | None, revision: int) -> None:
        assert self.keeper is not None
        await asyncio.to_thread(self.keeper.take, scope, data, revision)
        self._hand_over_rules()
        self._tell_now.set()

    async def _watch_expiry(self) -> None:
        keeper = self.keeper
        assert keeper is not None
        before: object = (False, [])
        while True:
            await asyncio.sleep(EXPIRY_S)
            has_changed, failed = await asyncio.to_thread(
                lambda: (keeper.check_expiry(), self._failed_rules())
            )
            if has_changed or (self._digest is None and self._spool is not None):
                # What could not be handed over may be now.
                self._hand_over_rules()
            if has_changed or failed != before:
                before = failed
                self._tell_now.set()

    def _hand_over_rules(self) -> None:
        if self._spool is None or self.keeper is None:
            return
        try:
            (_, rules), *later = self.keeper.schedule()
            self._digest = following.write_rules(self._spool, rules, later)
        except (OSError, CBProcessError) as error:
            # A full disk, or more rules than a file may have: the host must not tell that they are in force.
            self._digest = None
            if hasattr(self, "link"):
                self.link.trouble.note(f"rules for sessions: {error}")

    async def _be_present(self) -> None:
        self.link.on_up(self._tell_now.set)
        while True:
            self._tell_now.clear()
            # A server that is away knows nothing of this host; that is what silence means.
            with contextlib.suppress(Exception):
                await self._tell()
            await asyncio.sleep(TELL_AGAIN_S)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._tell_now.wait(), self._every * random.uniform(0.8, 1.2))

    async def _tell(self) -> None:
        data = json.dumps(await asyncio.to_thread(self.status)).encode()
        subject = names.key_subject(names.hosts_bucket(self.tenant), self._token)
        stream = await self.link.jetstream(TELL_LIMIT_S)
        await stream.publish(subject, data, timeout=TELL_LIMIT_S)

    async def _tell_end(self) -> None:
        if self.link.is_up:
            with contextlib.suppress(Exception):
                await self._tell()


def _version() -> str:
    from .. import __version__

    return __version__

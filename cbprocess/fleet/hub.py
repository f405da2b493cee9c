"""The other side of a fleet: sets it up, reads its events, hands out rules, lists its hosts.

Knows the parts and puts them together; nothing of files and of how things are printed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import NamedTuple

from ..constants import ERROR_BUSY, ERROR_NOT_FOUND, ERROR_TIMEOUT
from ..errors import CBProcessError
from ..rule_files import RuleSet
from . import names
from .bell import fetch_newest
from .counts import FeedCounts
from .feed import Feed
from .link import Access, Link, shown_servers
from .needs import need
from .presence import Host
from .rules import RuleDocument, checked_scope, make_document, open_document, serial_of
from .setup import Plan, set_up
from .signing import Refused, public_key_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import datetime
    from collections.abc import AsyncIterator, Iterable, Sequence
    from types import TracebackType
    from typing import Any

    from ..rules import Rule

WAIT_S = 5.0
LOOK_S = 0.2
# Agents that were just started, and sessions that refuse what their agent took, are told of by then.
SETTLED_S = 3.0
FETCH_COUNT = 256
FETCH_S = 2.0
WRONG_LAST_SEQUENCE = 10071


class StoredRules(NamedTuple):
    """What the bucket has for a scope. document: the rules, if a believed key has signed them; otherwise
    refused says why not."""

    scope: str
    revision: int
    document: RuleDocument | None
    refused: Refused | None


class Reach(NamedTuple):
    """How far a revision of rules has come: hosts that have it in force, that refused it, and that have not
    said yet; only hosts that are alive and that the scope is for."""

    applied: list[Host]
    refused: list[Host]
    waiting: list[Host]

    @property
    def is_done(self) -> bool:
        """Whether all of them have said something."""
        return not self.waiting


class Hub:
    """A tenant of a fleet, as an `async with` block. Entering waits at most `wait` seconds for a server, and
    is error 1460 then. access: how to reach the servers (an Access, a URL or a list of URLs). All methods in
    one event loop. Errors: 1460 when no server answers in time, 1168 when the server has no such tenant."""

    def __init__(
        self,
        access: Access | str | Sequence[str] = Access(),  # noqa: B008 - a value that cannot be changed
        *,
        tenant: str = "default",
        wait: float = WAIT_S,
    ) -> None:
        self._access = access if isinstance(access, Access) else Access(access)
        self.tenant = names.checked_tenant(tenant)
        self._wait = wait
        self._stack = contextlib.AsyncExitStack()
        self._feed: Feed | None = None

    async def __aenter__(self) -> Hub:
        async with contextlib.AsyncExitStack() as stack:
            self.link = await stack.enter_async_context(Link(self._access, "cbprocess hub"))
            async with self.told_errors():
                await self.link.up(self._wait)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def setup(self, plan: Plan | None = None, *, replicas: int = 1) -> list[str]:
        """Makes the tenant's streams, or brings them up to date. plan: their sizes; by default a small one
        with this many replicas. Gives a line for each stream."""
        async with self.told_errors():
            return await set_up(await self.link.jetstream(self._wait), plan or Plan(self.tenant, replicas))

    def feed(self, **start: Any) -> Feed:
        """The tenant's events with the keywords of Feed, for whoever needs its counts and its position."""
        self._feed = Feed(self.link, self.tenant, **start)
        return self._feed

    async def events(
        self,
        *,
        host: str | None = None,
        since: datetime.datetime | None = None,
        follow: bool = True,
        merge: float = 0.2,
    ) -> AsyncIterator[dict[str, Any]]:
        """The records of all hosts or of one, each once, in the order of their times.

        since: only events of this time or later (an aware datetime). follow: goes on for ever; otherwise ends
        behind what is in the stream now. merge: seconds (0 .. 60) that a record is held for earlier ones of
        other hosts. counts() tells doubles and what is missing."""
        async with self.told_errors():
            async for record in self.feed(host=host, since=since).events(merge, follow):
                yield record

    def counts(self) -> FeedCounts:
        """The counts of the last feed() or events()."""
        return self._feed.counts() if self._feed is not None else FeedCounts()

    async def put_rules(
        self, scope: str, rules: RuleSet | Iterable[Rule], seed: str, *, expires: float | None = None
    ) -> int:
        """Signs rules for a scope and puts them in the place of those before. Gives the revision.

        scope: "all", "group.NAME" or "host.NAME". seed: the signer's secret, which does not leave this
        process. expires: a time in seconds since 1970. Error 170 if somebody else changed them at the same
        moment: nothing is lost then, look and try again. Error 87 for rules that a fleet cannot give."""
        checked_scope(scope)
        ruleset = rules if isinstance(rules, RuleSet) else RuleSet(rules)
        found = await self.rules(scope, believed=[public_key_of(seed)])
        document = make_document(
            ruleset, tenant=self.tenant, scope=scope, expires=expires, previous=found.document
        )
        sealed = document.sealed(seed)
        subject = names.key_subject(names.rules_bucket(self.tenant), scope)
        headers = {"Nats-Expected-Last-Subject-Sequence": str(found.revision)}
        async with self.told_errors():
            stream = await self.link.jetstream(self._wait)
            ack = await stream.publish(subject, sealed, timeout=self._wait, headers=headers)
        return int(ack.seq)

    async def rules(self, scope: str, *, believed: Iterable[str]) -> StoredRules:
        """What the bucket has for a scope, whether it has expired or not. believed: public keys of
        signers."""
        async with self.told_errors():
            bucket = names.rules_bucket(self.tenant)
            entry = await fetch_newest(self.link, bucket, checked_scope(scope), self._wait)
        if entry.value is None:
            return StoredRules(scope, entry.revision, None, None)
        try:
            document = open_document(
                entry.value, tenant=self.tenant, scope=scope, believed=tuple(believed), now=0
            )
        except Refused as refused:
            return StoredRules(scope, entry.revision, None, refused)
        return StoredRules(scope, entry.revision, document, None)

    async def hosts(self) -> list[Host]:
        """All hosts that told of themselves in the last 30 days, by name."""
        bucket = names.hosts_bucket(self.tenant)
        stream_name = names.bucket_stream(bucket)
        found: dict[str, Host] = {}
        async with self.told_errors():
            stream = await self.link.jetstream(self._wait)
            info = await stream.stream_info(stream_name, subjects_filter=names.key_subject(bucket, "*"))
            subjects = set(info.state.subjects or ())
            now = await self._read_hosts(stream, bucket, info.state.last_seq, found)
            # A host that told of itself while its word was read may have been passed over.
            for subject in subjects - {names.key_subject(bucket, names.token(name)) for name in found}:
                with contextlib.suppress(need("nats.js.errors").NotFoundError):
                    message = await stream.get_msg(stream_name, subject=subject)
                    host = _host(subject, message.data or b"", now, message.time)
                    found[host.name] = host
        return [found[name] for name in sorted(found)]

    async def _read_hosts(
        self, stream: Any, bucket: str, last: int, found: dict[str, Host]
    ) -> datetime.datetime:
        """Reads the words of all hosts up to this sequence in a few large steps. Gives the server's time, as
        it was when it made the consumer for this."""
        api = need("nats.js.api")
        config = api.ConsumerConfig(
            deliver_policy=api.DeliverPolicy.LAST_PER_SUBJECT,
            ack_policy=api.AckPolicy.NONE,
            inactive_threshold=30.0,
            mem_storage=True,
            num_replicas=1,
        )
        subject = names.key_subject(bucket, "*")
        subscription = await stream.pull_subscribe(subject, stream=names.bucket_stream(bucket), config=config)
        try:
            info = await subscription.consumer_info()
            now: datetime.datetime = info.created
            left = int(info.num_pending or 0)
            with contextlib.suppress(asyncio.TimeoutError, need("nats.errors").TimeoutError):
                while left > 0:
                    messages = await subscription.fetch(min(left, FETCH_COUNT), timeout=FETCH_S)
                    if not messages:
                        # nats-py gives none, and no timeout, behind a word of the server at its last moment.
                        break
                    for message in messages:
                        host = _host(message.subject, message.data, now, message.metadata.timestamp)
                        found[host.name] = host
                    left = int(messages[-1].metadata.num_pending)
                    # Words that are said meanwhile keep the count up, and hosts never cease to speak.
                    if messages[-1].metadata.sequence.stream >= last:
                        break
            return now
        finally:
            with contextlib.suppress(Exception):
                await subscription.unsubscribe()

    async def reach(self, scope: str, revision: int) -> Reach:
        """How far a revision of rules has come until now."""
        return await self._reach(scope, revision, await self._serial(scope, revision))

    async def _reach(self, scope: str, revision: int, serial: int | None) -> Reach:
        hosts = [host for host in await self.hosts() if host.is_alive and host.takes(scope)]
        applied = [host for host in hosts if host.has_applied(scope, revision, serial)]
        refused = [host for host in hosts if host.has_refused(scope, revision)]
        rest = [host for host in hosts if host not in applied and host not in refused]
        return Reach(applied, refused, rest)

    async def _serial(self, scope: str, revision: int) -> int | None:
        """The serial of a revision's document; None where the bucket no longer has it."""
        bucket = names.rules_bucket(self.tenant)
        async with self.told_errors():
            stream = await self.link.jetstream(self._wait)
            with contextlib.suppress(need("nats.js.errors").NotFoundError):
                found = await stream.get_msg(names.bucket_stream(bucket), seq=revision)
                if found.subject == names.key_subject(bucket, checked_scope(scope)):
                    return serial_of(found.data or b"")
        return None

    async def applied(self, scope: str, revision: int, seconds: float) -> AsyncIterator[Reach]:
        """The reach of a revision each time that it has changed, until every host has answered or the seconds
        are over. Hosts that were just started may come within three seconds, so that they are counted."""
        started = changed = time.monotonic()
        before: tuple[int, int, int] | None = None
        serial = await self._serial(scope, revision)
        while True:
            reach = await self._reach(scope, revision, serial)
            counts = (len(reach.applied), len(reach.refused), len(reach.waiting))
            now = time.monotonic()
            if counts != before:
                changed = now
                yield reach
            is_settled = reach.is_done and any(counts) and now - changed >= SETTLED_S
            if is_settled or now - started >= seconds:
                return
            before = counts
            await asyncio.sleep(LOOK_S)

    @contextlib.asynccontextmanager
    async def told_errors(self) -> AsyncIterator[None]:
        """A block in which errors of nats-py are errors of this package, for whoever uses a feed()."""
        errors, stream_errors = need("nats.errors"), need("nats.js.errors")
        try:
            yield
        except stream_errors.NotFoundError as error:
            raise self._no_tenant(error) from None
        except (stream_errors.NoStreamResponseError, errors.NoRespondersError) as error:
            raise self._no_tenant(error) from None
        except stream_errors.APIError as error:
            if error.err_code == WRONG_LAST_SEQUENCE:
                raise CBProcessError(ERROR_BUSY, "somebody else changed these rules just now") from None
            raise CBProcessError(ERROR_BUSY, f"the server refused: {error.description}") from None
        except (asyncio.TimeoutError, errors.Error, OSError) as error:
            # A forbidden subject is a timeout too; the reason came by another way.
            text = self.link.trouble.text or str(error) or "no answer"
            raise CBProcessError(ERROR_TIMEOUT, f"{shown_servers(self._access)}: {text}") from None

    def _no_tenant(self, error: Exception) -> CBProcessError:
        text = f"the server has no tenant {self.tenant} (cbprocess fleet setup makes one), or no JetStream"
        return CBProcessError(ERROR_NOT_FOUND, text)


def _host(subject: str, data: bytes, now: datetime.datetime, told_at: datetime.datetime | None) -> Host:
    name = names.name_of(subject.rpartition(".")[2])
    age = max(0.0, (now - told_at).total_seconds()) if told_at is not None else 0.0
    try:
        told = json.loads(data)
    except (ValueError, RecursionError):
        # A host may have written anything.
        told = None
    # An agent names its host. What came there in another way must not make a host alive.
    is_strange = not isinstance(told, dict) or told.get("host") != name
    return Host(name, age, {} if is_strange else told, is_strange)

"""What a fleet has on its server: one stream for events, one bucket for rules, one for hosts. Described once,
made or brought up to date.

Knows names and nats-py's configurations; nothing of what is in the streams."""

from __future__ import annotations

from dataclasses import dataclass

from .._checks import checked_int, wrong
from . import names, signing
from .needs import need

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RULES_HISTORY = 10
HEADERS_SIZE = 1024  # more than the headers of a document ever take
RULES_SIZE_MAX = signing.SIZE_MAX + HEADERS_SIZE
HOSTS_KEPT_S = 30 * 24 * 3600.0
REPLICAS = (1, 3, 5)


@dataclass(frozen=True)
class Plan:
    """The sizes of a tenant's streams.

    replicas: servers that keep each message: 1, 3 or 5. max_bytes: of events, the oldest go first. max_age:
    seconds that events are kept. duplicate_window: seconds in which the server itself finds doubles."""

    tenant: str = "default"
    replicas: int = 1
    max_bytes: int = 1 << 30
    max_age: float = 7 * 24 * 3600.0
    duplicate_window: float = 120.0

    def __post_init__(self) -> None:
        names.checked_tenant(self.tenant)
        if self.replicas not in REPLICAS:
            raise wrong(f"replicas must be 1, 3 or 5, not {self.replicas}")
        checked_int(self.max_bytes, "max_bytes", 1 << 20, 1 << 60)
        if not self.duplicate_window <= self.max_age:
            raise wrong("max_age must not be shorter than the window in which doubles are found")

    def streams(self) -> list[Any]:
        """The three configurations, for nats-py's add_stream()."""
        api = need("nats.js.api")
        tenant = self.tenant
        events = api.StreamConfig(
            name=names.event_stream(tenant),
            subjects=[names.all_events(tenant)],
            storage=api.StorageType.FILE,
            num_replicas=self.replicas,
            max_bytes=self.max_bytes,
            max_age=self.max_age,
            discard=api.DiscardPolicy.OLD,
            duplicate_window=self.duplicate_window,
            allow_direct=True,
        )
        return [
            events,
            self._bucket(api, names.rules_bucket(tenant), RULES_HISTORY, 0.0, RULES_SIZE_MAX),
            self._bucket(api, names.hosts_bucket(tenant), 1, HOSTS_KEPT_S, 64 * 1024),
        ]

    def _bucket(self, api: Any, bucket: str, history: int, age: float, size: int) -> Any:
        """The stream of a key-value bucket, as every NATS client makes it."""
        return api.StreamConfig(
            name=names.bucket_stream(bucket),
            subjects=[f"$KV.{bucket}.>"],
            storage=api.StorageType.FILE,
            num_replicas=self.replicas,
            max_msgs_per_subject=history,
            max_age=age,
            max_msg_size=size,
            discard=api.DiscardPolicy.NEW,
            duplicate_window=min(120.0, age) if age else 120.0,
            # With such a header a host could remove the words of all others.
            allow_rollup_hdrs=bucket != names.hosts_bucket(self.tenant),
            deny_delete=True,
            allow_direct=True,
        )


async def set_up(stream_context: Any, plan: Plan) -> list[str]:
    """Makes what is missing and updates what differs. Gives a line for each stream; says "made", "updated" or
    "unchanged". The errors are nats-py's: replicas that a server alone cannot have, for example."""
    errors = need("nats.js.errors")
    told = []
    for wanted in plan.streams():
        try:
            found = (await stream_context.stream_info(wanted.name)).config
        except errors.NotFoundError:
            await stream_context.add_stream(wanted)
            told.append(f"made {wanted.name}")
            continue
        if _differs(found, wanted):
            await stream_context.update_stream(wanted)
            told.append(f"updated {wanted.name}")
        else:
            told.append(f"unchanged {wanted.name}")
    return told


def _differs(found: Any, wanted: Any) -> bool:
    keys = (
        "subjects",
        "num_replicas",
        "max_bytes",
        "max_age",
        "max_msgs_per_subject",
        "max_msg_size",
        "duplicate_window",
        "allow_direct",
        "allow_rollup_hdrs",
    )
    return any(
        (getattr(found, key) or None) != (getattr(wanted, key) or None)
        for key in keys
        # The server fills in what is not limited with -1.
        if not (getattr(wanted, key) is None and getattr(found, key) in (None, -1, 0, False))
    )

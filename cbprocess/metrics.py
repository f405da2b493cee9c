"""Prometheus metrics of `statistics()`: a collector for the registry of prometheus_client (extra `metrics`).

    from cbprocess import metrics
    import prometheus_client

    metrics.collector().add("build", process)      # before or after start_filter()
    prometheus_client.start_http_server(9100)

The counts are read when they are scraped; nothing is counted twice. Knows instances by their statistics();
nothing of events."""

from __future__ import annotations

import threading

from ._checks import wrong
from ._extras import need
from .errors import CBProcessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Protocol

    class Counted(Protocol):
        """What has counts: a CBProcess, and whatever offers the same."""

        def statistics(self) -> Any: ...


__all__ = ("Collector", "collector")

PREFIX = "cbprocess"
LABEL = "session"

# Counts that only grow while a filter is active; they begin anew with the next start_filter().
COUNTERS = {
    "delivered": ("events_delivered", "Events that a handler was called for."),
    "lost": ("events_lost", "Events that never reached a handler."),
    "timed_out": ("operations_timed_out", "Operations that were let go, or refused, at their deadline."),
    "refused": ("operations_refused", "Operations that a handler or a rule refused."),
    "decided_by_rule": ("operations_decided_by_rule", "Operations that a rule decided."),
    "late": ("answers_late", "Answers that came after the deadline."),
    "failed_after": ("executions_failed", "Executions that were allowed and then failed in the system."),
    "malformed": ("messages_malformed", "Messages of the driver that were dropped."),
    "guessed": ("processes_guessed", "Processes whose creator ended while it created them."),
    "failed_in_handler": ("handlers_failed", "Handlers that raised."),
}
GAUGES = {
    "workers": ("workers", "Worker threads now."),
    "supervised": ("tasks_supervised", "Tasks under a tree driver now."),
    "deferred": ("operations_deferred", "Operations that are deferred and not yet completed now."),
    "queued": ("messages_queued", "Messages that wait for a worker now."),
}


class Collector:
    """Gives the counts of instances to a registry, each under the label `session`. All methods may be called
    in any thread; a scrape never waits for a handler.

    cbprocess_active is 1 for an instance whose counts can be read. It is 0 for one that has none now, because
    it is not initialized, or no longer. Such an instance stays, and its counts come back with it."""

    def __init__(self) -> None:
        core = need("prometheus_client.core", "metrics")
        self._counter = core.CounterMetricFamily
        self._gauge = core.GaugeMetricFamily
        self._lock = threading.Lock()
        self._instances: dict[str, Counted] = {}

    def add(self, session: str, process: Counted) -> Collector:
        """Adds an instance under this label. Returns the collector. Error 87 for a label that is taken or no
        text, and for what has no statistics()."""
        if not isinstance(session, str) or not session:
            raise wrong(f"session must be a text, not {session!r:.100}")
        if not callable(getattr(process, "statistics", None)):
            raise wrong(f"process must have statistics(), as a CBProcess does, not {type(process).__name__}")
        with self._lock:
            if session in self._instances:
                raise wrong(f"there is a session {session!r:.100} already")
            self._instances[session] = process
        return self

    def remove(self, session: str) -> None:
        """Takes an instance out. Nothing happens if it is not there."""
        with self._lock:
            self._instances.pop(session, None)

    def collect(self) -> Iterator[Any]:
        """Reads the counts now, for the registry."""
        with self._lock:
            instances = list(self._instances.items())
        found = [(session, _statistics(process)) for session, process in instances]
        active = self._gauge(
            f"{PREFIX}_active", "Whether the counts of a session can be read.", labels=[LABEL]
        )
        for session, counts in found:
            active.add_metric([session], 0 if counts is None else 1)
        yield active
        for family, table in ((self._counter, COUNTERS), (self._gauge, GAUGES)):
            for attribute, (name, text) in table.items():
                metric = family(f"{PREFIX}_{name}", text, labels=[LABEL])
                for session, counts in found:
                    if counts is not None:
                        metric.add_metric([session], getattr(counts, attribute))
                yield metric

    def describe(self) -> Iterator[Any]:
        """Names the metrics, without values: the registry checks names with them."""
        for family, table in ((self._counter, COUNTERS), (self._gauge, GAUGES)):
            for name, text in table.values():
                yield family(f"{PREFIX}_{name}", text, labels=[LABEL])
        yield self._gauge(f"{PREFIX}_active", "Whether the counts of a session can be read.", labels=[LABEL])


def collector(registry: Any = None) -> Collector:
    """Puts a new collector into this registry of prometheus_client, or into its REGISTRY. One registry takes
    one collector. Errors: 50 without prometheus_client, ValueError of the registry for a second one."""
    made = Collector()
    target = need("prometheus_client", "metrics").REGISTRY if registry is None else registry
    target.register(made)
    return made


def _statistics(process: Counted) -> Any:
    try:
        return process.statistics()
    except CBProcessError:
        return None

"""Metrics of statistics(): what a scraper of Prometheus gets, read by Prometheus' own parser."""

from __future__ import annotations

import threading
import urllib.request
from typing import Any

import pytest

import cbprocess
from cbprocess import CBProcess, CBProcessError, _extras, metrics
from cbprocess._api.statistics import Statistics
from cbprocess.testing import Simulator

prometheus = pytest.importorskip("prometheus_client")
parser = pytest.importorskip("prometheus_client.parser")
GUID = "{713CC6CE-B3E2-4fd9-838D-E28F558F6866}"


@pytest.fixture
def registry() -> Any:
    return prometheus.CollectorRegistry()


def scraped(registry: Any) -> dict[tuple[str, str], float]:
    """The samples of the registry by name and session."""
    text = prometheus.generate_latest(registry).decode()
    return {
        (sample.name, sample.labels["session"]): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


class Counts:
    """Counts that are all different."""

    def __init__(self, start: int = 1) -> None:
        self.start = start

    def statistics(self) -> Any:
        names = Statistics.__slots__
        return type("Counts", (), {name: self.start + index for index, name in enumerate(names)})


def test_every_count_is_a_metric_of_its_own(registry: Any) -> None:
    assert {*metrics.COUNTERS, *metrics.GAUGES} == set(Statistics.__slots__)
    counts = Counts()
    metrics.collector(registry).add("one", counts)
    found = scraped(registry)
    for attribute, (name, _) in metrics.COUNTERS.items():
        assert found[f"cbprocess_{name}_total", "one"] == getattr(counts.statistics(), attribute)
    for attribute, (name, _) in metrics.GAUGES.items():
        assert found[f"cbprocess_{name}", "one"] == getattr(counts.statistics(), attribute)
    assert len(found) == len(Statistics.__slots__) + 1


def test_counts_of_a_session_as_it_goes_on(registry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Whatever other tests have initialized.
    monkeypatch.setattr(cbprocess._api.process, "_product_guid", None)
    collector = metrics.collector(registry)
    process = CBProcess()
    collector.add("build", process)
    assert scraped(registry) == {("cbprocess_active", "build"): 0}
    process.initialize(GUID)
    process.config("EventsToFire=-1")
    process.add_filtered_process_by_id(-1, True)
    process.add_rule(name="*/cat", action="deny", code=5)
    process.on_process_creation = lambda event: None
    with Simulator(process) as simulator:
        simulator.process_creation(process_name="/bin/ls")
        assert simulator.process_creation(process_name="/bin/cat").refused
        found = scraped(registry)
        assert found["cbprocess_active", "build"] == 1
        assert found["cbprocess_events_delivered_total", "build"] == 2
        assert found["cbprocess_operations_refused_total", "build"] == 1
        assert found["cbprocess_operations_decided_by_rule_total", "build"] == 1
        assert found["cbprocess_workers", "build"] >= 1
        assert found["cbprocess_events_lost_total", "build"] == 0
    assert scraped(registry)["cbprocess_events_delivered_total", "build"] == 2


def test_several_sessions_and_one_that_has_ended(registry: Any) -> None:
    collector = metrics.collector(registry).add("a", Counts()).add('b"\n', Counts(100))
    assert {session for _, session in scraped(registry)} == {"a", 'b"\n'}
    collector.remove("a")
    collector.remove("a")
    assert {session for _, session in scraped(registry)} == {'b"\n'}
    collector.add("a", Counts(5))
    assert scraped(registry)["cbprocess_active", "a"] == 1


def test_names_are_as_prometheus_wants_them(registry: Any) -> None:
    metrics.collector(registry).add("a", Counts())
    text = prometheus.generate_latest(registry).decode()
    for family in parser.text_string_to_metric_families(text):
        assert family.documentation.endswith(".")
        # The words of the naming guide: a prefix, a noun in the plural for counters, no unit but the count.
        assert family.name.startswith("cbprocess_")
        assert family.type in ("counter", "gauge")
    assert text.count("# TYPE") == len(Statistics.__slots__) + 1


def test_over_http(registry: Any) -> None:
    metrics.collector(registry).add("build", Counts())
    server, thread = prometheus.start_http_server(0, "127.0.0.1", registry)
    try:
        url = f"http://127.0.0.1:{server.server_port}/metrics"
        with urllib.request.urlopen(url, timeout=30) as answer:
            body = answer.read().decode()
    finally:
        server.shutdown()
        server.server_close()
        thread.join(30)
    assert 'cbprocess_active{session="build"} 1.0' in body


def test_sessions_come_and_go_while_another_thread_scrapes(registry: Any) -> None:
    collector = metrics.collector(registry)
    failures: list[BaseException] = []
    stop = threading.Event()

    def scrape() -> None:
        try:
            while not stop.is_set():
                scraped(registry)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=scrape)
    thread.start()
    for number in range(300):
        collector.add(f"s{number}", Counts())
        if number >= 5:
            collector.remove(f"s{number - 5}")
    stop.set()
    thread.join(60)
    assert not failures and not thread.is_alive()


@pytest.mark.parametrize(
    ("session", "process"), [("", Counts()), (5, Counts()), ("x", object()), ("x", None), ("taken", Counts())]
)
def test_wrong_arguments_are_error_87(registry: Any, session: Any, process: Any) -> None:
    collector = metrics.collector(registry).add("taken", Counts())
    with pytest.raises(CBProcessError) as caught:
        collector.add(session, process)
    assert caught.value.code == 87
    assert {session for _, session in scraped(registry)} == {"taken"}


def test_a_registry_takes_one_collector(registry: Any) -> None:
    metrics.collector(registry)
    with pytest.raises(ValueError, match="Duplicated"):
        metrics.collector(registry)


def test_the_default_registry_is_that_of_prometheus_client() -> None:
    collector = metrics.collector()
    try:
        collector.add("here", Counts())
        assert b'cbprocess_active{session="here"}' in prometheus.generate_latest()
    finally:
        prometheus.REGISTRY.unregister(collector)


def test_a_missing_package_is_an_error_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(module: str) -> Any:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr(_extras, "import_module", absent)
    with pytest.raises(CBProcessError, match=r"cbprocess\[metrics\]") as caught:
        metrics.collector()
    assert caught.value.code == 50

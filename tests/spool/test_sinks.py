"""The sinks of this package, against what they are for: a file, a collector by its protocol, a cluster."""

from __future__ import annotations

import contextlib
import gzip
import json
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable, Optional

import pytest
from spool.spool_tools import Account, decoded, event, fill, until

from cbprocess import CBProcessError, constants
from cbprocess.cli import main
from cbprocess.sinks import Later, Refused, Sink, open_sink, shown
from cbprocess.sinks.shipping import Shipper
from cbprocess.spool import Batch, SessionReader, SpoolWriter, sessions


@pytest.fixture(autouse=True)
def quick_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cbprocess.sinks.shipping.BACKOFF_S", (0.01, 0.1))


def a_batch(root: Path, count: int = 10) -> Batch:
    with SpoolWriter(root) as writer:
        for number in range(count):
            writer.add(event(writer, f"text {number} \ud800"))
    batch = SessionReader(writer.folder).batch()
    assert batch is not None
    return batch


def answer_of(sink: Sink, batch: Batch) -> Optional[BaseException]:
    answers: list[Optional[BaseException]] = []
    sink.send(batch, answers.append)
    end_s = time.monotonic() + 20
    while not answers:
        assert time.monotonic() < end_s
        sink.poll(0.05)
    return answers[0]


class TestFile:
    def test_lines_are_appended_for_their_owner_only(self, root: Path, tmp_path: Path) -> None:
        target = tmp_path / "name with % blank.jsonl"
        batch = a_batch(root)
        for _ in range(2):
            sink = open_sink(f"file:{str(target).replace('%', '%25')}")
            assert answer_of(sink, batch) is None
            sink.close(1)
        assert target.read_bytes() == batch.data * 2
        assert stat.S_IMODE(target.stat().st_mode) == 0o600

    @pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks")
    def test_one_sink_has_a_file(self, root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        """Two would write over each other's lines, and cut them off."""
        url = f"file:{tmp_path / 'target'}"
        first, batch = open_sink(url), a_batch(root)
        assert answer_of(first, batch) is None
        with pytest.raises(BlockingIOError, match="another shipper"):
            open_sink(url)
        assert main(["ship", str(root), url, "--once"]) == 125
        assert f"{url}: another shipper writes to this file" in capfd.readouterr().err
        first.close(1)
        open_sink(url).close(1)
        assert (tmp_path / "target").read_bytes() == batch.data

    @pytest.mark.parametrize("torn", [b"", b'{"a":1', b"x" * 200_000])
    def test_a_torn_line_is_cut_off(self, root: Path, tmp_path: Path, torn: bytes) -> None:
        target = tmp_path / "target"
        for whole in (b"", b'{"b":1}\n' * 3):
            target.write_bytes(whole + torn)
            sink = open_sink(f"file://{target}")
            batch = a_batch(root)
            assert answer_of(sink, batch) is None
            sink.close(1)
            assert target.read_bytes() == whole + batch.data

    def test_a_full_disk(self, root: Path, small_disk: Path) -> None:
        """Batches wait in the spool until there is room; no line is torn or missing then."""
        plug = small_disk / "plug"
        plug.write_bytes(b"x" * (900 << 10))
        with SpoolWriter(root) as writer:
            fill(writer, 1500)
        sink = open_sink(f"file:{small_disk / 'target'}")
        shipper = Shipper(root, sink)
        thread = threading.Thread(target=lambda: shipper.run(once=True))
        thread.start()
        until(lambda: shipper.counts().failure is not None, "the disk is full")
        plug.unlink()
        thread.join(20)
        sink.close(1)
        found = decoded((small_disk / "target").read_bytes().splitlines())
        account = Account(found, writer.origin.session or "", writer.counts().number)
        assert not account.untold and not account.doubled

    def test_a_path_that_cannot_be_opened(self, tmp_path: Path) -> None:
        with pytest.raises(OSError):
            open_sink(f"file:{tmp_path}")


class Collector(ThreadingHTTPServer):
    """An OTLP receiver that decodes with OpenTelemetry's own classes."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        self.refuses: tuple[int, bytes] = (0, b"")
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"otlp+http://127.0.0.1:{self.server_port}"

    def records(self) -> list[dict[str, Any]]:
        found = []
        for request in self.requests:
            for resource in request.resource_logs:
                host = {each.key: each.value.string_value for each in resource.resource.attributes}
                for scope in resource.scope_logs:
                    for entry in scope.log_records:
                        values = {each.key: each.value for each in entry.attributes}
                        found.append(
                            {
                                "session": host["cbprocess.session"],
                                "number": values["cbprocess.number"].int_value,
                                "event": entry.event_name.rpartition(".")[2],
                                "first_number": None,
                                "count": 0,
                            }
                        )
        return found


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Collector

    def do_POST(self) -> None:
        from google.protobuf.json_format import Parse
        from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

        body = gzip.decompress(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            status, headers, answer = self.server.answers.pop(0) if self.server.answers else (200, {}, b"{}")
            if self.server.refuses[0] and self.server.refuses[1] in body:
                status, answer = self.server.refuses[0], b"why"
            self.server.headers.append({**self.headers, "path": self.path})
            if status == 200:
                if self.headers["Content-Type"] == "application/json":
                    self.server.requests.append(Parse(body, ExportLogsServiceRequest()))
                else:
                    answer = b"" if answer == b"{}" else answer
                    self.server.requests.append(ExportLogsServiceRequest.FromString(body))
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(answer))}.items():
            self.send_header(name, value)
        self.end_headers()
        # The sink may have heard enough.
        with contextlib.suppress(OSError):
            self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    pytest.importorskip("opentelemetry.proto", reason="needs opentelemetry-proto")
    server = Collector()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


class TestOtlp:
    @pytest.mark.parametrize("encoding", ["json", "protobuf"])
    def test_a_collector_gets_every_record(
        self, root: Path, collector: Collector, encoding: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20abc, x-y = z")
        with SpoolWriter(root) as writer:
            fill(writer, 1000)
        sink = open_sink(f"{collector.url}/?encoding={encoding}")
        counts = Shipper(root, sink).run(once=True)
        sink.close(5)
        account = Account(collector.records(), writer.origin.session or "", writer.counts().number)
        assert not account.untold and not account.doubled
        assert (counts.events, counts.refused, sessions(root)) == (1001, 0, [])
        (first, *_) = collector.headers
        assert (first["path"], first["authorization"], first["x-y"]) == ("/v1/logs", "Bearer abc", "z")
        assert first["Content-Encoding"] == "gzip"

    @pytest.mark.parametrize(
        "status, headers, kind",
        [
            (400, {}, Refused),
            (413, {}, Refused),
            (429, {"Retry-After": "7"}, Later),
            (503, {"Retry-After": "0.5"}, Later),
            (503, {"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}, OSError),
            (502, {}, OSError),
            (500, {}, OSError),
            (401, {}, OSError),
            (404, {}, OSError),
            (307, {"Location": "/"}, OSError),
        ],
    )
    def test_answers(
        self,
        root: Path,
        collector: Collector,
        status: int,
        headers: dict[str, str],
        kind: type[BaseException],
    ) -> None:
        sink = open_sink(collector.url)
        batch = a_batch(root)
        # What is refused is tried again in parts, down to single records.
        tries = 2 * batch.count - 1 if kind is Refused else 1
        collector.answers = [(status, headers, b"why")] * tries
        failure = answer_of(sink, batch)
        assert type(failure) is kind and "why" in str(failure) and str(status) in str(failure)
        if isinstance(failure, Later):
            assert failure.seconds == float(headers["Retry-After"])
        assert answer_of(sink, batch) is None
        sink.close(5)

    @pytest.mark.parametrize("encoding", ["json", "protobuf"])
    def test_a_part_is_refused(self, root: Path, collector: Collector, encoding: str) -> None:
        answer = json.dumps({"partialSuccess": {"rejectedLogRecords": "3", "errorMessage": "bad"}}).encode()
        if encoding == "protobuf":
            from google.protobuf.json_format import Parse
            from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

            answer = Parse(answer, ExportLogsServiceResponse()).SerializeToString()
        collector.answers = [(200, {}, answer)]
        sink = open_sink(f"{collector.url}?encoding={encoding}")
        failure = answer_of(sink, a_batch(root))
        sink.close(5)
        assert isinstance(failure, Refused) and failure.count == 3 and "bad" in str(failure)

    @pytest.mark.parametrize("status", [400, 413])
    def test_one_record_that_is_refused_takes_no_others_with_it(
        self, root: Path, collector: Collector, status: int
    ) -> None:
        """The collector refuses whatever has the third record."""
        collector.refuses = status, b"text 2 "
        sink = open_sink(collector.url)
        failure = answer_of(sink, a_batch(root))
        sink.close(5)
        assert isinstance(failure, Refused) and failure.count == 1
        assert sorted(record["number"] for record in collector.records()) == [1, 2, *range(4, 12)]

    def test_an_endless_answer_is_not_read_to_its_end(self, root: Path, collector: Collector) -> None:
        collector.answers = [(200, {}, b" " * (8 << 20))]
        sink = open_sink(collector.url)
        batch = a_batch(root)
        assert answer_of(sink, batch) is None and answer_of(sink, batch) is None
        sink.close(5)

    def test_outages(self, root: Path, collector: Collector) -> None:
        """It is away, then busy, then breaks: everything arrives."""
        collector.answers = [(503, {}, b"")] * 6 + [(429, {"Retry-After": "0.01"}, b"")] * 3
        with SpoolWriter(root) as writer:
            fill(writer, 2000)
        sink = open_sink(collector.url)
        counts = Shipper(root, sink, window=4).run(once=True, seconds=30)
        sink.close(5)
        account = Account(collector.records(), writer.origin.session or "", writer.counts().number)
        assert not account.untold and not account.doubled and counts.retries == 9

    def test_nobody_listens(self, root: Path, collector: Collector) -> None:
        sink = open_sink("otlp+http://127.0.0.1:1")
        assert isinstance(answer_of(sink, a_batch(root)), ConnectionRefusedError)
        sink.close(5)


class TestKafka:
    """Against the cluster that librdkafka plays (test.mock.num.brokers)."""

    @pytest.fixture
    def kafka(self) -> Iterator[Any]:
        module = pytest.importorskip("confluent_kafka", reason="needs confluent-kafka")
        sink: Any = open_sink("kafka:///events?test.mock.num.brokers=1")
        yield module, sink
        sink.close(5)

    def consume(self, module: Any, sink: Any, is_enough: Callable[[list[Any]], bool]) -> list[Any]:
        broker = next(iter(sink.producer.list_topics(timeout=10).brokers.values()))
        consumer = module.Consumer(
            {
                "bootstrap.servers": f"{broker.host}:{broker.port}",
                "group.id": "test",
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 50,
            }
        )
        partitions = consumer.list_topics("events", timeout=10).topics["events"].partitions
        consumer.assign([module.TopicPartition("events", number, 0) for number in partitions])
        found: list[Any] = []
        end_s = time.monotonic() + 20
        while not is_enough(found):
            assert time.monotonic() < end_s
            found += [each for each in consumer.consume(1000, 0.05) if each.error() is None]
        consumer.close()
        return found

    def test_a_cluster_gets_every_record_in_order(self, root: Path, kafka: Any) -> None:
        module, sink = kafka
        with SpoolWriter(root) as writer:
            fill(writer, 2000)
        counts = Shipper(root, sink).run(once=True, seconds=30)
        last = writer.counts().number
        found = self.consume(module, sink, lambda messages: len(messages) >= last)
        records = decoded(message.value() for message in found)
        assert [record["number"] for record in records] == list(range(1, last + 1))
        assert {message.key() for message in found} == {"/".join(map(str, writer.origin)).encode()}
        assert len({message.partition() for message in found}) == 1
        assert (counts.events, counts.refused, sessions(root)) == (2001, 0, [])

    def test_a_message_that_is_too_large(self, root: Path, kafka: Any) -> None:
        module, _ = kafka
        sink: Any = open_sink("kafka:///events?test.mock.num.brokers=1&message.max.bytes=2000")
        with SpoolWriter(root) as writer:
            writer.add(event(writer, "small"))
            writer.add(event(writer, "x" * 5000))
        counts = Shipper(root, sink).run(once=True, seconds=30)
        found = self.consume(module, sink, lambda messages: len(messages) >= 2)
        sink.close(5)
        assert [record["number"] for record in decoded(each.value() for each in found)] == [1, 3]
        assert (counts.refused, counts.events) == (1, 2)

    def test_no_broker(self, root: Path, kafka: Any) -> None:
        sink = open_sink("kafka://127.0.0.1:1/events?delivery.timeout.ms=300&linger.ms=0")
        began = time.monotonic()
        failure = answer_of(sink, a_batch(root))
        assert isinstance(failure, OSError) and time.monotonic() - began < 5
        sink.close(1)

    def test_a_setting_that_is_none(self, kafka: Any) -> None:
        with pytest.raises(CBProcessError) as raised:
            open_sink("kafka://127.0.0.1/events?no.such=1")
        assert raised.value.code == constants.ERROR_INVALID_PARAMETER and "no.such" in str(raised.value)

    def test_a_fatal_error_makes_another_producer(self, root: Path, kafka: Any) -> None:
        _, sink = kafka
        before = sink.producer
        sink._fatal = True
        assert answer_of(sink, a_batch(root)) is None
        assert sink.producer is not before


@pytest.mark.parametrize(
    "url",
    [
        "kafka://user:secret@h?sasl.password=secret",
        "kafka://h/t?sasl.password=secret&secret",
        "none://user:secret@h",
        "otlp+http://user:secret@h/",
        # Characters that a URL has in another place make it wrong, and are found all the same.
        *(
            f"{scheme}://user:{password}@h/t"
            for scheme in ("nats", "tls", "kafka", "otlp+http", "file", "none")
            for password in ("a/secret", "secret/a", "a?secret", "secret?a", "a?secret@secret", "[secret")
        ),
        "nats://user:a,secret/b@h/t",
        "none:user:secret@h",
        "user:secret@h",
    ],
)
def test_no_password_stands_in_a_message(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CBProcessError) as raised:
        open_sink(url)
    assert raised.value.code == constants.ERROR_INVALID_PARAMETER
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("nats://user:a@b,other:c@d/t?creds=file", "nats://d/t"),
        ("otlp+https://h:4318/v1/logs", "otlp+https://h:4318/v1/logs"),
        ("kafka://h/t?sasl.username=user@h", "kafka://..."),
        ("file:///a/b@c/d?e", "file:///a/b@c/d?e"),
        ("file:a//b@c", "file:a//b@c"),
    ],
)
def test_what_is_shown_of_a_url(url: str, text: str) -> None:
    assert shown(url) == text


@pytest.mark.parametrize(
    "url, extra", [("kafka://h/t", "kafka"), ("otlp+http://h?encoding=protobuf", "otlp")]
)
def test_without_the_extra(url: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("confluent_kafka", "google.protobuf.json_format"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(CBProcessError) as raised:
        open_sink(url)
    assert raised.value.code == constants.ERROR_NOT_SUPPORTED and f"cbprocess[{extra}]" in str(raised.value)


def test_the_package_needs_none_of_them() -> None:
    text = "from cbprocess.sinks import file, kafka, otlp, shipping; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert not {"confluent_kafka", "google.protobuf", "opentelemetry"} & set(done.stdout.split())

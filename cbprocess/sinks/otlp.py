"""The sinks `otlp+http:` and `otlp+https:`: a collector of OpenTelemetry, by OTLP over HTTP.

Records become log records. JSON needs no package; `?encoding=protobuf`, which is smaller, takes the extra
`otlp`. Knows batches, the format otel and HTTP."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import os
import queue
import ssl
import threading
import time
from urllib.parse import parse_qsl, unquote, urlsplit

from .._checks import wrong
from .._extras import need
from . import Later, Refused, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ..spool import Batch
    from . import Done

    Job = tuple[Batch, Done]

LOGS_PATH = "/v1/logs"
PORT = 4318
CONNECTIONS = 4
TIMEOUT_S = 10.0
COMPRESSION_LEVEL = 1
ANSWER_SIZE_MAX = 1 << 16
ENCODINGS = ("json", "protobuf")
FORM = "otlp+http://HOST[:PORT][/PATH][?encoding=json|protobuf]"
SERVICE = "opentelemetry.proto.collector.logs.v1.logs_service_pb2"
# The names of OpenTelemetry's own variables.
HEADERS_VARIABLE = "OTEL_EXPORTER_OTLP_HEADERS"
CERTIFICATE_VARIABLE = "OTEL_EXPORTER_OTLP_CERTIFICATE"
# These statuses say that the batch itself cannot be taken. Others are about the place, its load or our rights
# there: the batch stays in the spool until that is mended.
REFUSALS = (400, 413, 415, 422)
# Of these, one log record may be the reason, and the others are taken without it.
PARTIAL = (400, 413, 422)
LATER = (429, 502, 503, 504)


def open_otlp(url: str) -> OtlpSink:
    """The sink for `otlp+http://HOST[:PORT][/PATH][?encoding=json|protobuf]`, otlp+https with TLS. The port
    is 4318 and the path /v1/logs by default. Headers come from OTEL_EXPORTER_OTLP_HEADERS ("name=value" with
    commas between them), so that no key stands in a command line, and the certificate of an own authority
    from OTEL_EXPORTER_OTLP_CERTIFICATE. Errors: 87 for another form, 50 for protobuf without the extra."""
    try:
        parts = urlsplit(url)
        port = parts.port or PORT
        query = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
    except ValueError:
        # The error's text has the part that is wrong, which may be one of a password.
        raise wrong(f"{FORM}, not {shown(url)!r:.100}") from None
    encoding = query.pop("encoding", "json")
    if not parts.hostname or query or encoding not in ENCODINGS or parts.username is not None:
        raise wrong(f"{FORM}, not {shown(url)!r:.100}")
    return OtlpSink(
        parts.hostname,
        port,
        LOGS_PATH if parts.path in ("", "/") else parts.path,
        is_secure=parts.scheme == "otlp+https",
        encoding=encoding,
        headers=_headers(os.environ.get(HEADERS_VARIABLE, "")),
    )


def _headers(text: str) -> dict[str, str]:
    found = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name, is_pair, value = entry.partition("=")
        if not is_pair or not name.strip():
            raise wrong(f"{HEADERS_VARIABLE} is name=value,name=value")
        found[unquote(name.strip())] = unquote(value.strip())
    return found


class _RefusedWhole(Refused):
    """The collector has taken nothing of a request, because of something in it."""


class OtlpSink:
    """Posts batches, over a few connections that stay open, each with a thread."""

    def __init__(
        self,
        host: str,
        port: int,
        path: str,
        *,
        is_secure: bool = False,
        encoding: str = "json",
        headers: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._address = host, port
        self._path = path
        self._context = None
        if is_secure:
            self._context = ssl.create_default_context(cafile=os.environ.get(CERTIFICATE_VARIABLE))
        self._encode = encode_json
        if encoding == "protobuf":
            self._encode = protobuf_encoder()
        self._headers = {
            "Content-Type": "application/json" if encoding == "json" else "application/x-protobuf",
            "Content-Encoding": "gzip",
            **(headers or {}),
        }
        self._is_json = encoding == "json"
        self._timeout_s = timeout_s
        self._jobs: queue.Queue[Job | None] = queue.Queue()
        self._answered = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, name="cbprocess-otlp", daemon=True)
            for _ in range(CONNECTIONS)
        ]
        for thread in self._threads:
            thread.start()

    def send(self, batch: Batch, done: Done) -> None:
        """Hands the batch to the thread of a connection."""
        self._jobs.put((batch, done))

    def poll(self, seconds: float) -> None:
        """Waits for an answer."""
        self._answered.wait(seconds)
        self._answered.clear()

    def close(self, seconds: float) -> None:
        """Ends the threads, which finish what they are posting."""
        for _ in self._threads:
            self._jobs.put(None)
        end_s = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, end_s - time.monotonic()))

    def _work(self) -> None:
        connection: http.client.HTTPConnection | None = None
        while True:
            job = self._jobs.get()
            if job is None:
                break
            batch, done = job
            failure: BaseException | None = None
            try:
                if connection is None:
                    connection = self._connect()
                self._post(connection, batch)
            except (Refused, Later) as error:
                failure = error
            except Exception as error:
                # The connection is in no known state; the next batch gets another.
                if connection is not None:
                    connection.close()
                connection, failure = None, error
            done(failure)
            self._answered.set()
        if connection is not None:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        if self._context is not None:
            return http.client.HTTPSConnection(*self._address, timeout=self._timeout_s, context=self._context)
        return http.client.HTTPConnection(*self._address, timeout=self._timeout_s)

    def _post(self, connection: http.client.HTTPConnection, batch: Batch) -> None:
        """Posts a batch. One that is refused is posted again in halves, and these in halves, so that an event
        that is too large takes no others with it."""
        refused, why = 0, ""
        parts = [batch.data.splitlines(keepends=True)]
        while parts:
            lines = parts.pop()
            try:
                self._post_once(connection, batch._replace(data=b"".join(lines), count=len(lines)))
            except _RefusedWhole as error:
                why = str(error)
                middle = len(lines) // 2
                if middle:
                    parts += [lines[middle:], lines[:middle]]
                else:
                    refused += 1
            except Refused as error:
                refused, why = refused + (len(lines) if error.count is None else error.count), str(error)
        if refused:
            raise Refused(why, refused)

    def _post_once(self, connection: http.client.HTTPConnection, batch: Batch) -> None:
        body = gzip.compress(self._encode(batch), COMPRESSION_LEVEL)
        connection.request("POST", self._path, body, self._headers)
        response = connection.getresponse()
        answer = response.read(ANSWER_SIZE_MAX + 1)
        if len(answer) > ANSWER_SIZE_MAX:
            # Nobody has to listen to all of it. The next request opens the connection again.
            connection.close()
        if response.status == 200:
            self._look_for_rejected(answer)
            return
        text = f"{response.status} {response.reason}: {answer[:200].decode(errors='replace')}"
        if response.status in REFUSALS:
            raise _RefusedWhole(text) if response.status in PARTIAL else Refused(text)
        if response.status in LATER:
            with contextlib.suppress(TypeError, ValueError):
                raise Later(text, float(response.headers.get("Retry-After", "")))
        raise OSError(text)

    def _look_for_rejected(self, answer: bytes) -> None:
        """Raises Refused if the collector has taken only a part of the records."""
        rejected, why = 0, ""
        if self._is_json:
            with contextlib.suppress(ValueError, TypeError, AttributeError):
                told: Any = json.loads(answer or b"{}").get("partialSuccess") or {}
                rejected, why = int(told.get("rejectedLogRecords", 0)), str(told.get("errorMessage", ""))
        else:
            service = need(SERVICE, "otlp")
            with contextlib.suppress(need("google.protobuf.message", "otlp").DecodeError):
                told = service.ExportLogsServiceResponse.FromString(answer).partial_success
                rejected, why = told.rejected_log_records, told.error_message
        if rejected:
            raise Refused(f"{rejected} log records were rejected: {why}", rejected)


def request_of(batch: Batch) -> dict[str, Any]:
    """The body of a request, as OTLP/JSON."""
    from ..formats.otel import logs_data

    return logs_data(json.loads(line) for line in batch.data.splitlines())


def encode_json(batch: Batch) -> bytes:
    return json.dumps(request_of(batch), separators=(",", ":")).encode()


def protobuf_encoder() -> Any:
    """The function that makes the body of a request with the classes of the extra `otlp`."""
    parse = need("google.protobuf.json_format", "otlp").ParseDict
    request = need(SERVICE, "otlp").ExportLogsServiceRequest

    def encode(batch: Batch) -> bytes:
        data: bytes = parse(request_of(batch), request()).SerializeToString()
        return data

    return encode

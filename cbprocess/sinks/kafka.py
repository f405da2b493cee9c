"""The sink `kafka:`: a topic of Kafka, or of anything that speaks its protocol. Takes the extra `kafka`.

Each line is a message, its key is the session, so that one session's lines stay in order in one partition.
Knows batches and the client confluent-kafka; tested against the cluster that its library plays."""

from __future__ import annotations

import logging
import time
from urllib.parse import parse_qsl, unquote, urlsplit

from .._checks import wrong
from .._extras import need
from . import Refused, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..spool import Batch
    from . import Done

# A message that is not delivered by then is the shipper's again.
DELIVERY_LIMIT_MS = 30_000
LINGER_MS = 20
QUEUE_MESSAGES = 50_000
QUEUE_LIMIT_S = 2.0
LOOK_S = 0.02
DEFAULTS: dict[str, Any] = {
    "enable.idempotence": True,
    "acks": "all",
    "compression.type": "lz4",
    "linger.ms": LINGER_MS,
    "delivery.timeout.ms": DELIVERY_LIMIT_MS,
    "queue.buffering.max.messages": QUEUE_MESSAGES,
}


def open_kafka(url: str) -> KafkaSink:
    """The sink for `kafka://BROKER[:PORT][,BROKER...]/TOPIC[?NAME=VALUE&...]`. Names and values are the
    settings of librdkafka, as security.protocol=SSL; they are stronger than this sink's own. Error 87 for
    another form or a setting that is none, 50 without the extra `kafka`."""
    try:
        parts = urlsplit(url)
        settings = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
    except ValueError:
        # The text of the error has the setting, which may be a password.
        raise wrong(f"{shown(url)!r:.100}: behind the ? is NAME=VALUE&NAME=VALUE") from None
    topic = unquote(parts.path[1:])
    if not topic or "/" in topic or not (parts.netloc or "test.mock.num.brokers" in settings):
        raise wrong(f"kafka://BROKER[:PORT]/TOPIC, not {shown(url)!r:.100}")
    return KafkaSink(topic, {"bootstrap.servers": parts.netloc, **settings})


def _silent_logger() -> logging.Logger:
    """A logger for the client's own lines, which would go to standard error."""
    logger = logging.getLogger("cbprocess.sinks.kafka")
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    return logger


class _Delivery:
    """The messages of one batch that are on their way."""

    def __init__(self, count: int, done: Done) -> None:
        self._left = count
        self._done = done
        self._failure: BaseException | None = None
        self._refused = 0

    def told(self, error: Any, message: Any = None) -> None:
        """One message was delivered (None), or was not."""
        if error is not None:
            self._failure = self._failure or OSError(str(error))
        self._count_off()

    def refused(self) -> None:
        """One message will never be taken."""
        self._refused += 1
        self._count_off()

    def _count_off(self) -> None:
        self._left -= 1
        if self._left == 0:
            failure = self._failure
            if failure is None and self._refused:
                failure = Refused(f"{self._refused} messages are too large for the topic", self._refused)
            self._done(failure)


class KafkaSink:
    """Produces the lines of batches to a topic. `settings` are those of librdkafka."""

    def __init__(self, topic: str, settings: dict[str, Any]) -> None:
        self._kafka = need("confluent_kafka", "kafka")
        self._topic = topic
        self._settings = {**DEFAULTS, **settings}
        self._fatal = False
        self.producer: Any = self._make()

    def _make(self) -> Any:
        settings = {**self._settings, "error_cb": self._hear, "logger": _silent_logger()}
        try:
            return self._kafka.Producer(settings)
        except (self._kafka.KafkaException, ValueError, TypeError) as error:
            raise wrong(f"settings of kafka: {error}") from None

    def _hear(self, error: Any) -> None:
        # Whether brokers can be reached is seen by deliveries. A fatal error ends the producer.
        if error.fatal():
            self._fatal = True

    def send(self, batch: Batch, done: Done) -> None:
        """Queues a message for each line. Waits for room in the queue, for two seconds at most."""
        if self._fatal:
            # What it still has fails now, and so comes again.
            self.producer.purge()
            self.producer.flush(LOOK_S)
            self.producer, self._fatal = self._make(), False
        lines = batch.data.splitlines()
        key = f"{batch.origin.host}/{batch.origin.boot}/{batch.origin.session}".encode(errors="replace")
        delivery = _Delivery(len(lines), done)
        end_s = time.monotonic() + QUEUE_LIMIT_S
        for number, line in enumerate(lines):
            error = self._produce(key, line, delivery, end_s)
            if error is not None:
                for _ in lines[number:]:
                    delivery.told(error)
                return

    def _produce(self, key: bytes, line: bytes, delivery: _Delivery, end_s: float) -> BaseException | None:
        """Queues one message. Gives the error if it cannot."""
        while True:
            try:
                self.producer.produce(self._topic, key=key, value=line, on_delivery=delivery.told)
                return None
            except BufferError as error:
                if time.monotonic() > end_s:
                    return error
                self.producer.poll(LOOK_S)
            except self._kafka.KafkaException as error:
                if error.args[0].code() != self._kafka.KafkaError.MSG_SIZE_TOO_LARGE:
                    return OSError(str(error))
                delivery.refused()
                return None

    def poll(self, seconds: float) -> None:
        """Serves deliveries."""
        self.producer.poll(seconds)

    def close(self, seconds: float) -> None:
        """Waits for deliveries."""
        self.producer.flush(seconds)

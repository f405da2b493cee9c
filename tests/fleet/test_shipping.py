"""The shipper alone, against a stream that is a list: what is acknowledged, sent again and cut."""

from __future__ import annotations

import asyncio
import json
import random
import stat
from pathlib import Path
from typing import Any

import pytest
from fleet.servers import TENANT, add_events, session, write_events

from cbprocess import records, spool
from cbprocess.fleet import shipping
from cbprocess.fleet.cutting import KEPT, cut_line
from cbprocess.fleet.link import Trouble
from cbprocess.fleet.seen import Seen
from cbprocess.fleet.shipping import Stored, StreamPublisher, StreamShipper, headers_of, message_key


class Stream:
    """A stream in memory, with a window for doubles that never ends, and failures as a test wants them."""

    size_max = 100_000

    def __init__(self, fail: float = 0.0, late: float = 0.0) -> None:
        self.messages: list[tuple[str, bytes, dict[str, str]]] = []
        self.ids: dict[str, int] = {}
        self.fail, self.late = fail, late
        self.random = random.Random(7)

    async def ready(self) -> None:
        return None

    async def __call__(self, subject: str, data: bytes, headers: dict[str, str]) -> Stored:
        await asyncio.sleep(self.random.random() * 0.002)
        if self.random.random() < self.fail:
            raise OSError("the connection was lost")
        name = headers["Nats-Msg-Id"]
        is_double = name in self.ids
        if not is_double:
            self.messages.append((subject, data, headers))
            self.ids[name] = len(self.messages)
        if self.random.random() < self.late:
            # The stream has it, and nobody heard that.
            raise asyncio.TimeoutError
        return Stored(self.ids[name], is_double)

    def seen(self) -> Seen:
        seen = Seen()
        for _, data, _ in self.messages:
            for line in data.splitlines():
                record = json.loads(line)
                seen.is_new((record["host"], record["boot"], record["session"]), record["number"])
        return seen


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cbprocess.sinks.shipping.BACKOFF_S", (0.001, 0.01))
    monkeypatch.setattr("cbprocess.sinks.shipping.LOOK_S", 0.005)


async def ship(root: Path, stream: Any, **sizes: Any) -> StreamShipper:
    shipper = StreamShipper(stream, TENANT, "web1", root, **sizes)
    await asyncio.wait_for(shipper.run(until=lambda: not spool.sessions(root)), 20)
    return shipper


def test_everything_comes_once_over_lost_answers(tmp_path: Path) -> None:
    """Failures before and behind the stream: what was stored without an answer is a double there, by name."""
    total = sum(session(tmp_path, 700)[0] for _ in range(3))
    stream = Stream(fail=0.2, late=0.2)
    shipper = asyncio.run(ship(tmp_path, stream, max_events=20))
    seen = stream.seen()
    assert (seen.counts.events, seen.counts.doubles, seen.missing()) == (total, 0, 0)
    assert shipper.counts.events == total and shipper.counts.retries > 10 and shipper.counts.duplicates > 0
    assert not spool.sessions(tmp_path)


def test_a_shipper_that_cuts_otherwise_loses_nothing(tmp_path: Path) -> None:
    """With only the first number in a batch's name, the tail of the longer batch would be dropped here as a
    double: the trap that the name's range closes."""
    total, _ = session(tmp_path, 400)

    class Stopping(Stream):
        budget = 0

        async def __call__(self, subject: str, data: bytes, headers: dict[str, str]) -> Stored:
            self.budget -= 1
            if self.budget < 0:
                await asyncio.sleep(60)
            return await super().__call__(subject, data, headers)

    stream = Stopping()

    async def killed(size: int) -> None:
        stream.budget = 2
        shipper = StreamShipper(stream, TENANT, "web1", tmp_path, max_events=size)
        task = asyncio.ensure_future(shipper.run())
        while stream.budget >= 0:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        # A kill may come between the stream's answer and the acknowledgement on disk.
        for folder in spool.sessions(tmp_path):
            (folder / "acked").write_bytes(b" " * 20 + b"\n")

    for size in (7, 31, 5, 64):
        asyncio.run(killed(size))
    stream.budget = 1000
    asyncio.run(ship(tmp_path, stream, max_events=50))
    seen = stream.seen()
    assert (seen.counts.events, seen.missing()) == (total, 0) and seen.counts.doubles > 0


def test_only_a_prefix_is_acknowledged(tmp_path: Path) -> None:
    """The first batch never comes through, all others do: after a restart all are sent again."""
    with write_events(tmp_path, 100) as writer:
        pass

    class Holding(Stream):
        async def __call__(self, subject: str, data: bytes, headers: dict[str, str]) -> Stored:
            if json.loads(data.splitlines()[0])["number"] == 1:
                raise asyncio.TimeoutError
            return await super().__call__(subject, data, headers)

    stream = Holding()

    async def some() -> None:
        shipper = StreamShipper(stream, TENANT, "web1", tmp_path, max_events=10)
        task = asyncio.ensure_future(shipper.run())
        while len(stream.messages) < 10:
            await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(some())
    assert spool.SessionReader(writer.folder).acked == 0


def test_what_comes_while_it_ships_is_shipped(tmp_path: Path) -> None:
    stream = Stream()
    writer = write_events(tmp_path, 10)

    async def both() -> None:
        shipper = StreamShipper(stream, TENANT, "web1", tmp_path)
        task = asyncio.ensure_future(shipper.run())
        for _ in range(10):
            add_events(writer, 10)
            await asyncio.sleep(0.01)
        await asyncio.to_thread(writer.close)
        while spool.sessions(tmp_path):
            await asyncio.sleep(0.01)
        shipper.stop()
        await task

    asyncio.run(both())
    seen = stream.seen()
    assert (seen.counts.events, seen.counts.doubles, seen.missing()) == (111, 0, 0)


def test_a_busy_session_does_not_hold_the_others(tmp_path: Path) -> None:
    session(tmp_path, 3000)
    _, small = session(tmp_path, 1)
    stream = Stream()
    asyncio.run(ship(tmp_path, stream, window=2, max_events=10))
    first = next(
        place
        for place, (_, _, headers) in enumerate(stream.messages)
        if headers["Cbp-Session"] == small.session
    )
    assert first <= 4


def test_a_line_that_no_server_takes_is_cut_and_says_so(tmp_path: Path) -> None:
    with spool.SpoolWriter(tmp_path, records.Origin.here(host="web1")) as writer:
        for text in ("a", "b" * 300_000, "c"):
            writer.add(records.made("summary", writer.origin, text=text, arguments=["x" * 150_000] * 2))
    stream = Stream()
    shipper = asyncio.run(ship(tmp_path, stream))
    found = [json.loads(line) for _, data, _ in stream.messages for line in data.splitlines()]
    assert all(len(data) <= stream.size_max for _, data, _ in stream.messages)
    assert [record["number"] for record in sorted(found, key=lambda record: record["number"])] == [1, 2, 3, 4]
    assert shipper.counts.cut == 3
    cut = next(record for record in found if record["number"] == 2)
    assert {"text", "arguments"} <= set(cut["cut"]) and cut["event"] == "summary"


def long_records() -> list[dict[str, Any]]:
    """Records of each shape, with something long at each place, and numbers."""
    origin = records.Origin("h" * 90, "b", "s")
    creation = records.made(
        "x",
        origin,
        sequence=1,
        process_id=2,
        start_time="3",
        user_id=0,
        flags=[],
        result_code=0,
        parent_process_id=1,
        parent_start_time=None,
        creating_process_id=1,
        creating_thread_id=1,
        creator_start_time=None,
        process_name="/\udcff" * 20_000,
        image_file_name="x" * 9000,
        arguments=["\udcff" * 90_000, "x" * 9000, *["y"] * 20_000],
        command_line="\udcff" * 90_000,
    )
    summary = records.made(
        "summary",
        origin,
        counts={f"kind {number}": number for number in range(3000)},
        programs=[{"program": "p" * 9000, "seconds": 1, "runs": 1}],
        processes=[{"index": number, "parent_index": -1, "process_id": 5} for number in range(3000)],
    )
    fields = {"sequence": 0, "error_code": 1, "os_error": 0}
    error = records.made("error", origin, description="\udcff" * 50_000, **fields)
    return [{**record, "number": 1} for record in ({**creation, "event": "process_creation"}, summary, error)]


@pytest.mark.parametrize("limit", [100_000, 10_000, 2000])
@pytest.mark.parametrize("whole", long_records(), ids=lambda record: record["event"])
def test_a_cut_line_is_a_record_of_the_schema(whole: dict[str, Any], limit: int) -> None:
    """No key changes its type, exact bytes never stand beside another text, and the identity stays."""
    jsonschema = pytest.importorskip("jsonschema")
    line = cut_line(records.line_of(whole), limit)
    cut = json.loads(line)
    jsonschema.Draft202012Validator(records.schema()).validate(cut)
    assert len(line) <= limit and cut["cut"]
    assert all(cut[key] == whole[key] for key in KEPT if key != "cut")
    assert not [key for key in cut["cut"] if f"{key}_bytes" in cut]
    for key in [key for key in cut if f"{key}_bytes" in cut]:
        assert records.exact(cut, key) == records.exact(whole, key)


@pytest.mark.parametrize(
    "record",
    [
        {"schema": 1, "number": 1, "text": "ä" * 50_000},
        {"schema": 1, "number": 1, "items": ["x" * 30_000]},
        {"schema": 1, "number": 1, "items": ["x"] * 30_000, "items_bytes": ["eA=="] * 30_000},
        {"schema": 1, "number": 1, "deep": {"a": ["x" * 9000] * 9}},
        {"schema": 1, "number": 1, **{f"key{i}": "x" * 500 for i in range(100)}},
    ],
)
def test_a_cut_line_fits_and_keeps_its_number(record: dict[str, Any]) -> None:
    line = cut_line(json.dumps(record).encode() + b"\n", 10_000)
    assert len(line) <= 10_000 and line.endswith(b"\n") and line.count(b"\n") == 1
    assert json.loads(line)["number"] == 1 and json.loads(line)["cut"]


def test_a_stream_that_went_back_is_told(tmp_path: Path) -> None:
    """nats-server has forgotten streams after kills; who ships sees it by the places that it is told."""
    session(tmp_path, 30)
    stream = Stream()

    class Forgetful(Stream):
        async def __call__(self, subject: str, data: bytes, headers: dict[str, str]) -> Stored:
            if len(stream.messages) == 2 and not self.ids:
                self.ids["forgotten"] = 0
                stream.messages.clear()
            stream.messages.append((subject, data, headers))
            return Stored(len(stream.messages), False)

    shipper = asyncio.run(ship(tmp_path, Forgetful(), window=1, max_events=10))
    assert shipper.counts.went_back == 1 and "went back" in shipper.trouble.text


def test_names_of_batches_stay_and_nobody_else_can_make_them(tmp_path: Path) -> None:
    """Stay: what was sent before a restart is a double after it. Else: by all that a host knows of another,
    which are the boot, the session and the names of batches before."""
    batch = spool.Batch(records.Origin("web1", "boot", "session"), 1, 256, 256, b"{}\n")

    def name(root: Path, batch: spool.Batch = batch) -> str:
        root.mkdir(exist_ok=True)
        return headers_of(batch, message_key(root))["Nats-Msg-Id"]

    one = name(tmp_path / "one")
    assert one.startswith("web1/boot/session/1-256/") and name(tmp_path / "one") == one
    key = tmp_path / "one" / shipping.KEY_FILE
    assert stat.S_IMODE(key.stat().st_mode) == 0o600 and len(key.read_bytes()) == 32
    # Another spool has other names, and another batch another proof.
    assert name(tmp_path / "two") != one
    later = name(tmp_path / "one", batch._replace(first=257, last=512))
    assert later.startswith("web1/boot/session/257-512/") and later[-32:] != one[-32:]
    # What is no key is made anew.
    key.write_bytes(b"short")
    assert name(tmp_path / "one") != one and len(key.read_bytes()) == 32


def test_a_spool_that_takes_no_key_is_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a full disk."""

    def full(path: str, data: bytes, mode: int = 0) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shipping, "replace_file", full)
    total, _ = session(tmp_path, 30)
    stream = Stream()
    shipper = asyncio.run(ship(tmp_path, stream, max_events=10))
    assert (stream.seen().counts.events, stream.seen().missing()) == (total, 0)
    assert shipping.KEY_FILE in shipper.trouble.text and shipper.trouble.count == 1


def test_a_session_of_another_host_is_not_passed_off(tmp_path: Path) -> None:
    """Its lines would be refused by every reader: they stay where they are, and it is told."""
    session(tmp_path, 5, host="other")

    async def some() -> StreamShipper:
        shipper = StreamShipper(Stream(), TENANT, "web1", tmp_path)
        task = asyncio.ensure_future(shipper.run())
        await asyncio.sleep(0.1)
        shipper.stop()
        await task
        return shipper

    shipper = asyncio.run(some())
    assert shipper.counts.events == 0 and "other" in shipper.trouble.text
    assert len(spool.sessions(tmp_path)) == 1


def test_a_full_window_without_a_server_keeps_nobody_from_ending(tmp_path: Path) -> None:
    session(tmp_path, 400)

    class Away(Stream):
        async def ready(self) -> None:
            await asyncio.sleep(60)

    async def main() -> None:
        shipper = StreamShipper(Away(), TENANT, "web1", tmp_path, window=4, max_events=10)
        task = asyncio.ensure_future(shipper.run())
        while shipper.in_flight < 4:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        shipper.stop(0.1)
        await asyncio.wait_for(task, 5)

    asyncio.run(main())
    assert len(spool.sessions(tmp_path)) == 1


def test_a_client_that_never_returns_is_given_up() -> None:
    """As nats-py where a connection ends in the middle of a message: the batch was in flight for ever."""

    class Deaf:
        trouble = Trouble()

        async def jetstream(self, timeout: float) -> Any:
            return self

        async def publish(self, *arguments: Any, **keywords: Any) -> Any:
            await asyncio.sleep(60)

    async def main() -> None:
        publisher = StreamPublisher(Deaf(), TENANT, ack_limit=0.1)  # type: ignore[arg-type]
        with pytest.raises(asyncio.TimeoutError, match="does not answer"):
            await asyncio.wait_for(publisher("subject", b"", {}), 10)

    asyncio.run(main())


def test_nonsense_of_a_server_ends_no_batch_for_good(tmp_path: Path) -> None:
    """A size that is none, before a batch is read and behind that: it is told, and tried again."""
    total, _ = session(tmp_path, 100)

    class Mad(Stream):
        looks = 0

        @property
        def size_max(self) -> int:  # type: ignore[override]
            self.looks += 1
            if self.looks % 3 == 0:
                raise ValueError("invalid literal for int()")
            return 100_000

    stream = Mad()
    shipper = asyncio.run(ship(tmp_path, stream, max_events=10))
    assert (stream.seen().counts.events, stream.seen().missing()) == (total, 0)
    assert shipper.counts.retries > 0 and "invalid literal" in shipper.trouble.text

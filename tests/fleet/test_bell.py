"""The bell against a bucket that is a list: copies that are behind, updates that fail, buckets made anew."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from cbprocess.fleet import bell
from cbprocess.fleet.bell import Bell, Entry
from cbprocess.fleet.link import Access, Link


class Bucket:
    """Answers in turn; the last one stays."""

    def __init__(self, *answers: Entry) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self, link: Link, bucket: str, key: str, timeout: float = 0) -> Entry:
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


async def heard(
    monkeypatch: pytest.MonkeyPatch, bucket: Bucket, rung: bytes | None, looks: int = 1
) -> tuple[list[tuple[bytes | None, int]], Bell]:
    monkeypatch.setattr(bell, "fetch", bucket)
    monkeypatch.setattr(bell, "BEHIND_S", 0.001)
    changes: list[tuple[bytes | None, int]] = []

    async def changed(key: str, value: bytes | None, revision: int) -> None:
        changes.append((value, revision))

    made: Any = Bell(Link(Access(), "test"), "rules", ["all"], changed)
    made._revisions["all"] = 5
    if rung is not None:
        made._heard["all"] = rung
    for _ in range(looks):
        await made._refresh("all")
    return changes, made


def test_a_copy_that_is_behind_the_bell_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = Bucket(*[Entry(b"old", 5)] * 6, Entry(b"new", 6))
    changes, made = asyncio.run(heard(monkeypatch, bucket, b"new"))
    assert changes == [(b"new", 6)] and not made._heard


def test_a_copy_that_stays_behind_is_asked_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = Bucket(*[Entry(b"old", 5)] * 40, Entry(b"new", 6))
    changes, made = asyncio.run(heard(monkeypatch, bucket, b"new"))
    assert changes == [] and made._heard == {"all": b"new"}
    assert made._next_look("all", made._look, True) < 2
    changes, _ = asyncio.run(heard(monkeypatch, bucket, b"new", looks=2))
    assert changes == [(b"new", 6)]


def test_a_failed_update_is_given_up_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    changes, made = asyncio.run(heard(monkeypatch, Bucket(Entry(b"old", 5)), b"never stored"))
    assert changes == []
    look, looks = made._look, 0
    while made._heard:
        look, looks = made._next_look("all", look, True), looks + 1
        assert looks < 12
    assert made._next_look("all", look, False) == made._look


def test_an_older_answer_of_a_copy_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its document would be refused as a replayed one, and the host would say so."""
    changes, _ = asyncio.run(heard(monkeypatch, Bucket(Entry(b"older", 4), Entry(b"same", 5)), None, looks=3))
    assert changes == []


@pytest.mark.parametrize("rung", [b"anew", None])
def test_a_bucket_that_was_made_anew_is_believed(monkeypatch: pytest.MonkeyPatch, rung: bytes | None) -> None:
    """Its revisions begin at 1 again: at once where the bell rang for it, at the second look otherwise."""
    bucket = Bucket(Entry(b"anew", 1))
    changes, _ = asyncio.run(heard(monkeypatch, bucket, rung, looks=1 if rung else 2))
    assert changes == [(b"anew", 1)]


def test_a_key_that_never_was_is_no_change_and_a_deleted_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asyncio.run(heard(monkeypatch, Bucket(Entry(None, 0)), None))[0] == []
    assert asyncio.run(heard(monkeypatch, Bucket(Entry(None, 6)), b""))[0] == [(None, 6)]


class Client:
    """As much of nats-py's client as a bell needs; what rings is called by the test."""

    def __init__(self) -> None:
        self.callbacks: dict[str, Any] = {}

    async def subscribe(self, subject: str, cb: Any) -> None:
        self.callbacks[subject] = cb

    async def flush(self, timeout: float = 0) -> None:
        pass

    async def ring(self, key: str, data: bytes) -> None:
        subject = f"$KV.rules.{key}"
        await self.callbacks[subject](SimpleNamespace(subject=subject, data=data))


class ClientLink(Link):
    """A link that is up from the beginning."""

    def __init__(self) -> None:
        super().__init__(Access(), "test")
        self.client = Client()

    async def up(self, seconds: float | None = None) -> Any:
        return self.client


async def eventually(condition: Any, seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        await asyncio.sleep(0.005)


def test_a_key_that_is_forbidden_delays_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that says it is in a group of which the server does not know: each request for the group's rules
    gets no answer, and those for all come at once, the first and each later one."""
    values = {"all": Entry(b"one", 1)}

    async def fetched(link: Link, bucket: str, key: str, timeout: float = 30) -> Entry:
        if key not in values:
            await asyncio.sleep(30)
            raise asyncio.TimeoutError
        return values[key]

    monkeypatch.setattr(bell, "fetch", fetched)
    changes: list[tuple[str, bytes | None]] = []

    async def changed(key: str, value: bytes | None, revision: int) -> None:
        changes.append((key, value))

    async def main() -> None:
        link = ClientLink()
        task = asyncio.ensure_future(Bell(link, "rules", ["host.web1", "group.ci", "all"], changed).run())
        await eventually(lambda: changes == [("all", b"one")])
        values["all"] = Entry(b"two", 2)
        await link.client.ring("all", b"two")
        await eventually(lambda: changes[1:] == [("all", b"two")])
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())


def test_a_change_that_failed_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bell, "fetch", Bucket(Entry(b"one", 1)))
    monkeypatch.setattr(bell, "backoff", lambda attempt: 0.01)
    tries: list[int] = []

    async def changed(key: str, value: bytes | None, revision: int) -> None:
        tries.append(revision)
        if len(tries) < 3:
            raise OSError(28, "No space left on device")

    async def main() -> None:
        link = ClientLink()
        task = asyncio.ensure_future(Bell(link, "rules", ["all"], changed).run())
        await eventually(lambda: len(tries) == 3)
        assert "rules all" in link.trouble.text and "No space left" in link.trouble.text
        await asyncio.sleep(0.05)
        # It has worked, and what is known already is no change.
        assert tries == [1, 1, 1] and not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())


def test_changes_come_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bell, "fetch", Bucket(Entry(b"one", 1)))
    running, most, calls = 0, 0, 0

    async def changed(key: str, value: bytes | None, revision: int) -> None:
        nonlocal running, most, calls
        running, calls = running + 1, calls + 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1

    async def main() -> None:
        task = asyncio.ensure_future(Bell(ClientLink(), "rules", ["a", "b", "c"], changed).run())
        await eventually(lambda: calls == 3 and running == 0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
    assert most == 1


def test_a_bell_of_a_key_that_was_not_asked_for_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    changes, made = asyncio.run(heard(monkeypatch, Bucket(Entry(None, 0)), None))
    asyncio.run(made._hear(SimpleNamespace(subject="$KV.rules.host.web2", data=b"x")))
    asyncio.run(made._hear(SimpleNamespace(subject="", data=b"x")))
    assert changes == [] and not made._heard

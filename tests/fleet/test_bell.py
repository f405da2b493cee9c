"""The bell against a bucket that is a list: copies that are behind, updates that fail, buckets made anew."""

from __future__ import annotations

import asyncio
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
    assert made._next_look(made._look, True) < 2
    changes, _ = asyncio.run(heard(monkeypatch, bucket, b"new", looks=2))
    assert changes == [(b"new", 6)]


def test_a_failed_update_is_given_up_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    changes, made = asyncio.run(heard(monkeypatch, Bucket(Entry(b"old", 5)), b"never stored"))
    assert changes == []
    look, looks = made._look, 0
    while made._heard:
        look, looks = made._next_look(look, True), looks + 1
        assert looks < 12
    assert made._next_look(look, False) == made._look


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

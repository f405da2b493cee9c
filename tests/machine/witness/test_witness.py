"""The witnesses and the comparison themselves: what is missing, is missed."""

from __future__ import annotations

import dataclasses
import subprocess
import time
from pathlib import Path

import bpftrace_witness
import pytest
from lives import Image, Life, Observed, assert_same, printable

FIRST, LAST = "mark-first", "mark-last"


def life(process_id: int, place: int, *arguments: str, end: int = 0) -> Life:
    images = [Image.of([text.encode() for text in arguments])]
    return Life(process_id, 1, images, 0, end, place, place + 1)


def machine(name: str, *lives: Life) -> Observed:
    marks = [life(2, 0, "x", FIRST), life(3, 100, "x", LAST)]
    return Observed(name, [marks[0], *lives, marks[1]])


LIVES = [life(10, 10, "a", "b"), life(11, 12, "c", end=-9), life(10, 14, "a", "b")]


def test_the_same_is_the_same() -> None:
    assert assert_same(machine("one", *LIVES), machine("other", *LIVES), FIRST, LAST, set()) == 3


@pytest.mark.parametrize("missing", range(3))
@pytest.mark.parametrize("swapped", [False, True])
def test_a_missing_process_is_missed(missing: int, swapped: bool) -> None:
    pair = machine("one", *LIVES), machine("other", *LIVES[:missing], *LIVES[missing + 1 :])
    with pytest.raises(AssertionError, match="1 differences"):
        assert_same(*(pair[::-1] if swapped else pair), FIRST, LAST, set())


@pytest.mark.parametrize(
    "change",
    [
        {"end": 1},
        {"end": None},
        {"creator": 5},
        {"creator": None},
        {"further_threads": 1},
        {"images": []},
        {"images": [Image.of([b"a", b"b\0"])]},
        {"images": [Image.of([b"a" * 300])]},
    ],
    ids=str,
)
def test_any_difference_is_one(change: dict[str, object]) -> None:
    changed = dataclasses.replace(LIVES[0], **change)  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="differences"):
        assert_same(machine("one", *LIVES), machine("other", changed, *LIVES[1:]), FIRST, LAST, set())


def test_what_lies_outside_of_the_marks_counts_not() -> None:
    early, late = life(20, -10, "a"), life(21, 200, "b")
    assert_same(machine("one", early, *LIVES), machine("other", *LIVES, late), FIRST, LAST, set())


SCRIPT, LIST = "/a/script", [b"/bin/sh", b"-e", b"/a/script", b"one"]


def seen(arguments: list[bytes], path: str) -> Image:
    return Image.of(arguments)._replace(path=path)


def test_a_script_is_seen_with_its_interpreter() -> None:
    assert seen(LIST, SCRIPT).is_as(Image.of([b"/a/script", b"one"]))
    assert Image.of([b"/a/script", b"one"]).is_as(seen(LIST, SCRIPT))
    assert seen(LIST, SCRIPT).is_as(Image.of(LIST))
    assert seen([*LIST, b"x" * 500], SCRIPT).is_as(Image.of([b"/a/script", b"one", b"x" * 500]))
    # Its interpreter's line names it, and its own first argument is its path.
    assert seen([b"/bin/echo", b"/a/script", *LIST[2:]], SCRIPT).is_as(Image.of(LIST[2:]))
    assert seen([*LIST[:3], b"/a/script"], SCRIPT).is_as(Image.of([b"/a/script", b"/a/script"]))


@pytest.mark.parametrize("other", [[b"/a/script"], [b"/a/script", b"two"], [b"one"], LIST[1:], [*LIST, b""]])
def test_another_list_is_another(other: list[bytes]) -> None:
    assert not seen(LIST, SCRIPT).is_as(Image.of(other))
    assert not seen(LIST, "/other").is_as(Image.of(LIST[2:]))


FAR = [b"/bin/sh", b"/an interpreter/" + b"i" * 180, b"/a/script", b"one"]


def test_the_path_of_a_script_lies_behind_what_is_shown() -> None:
    """A script whose interpreter is a script, in folders with long names."""
    for arguments in (FAR, [*FAR, b"x" * 500], [*FAR[:1], FAR[1][:-8], *FAR[2:]]):
        assert seen(arguments, SCRIPT).is_as(Image.of(arguments[2:]))
        assert Image.of(arguments[2:]).is_as(seen(arguments, SCRIPT))
    long_path = b"/a/" + b"s" * 300
    assert seen([*FAR[:1], long_path, b"one"], long_path.decode()).is_as(Image.of([long_path, b"one"]))


@pytest.mark.parametrize("other", [[b"/b/script", b"one"], [b"/a/script", b"one", b"x" * 200], FAR[1:], []])
def test_another_list_is_another_behind_what_is_shown(other: list[bytes]) -> None:
    assert not seen(FAR, SCRIPT).is_as(Image.of(other))
    assert not seen(LIST, SCRIPT).is_as(Image.of([b"/a/script"]))


@pytest.mark.parametrize("path", ["/bin/true", ""])
def test_a_list_that_was_cut(path: str) -> None:
    """Where the ring has no room for megabytes, the beginning is told, and that there is more."""
    whole = seen([b"x" * 130_000] * 30, path)
    cut = Image.of([b"x" * 16384], is_cut=True)
    assert whole.is_as(cut) and cut.is_as(whole)
    for other in (Image.of([b"x" * 16384]), Image.of([b"y" * 16384], is_cut=True)):
        assert not whole.is_as(other) and not other.is_as(whole)
    assert not cut.is_as(seen([b"x" * 300], path))


def test_bytes_that_cannot_be_printed() -> None:
    assert printable(b"a\n\\\xff\0") == "a\\x0a\\\\xff\\x00"


def test_bpftrace_sees_a_known_run(child: str, tmp_path: Path) -> None:
    """Argument lists of all lengths, and ends of both kinds, as they are known to have been."""
    reason = bpftrace_witness.obstacle()
    if reason:
        pytest.skip(reason)
    commands = [["/bin/true", "x" * size] for size in (0, 1, 150, 180, 199, 200, 5000)]
    commands += [
        ["/bin/sh", "-c", "exit 7"],
        ["/bin/sh", "-c", "kill -9 $$"],
        ["/bin/true", "tab\t\\n\u00e9"],
    ]
    with bpftrace_witness.watching(tmp_path / "output") as witness:
        ran = []
        for command in commands:
            with subprocess.Popen(command) as process:
                ran.append((process.pid, command, process.wait(60)))
        time.sleep(0.5)
    told = {
        (one.process_id, tuple(image[:2] for image in one.images), one.end)
        for one in witness.observed().lives
    }
    expected = {(number, (Image.of([part.encode() for part in line])[:2],), end) for number, line, end in ran}
    assert expected - told == set()

"""The page of --timeline, as a real browser shows it."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pictures.browser import Browser, Picture
from pictures.made_up import MS, START_NS, Author, large_build, small_build

from cbprocess.cli.chronicle import Chronicle
from cbprocess.cli.timeline import COMMAND_SIZE_MAX, timeline_page

LENGTH_MS = 1000


def write(folder: Path, chronicle: Chronicle, length_ms: float = LENGTH_MS, lost: int = 0) -> Path:
    path = folder / "timeline.html"
    page = timeline_page(chronicle, START_NS, START_NS + int(length_ms * MS), lost)
    path.write_text(page, encoding="utf-8")
    return path


def check_clean(page: Browser, path: Path) -> None:
    """It asked for nothing but itself, and nothing failed in it."""
    assert page.requested() == [path.as_uri()]
    assert page.complaints() == []


def row(process_id: int) -> str:
    return f"document.querySelector('.row[data-process-id=\"{process_id}\"]')"


def area(page: Browser, expression: str) -> dict[str, float]:
    """Where an element is."""
    box: dict[str, float] = page.ask(
        f"(() => {{ const b = ({expression}).getBoundingClientRect();"
        " return {x: b.x, y: b.y, width: b.width, height: b.height}; })()"
    )
    return box


def bars(page: Browser, process_id: int) -> list[dict[str, float]]:
    count = page.ask(f"{row(process_id)}.querySelectorAll('.bar').length")
    return [area(page, f"{row(process_id)}.querySelectorAll('.bar')[{at}]") for at in range(count)]


def label(page: Browser, process_id: int) -> str:
    return str(page.ask(f"{row(process_id)}.querySelector('.label').innerText"))


def hover(page: Browser, box: dict[str, float]) -> str:
    page.point(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert page.ask("document.getElementById('tip').hidden") is False
    return str(page.ask("document.getElementById('tip').innerText"))


def distance(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    return math.dist(one, other)


def text_contrast(picture: Picture, box: dict[str, float]) -> float:
    """How much brighter the brightest of an area is than the darkest, as accessibility guidelines count."""

    def luminance(pixel: tuple[int, int, int]) -> float:
        parts = [value / 255 for value in pixel]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    inside = [
        luminance(picture.pixel(x, y))
        for y in range(int(box["y"]), int(box["y"] + box["height"]))
        for x in range(int(box["x"]), int(box["x"] + box["width"]))
    ]
    return (max(inside) + 0.05) / (min(inside) + 0.05)


@pytest.fixture
def small(page: Browser, tmp_path: Path) -> Browser:
    path = write(tmp_path, small_build())
    page.open(path)
    check_clean(page, path)
    return page


def test_the_tree_and_what_is_marked(small: Browser) -> None:
    ids = small.ask("[...document.querySelectorAll('.row')].map(row => Number(row.dataset.processId))")
    assert ids == [10, 11, 12, 13, 14, 15, 16, 11]
    levels = small.ask("[...document.querySelectorAll('.row')].map(row => Number(row.ariaLevel))")
    assert levels == [1, 2, 3, 2, 2, 2, 2, 2]
    indents = [area(small, f"{row(number)}.querySelector('.label i')")["x"] for number in (10, 13, 12)]
    assert indents[0] < indents[1] < indents[2]
    assert [label(small, number).split()[:2] for number in (10, 12, 13)] == [
        ["▾make", "10"],
        ["as", "12"],
        ["curl", "13"],
    ]
    assert "refused" in label(small, 13)
    assert "timed out" in label(small, 14)
    assert "killed by SIGKILL" in label(small, 15)
    assert all("refused" not in label(small, number) for number in (10, 12, 14, 15, 16))
    heading = str(small.ask("document.querySelector('header').innerText"))
    assert "make -j4" in heading
    assert "8 processes" in heading
    assert "1 with refusals" in heading
    assert "1 timed out" in heading
    assert "lost" not in heading


def test_bars_lie_where_their_times_are(small: Browser) -> None:
    ruler = area(small, "document.getElementById('ruler')")

    def x_of(at_ms: float) -> float:
        return ruler["x"] + at_ms / LENGTH_MS * ruler["width"]

    wanted = {
        10: [(10, 1000)],
        12: [(150, 200), (200, 300)],
        13: [(410, 450)],
        15: [(510, 600)],
        16: [(610, 1000)],
    }
    for process_id, spans in wanted.items():
        found = bars(small, process_id)
        assert len(found) == len(spans)
        for box, (begin_ms, end_ms) in zip(found, spans):
            assert box["x"] == pytest.approx(x_of(begin_ms), abs=2), process_id
            assert box["x"] + box["width"] == pytest.approx(x_of(end_ms), abs=2), process_id
    mark = area(small, f"{row(13)}.querySelector('.mark.refused')")
    assert mark["x"] + mark["width"] / 2 == pytest.approx(x_of(410), abs=2)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_seen(page: Browser, tmp_path: Path, scheme: str) -> None:
    path = write(tmp_path, small_build())
    page.open(path, scheme)
    picture = page.picture()
    page_color = picture.pixel(page.ask("innerWidth") - 40, page.ask("innerHeight") - 40)
    assert (sum(page_color) > 600) is (scheme == "light")
    for process_id in (10, 12, 15, 16):
        for box in bars(page, process_id):
            pixel = picture.pixel(box["x"] + box["width"] / 3, box["y"] + box["height"] / 2)
            assert distance(pixel, page_color) > 60, process_id
    for expression in (f"{row(10)}.querySelector('.label')", f"{row(13)}.querySelector('b.refused')"):
        assert text_contrast(picture, area(page, expression)) > 4.5
    forked, executed = bars(page, 12)
    y = executed["y"] + executed["height"] / 2
    assert distance(picture.pixel(forked["x"] + 4, y), picture.pixel(executed["x"] + 4, y)) > 30
    check_clean(page, path)


def test_hover(small: Browser) -> None:
    assert small.ask("document.getElementById('tip').hidden") is True
    text = hover(small, bars(small, 11)[0])
    assert text.startswith("cc -c 'a file.c'\n")
    assert "process 11" in text
    assert "exit 0 after 300.0 ms" in text
    assert "refused with error 5: curl evil" in hover(small, bars(small, 13)[0])
    assert "timed out at 460.0 ms" in hover(small, bars(small, 14)[0])
    text = hover(small, bars(small, 15)[0])
    assert "false '</script><b>\\xff\\x1b[31m'" in text
    assert "killed by SIGKILL" in text
    assert "still running" in hover(small, bars(small, 16)[0])
    assert hover(small, area(small, f"{row(12)}.querySelector('.label')")).startswith("as a.s\n")
    tip = area(small, "document.getElementById('tip')")
    assert tip["x"] >= 0 and tip["x"] + tip["width"] <= small.ask("innerWidth")
    small.point(600, 20)
    assert small.ask("document.getElementById('tip').hidden") is True


def test_keys_show_the_same(small: Browser) -> None:
    small.ask("document.getElementById('scroller').focus()")
    for _ in range(2):
        small.press("ArrowDown")
    assert small.ask("document.activeElement.dataset.processId") == "11"
    assert "cc -c" in small.ask("document.getElementById('tip').innerText")
    small.press("ArrowUp")
    assert small.ask("document.activeElement.dataset.processId") == "10"


def test_zoom_collapse_and_filter(small: Browser) -> None:
    before = bars(small, 12)[1]["width"]
    button = area(small, "document.getElementById('in')")
    small.click(button["x"] + 5, button["y"] + 5)  # the middle half: 250 to 750 ms
    assert small.ask("from") == pytest.approx(250_000)
    assert small.ask("to") == pytest.approx(750_000)
    assert len(bars(small, 12)) == 1
    box = area(small, f"{row(13)}.querySelector('.bar')")
    assert box["width"] == pytest.approx(before / 100 * 40 * 2, abs=2)
    button = area(small, "document.getElementById('all')")
    small.click(button["x"] + 5, button["y"] + 5)
    assert bars(small, 12)[1]["width"] == pytest.approx(before, abs=1)

    twisty = area(small, f"{row(11)}.querySelector('i')")
    small.click(twisty["x"] + 5, twisty["y"] + 10)
    assert small.ask(f"{row(12)} === null")
    assert small.ask("document.querySelectorAll('.row').length") == 7
    small.click(twisty["x"] + 5, twisty["y"] + 10)
    assert small.ask("document.querySelectorAll('.row').length") == 8

    field = area(small, "document.getElementById('find')")
    small.click(field["x"] + 10, field["y"] + 10)
    small.call("Input.insertText", text="A.S")
    ids = small.ask("[...document.querySelectorAll('.row')].map(row => row.dataset.processId)")
    assert ids == ["10", "11", "12"]  # with those it comes from


def test_a_picture_with_gaps_says_so_and_an_empty_one_too(page: Browser, tmp_path: Path) -> None:
    path = write(tmp_path, small_build(), lost=7)
    page.open(path)
    assert "7 events were lost" in page.ask("document.querySelector('header').innerText")
    path = write(tmp_path, Chronicle(), 0)
    page.open(path)
    assert "No process was seen" in page.ask("document.body.innerText")
    check_clean(page, path)


def test_ten_thousand_processes(page: Browser, tmp_path: Path) -> None:
    count = 10_000
    path = write(tmp_path, large_build(count), 5.0 * (count // 4) + 50)
    assert path.stat().st_size < 4_000_000
    begin = time.monotonic()
    page.open(path)
    assert page.ask("rows.length") == count
    assert time.monotonic() - begin < 15
    assert page.ask("document.querySelectorAll('.row').length") < 100  # only what can be seen is drawn
    heights = page.ask("[document.getElementById('rows').offsetHeight, scroller.clientHeight]")
    assert heights[0] == count * 20 > heights[1]

    page.ask("void (scroller.scrollTop = 7000 * 20)")
    page.settle()
    drawn = page.ask("[...document.querySelectorAll('.row')].map(row => Number(row.dataset.index))")
    assert 7000 in drawn and len(drawn) < 100
    text = hover(page, area(page, "document.querySelector('.row[data-index=\"7010\"] .label')"))
    assert text.startswith("cc ")
    page.ask("void (scroller.scrollTop = scroller.scrollHeight)")
    page.settle()
    assert (
        page.ask("Math.max(...[...document.querySelectorAll('.row')].map(row => Number(row.dataset.index)))")
        == 9999
    )

    begin_ms = page.ask("performance.now()")
    page.ask("void (needle = '77.c', select())")
    for _ in range(20):
        page.ask("void zoom(0.5, total / 2)")
    assert page.ask("performance.now()") - begin_ms < 5000
    check_clean(page, path)


def test_long_commands_are_cut(tmp_path: Path) -> None:
    author = Author()
    author.execute(5, 1, 0, b"ld", b"x" * 100_000)
    data = data_of(write(tmp_path, author.chronicle))
    command = data["rows"][0]["stages"][0][2]
    assert len(command) < COMMAND_SIZE_MAX + 50
    assert command.endswith("(100003 characters)")


def data_of(path: Path) -> dict[str, Any]:
    """What the page draws."""
    line = next(
        line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("const data = ")
    )
    data: dict[str, Any] = json.loads(line[len("const data = ") : -1])
    return data


@pytest.mark.parametrize("replayed", [False, True])
def test_a_real_build(page: Browser, tmp_path: Path, replayed: bool) -> None:
    """From the command line: a parallel make with a rule against one of its programs."""
    if shutil.which("make") is None:
        pytest.skip("this machine has no make")
    lines = ["all: a b c d", "a b c:", "\t@sleep 0.2; true $@", "d:", "\t-@mkfifo x; exit 3"]
    (tmp_path / "Makefile").write_text("\n".join(lines) + "\n", encoding="utf-8")
    path, recording = tmp_path / "page.html", tmp_path / "recording"
    run = [
        sys.executable,
        "-m",
        "cbprocess",
        "run",
        "--output",
        "/dev/null",
        "--deny",
        "mkfifo",
        "--record",
        recording,
    ]
    run += ["--timeline", tmp_path / "live.html", "--", "make", "-j4", "-C", tmp_path]
    subprocess.run(run, check=True, capture_output=True, timeout=60)
    live = tmp_path / "live.html"
    if replayed:
        replay = [
            sys.executable,
            "-m",
            "cbprocess",
            "replay",
            recording,
            "--output",
            "/dev/null",
            "--timeline",
            path,
        ]
        subprocess.run(replay, check=True, capture_output=True, timeout=60)
        assert lives(data_of(path)) == lives(data_of(live))
    else:
        path = live
    page.open(path)
    check_clean(page, path)
    labels = page.ask("[...document.querySelectorAll('.label')].map(label => label.innerText)")
    assert sum("sleep" in text for text in labels) == 3
    refused = [text for text in labels if "refused" in text]
    assert len(refused) == 1 and "mkfifo" in refused[0]
    assert "make" in page.ask("document.title")
    sleeping = area(
        page,
        "[...document.querySelectorAll('.row')].find(row => row.innerText.includes('sleep'))"
        ".querySelector('.bar:last-of-type')",
    )
    assert "sleep 0.2" in hover(page, sleeping)


def lives(data: dict[str, Any]) -> list[dict[str, Any]]:
    """The processes without their times, which count from the beginning of the filter or of the recording."""
    result = []
    for process in data["rows"]:
        stages = [stage[1:] for stage in process["stages"]]
        refusals = [refusal[1:] for refusal in process["refusals"]]
        length = round(process["end"] - process["start"], 3)
        rest = {key: process[key] for key in ("depth", "parent", "pid", "status", "failed")}
        result.append({**rest, "stages": stages, "refusals": refusals, "length": length})
    return result


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "no-such-folder" / "page.html"
    for option in ("--timeline", "--trace"):
        line = [sys.executable, "-m", "cbprocess", "run", option, path, "--", "touch", tmp_path / "ran"]
        done = subprocess.run(line, capture_output=True, text=True, timeout=60)
        assert done.returncode == 125
        assert str(path) in done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "ran").exists()

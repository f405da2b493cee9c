"""A real browser for tests: Chromium without a window, steered through its DevTools protocol over a pipe.

Knows how to open a page, to ask it questions, to move the pointer and to take pictures; not what is on it."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chromium-headless-shell")
ANSWER_LIMIT_S = 60.0

# The browser's ends of the two pipes have to be its descriptors 3 and 4.
LAUNCHER = """
import fcntl, os, sys
reading, writing = (fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3])
os.dup2(reading, 3)
os.dup2(writing, 4)
os.execvp(sys.argv[3], sys.argv[3:])
"""


def find_browser() -> str | None:
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


class Picture(NamedTuple):
    """What is on the page, pixel by pixel."""

    width: int
    rows: list[bytes]  # 3 bytes a pixel

    def pixel(self, x: float, y: float) -> tuple[int, int, int]:
        red, green, blue = self.rows[int(y)][int(x) * 3 : int(x) * 3 + 3]
        return red, green, blue


def decode_png(data: bytes) -> Picture:
    """Of 8 bits a channel, with or without alpha, not interlaced: what browsers make."""
    position, packed, width, channels = 8, b"", 0, 3
    while position < len(data):
        (size,) = struct.unpack_from(">I", data, position)
        kind, body = data[position + 4 : position + 8], data[position + 8 : position + 8 + size]
        if kind == b"IHDR":
            width, _, depth, color, _, _, interlaced = struct.unpack(">IIBBBBB", body)
            assert (depth, interlaced) == (8, 0)
            channels = {2: 3, 6: 4}[color]
        elif kind == b"IDAT":
            packed += body
        position += size + 12
    plain, stride = zlib.decompress(packed), width * channels
    rows, above = [], bytearray(stride)
    for start in range(0, len(plain), stride + 1):
        above = _unfilter(plain[start], bytearray(plain[start + 1 : start + 1 + stride]), above, channels)
        rows.append(_without_alpha(above, channels))
    return Picture(width, rows)


def _without_alpha(line: bytearray, channels: int) -> bytes:
    if channels == 3:
        return bytes(line)
    kept = bytearray(len(line) // 4 * 3)
    for channel in range(3):
        kept[channel::3] = line[channel::4]
    return bytes(kept)


def _unfilter(kind: int, line: bytearray, above: bytearray, channels: int) -> bytearray:
    for i in range(len(line)):
        left = line[i - channels] if i >= channels else 0
        up, corner = above[i], above[i - channels] if i >= channels else 0
        if kind == 4:
            guess = left + up - corner
            nearest = min((left, up, corner), key=lambda value: abs(guess - value))
            line[i] = (line[i] + nearest) & 255
        else:
            line[i] = (line[i] + (0, left, up, (left + up) // 2)[kind]) & 255
    return line


class Browser:
    """One page in a browser of its own."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading, self._writing = reading, writing
        self._received = b""
        self._last_id = 0
        self._session = ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        self._last_id += 1
        message: dict[str, Any] = {"id": self._last_id, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._writing, data) :]
        deadline = time.monotonic() + ANSWER_LIMIT_S
        while True:
            answer = self._receive(deadline)
            if answer.get("id") == self._last_id:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self.events.append(answer)

    def _receive(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._received:
            ready = select.select([self._reading], [], [], max(deadline - time.monotonic(), 0))[0]
            assert ready, "the browser does not answer"
            data = os.read(self._reading, 1 << 20)
            assert data, "the browser has ended"
            self._received += data
        message, _, self._received = self._received.partition(b"\0")
        result: dict[str, Any] = json.loads(message)
        return result

    def open(self, path: Path, scheme: str = "light", width: int = 1200, height: int = 700) -> None:
        """Loads the page and waits until it is there."""
        self.events.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url=path.as_uri())
        deadline = time.monotonic() + ANSWER_LIMIT_S
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._receive(deadline))

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression on the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def point(self, x: float, y: float) -> None:
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, x: float, y: float) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def settle(self) -> None:
        """Waits until the page has drawn what it owes."""
        self.ask("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def picture(self) -> Picture:
        self.settle()
        return decode_png(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def requested(self) -> list[str]:
        """The addresses that the page has asked for, its own included."""
        sent = [event for event in self.events if event.get("method") == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in sent]

    def complaints(self) -> list[dict[str, Any]]:
        """Exceptions and errors on the page."""
        kinds = ("Runtime.exceptionThrown", "Log.entryAdded")
        return [event for event in self.events if event.get("method") in kinds]


@contextlib.contextmanager
def browser(program: str, folder: Path) -> Iterator[Browser]:
    """A browser that keeps all that it writes in folder, and is gone afterwards."""
    their_reading, our_writing = os.pipe()
    our_reading, their_writing = os.pipe()
    # No sandbox: it needs namespaces that containers do not give, and the pages are our own.
    options = [
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
        *("--disable-extensions", "--disable-background-networking", "--disable-component-update"),
        *("--remote-debugging-pipe", f"--user-data-dir={folder / 'profile'}"),
    ]
    line = [sys.executable, "-c", LAUNCHER, str(their_reading), str(their_writing), program, *options]
    environment = dict(os.environ, HOME=str(folder), XDG_CONFIG_HOME=str(folder), XDG_CACHE_HOME=str(folder))
    with open(folder / "browser.log", "wb") as log:
        child = subprocess.Popen(
            line,
            pass_fds=(their_reading, their_writing),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
        )
    os.close(their_reading)
    os.close(their_writing)
    try:
        yield Browser(our_reading, our_writing)
    finally:
        # Without its pipes it ends by itself, its helpers with it.
        os.close(our_writing)
        os.close(our_reading)
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

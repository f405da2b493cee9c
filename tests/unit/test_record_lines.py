"""The lines of --json: their numbers rise by one from line to line, whichever threads tell."""

from __future__ import annotations

import argparse
import threading
from typing import Any

from cbprocess.cli.record_lines import RecordLines


class Lines:
    """An output that keeps what it gets."""

    def __init__(self) -> None:
        self.numbers: list[str] = []

    def line(self, text: str) -> None:
        self.numbers.append(text)


class SlowRecorder:
    """Its first record takes until another thread had its chance."""

    origin = ("web1", "b00t", "5e55")

    def __init__(self) -> None:
        self.is_asked = threading.Event()
        self.other_is_through = threading.Event()

    def record(self, event: object, number: int) -> dict[str, Any]:
        if number == 1:
            self.is_asked.set()
            self.other_is_through.wait(0.3)
        return {"number": number}


def test_an_error_in_another_thread_keeps_the_order_of_numbers() -> None:
    output, recorder = Lines(), SlowRecorder()
    options = argparse.Namespace(format="cbprocess")
    lines = RecordLines(options, output, recorder, True)  # type: ignore[arg-type]
    handler = threading.Thread(target=lines.event, args=(None,))
    handler.start()
    assert recorder.is_asked.wait(10)

    def tell() -> None:
        lines.event(None)  # type: ignore[arg-type]
        recorder.other_is_through.set()

    other = threading.Thread(target=tell)
    other.start()
    for thread in (handler, other):
        thread.join(10)
    assert output.numbers == ['{"number":1}', '{"number":2}']

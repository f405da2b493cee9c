"""Short texts for people: durations, command lines, lines that fit into a terminal."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbprocess.cli.shortening import (
    COLUMNS_MIN,
    base_name,
    columns_of,
    duration_text,
    fitted,
    short_command,
    short_windows_command,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1.0, "0.0 ms"),
        (0.0, "0.0 ms"),
        (0.00004, "0.0 ms"),
        (0.0094, "9.4 ms"),
        (0.00996, "10 ms"),
        (0.1204, "120 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.00 s"),
        (3.214, "3.21 s"),
        (59.994, "59.99 s"),
        (59.996, "1 min 00 s"),
        (245.4, "4 min 05 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 00 min"),
        (2 * 3600 + 3 * 60 + 59, "2 h 03 min"),
        (400 * 3600, "400 h 00 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}


@settings(deadline=None)
@given(st.floats(min_value=0.0001, max_value=1e7))
def test_a_duration_is_told_to_a_hundredth(seconds: float) -> None:
    """Read back by its units, it is off by half of its last figure: a minute of two hours."""
    words = duration_text(seconds).split()
    read = sum(float(number) * UNITS[unit] for number, unit in zip(words[::2], words[1::2]))
    assert abs(read - seconds) <= max(0.00005001, 0.0051 * seconds, 60 if "h" in words else 0)


@pytest.mark.parametrize(
    ("line", "arguments", "short"),
    [
        ("/usr/bin/cc -c a.c", ["/usr/bin/cc", "-c", "a.c"], "cc -c a.c"),
        ("cc /usr/bin/cc", ["cc", "/usr/bin/cc"], "cc /usr/bin/cc"),
        ("'/opt/my tools/cc' x", ["/opt/my tools/cc", "x"], "cc x"),
        ("'/opt/my cc' x", ["/opt/my cc", "x"], "'my cc' x"),
        ("-sh", ["-sh"], "-sh"),
        ("/usr/bin/", ["/usr/bin/"], "/usr/bin/"),
        ("", [], ""),
        ("'' x", ["", "x"], "'' x"),
        ("something else", ["/usr/bin/cc"], "something else"),
    ],
)
def test_short_commands(line: str, arguments: list[str], short: str) -> None:
    assert short_command(line, arguments) == short


@pytest.mark.skipif(sys.platform == "win32", reason="kernel threads of Linux")
@pytest.mark.parametrize(
    ("program", "name"),
    [
        ("/usr/bin/make", "make"),
        ("ksoftirqd/0", "ksoftirqd/0"),
        ("kworker/0:1H-events_highpri", "kworker/0:1H-events_highpri"),
        ("", ""),
    ],
)
def test_the_name_of_a_kernel_thread_has_no_folder(program: str, name: str) -> None:
    assert base_name(program) == name


def test_columns() -> None:
    assert [columns_of(text) for text in ("", "abc", "日本", "e\u0301", "\uff41")] == [0, 3, 4, 1, 2]


@settings(deadline=None)
@given(st.text(), st.integers(0, 100))
def test_what_fits_stays_and_the_rest_is_cut(text: str, columns: int) -> None:
    text = "".join(filter(str.isprintable, unicodedata.normalize("NFC", text)))
    result = fitted(text, columns)
    assert columns_of(result) <= max(columns, COLUMNS_MIN)
    if columns_of(text) <= max(columns, COLUMNS_MIN):
        assert result == text
    else:
        assert result.endswith("...") and text.startswith(result[:-3])
        # Not one character less than there is room for.
        assert columns_of(text[: len(result) - 2]) > max(columns, COLUMNS_MIN) - 3


@pytest.mark.parametrize(
    ("line", "short"),
    [
        ('cmd.exe /c "exit 3"', 'cmd.exe /c "exit 3"'),
        ("C:\\Windows\\system32\\cmd.exe /c dir", "cmd.exe /c dir"),
        ('"C:\\Program Files\\tool.exe" /x "a b"', 'tool.exe /x "a b"'),
        ('"C:/tools/my tool.exe" /x', '"my tool.exe" /x'),
        ("C:/tools/make.exe\t-j", "make.exe\t-j"),
        ("tool.exe", "tool.exe"),
        ("C:\\tools\\", "C:\\tools\\"),
        ('"C:\\open', '"C:\\open'),
        ("", ""),
    ],
)
def test_a_windows_option_is_no_folder(line: str, short: str) -> None:
    assert short_windows_command(line) == short

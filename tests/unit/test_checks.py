"""What callers pass in: every wrong value is error 87 with a sentence that names the parameter."""

from __future__ import annotations

from typing import Any, Callable

import pytest

from cbprocess import CBProcessError
from cbprocess import _checks as checks
from cbprocess.constants import ERROR_INVALID_PARAMETER, PATTERN_SIZE_MAX

# Python writes no int of so many digits, so pytest cannot name it either.
HUGE = pytest.param(16**6000, id="huge")


def assert_wrong(call: Callable[[], object], name: str) -> None:
    with pytest.raises(CBProcessError) as raised:
        call()
    assert raised.value.code == ERROR_INVALID_PARAMETER
    assert name in raised.value.message


@pytest.mark.parametrize("value", [0, 5, 10])
def test_ints_in_range(value: int) -> None:
    assert checks.checked_int(value, "x", 0, 10) == value


@pytest.mark.parametrize("value", [-1, 11, 2**80, HUGE, True, False, 1.0, "1", b"1", None, [1], object()])
def test_wrong_ints(value: Any) -> None:
    assert_wrong(lambda: checks.checked_int(value, "the_number", 0, 10), "the_number")


@pytest.mark.parametrize("value", [True, False, 1, 0])
def test_bools_and_the_ints_that_stand_for_them(value: Any) -> None:
    found = checks.checked_bool(value, "the_flag")
    assert type(found) is bool and found == value


@pytest.mark.parametrize("value", [2, -1, 2**80, HUGE, "True", "1", None, [], 1.0])
def test_wrong_bools(value: Any) -> None:
    assert_wrong(lambda: checks.checked_bool(value, "the_flag"), "the_flag")


@pytest.mark.parametrize("value", [b"bytes", 1, None, ["a"], "a\0b", "\0", "\ud800", "x\udfff"])
def test_wrong_texts(value: Any) -> None:
    assert_wrong(lambda: checks.checked_text(value, "the_text"), "the_text")


def test_a_name_that_is_not_utf8_goes_back_to_its_bytes() -> None:
    name = b"/tmp/\xff\xfe\xc3\xa9"
    assert checks.checked_text(name.decode("utf-8", "surrogateescape"), "x") == name


@pytest.mark.parametrize(
    "value", ["", "a" * (PATTERN_SIZE_MAX + 1), "é" * (PATTERN_SIZE_MAX // 2 + 1), 5, None]
)
def test_wrong_patterns(value: Any) -> None:
    assert_wrong(lambda: checks.checked_pattern(value, "the_pattern"), "the_pattern")


def test_the_longest_pattern() -> None:
    assert len(checks.checked_pattern("é" * (PATTERN_SIZE_MAX // 2), "x")) == PATTERN_SIZE_MAX


@pytest.mark.parametrize("value", [-2, 2**32 - 1, 2**32, True, "1", None])
def test_wrong_process_ids(value: Any) -> None:
    assert_wrong(lambda: checks.checked_process_id(value, False), "process_id")
    assert_wrong(lambda: checks.checked_process_id(value, True), "process_id")


def test_all_processes_only_where_allowed() -> None:
    assert checks.checked_process_id(-1, True) == 0xFFFFFFFF
    assert_wrong(lambda: checks.checked_process_id(-1, False), "process_id")


def test_handlers_are_callable_or_none() -> None:
    checks.checked_handler(None, "x")
    checks.checked_handler(print, "x")
    assert_wrong(lambda: checks.checked_handler(5, "on_something"), "on_something")

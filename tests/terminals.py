"""Pseudo-terminals for tests, which not every machine has: a chroot may be without /dev/pts."""

from __future__ import annotations

import os

import pytest


def open_terminal() -> tuple[int, int]:
    """The two ends of a new pseudo-terminal; skips the test where the machine gives none."""
    try:
        return os.openpty()
    except OSError as error:
        pytest.skip(f"this machine gives no pseudo-terminals: {error.strerror}")


def need_terminal() -> None:
    """Skips the test where the machine gives no pseudo-terminals."""
    for end in open_terminal():
        os.close(end)

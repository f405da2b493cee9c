"""Tests of what only Windows has; they run there, or under Wine (see docs/windows.md)."""

from __future__ import annotations

import sys

collect_ignore_glob = [] if sys.platform == "win32" else ["test_*.py"]

"""Fixtures of the fault tests; they share the tools of the live tests."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "live"))

from live_fixtures import no_helper_stays as no_helper_stays
from live_fixtures import orphans as orphans
from live_fixtures import programs as programs
from live_fixtures import system_path as system_path

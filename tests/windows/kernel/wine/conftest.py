"""Tests of the kernel driver under Wine; session.py runs them in its world, and nothing else can."""

from __future__ import annotations

import os

collect_ignore_glob = [] if "CBPROCESS_TEST_WORLD" in os.environ else ["test_*.py"]

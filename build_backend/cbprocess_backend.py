"""PEP 517 backend: setuptools' own, plus the build tools that this machine lacks as further requirements.

Knows nothing of how the native part is built (setup.py) nor how a tool is judged (toolchain).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Optional

from setuptools import build_meta as _setuptools
from setuptools.build_meta import *  # noqa: F403  every hook that is not replaced below

sys.path.insert(0, str(Path(__file__).resolve().parent))
import toolchain

_Settings = Optional[dict[str, Any]]


def get_requires_for_build_wheel(config_settings: _Settings = None) -> list[str]:
    return _setuptools.get_requires_for_build_wheel(config_settings) + toolchain.missing_tools()


def get_requires_for_build_editable(config_settings: _Settings = None) -> list[str]:
    return _setuptools.get_requires_for_build_editable(config_settings) + toolchain.missing_tools()

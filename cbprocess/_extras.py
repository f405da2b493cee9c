"""Packages that only a part of this one needs: imported when they are first used, with an error that names
the extra."""

from __future__ import annotations

from importlib import import_module

from .constants import ERROR_NOT_SUPPORTED
from .errors import CBProcessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def need(module: str, extra: str) -> Any:
    """The module. Error 50, with the extra to install, where its package is not there."""
    try:
        return import_module(module)
    except ImportError as error:
        raise CBProcessError(
            ERROR_NOT_SUPPORTED, f"this takes {module}: pip install 'cbprocess[{extra}]' ({error})"
        ) from None

"""The packages of the extra `fleet`, imported when they are first needed, with an error that says how to
get them.

Everything else in this folder asks here, so that `import cbprocess.fleet` needs nothing."""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

EXTRA = "cbprocess[fleet]"


class MissingExtra(ImportError):
    """A package of the extra is not installed. The text says how to install it."""


def need(module: str) -> Any:
    """A module of nats-py or nkeys. MissingExtra where the extra is not installed."""
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        if error.name is not None and error.name.partition(".")[0] not in ("nats", "nkeys", "nacl"):
            raise
        raise MissingExtra(
            f"a fleet needs {package}, which is not installed: pip install '{EXTRA}'", name=package
        ) from None

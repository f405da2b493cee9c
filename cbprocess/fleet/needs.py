"""The packages of the extra `fleet`, imported when they are first needed.

Everything else in this folder asks here, so that `import cbprocess.fleet` needs nothing."""

from __future__ import annotations

from .._extras import need as need_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

EXTRA = "fleet"


def need(module: str) -> Any:
    """A module of nats-py or nkeys. Error 50, with the extra to install, where it is not there."""
    return need_of(module, EXTRA)

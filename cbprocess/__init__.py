"""cbprocess: watch and control what processes and threads do, while it is still waiting to happen.

`CBProcess` is the class; the constants have their bare names here. The native library is opened by the first
initialize(), not by importing the package.
"""

from __future__ import annotations

from . import constants
from ._api.process import CBProcess as CBProcess
from .constants import *  # noqa: F403
from .errors import CBFSFilterError as CBFSFilterError
from .errors import CBProcessError as CBProcessError
from .errors import CBProcessWarning as CBProcessWarning

# As the class reference calls the values of serialize_events.
seOnMultipleThreads = constants.SERIALIZE_ON_MULTIPLE_THREADS
seOnOneWorkerThread = constants.SERIALIZE_ON_ONE_WORKER_THREAD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._api.statistics import Statistics as Statistics
    from ._binding.deferred import DeferredAnswer as DeferredAnswer
    from ._streams.feed import Overflow as Overflow
    from ._streams.held import AnyHeldEvent as AnyHeldEvent
    from ._streams.held import HeldEvent as HeldEvent
    from ._streams.held import HeldHandleEvent as HeldHandleEvent
    from ._streams.held import HeldProcessCreation as HeldProcessCreation
    from ._streams.held import HeldProcessHandleOperation as HeldProcessHandleOperation
    from ._streams.held import HeldProcessTermination as HeldProcessTermination
    from ._streams.held import HeldThreadCreation as HeldThreadCreation
    from ._streams.held import HeldThreadHandleOperation as HeldThreadHandleOperation
    from ._streams.held import HeldThreadTermination as HeldThreadTermination
    from ._streams.held import Outcome as Outcome
    from ._streams.monitoring import Monitor as Monitor
    from ._streams.monitoring import monitor as monitor
    from .drivers import DriverReport as DriverReport
    from .drivers import probe_driver as probe_driver
    from .enums import Action as Action
    from .enums import Capability as Capability
    from .enums import ErrorCode as ErrorCode
    from .enums import EventFlag as EventFlag
    from .enums import EventType as EventType
    from .enums import InstallFlag as InstallFlag
    from .enums import ModuleStatus as ModuleStatus
    from .enums import ProcessAccess as ProcessAccess
    from .enums import RefuseWith as RefuseWith
    from .enums import Serialize as Serialize
    from .enums import ThreadAccess as ThreadAccess
    from .enums import TimeoutAction as TimeoutAction
    from .enums import UninstallFlag as UninstallFlag
    from .events import CBProcessErrorEventParams as CBProcessErrorEventParams
    from .events import CBProcessProcessCreationEventParams as CBProcessProcessCreationEventParams
    from .events import (
        CBProcessProcessHandleOperationEventParams as CBProcessProcessHandleOperationEventParams,
    )
    from .events import CBProcessProcessTerminationEventParams as CBProcessProcessTerminationEventParams
    from .events import CBProcessThreadCreationEventParams as CBProcessThreadCreationEventParams
    from .events import CBProcessThreadHandleOperationEventParams as CBProcessThreadHandleOperationEventParams
    from .events import CBProcessThreadTerminationEventParams as CBProcessThreadTerminationEventParams
    from .events import CBProcessWorkerThreadCreationEventParams as CBProcessWorkerThreadCreationEventParams
    from .events import (
        CBProcessWorkerThreadTerminationEventParams as CBProcessWorkerThreadTerminationEventParams,
    )
    from .running import RunningProcess as RunningProcess
    from .running import running_processes as running_processes

    __version__: str

# Public names that are imported when they are first asked for.
_LAZY = {
    "DeferredAnswer": "_binding.deferred",
    "DriverReport": "drivers",
    "probe_driver": "drivers",
    "Action": "enums",
    "Capability": "enums",
    "ErrorCode": "enums",
    "EventFlag": "enums",
    "EventType": "enums",
    "InstallFlag": "enums",
    "ModuleStatus": "enums",
    "ProcessAccess": "enums",
    "RefuseWith": "enums",
    "Serialize": "enums",
    "ThreadAccess": "enums",
    "TimeoutAction": "enums",
    "UninstallFlag": "enums",
    "CBProcessErrorEventParams": "events",
    "CBProcessProcessCreationEventParams": "events",
    "CBProcessProcessHandleOperationEventParams": "events",
    "CBProcessProcessTerminationEventParams": "events",
    "CBProcessThreadCreationEventParams": "events",
    "CBProcessThreadHandleOperationEventParams": "events",
    "CBProcessThreadTerminationEventParams": "events",
    "CBProcessWorkerThreadCreationEventParams": "events",
    "CBProcessWorkerThreadTerminationEventParams": "events",
    "AnyHeldEvent": "_streams.held",
    "HeldEvent": "_streams.held",
    "HeldHandleEvent": "_streams.held",
    "HeldProcessCreation": "_streams.held",
    "HeldProcessHandleOperation": "_streams.held",
    "HeldProcessTermination": "_streams.held",
    "HeldThreadCreation": "_streams.held",
    "HeldThreadHandleOperation": "_streams.held",
    "HeldThreadTermination": "_streams.held",
    "Monitor": "_streams.monitoring",
    "Outcome": "_streams.held",
    "Overflow": "_streams.feed",
    "RunningProcess": "running",
    "running_processes": "running",
    "Statistics": "_api.statistics",
    "monitor": "_streams.monitoring",
}

if not TYPE_CHECKING:
    # A type checker takes what is imported above; it cannot add up lists.
    __all__ = [
        "CBFSFilterError",
        "CBProcess",
        "CBProcessError",
        "CBProcessWarning",
        "seOnMultipleThreads",
        "seOnOneWorkerThread",
        *constants.__all__,
        *_LAZY,
    ]

    def __dir__() -> list[str]:
        """What is imported when it is first asked for can be found before."""
        return sorted({*globals(), *__all__, "__version__"})


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name == "__version__":
        from ._binding.library import load

        value: object = load().cbp_version().decode("ascii")
    elif name in _LAZY:
        value = getattr(import_module(f".{_LAZY[name]}", __name__), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value

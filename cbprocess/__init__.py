"""cbprocess: watch and control what processes and threads do, while it is still waiting to happen.

Programs begin with `monitor`, or with the class `CBProcess`. Beside them stand events, enumerations, errors
and `Rule`. The flat names of the class reference are here as well, for its star import; cbprocess.reference
has those alone. The first initialize() opens the native library; importing the package does not."""

from __future__ import annotations

from . import constants
from ._api.process import CBProcess as CBProcess
from .constants import *  # noqa: F403
from .errors import CBProcessError as CBProcessError
from .errors import CBProcessWarning as CBProcessWarning

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
    from .enums import *  # noqa: F403
    from .reference import *  # noqa: F403
    from .rules import Rule as Rule
    from .running import RunningProcess as RunningProcess
    from .running import running_processes as running_processes
    from .running import snapshot as snapshot

    __version__: str

# These public names are imported at their first use. Each stands with its module.
_LAZY = {
    name: module
    for module, names in {
        "_api.statistics": "Statistics",
        "_binding.deferred": "DeferredAnswer",
        "_streams.feed": "Overflow",
        "_streams.held": """AnyHeldEvent HeldEvent HeldHandleEvent HeldProcessCreation
            HeldProcessHandleOperation HeldProcessTermination HeldThreadCreation HeldThreadHandleOperation
            HeldThreadTermination Outcome""",
        "_streams.monitoring": "Monitor monitor",
        "drivers": "DriverReport probe_driver",
        "enums": """Action Capability ErrorCode EventFlag EventType InstallFlag ModuleStatus ProcessAccess
            RefuseWith Serialize ThreadAccess TimeoutAction UninstallFlag""",
        "events": """CBProcessErrorEventParams CBProcessProcessCreationEventParams
            CBProcessProcessHandleOperationEventParams CBProcessProcessTerminationEventParams
            CBProcessThreadCreationEventParams CBProcessThreadHandleOperationEventParams
            CBProcessThreadTerminationEventParams CBProcessWorkerThreadCreationEventParams
            CBProcessWorkerThreadTerminationEventParams""",
        "reference": "CBFSFilterError seOnMultipleThreads seOnOneWorkerThread",
        "rules": "Rule",
        "running": "RunningProcess running_processes snapshot",
    }.items()
    for name in names.split()
}
# The public modules are attributes also before anything has imported them.
_MODULES = (
    *("aio", "applied_rules", "drivers", "enums", "events", "fleet", "formats", "frames", "metrics"),
    *("recording", "records", "reference", "rule_files", "rules", "running", "script", "sigma", "sinks"),
    *("spool", "testing"),
)

if not TYPE_CHECKING:
    # A type checker takes the imports above; it cannot add up lists.
    __all__ = ["CBProcess", "CBProcessError", "CBProcessWarning", *_LAZY, *constants.__all__]

    def __dir__() -> list[str]:
        """All public names, also those that are imported at their first use."""
        return sorted({*globals(), *__all__, *_MODULES, "__version__"})


def __getattr__(name: str) -> object:
    if name == "__version__":
        from ._binding.library import load

        value: object = load().cbp_version().decode("ascii")
    elif name in _LAZY:
        value = getattr(_imported(_LAZY[name]), name)
    elif name in _MODULES:
        value = _imported(name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def _imported(module: str) -> object:
    # Module importlib does no more, and would itself have to be imported.
    return __import__(f"{__name__}.{module}", fromlist=["__name__"])

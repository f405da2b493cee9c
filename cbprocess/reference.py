"""The flat names of the class reference, for programs that were written for it and for those alone:

from cbprocess.reference import *

New programs import what they need from cbprocess, and have enumerations there in place of these constants."""

from __future__ import annotations

from . import constants
from ._api.process import CBProcess
from .constants import *  # noqa: F403
from .errors import CBFSFilterError
from .events import (
    CBProcessErrorEventParams,
    CBProcessProcessCreationEventParams,
    CBProcessProcessHandleOperationEventParams,
    CBProcessProcessTerminationEventParams,
    CBProcessThreadCreationEventParams,
    CBProcessThreadHandleOperationEventParams,
    CBProcessThreadTerminationEventParams,
    CBProcessWorkerThreadCreationEventParams,
    CBProcessWorkerThreadTerminationEventParams,
)

# The values of serialize_events.
seOnMultipleThreads = constants.SERIALIZE_ON_MULTIPLE_THREADS
seOnOneWorkerThread = constants.SERIALIZE_ON_ONE_WORKER_THREAD

__all__ = [
    "CBFSFilterError",
    "CBProcess",
    "CBProcessErrorEventParams",
    "CBProcessProcessCreationEventParams",
    "CBProcessProcessHandleOperationEventParams",
    "CBProcessProcessTerminationEventParams",
    "CBProcessThreadCreationEventParams",
    "CBProcessThreadHandleOperationEventParams",
    "CBProcessThreadTerminationEventParams",
    "CBProcessWorkerThreadCreationEventParams",
    "CBProcessWorkerThreadTerminationEventParams",
    "seOnMultipleThreads",
    "seOnOneWorkerThread",
]
__all__ += constants.__all__

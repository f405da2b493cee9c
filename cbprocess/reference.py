"""The flat names of the class reference, for programs that were written for it and for those alone:

from cbprocess.reference import *

New programs import what they need from cbprocess, and have enumerations there in place of these constants."""

from __future__ import annotations

from . import constants
from ._api.process import CBProcess as CBProcess
from .constants import *  # noqa: F403
from .errors import CBFSFilterError as CBFSFilterError
from .events import CBProcessErrorEventParams as CBProcessErrorEventParams
from .events import CBProcessProcessCreationEventParams as CBProcessProcessCreationEventParams
from .events import CBProcessProcessHandleOperationEventParams as CBProcessProcessHandleOperationEventParams
from .events import CBProcessProcessTerminationEventParams as CBProcessProcessTerminationEventParams
from .events import CBProcessThreadCreationEventParams as CBProcessThreadCreationEventParams
from .events import CBProcessThreadHandleOperationEventParams as CBProcessThreadHandleOperationEventParams
from .events import CBProcessThreadTerminationEventParams as CBProcessThreadTerminationEventParams
from .events import CBProcessWorkerThreadCreationEventParams as CBProcessWorkerThreadCreationEventParams
from .events import CBProcessWorkerThreadTerminationEventParams as CBProcessWorkerThreadTerminationEventParams

TYPE_CHECKING = False

# serialize_events has these values.
seOnMultipleThreads = constants.SERIALIZE_ON_MULTIPLE_THREADS
seOnOneWorkerThread = constants.SERIALIZE_ON_ONE_WORKER_THREAD

if not TYPE_CHECKING:
    # The list has every class, those values, and every constant. A type checker takes the imports.
    __all__ = [name for name in globals() if name.startswith(("CB", "se"))] + constants.__all__

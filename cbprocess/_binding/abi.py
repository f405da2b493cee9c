"""The C interface of the native library in ctypes: its functions, written by hand. Its structures and
callback types are in structures.py.

tests/abi compares every row of it with the built library. Knows nothing of the uses of the functions."""

from __future__ import annotations

import ctypes

from .._checks import as_text
from ..errors import CBProcessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# These letters stand for types below. E is a uint32_t result that is 0, or an error code, which is raised.
TYPES: dict[str, Any] = {
    "E": ctypes.c_uint32,
    "I": ctypes.c_uint32,
    "Q": ctypes.c_uint64,
    "i": ctypes.c_int32,
    "p": ctypes.c_void_p,
    "q": ctypes.c_int64,
    "s": ctypes.c_char_p,
    "-": None,
}

# Each function has its result and its parameters. A star stands before what is pointed to, and a name is that
# of a structure. They are texts because a program uses a few of them, and pays for no other.
FUNCTIONS = {
    "cbp_version": "s",
    "cbp_error_message": "s I",
    "cbp_error_detail": "s",
    "cbp_abi_rows": "*AbiRow *I",
    "cbp_message_validate": "I p Q I",
    "cbp_pattern_match": "E s Q s Q *I",
    "cbp_pattern_set_create": "E *s *Q I I *p",
    "cbp_pattern_set_match": "E p s Q *I I *I",
    "cbp_pattern_set_destroy": "- p",
    "cbp_session_create": "E s *p",
    "cbp_session_destroy": "E p",
    "cbp_session_set_product_guid": "E p s",
    "cbp_session_copy_config": "E p p",
    "cbp_session_set_callbacks": "E p *Callbacks",
    "cbp_session_set_config": "E p s s",
    "cbp_session_get_config": "E p s p Q *Q",
    "cbp_session_start": "E p I",
    "cbp_session_stop": "E p I",
    "cbp_session_is_active": "E p *I",
    "cbp_session_get_statistics": "E p *Statistics Q",
    "cbp_session_process_capabilities": "E p I *I",
    "cbp_rule_add_process": "E p I I I I",
    "cbp_rule_add_name": "E p s Q I I I",
    "cbp_rule_remove_process": "E p I I",
    "cbp_rule_remove_name": "E p s Q I",
    "cbp_rules_remove": "E p I *s *Q I *I I",
    "cbp_worker_bind": "E p p *p",
    "cbp_worker_bind_type": "E p I p",
    "cbp_worker_run": "- p",
    "cbp_event_reset_timeout": "E I *I",
    "cbp_event_defer": "E *Q",
    "cbp_event_complete": "E Q I I",
    "cbp_event_originator_token": "E *q",
    "cbp_in_handler": "I",
    "cbp_failed_execution": "Q *I",
    "cbp_handler_enter": "E p p",
    "cbp_handler_leave": "E",
    "cbp_process_name": "E I p Q *Q",
    "cbp_snapshot_create": "E I **Snapshot",
    "cbp_snapshot_destroy": "- *Snapshot",
    "cbp_launch_begin": "E p s s Q I *i *p",
    "cbp_launch_enter": "E p I *p",
    "cbp_launch_creation_flags": "E p *I",
    "cbp_launch_leave": "E p I",
    "cbp_launch_finish": "E p I I *I",
    "cbp_launcher_path": "E p Q *Q",
    "cbp_script_play": "E p s Q",
    "cbp_script_wait": "E p I",
    "cbp_script_next_verdict": "E p I p Q",
    "cbp_recording_open": "E s *p *p *Q",
    "cbp_recording_next": "E p *p *Q",
    "cbp_recording_close": "- p",
    "cbp_driver_probe": "E s *I p Q",
    "cbp_driver_status": "E s s *I",
    "cbp_driver_version": "E s s *Q",
    "cbp_driver_install": "E s s s s I *I",
    "cbp_driver_uninstall": "E s s s s I *I",
    "cbp_system_shutdown": "E s I I I *I",
}


def signature(name: str) -> tuple[Any, list[Any]]:
    """The types of a function: of its result, and of its parameters."""
    result, *parameters = map(_type_of, FUNCTIONS[name].split())
    return result, parameters


def _type_of(word: str) -> Any:
    if word.startswith("*"):
        return ctypes.POINTER(_type_of(word[1:]))
    if word in TYPES:
        return TYPES[word]
    from . import structures

    return getattr(structures, word)


class Library(ctypes.CDLL):
    """The library. A function is declared when it is first used: a program uses a few of them."""

    def __getattr__(self, name: str) -> Any:
        if name not in FUNCTIONS:
            raise AttributeError(name)
        function: Any = self[name]
        function.restype, function.argtypes = signature(name)
        if FUNCTIONS[name].startswith("E"):
            function.errcheck = self._check
        # No thread gets it before it is declared.
        self.__dict__[name] = function
        return function

    def _check(self, status: int, function: Any, arguments: Any) -> int:
        if status:
            text = self.cbp_error_detail() or self.cbp_error_message(status)
            raise CBProcessError(status, as_text(text))
        return status


def open_library(path: str) -> ctypes.CDLL:
    """Opens the library. OSError if it cannot be opened, AttributeError if a function is missing."""
    library = Library(path)
    for name in FUNCTIONS:
        library[name]
    return library


def read_text(call: Any) -> bytes:
    """The text of a function of the shape (..., buffer, size, needed); `call` supplies the leading arguments.
    The text may grow between two calls, so the size is asked for until it is enough."""
    size = 512
    while True:
        buffer = ctypes.create_string_buffer(size)
        needed = ctypes.c_uint64()
        try:
            call(buffer, size, ctypes.byref(needed))
            return buffer.value
        except CBProcessError:
            if needed.value <= size:
                raise
            size = needed.value

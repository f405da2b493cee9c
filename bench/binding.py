"""H5: what an event costs between C and a Python handler, without any driver.

Drives the package's own callbacks from a C thread over a synthetic event block, and compares them with a C
extension that does the same with an event type of its own. The one benchmark that knows the package's
insides: it puts a loop in the place of the core's, so that the code that runs is that of a real event."""

from __future__ import annotations

import ctypes
import importlib.machinery
import importlib.util
import statistics
from pathlib import Path
from types import ModuleType
from typing import Any, Callable

from harness import BenchmarkError, Missing, compile_extension, compile_program, progress
from table import Row

HANDLER_TARGET_NS = 500
EMPTY_TARGET = 2.0

Handler = Callable[[Any], None]
Measure = Callable[[Handler, int], float]  # (handler, events): nanoseconds of one event


def read_and_allow(params: Any) -> None:
    _ = params.process_id
    _ = params.process_name
    params.result_code = 0


def do_nothing(params: Any) -> None:
    pass


# As in cbprocess.h. Builds that are compared keep them in different ways.
WORKER_FUNCTIONS = {
    "cbp_worker_run": [ctypes.c_void_p],
    "cbp_worker_bind": [ctypes.c_void_p, ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p)],
    "cbp_worker_bind_type": [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p],
}


class Loop:
    """A library with the functions that a worker calls, in the place of the core's."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))
        for name, parameters in WORKER_FUNCTIONS.items():
            function = getattr(self._library, name)
            function.restype, function.argtypes = None, parameters

    def measure(self, handler: Handler, count: int) -> float:
        from cbprocess._binding import callbacks, hooks
        from cbprocess.constants import PROC_EVT_PROCESS_CREATION

        handled = 0

        def first_handler(params: Any) -> None:
            nonlocal handled
            handled += 1
            set_hooks.handlers[PROC_EVT_PROCESS_CREATION] = handler
            handler(params)

        set_hooks = hooks.Hooks()
        set_hooks.handlers[PROC_EVT_PROCESS_CREATION] = first_handler
        native = callbacks.NativeCallbacks(self._library, set_hooks)
        spent_ns, answered_count = ctypes.c_uint64(), ctypes.c_uint64()
        error = self._library.loop_run(
            ctypes.byref(native.structure),
            ctypes.c_uint64(count),
            ctypes.byref(spent_ns),
            ctypes.byref(answered_count),
        )
        if error or handled != 1 or set_hooks.failed_in_handler or answered_count.value != count:
            raise BenchmarkError(f"H5: errno {error}, {answered_count.value} of {count} events were answered")
        return spent_ns.value / count


def load_extension(path: Path) -> ModuleType:
    loader = importlib.machinery.ExtensionFileLoader("cext", str(path))
    specification = importlib.util.spec_from_file_location("cext", path, loader=loader)
    if specification is None:
        raise BenchmarkError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(specification)
    loader.exec_module(module)
    return module


def extension_measure(folder: Path) -> Measure | None:
    try:
        extension = load_extension(compile_extension(folder))
    except Missing as note:
        progress(str(note))
        return None
    return lambda handler, count: extension.run(handler, count) / count


def measure_all(
    measures: dict[str, Measure], handler: Handler, count: int, repetitions: int
) -> dict[str, float]:
    samples: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(repetitions):
        for name, measure in measures.items():
            samples[name].append(measure(handler, count))
    return {name: statistics.median(values) for name, values in samples.items()}


def binding_rows(folder: Path, count: int, repetitions: int) -> list[Row]:
    progress(f"binding: {repetitions} repetitions")
    loop = Loop(compile_program(folder, "loop.c", "loop.so", "-shared", "-fPIC", "-pthread"))
    measures: dict[str, Measure] = {"package": loop.measure}
    extension = extension_measure(folder)
    if extension is not None:
        measures["extension"] = extension
    reading = measure_all(measures, read_and_allow, count, repetitions)
    empty = measure_all(measures, do_nothing, count, repetitions)
    rows = [
        Row(
            "H5",
            "C worker to Python and back: a handler that reads pid and name and sets the result",
            f"<= {HANDLER_TARGET_NS} ns",
            f"{reading['package']:.0f} ns",
            reading["package"] <= HANDLER_TARGET_NS,
            f"C extension {reading['extension']:.0f} ns"
            if extension
            else "no Python headers for a C extension",
        )
    ]
    if extension is not None:
        ratio = empty["package"] / empty["extension"]
        rows.append(
            Row(
                "H5",
                "the same with an empty handler",
                f"<= {EMPTY_TARGET}x a C extension",
                f"{ratio:.2f}x",
                ratio <= EMPTY_TARGET,
                f"{empty['package']:.0f} ns; C extension {empty['extension']:.0f} ns",
            )
        )
    return rows

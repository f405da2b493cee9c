"""What every test gets: a limit on its time, a working folder outside the checkout, a C compiler.

Which cbprocess is tested stands in the report's header. Started as `pytest` it is the installed one:
`python -m pytest` in the checkout would put the checkout's own package in front.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Callable, NoReturn

import compilers
import pytest

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_LIMIT_S = 120
# After its limit a test fails where it stands; one that does not even get there, because it holds the
# interpreter in C code, ends the whole run this much later.
GRACE_S = 30
ON_WINDOWS = sys.platform == "win32"

_error_output = pytest.StashKey[int]()


def _hear_the_terminal() -> None:
    """A shell starts its background jobs deaf to the terminal, and nohup deaf to its end. So would be every
    program that a test starts, and the interrupts and stops that tests send would be lost."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if ON_WINDOWS:
        return
    for number in (signal.SIGQUIT, signal.SIGHUP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def pytest_configure(config: pytest.Config) -> None:
    _hear_the_terminal()
    config.addinivalue_line("markers", "slow: takes minutes; runs only when -m asks for it")
    config.addinivalue_line("markers", f"limit(seconds): time for the test; {DEFAULT_LIMIT_S} s otherwise")
    # Stack dumps go to the terminal, also while the test's own output is captured.
    capture = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
        config.stash[_error_output] = os.dup(2)


NEEDS_COMPILER = {"compile_c", "programs"}


def pytest_collection_finish(session: pytest.Session) -> None:
    """Where a compiler has to be fetched, that counts to no test's time."""
    fixtures = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    if not session.config.option.collectonly and fixtures & NEEDS_COMPILER:
        compilers.find()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("markexpr"):
        return
    left_out = [item for item in items if item.get_closest_marker("slow")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_unconfigure(config: pytest.Config) -> None:
    os.close(config.stash[_error_output])


def pytest_report_header() -> str:
    import cbprocess

    user = f"user {os.environ.get('USERNAME')}" if ON_WINDOWS else f"user id {os.getuid()}"
    return f"cbprocess {cbprocess.__version__} in {Path(cbprocess.__file__).parent}, {user}"


@contextlib.contextmanager
def _limited(item: pytest.Item) -> Iterator[None]:
    marker = item.get_closest_marker("limit")
    limit: float = marker.args[0] if marker else DEFAULT_LIMIT_S
    output = item.config.stash[_error_output]

    def expire(signal_number: int, frame: object) -> NoReturn:
        os.write(output, f"\n{item.nodeid}: not done after {limit} s\n".encode())
        faulthandler.dump_traceback(output, all_threads=True)
        pytest.fail(f"not done after {limit} s", pytrace=True)

    if ON_WINDOWS:
        # No timer interrupts a test here: after its limit the whole run ends.
        faulthandler.dump_traceback_later(limit, exit=True, file=output)
        yield
        faulthandler.cancel_dump_traceback_later()
        return
    previous = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, limit)
    faulthandler.dump_traceback_later(limit + GRACE_S, exit=True, file=output)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    with _limited(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    with _limited(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    with _limited(item):
        return (yield)


@pytest.fixture(scope="session", autouse=True)
def outside_the_checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A Python that a test starts must not find the checkout's package in its working folder."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("cwd"))
    yield
    os.chdir(before)


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The source tree that these tests belong to."""
    return ROOT


CompileC = Callable[..., Path]


@pytest.fixture(scope="session")
def compile_c(tmp_path_factory: pytest.TempPathFactory) -> CompileC:
    """compile_c(source, *arguments) -> the program, compiled once a session with warnings as errors."""
    compilers.c_compiler()
    folder = tmp_path_factory.mktemp("compiled")
    made: dict[tuple[Path, tuple[str, ...]], Path] = {}

    def compile_one(source: Path, *arguments: str) -> Path:
        key = (source, arguments)
        if key not in made:
            target = folder / f"{source.stem}-{len(made)}"
            options = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-pthread"]
            line = [*compilers.c_compiler(*arguments), *options, str(source), "-o", str(target), *arguments]
            done = subprocess.run(line, capture_output=True, text=True, timeout=100)
            assert done.returncode == 0, f"{shlex.join(line)}\n{done.stderr}"
            made[key] = target
        return made[key]

    return compile_one

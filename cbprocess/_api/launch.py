"""popen(): a subprocess.Popen whose program runs under the filter from its first instruction on.

The child of the ordinary Popen machinery is the launcher (launching.py). Knows how subprocess prepares an
execution. launch_windows.py is for Windows."""

from __future__ import annotations

import os
import subprocess

from .launching import launch_through

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

    from .._binding.session import Session

# Popen has these parameters behind args, in this order. Callers may give them by position.
POSITIONAL = (
    "bufsize",
    "executable",
    "stdin",
    "stdout",
    "stderr",
    "preexec_fn",
    "close_fds",
    "shell",
    "cwd",
    "env",
    "universal_newlines",
    "startupinfo",
    "creationflags",
    "restore_signals",
    "start_new_session",
    "pass_fds",
)


class Popen(subprocess.Popen["Any"]):
    """A subprocess.Popen (of the same name, which it shows) whose child is started through the launcher.

    The keyword _words is the command line's own: the words for the launcher (launch_steps.h)."""

    def __init__(self, session: Session, ask: bool, args: Any, *positional: Any, **keywords: Any) -> None:
        if len(positional) > len(POSITIONAL):
            raise TypeError(f"popen() takes at most {len(POSITIONAL) + 1} positional arguments")
        for name, value in zip(POSITIONAL, positional):
            if name in keywords:
                raise TypeError(f"popen() got multiple values for argument {name!r}")
            keywords[name] = value
        self._session = session
        self._ask = ask
        self._words = keywords.pop("_words", "")
        super().__init__(args, **keywords)

    def _execute_child(
        self,
        args: Any,
        executable: Any,
        preexec_fn: Any,
        close_fds: bool,
        pass_fds: Collection[int],
        cwd: Any,
        env: Any,
        startupinfo: Any,
        creationflags: int,
        shell: bool,
        *rest: Any,
    ) -> None:
        """Called by Popen once pipes and options are in order. The parameters are those of every Python since
        3.9; `rest` differs between them and only passes through."""
        arguments = _argument_list(args, shell, executable)
        target = arguments[0] if executable is None else executable

        def start(program: str, argv: list[Any], fd: int) -> None:
            fds = (*pass_fds, fd)
            common = (preexec_fn, close_fds, fds, cwd, env, startupinfo, creationflags, False)
            super(Popen, self)._execute_child(argv, program, *common, *rest)  # type: ignore[misc]

        launch_through(start, self, self._session, arguments, target, env, self._ask, self._words)


def _argument_list(args: Any, shell: bool, executable: Any) -> list[Any]:
    """The target's argv as Popen makes it."""
    if isinstance(args, (str, bytes)):
        arguments: list[Any] = [args]
    elif isinstance(args, os.PathLike):
        if shell:
            raise TypeError("path-like args is not allowed when shell is true")
        arguments = [args]
    else:
        arguments = list(args)
    if shell:
        arguments = ["/bin/sh", "-c", *arguments]
        if executable:
            arguments[0] = executable
    return arguments

"""The rules of a command that applies some: those of its options, and those of a rule file, which can be read
again while it runs.

Knows options and an instance. Signals that ask for another reading are reloading.py's."""

from __future__ import annotations

import os
import sys
from _thread import allocate_lock

from .. import constants
from .._checks import ALL_PROCESSES
from .._lean import suppress
from ..errors import CBProcessError
from .output import complain

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    import threading
    from collections.abc import Callable, Iterable

    from .._api.process import CBProcess
    from ..applied_rules import AppliedRules
    from ..rule_files import RuleSet
    from ..rules import Rule
    from .ignoring import Ignored

# These rights end, stop, change or read a process.
PROTECTED_ACCESS = (
    constants.PROCESS_TERMINATE
    | constants.PROCESS_CREATE_THREAD
    | constants.PROCESS_VM_OPERATION
    | constants.PROCESS_VM_READ
    | constants.PROCESS_VM_WRITE
    | constants.PROCESS_DUP_HANDLE
    | constants.PROCESS_SET_QUOTA
    | constants.PROCESS_SET_INFORMATION
    | constants.PROCESS_SUSPEND_RESUME
)
FILTER_NEEDED = "that takes a filter in the programs that act, which only `cbprocess run` can put there"
NO_PROTECTION = f"strip rules cannot be kept among processes that run already: {FILTER_NEEDED}"
TOO_LATE = (
    "a strip rule would not hold for what runs already: begin with one in the file, or with --events handle"
)
# A file that is just being written is left alone until it was the same for so long.
LOOK_S = 0.5


def option_rules(options: argparse.Namespace) -> list[Rule]:
    """The rules of --deny, --allow and --protect."""
    if not (options.deny or options.allow or options.protect):
        return []
    from ..applied_rules import combined
    from ..rules import Rule

    rules = []
    for pattern in options.deny:
        # The rule is for every process, so that --allow can make exceptions.
        everything = pattern == "*"
        whom = {"process_id": ALL_PROCESSES} if everything else {"name": pattern}
        rules.append(Rule.from_dict({"action": "deny", **whom}))
    for pattern in options.allow:
        rules.append(Rule(name=pattern, action="allow"))
        if os.path.exists(pattern):
            rules.append(Rule(name=os.path.realpath(pattern), action="allow"))
    rules += [Rule(name=pattern, action="strip", access=PROTECTED_ACCESS) for pattern in options.protect]
    # What is given twice is meant once.
    return list(combined([rules]).values())


class CommandRules:
    """The rules of a command in force at its instance, which is initialized. To be made before the filter
    starts: CBProcessError for a pattern or a rule file that cannot be used."""

    def __init__(self, process: CBProcess, options: argparse.Namespace) -> None:
        self._process = process
        self._options = options
        self._applied: AppliedRules | None = None
        self.tell: Callable[[str], object] = complain
        """Gets a sentence about each reading of the file but the first."""
        self.ignored: Ignored | None = None
        """The programs that rules ignore. None where there are no layers of rules."""
        self._refusal = NO_PROTECTION if options.command_name == "attach" else ""
        self._path: str | None = options.rules
        self._follows: bool = options.follow_rules
        self._lock = allocate_lock()
        self._stopping: threading.Event | None = None
        self._warned: set[str] = set()
        self._thread: threading.Thread | None = None
        if options.deny or options.allow or options.protect:
            self._make_layers()
        if self._path is None:
            return
        from ..rule_files import RuleFile

        self._file = RuleFile(self._path, self.applied, check=self.check)
        try:
            self._file.reload()
            self._warn(complain)
        except OSError as error:
            code = constants.ERROR_FILE_NOT_FOUND
            raise CBProcessError(code, f"{self._path}: {error.strerror}") from None

    @property
    def applied(self) -> AppliedRules:
        """For further layers of rules."""
        return self._applied or self._make_layers()

    def _make_layers(self) -> AppliedRules:
        # A command without rules starts without them.
        from ..applied_rules import AppliedRules
        from .ignoring import Ignored
        from .matching import matching

        self._applied = applied = AppliedRules(self._process)
        applied.apply("options", option_rules(self._options))
        self.ignored = Ignored(lambda: applied._ignoring, matching(self._process))
        return applied

    def are_silent(self, process_ids: Iterable[int]) -> bool:
        """Whether the ends of these processes will not be told, as far as is known now."""
        return self.ignored is not None and all(map(self.ignored.is_silent, process_ids))

    @property
    def has_file(self) -> bool:
        """Whether there is a file to read again."""
        return self._path is not None

    def filters_were_put(self, needed: Iterable[str]) -> None:
        """To be called when a program is about to be started, with the names of the events that are asked
        for. Programs get the filter that strip rules need only if there are such rules or events then."""
        if sys.platform == "win32" or any(name.endswith("handle_operation") for name in needed):
            return
        rules = () if self._applied is None else self._applied.rules()
        if not any(rule.action == "strip" for rule in rules):
            self._refusal = TOO_LATE

    def reload(self) -> None:
        """Reads the file again, in any thread, and tells what has changed, or why nothing has."""
        with self._lock:
            try:
                text = str(self._file.reload())
            except OSError as error:
                text = f"{error.strerror}; the rules stay as they are"
            except CBProcessError as error:
                text = f"{error.message.removeprefix(f'{self._path}: ')}; the rules stay as they are"
            except Exception as error:
                # Whatever a file does to us: the thread that waits for the next wish goes on.
                text = f"{type(error).__name__}: {error}; the rules stay as they are"
            self.tell(f"{self._path}: {text}")
            # It may be another's by now.
            with suppress(OSError):
                self._warn(self.tell)

    def _warn(self, tell: Callable[[str], object]) -> None:
        """Tells, once each, of doubts about the file."""
        from ..rule_files import file_warnings

        for warning in file_warnings(self._path or ""):
            if warning not in self._warned:
                self._warned.add(warning)
                tell(warning)

    def __enter__(self) -> CommandRules:
        if self.has_file and self._follows:
            import threading

            self._stopping = threading.Event()
            self._thread = threading.Thread(
                target=self._follow, args=(self._stopping,), name="cbprocess-rules", daemon=True
            )
            self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._thread is not None and self._stopping is not None:
            self._stopping.set()
            self._thread.join()

    def check(self, rules: RuleSet) -> None:
        """Refuses rules that could do nothing here: error 50."""
        if self._refusal and any(rule.action == "strip" for rule in rules):
            raise CBProcessError(constants.ERROR_NOT_SUPPORTED, self._refusal)

    def _follow(self, stopping: threading.Event) -> None:
        last = None
        while not stopping.wait(LOOK_S):
            mark = self._file.mark()
            if mark == last and self._file.has_changed():
                self.reload()
            last = mark

"""Rule files: a set of rules in TOML or JSON, for `--rules FILE`, add_rule() and the fleet.

Knows rules, the two formats and how a file is replaced; nothing of the command line, of networks and of
signatures. applied_rules.py puts a set in force."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
from collections.abc import Mapping, Sequence

from ._checks import ALL_PROCESSES, wrong
from .applied_rules import AppliedRules as AppliedRules
from .applied_rules import RuleChange as RuleChange
from .applied_rules import check_keys, combined, key_of
from .constants import ERROR_INVALID_DATA, ERROR_INVALID_PARAMETER
from .enums import ErrorCode, ProcessAccess
from .errors import CBProcessError
from .rules import Rule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, BinaryIO

SCHEMA = 1
FILE_SIZE_MAX = 64 << 20
RULES_MAX = 100_000
# So many mistakes are told of one file.
MISTAKES_TOLD = 20

TOP_KEYS = ("schema", "comment", "rules")
RULE_KEYS = ("name", "process_id", "action", "code", "access", "include_children", "id", "comment")
SEPARATORS = "/\\" if sys.platform == "win32" else "/"


class RuleFileError(CBProcessError):
    """A rule file, or the dictionary of one, that cannot be used. Nothing of it is in force.

    `mistakes` has a sentence for each mistake; `code` is 87, or 13 where the text is no TOML and no JSON."""

    def __init__(self, code: int, mistakes: Sequence[str], path: str | None = None) -> None:
        self.mistakes: tuple[str, ...] = tuple(mistakes)
        told = list(self.mistakes[:MISTAKES_TOLD])
        if len(self.mistakes) > len(told):
            told.append(f"and {len(self.mistakes) - len(told)} more mistakes")
        super().__init__(code, (f"{path}: " if path else "") + "; ".join(told))


class RuleSet:
    """Rules as one value that cannot be changed: RuleSet([Rule(name="*/cat", action="deny")]), or read from a
    file or a dictionary. Equal are sets with equal rules in the same order.

    Error 87 for anything but rules, for two rules for the same programs with the same action, and for more
    than 100,000 rules."""

    __slots__ = ("_comments", "_rules")

    def __init__(self, rules: Iterable[Rule] = (), *, comments: Mapping[int, str] | None = None) -> None:
        self._rules = tuple(rules)
        # By the index of the rule. They mean nothing, and equal sets may have different ones.
        self._comments = dict(comments or {})
        for rule in self._rules:
            if not isinstance(rule, Rule):
                raise wrong(f"a rule must be a Rule, not {type(rule).__name__}")
        if len(self._rules) > RULES_MAX:
            raise wrong(f"{len(self._rules)} rules are too many: at most {RULES_MAX} are possible")
        check_keys(self._rules)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules, in their order."""
        return self._rules

    def __iter__(self) -> Iterator[Rule]:
        return iter(self._rules)

    def __len__(self) -> int:
        return len(self._rules)

    def __eq__(self, other: object) -> bool:
        return self._rules == other._rules if isinstance(other, RuleSet) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._rules)

    def __repr__(self) -> str:
        return f"<RuleSet of {len(self)} rules>"

    def to_dict(self) -> dict[str, Any]:
        """The set as a dictionary for JSON, which from_dict() reads: access rights are lists of their names
        where all of them have one."""
        rules = []
        for number, rule in enumerate(self._rules):
            values = rule.to_dict()
            if rule.access is not None:
                values["access"] = _names_of(rule.access)
            if number in self._comments:
                values["comment"] = self._comments[number]
            rules.append(values)
        return {"schema": SCHEMA, "rules": rules}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RuleSet:
        """The set of such a dictionary, as a rule file has it. RuleFileError (87) tells all its mistakes."""
        if not isinstance(data, Mapping):
            raise RuleFileError(ERROR_INVALID_PARAMETER, [f"a table is needed, not {_kind(data)}"])
        mistakes = [f"there is no key {_shown(key)}" for key in data if key not in TOP_KEYS]
        schema = data.get("schema", SCHEMA)
        if schema != SCHEMA or isinstance(schema, bool):
            mistakes.append(
                f"schema must be {SCHEMA}, not {_shown(schema)}: a later version has to read this"
            )
        entries = data.get("rules", ())
        if not isinstance(entries, (list, tuple)):
            mistakes.append(f"rules must be a list, not {_kind(entries)}")
            entries = ()
        if len(entries) > RULES_MAX:
            mistakes.append(f"{len(entries)} rules are too many: at most {RULES_MAX} are possible")
            entries = ()
        rules, comments = _read_entries(entries, mistakes)
        if mistakes:
            raise RuleFileError(ERROR_INVALID_PARAMETER, mistakes)
        return cls(rules, comments=comments)

    @classmethod
    def from_text(cls, text: str | bytes, form: str = "json") -> RuleSet:
        """The set of a file's content; `form` is "toml" or "json". RuleFileError: 13 for a text that is not
        of that form, 87 for one that is no set of rules."""
        if form not in _PARSERS:
            raise wrong(f"form must be toml or json, not {_shown(form)}")
        try:
            content = text.decode("utf-8") if isinstance(text, bytes) else text
            data = _PARSERS[form](content)
        except RecursionError:
            raise RuleFileError(ERROR_INVALID_DATA, [f"no {form.upper()}: it is nested too deep"]) from None
        except ValueError as error:
            raise RuleFileError(ERROR_INVALID_DATA, [f"no {form.upper()}: {error}"]) from None
        return cls.from_dict(data)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> RuleSet:
        """The set of a regular file of at most 64 MiB: TOML if its name ends with .toml, JSON otherwise.

        TOML takes Python 3.11, or the package tomli (extra `rules`). RuleFileError as from_text() has it,
        with the path in its text; OSError if the file cannot be read."""
        name = os.fspath(path)
        form = "toml" if name.lower().endswith(".toml") else "json"
        try:
            return cls.from_text(_content_of(name), form)
        except RuleFileError as error:
            raise RuleFileError(error.code, error.mistakes, name) from None

    def changes_from(self, before: RuleSet) -> RuleChange:
        """What would change if this set came in the place of another."""
        return RuleChange(combined([before]), combined([self]))

    def write_file(self, path: str | os.PathLike[str], mode: int = 0o600) -> None:
        """Writes the set as JSON in the place of the file, whole or not at all, also over a power cut.
        OSError if that fails; the file is as before then."""
        replace_file(os.fspath(path), (json.dumps(self.to_dict(), indent=1) + "\n").encode(), mode)

    def warnings(self) -> list[str]:
        """Sentences about rules that are right, but may not do what was meant."""
        found = []
        denied = {rule.name for rule in self._rules if rule.action == "deny" and rule.name is not None}
        allowing = [rule for rule in self._rules if rule.action == "allow"]
        # By the names, whether descendants are allowed, too.
        allowed: dict[str | None, bool] = {rule.name: rule.include_children for rule in allowing if rule.name}
        is_list = any(rule.action == "deny" and rule.process_id is not None for rule in self._rules)
        is_open = any(rule.process_id == ALL_PROCESSES for rule in allowing)
        for number, rule in enumerate(self._rules, 1):
            label = _label(number, rule.name)
            if rule.action == "allow" and rule.name in denied:
                found.append(f"{label}: a deny rule for the same programs is stronger, so it allows nothing")
            if rule.action == "allow" and is_list and rule.name and not _is_path(rule.name):
                found.append(f"{label}: it permits any file of this name; a path permits one")
            is_allowed = allowed.get(rule.name, False) or (rule.name in allowed and not rule.include_children)
            if rule.action == "ask" and (is_open or is_allowed):
                found.append(f"{label}: an allow rule for the same programs is stronger, so it asks nobody")
            if rule.name and (rule.name.startswith("~") or "$" in rule.name):
                found.append(f"{label}: ~ and $ stand for themselves in a pattern")
        return found


class RuleFile:
    """A rule file whose rules are a layer of an instance's (AppliedRules). reload() reads it and puts the
    rules in the place of the earlier ones; nothing is read before that. `check` gets each set before it is
    applied, and refuses it by an exception."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        applied: AppliedRules,
        layer: str = "file",
        check: Callable[[RuleSet], object] | None = None,
    ) -> None:
        self.path: str = os.fspath(path)
        self._applied = applied
        self._layer = layer
        self._check = check
        self._seen: object = None

    def reload(self) -> RuleChange:
        """Reads the file and applies its rules, all or nothing. Returns what has changed.

        On an error, the rules stay as they are: OSError if the file cannot be read, RuleFileError for its
        content, and the errors of AppliedRules.apply(). Can be called in any thread."""
        # A file that is replaced after this look is looked at again.
        self._seen = self.mark()
        rules = RuleSet.from_file(self.path)
        if self._check is not None:
            self._check(rules)
        return self._applied.apply(self._layer, rules)

    def has_changed(self) -> bool:
        """Whether the file is another one, or was written, since the last reload(). Takes one look at its
        folder entry. A file that is not there has not changed: its rules stay."""
        mark = self.mark()
        return mark is not None and mark != self._seen

    def mark(self) -> object:
        """Tells one state of the file from another; None where it is not there. A file that is being written
        has another mark a moment later."""
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def file_warnings(path: str) -> list[str]:
    """Sentences about a file that others than its reader can write, or put another in the place of. None on
    Windows. OSError if it is not there."""
    if sys.platform == "win32":
        return []
    return [*_own_warnings(path), *_folder_warnings(path)]


def _own_warnings(path: str) -> list[str]:
    found = os.stat(path)
    if found.st_uid not in (0, os.geteuid()):
        return [f"{path} belongs to another user (id {found.st_uid}), who can change the rules"]
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return [f"{path} can be written by others than its owner, who can change the rules"]
    return []


def _folder_warnings(path: str) -> list[str]:
    # Of a link, both the link and its file can be replaced.
    folders = dict.fromkeys(os.path.dirname(os.path.abspath(name)) for name in (path, os.path.realpath(path)))
    warnings = []
    for folder in folders:
        found = os.stat(folder)
        if found.st_uid not in (0, os.geteuid()):
            warnings.append(f"the folder {folder} belongs to another user (id {found.st_uid})")
        elif found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX:
            warnings.append(f"the folder {folder} can be written by others than its owner")
    return [f"{warning}, who can put another file in the place of {path}" for warning in warnings]


def replace_file(path: str, data: bytes, mode: int = 0o600) -> None:
    """Writes a file in the place of another, whole or not at all, also over a power cut."""
    import tempfile

    directory, name = os.path.split(path)
    descriptor, temporary = tempfile.mkstemp(".tmp", f".{name}.", directory or ".")
    try:
        with open(descriptor, "wb") as file:
            if sys.platform != "win32":
                os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if sys.platform != "win32":
        folder = os.open(directory or ".", os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextlib.contextmanager
def open_regular(path: str) -> Iterator[BinaryIO | None]:
    """Opens a file to be read; None for what is no regular file. A pipe keeps nobody waiting, also one that
    comes in the file's place at the last moment. OSError if it cannot be opened."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        yield None
        return
    with open(path, "rb", opener=_without_waiting) as file:
        yield file if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else None


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))


def _content_of(path: str) -> bytes:
    with open_regular(path) as file:
        if file is None:
            raise RuleFileError(ERROR_INVALID_DATA, ["it is no regular file"])
        data = file.read(FILE_SIZE_MAX + 1)
    if len(data) > FILE_SIZE_MAX:
        raise RuleFileError(ERROR_INVALID_DATA, [f"it is longer than {FILE_SIZE_MAX} bytes"])
    return data


def _read_entries(entries: Sequence[object], mistakes: list[str]) -> tuple[list[Rule], dict[int, str]]:
    """The rules of a file and their comments. What is wrong goes to the mistakes."""
    rules: list[Rule] = []
    comments: dict[int, str] = {}
    numbers: dict[object, int] = {}
    for number, entry in enumerate(entries, 1):
        name = entry.get("name") if isinstance(entry, Mapping) else None
        try:
            rule, comment = _read_entry(entry)
        except CBProcessError as error:
            mistakes.append(f"{_label(number, name)}: {error.message}")
            continue
        first = numbers.setdefault(key_of(rule), number)
        if first != number:
            mistakes.append(f"{_label(number, name)}: rule {first} has the same programs and action")
        if comment:
            comments[len(rules)] = comment
        rules.append(rule)
    return rules, comments


def _read_entry(entry: object) -> tuple[Rule, str]:
    if not isinstance(entry, Mapping):
        raise wrong(f"a table is needed, not {_kind(entry)}")
    unknown = [_shown(key) for key in entry if key not in RULE_KEYS]
    if unknown:
        raise wrong(f"a rule has no {', '.join(unknown)}; possible: {', '.join(RULE_KEYS)}")
    values = {key: value for key, value in entry.items() if key not in ("id", "comment")}
    if "action" not in values:
        raise wrong("the action is missing: ask, ignore, allow, deny or strip")
    if not isinstance(values["action"], str):
        raise wrong(f"action must be a name, not {_kind(values['action'])}")
    if values.get("process_id", -1) != -1 or isinstance(values.get("process_id"), bool):
        raise wrong("process_id can only be -1 here, for every process: ids are given anew all the time")
    if isinstance(values.get("code"), str):
        values["code"] = _number_of(values["code"], ErrorCode, "code")
    if isinstance(values.get("access"), (list, tuple)):
        values["access"] = _rights_of(values["access"])
    notes = [entry[key] for key in ("id", "comment") if key in entry]
    for note in notes:
        if not isinstance(note, str):
            raise wrong(f"id and comment must be texts, not {_kind(note)}")
    return Rule.from_dict(values), " ".join(notes)


def _rights_of(names: Sequence[object]) -> int:
    access = 0
    for name in names:
        access |= _number_of(name, ProcessAccess, "access")
    return access


def _number_of(name: object, kind: Any, field: str) -> int:
    if not isinstance(name, str) or name not in kind.__members__ or not int(kind[name]):
        possible = ", ".join(key for key, member in kind.__members__.items() if int(member))
        raise wrong(f"{field} has no {_shown(name)}; possible: {possible}")
    return int(kind[name])


def _names_of(access: int) -> int | list[str]:
    names = [str(right.name) for right in ProcessAccess if int(right) & access]
    return names if _rights_of(names) == access else access


def _is_path(pattern: str) -> bool:
    return any(separator in pattern for separator in SEPARATORS)


def _label(number: int, name: object) -> str:
    return f"rule {number} ({_shown(name)})" if isinstance(name, str) else f"rule {number}"


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:
        # Python writes no int of thousands of digits; TOML has them, in hexadecimal.
        return _kind(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _kind(value: object) -> str:
    names: dict[type, str] = {dict: "a table", list: "a list", str: "a text", type(None): "nothing"}
    return names.get(type(value), type(value).__name__)


def _parse_json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_without_doubles, parse_constant=_no_constant)


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        doubled = next(key for key in keys if keys.count(key) > 1)
        # The parsers of others take the first or the last one: such a file means nothing.
        raise ValueError(f"the key {_shown(doubled)} is there twice")
    return result


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def parse_toml(text: str) -> Any:
    """The tables of a TOML text. ValueError for another text; error 13 where this Python has no parser."""
    try:
        if sys.version_info >= (3, 11):
            import tomllib
        else:
            import tomli as tomllib
    except ImportError:
        raise CBProcessError(
            ERROR_INVALID_DATA,
            "reading TOML takes Python 3.11, or the package tomli (pip install 'cbprocess[rules]'); JSON is "
            "read by every Python",
        ) from None
    return tomllib.loads(text)


_PARSERS = {"toml": parse_toml, "json": _parse_json}

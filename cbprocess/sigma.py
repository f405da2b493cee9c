"""Sigma rules as rules of this package, as far as these can say the same: refusals by the program's name.

Needs the extra `sigma` (pySigma), which is imported at the first use. Knows Sigma's taxonomy and patterns;
nothing of instances, drivers and the command line."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from ._checks import checked_action, wrong
from ._extras import need
from .errors import CBProcessError
from .rule_files import RuleSet, open_regular
from .rules import Rule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    from .applied_rules import Key

EXTRA = "sigma"
CATEGORY = "process_creation"
FIELD = "Image"
SYSTEMS = ("linux", "windows")
LEVELS = ("informational", "low", "medium", "high", "critical")
DEAD = ("deprecated", "unsupported")
SUFFIXES = (".yml", ".yaml")
FILE_SIZE_MAX = 4 << 20
# A Sigma rule with more alternatives is none that people have written.
PATTERNS_MAX = 1000

CASE_NOTE = (
    "Sigma compares names without regard to case; on Linux a rule means the name as it is written, since "
    "Cat and cat are two programs there"
)
NAMES_NOTE = (
    "a rule refuses a program by its file's path and by the name it is started by (a link, a script), where "
    "Sigma's Image is the path alone"
)


class _DoesNotFit(Exception):
    """The reason, as the end of a sentence that begins with "it does not fit"."""


@dataclass(frozen=True)
class Imported:
    """A Sigma rule that fits, and the patterns of program names that it has become."""

    source: str
    title: str
    id: str
    level: str
    patterns: tuple[str, ...]


@dataclass(frozen=True)
class Unfit:
    """A Sigma rule that does not fit. `why` is a sentence."""

    source: str
    title: str
    id: str
    why: str


@dataclass
class Import:
    """What has become of some Sigma rules. Each of them stands in one of the two lists."""

    rules: RuleSet = field(default_factory=RuleSet)
    imported: list[Imported] = field(default_factory=list)
    refused: list[Unfit] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Sentences about the difference that is left between the Sigma rules and these."""


def import_files(paths: Iterable[str | os.PathLike[str]], **keywords: Any) -> Import:
    """Imports Sigma rules from files, and from all .yml and .yaml files in folders. The keywords are those of
    import_texts(). OSError for a file that cannot be read."""
    return import_texts(_texts_of([os.fspath(path) for path in paths]), **keywords)


def import_texts(
    texts: Iterable[tuple[str, str]],
    *,
    system: str = "linux",
    action: str = "deny",
    code: int | None = None,
    min_level: str | None = None,
) -> Import:
    """Imports Sigma rules from texts in YAML, each given with the name of its source.

    `system` is "linux" or "windows": rules for another product do not fit. `action` is "deny", or "ask" for a
    program that decides in a handler; `code` is the code of "deny" (5). Rules below `min_level`
    ("informational", "low", "medium", "high", "critical") do not fit either.

    A rule fits if it is of category process_creation and asks for nothing but names of programs (Image): one
    of several, by their beginning, their end, a part, or as a pattern. What is imported means what the Sigma
    rule means but for `notes`; nothing is approximated.

    Error 87 for a wrong keyword; ImportError without the extra `sigma`."""
    if system not in SYSTEMS:
        raise wrong(f"system must be one of {', '.join(SYSTEMS)}, not {system!r:.50}")
    if min_level is not None and min_level not in LEVELS:
        raise wrong(f"min_level must be one of {', '.join(LEVELS)}, not {min_level!r:.50}")
    checked_action(action)
    # A wrong code is told before anything is read.
    Rule(name="x", action=action, code=code)
    importer = _Importer(system, action, code, min_level)
    for source, text in texts:
        importer.take(source, text)
    return importer.finished()


class _Importer:
    def __init__(self, system: str, action: str, code: int | None, min_level: str | None) -> None:
        self._system = system
        self._action = action
        self._code = code
        self._min_level = min_level
        self._found = Import()
        self._rules: dict[Key, Rule] = {}
        self._comments: dict[Key, str] = {}
        self._collection: Any = need("sigma.collection", EXTRA)
        self._conditions: Any = need("sigma.conditions", EXTRA)
        self._errors: Any = need("sigma.exceptions", EXTRA)
        self._rule: Any = need("sigma.rule", EXTRA)
        self._types: Any = need("sigma.types", EXTRA)
        self._yaml: Any = need("yaml", EXTRA)

    def take(self, source: str, text: str) -> None:
        """Imports the rules of one text."""
        try:
            found = self._collection.SigmaCollection.from_yaml(text, collect_errors=True)
            rules = list(found.rules)
        except (self._errors.SigmaError, self._yaml.YAMLError) as error:
            self._refuse(source, None, f"it is no Sigma rule: {_one_line(error)}")
            return
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
            # The parser takes a text for granted that has the form of rules.
            self._refuse(source, None, f"it is no Sigma rule: {type(error).__name__}, {_one_line(error)}")
            return
        for mistake in found.errors:
            if not any(mistake in rule.errors for rule in rules):
                self._refuse(source, None, f"it is no Sigma rule: {_one_line(mistake)}")
        filters = getattr(found, "filters", ())  # pySigma 0.11 has none
        if filters:
            self._refuse(source, None, "it has a filter, which is for other rules and no rule itself")
        if not rules and not found.errors and not filters:
            self._refuse(source, None, "it is empty")
        for rule in rules:
            try:
                patterns = self._patterns_of(rule)
                made = self._made(patterns)
            except _DoesNotFit as reason:
                self._refuse(source, rule, str(reason))
                continue
            self._add(source, rule, patterns, made)

    def finished(self) -> Import:
        found = self._found
        comments = {number: self._comments[key] for number, key in enumerate(self._rules)}
        found.rules = RuleSet(self._rules.values(), comments=comments)
        if self._rules:
            found.notes = [NAMES_NOTE] if self._system == "windows" else [CASE_NOTE, NAMES_NOTE]
        return found

    def _refuse(self, source: str, rule: Any, why: str) -> None:
        self._found.refused.append(Unfit(source, _title(rule), _id(rule), why))

    def _made(self, patterns: Sequence[str]) -> list[Rule]:
        try:
            return [Rule(name=pattern, action=self._action, code=self._code) for pattern in patterns]
        except CBProcessError as error:
            raise _DoesNotFit(f"it has a name that no rule can have: {error.message}") from None

    def _add(self, source: str, rule: Any, patterns: Sequence[str], made: list[Rule]) -> None:
        level = rule.level.name.lower() if rule.level is not None else ""
        self._found.imported.append(Imported(source, _title(rule), _id(rule), level, tuple(patterns)))
        for new in made:
            assert new.name is not None
            key = new.name, new.action
            self._rules.setdefault(key, new)
            # Two Sigma rules may name one program.
            label = f"{_title(rule)} ({_id(rule)})" if _id(rule) else _title(rule)
            before = self._comments.get(key)
            self._comments[key] = label if before is None else f"{before}; {label}"

    def _patterns_of(self, rule: Any) -> list[str]:
        """The patterns for one of which a program's name has to match."""
        if not isinstance(rule, self._rule.SigmaRule):
            raise _DoesNotFit(
                "it counts or joins events of other rules, and a rule decides about one operation"
            )
        if rule.errors:
            raise _DoesNotFit(f"it is wrong: {_one_line(rule.errors[0])}")
        self._check_source(rule)
        try:
            trees = [condition.parsed for condition in rule.detection.parsed_condition]
        except self._errors.SigmaError as error:
            raise _DoesNotFit(f"its condition is wrong: {_one_line(error)}") from None
        except RecursionError:
            raise _DoesNotFit("its condition is nested too deep") from None
        except (TypeError, ValueError, AttributeError) as error:
            # pySigma 0.11 with a later pyparsing fails so at "a and not b".
            raise _DoesNotFit(f"pySigma cannot read its condition: {_one_line(error)}") from None
        fields = sorted({name for tree in trees for name in self._fields(tree)} - {FIELD})
        if fields:
            raise _DoesNotFit(
                f"it looks at {_listed(fields)}; a rule knows the program's name ({FIELD}) alone"
            )
        patterns = list(dict.fromkeys(pattern for tree in trees for pattern in self._alternatives(tree)))
        if len(patterns) > PATTERNS_MAX:
            raise _DoesNotFit(f"it has {len(patterns)} alternatives; {PATTERNS_MAX} are possible")
        return patterns

    def _check_source(self, rule: Any) -> None:
        source = rule.logsource
        if source.category != CATEGORY:
            what = f"category {source.category}" if source.category else f"no category but {CATEGORY}"
            raise _DoesNotFit(f"it is of {what}; only {CATEGORY} is about programs that are started")
        if source.product is not None and source.product != self._system:
            raise _DoesNotFit(f"it is for {source.product}, not for {self._system}")
        if source.service is not None:
            raise _DoesNotFit(f"it is for events of the service {source.service}")
        if rule.status is not None and rule.status.name.lower() in DEAD:
            raise _DoesNotFit(f"its status is {rule.status.name.lower()}")
        if self._min_level is not None:
            level = rule.level.name.lower() if rule.level is not None else "unknown"
            if level not in LEVELS or LEVELS.index(level) < LEVELS.index(self._min_level):
                raise _DoesNotFit(f"its level is {level}, and {self._min_level} is asked for")

    def _fields(self, node: Any) -> Iterator[str]:
        if isinstance(node, self._conditions.ConditionFieldEqualsValueExpression):
            yield node.field
        for part in getattr(node, "args", ()):
            yield from self._fields(part)

    def _alternatives(self, node: Any) -> list[str]:
        conditions = self._conditions
        if isinstance(node, conditions.ConditionOR):
            return [pattern for part in node.args for pattern in self._alternatives(part)]
        if isinstance(node, conditions.ConditionAND):
            return self._intersection([self._alternatives(part) for part in node.args])
        if isinstance(node, conditions.ConditionNOT):
            raise _DoesNotFit(
                "it has an exception (not), and nothing is an exception of a deny rule for a name"
            )
        if isinstance(node, conditions.ConditionFieldEqualsValueExpression):
            return [self._pattern(node.value)]
        raise _DoesNotFit("it searches events for words, whatever field they stand in")

    def _intersection(self, parts: list[list[str]]) -> list[str]:
        """The patterns of names that match one pattern of each part."""
        found = parts[0]
        for part in parts[1:]:
            found = [pattern for one in found for other in part for pattern in _both(one, other)]
            if len(found) > PATTERNS_MAX:
                raise _DoesNotFit("it combines too many alternatives of the program's name")
        if not found:
            raise _DoesNotFit("no program's name can be all that it asks for at once")
        return found

    def _pattern(self, value: Any) -> str:
        types = self._types
        if isinstance(value, types.SigmaRegularExpression):
            raise _DoesNotFit("it has a regular expression, and patterns have * and ? alone")
        if not isinstance(value, types.SigmaString):
            raise _DoesNotFit("it compares the program's name with something that is no text")
        if isinstance(value, types.SigmaCasedString) and self._system == "windows":
            raise _DoesNotFit("it depends on case, which names on Windows do not")
        text = ""
        for part in value.s:
            if part is types.SpecialChars.WILDCARD_MULTI:
                text += "*"
            elif part is types.SpecialChars.WILDCARD_SINGLE:
                text += "?"
            elif not isinstance(part, str):
                raise _DoesNotFit("it has a placeholder, whose values only its user knows")
            elif "*" in part or "?" in part:
                raise _DoesNotFit("it has a * or ? that stands for itself, which no pattern can say")
            else:
                text += part
        return _whole_path(text, self._system)


def _whole_path(pattern: str, system: str) -> str:
    """A pattern that means whole paths, as Sigma's do. Without a separator, one of ours means file names."""
    while "**" in pattern:
        pattern = pattern.replace("**", "*")
    if not pattern:
        raise _DoesNotFit("it asks for a program without a name")
    if system == "windows" and "/" in pattern:
        # It would mean the same as a backslash in a pattern of ours.
        raise _DoesNotFit("no path on Windows has a /")
    has_separator = ("/" if system == "linux" else "\\") in pattern
    if not pattern.startswith(("*", "?", "/")) and (system == "linux" or not has_separator):
        raise _DoesNotFit(f"no path of a program begins like {pattern!r:.80}")
    if has_separator or pattern == "*":
        return pattern
    if system == "windows":
        if pattern.count("*") == 1 and "?" not in pattern:
            # The end of a path without a separator is the end of the file's name.
            return pattern
        raise _DoesNotFit(f"{pattern!r:.80} can mean folders, which takes a pattern with a separator")
    # A path is a "/" and something, so that a leading star stands for the "/" and anything.
    stars = pattern[: len(pattern) - len(pattern.lstrip("*?"))]
    rest = pattern[len(stars) :]
    least = stars.count("?")
    if "*" not in stars:
        return "/" + pattern[1:]
    return "/" + "?" * max(least - 1, 0) + "*" + rest


def _both(one: str, other: str) -> list[str]:
    """The patterns of texts that match both patterns; exact, or _DoesNotFit."""
    if one == other or other == "*":
        return [one]
    if one == "*":
        return [other]
    for literal, pattern in ((one, other), (other, one)):
        if not set(literal) & set("*?"):
            return [literal] if _matches(pattern, literal) else []
    for begin, end in ((one, other), (other, one)):
        head, tail = begin[:-1], end[1:]
        if begin.endswith("*") and end.startswith("*") and not set(head + tail) & set("*?"):
            # In a short text, the end of the one is the beginning of the other.
            sizes = range(1, min(len(head), len(tail)) + 1)
            shared = [head + tail[size:] for size in sizes if head[-size:] == tail[:size]]
            return [f"{head}*{tail}", *shared]
    raise _DoesNotFit("it asks for two things of the program's name at once, which no pattern can say")


def _matches(pattern: str, text: str) -> bool:
    """Whether the text matches a pattern of * and ?, by the classic walk with one way back."""
    at = place = 0
    star = back = -1
    while at < len(text):
        if place < len(pattern) and pattern[place] == "*":
            star, back = place, at
            place += 1
        elif place < len(pattern) and pattern[place] in ("?", text[at]):
            place += 1
            at += 1
        elif star >= 0:
            back += 1
            place, at = star + 1, back
        else:
            return False
    return not pattern[place:].strip("*")


def _texts_of(paths: Iterable[str]) -> Iterator[tuple[str, str]]:
    for path in paths:
        if not os.path.isdir(path):
            yield path, _text_of(path)
            continue
        for folder, folders, names in os.walk(path, onerror=_raise):
            folders.sort()
            for name in sorted(names):
                if name.lower().endswith(SUFFIXES):
                    yield os.path.join(folder, name), _text_of(os.path.join(folder, name))


def _raise(error: OSError) -> None:
    raise error


def _text_of(path: str) -> str:
    with open_regular(path) as file:
        if file is None:
            raise OSError(22, "it is no regular file", path)
        data = file.read(FILE_SIZE_MAX + 1)
    if len(data) > FILE_SIZE_MAX:
        raise OSError(27, "the file is too large for a Sigma rule", path)
    # What is not UTF-8 is no rule's, and is told by the parser.
    return data.decode("utf-8", "replace")


def _title(rule: Any) -> str:
    return str(rule.title) if rule is not None and rule.title else "?"


def _id(rule: Any) -> str:
    return str(rule.id) if rule is not None and rule.id else ""


def _one_line(error: object) -> str:
    return " ".join(str(error).split())[:300]


def _listed(names: Sequence[str]) -> str:
    shown = [name or "words" for name in names]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"

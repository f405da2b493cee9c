"""The compiled rule set in ctypes: the block's layout written by hand from its description, and the engine in
each of its builds."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import byref, c_bool, c_char_p, c_size_t, c_uint8, c_uint16, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any, NamedTuple, Optional

from property.rule_oracles import WINDOWS, Meaning

from cbprocess._binding import library

MATCH_ALL, MATCH_PROCESS, MATCH_NAME = 0, 1, 2
EXACT, FILE_PREFIX, PATH_PREFIX, SUFFIX, NO_KEY = range(5)
SECTIONS = ("patterns", "pairs", "processes", "filter", "buckets", "rules", "texts")

RULES_SOURCES = (
    "cbp_wtf8.c",
    "cbp_case.c",
    "cbp_pattern.c",
    "cbp_ruleset.c",
    "cbp_ruleset_check.c",
    "cbp_rules.c",
)
CORE_SOURCES = ("ruleset_build.c",)
FREESTANDING = ("-ffreestanding", "-nostdlib", "-Wl,-z,defs")


class Header(ctypes.Structure):
    _fields_ = [
        ("magic", c_uint32),
        ("version", c_uint32),
        ("size", c_uint32),
        ("comparison", c_uint32),
        ("rule_count", c_uint32),
        ("process_count", c_uint32),
        ("pattern_count", c_uint32),
        ("text_size", c_uint32),
        ("filter_bits", c_uint32),
        ("bucket_bits", c_uint32),
        ("first_rule", c_uint32),
        ("reserved", c_uint32 * 6),
        ("offsets", c_uint32 * 7),
        ("key_sizes", c_uint64 * 4),
    ]


class Rule(ctypes.Structure):
    _fields_ = [
        ("rule_id", c_uint32),
        ("action_value", c_uint32),
        ("owner", c_uint32),
        ("next", c_uint32),
        ("match", c_uint8),
        ("flags", c_uint8),
        ("action", c_uint8),
        ("reserved", c_uint8),
    ]


class Process(ctypes.Structure):
    _fields_ = [("start_time", c_uint64), ("process_id", c_uint32), ("first_rule", c_uint32)]


class Pattern(ctypes.Structure):
    _fields_ = [
        ("hash", c_uint32),
        ("text", c_uint32),
        ("first_rule", c_uint32),
        ("size", c_uint16),
        ("kind", c_uint8),
        ("is_path", c_uint8),
    ]


class Text(ctypes.Structure):
    _fields_ = [("units", c_char_p), ("size", c_size_t), ("comparison", c_uint32)]


class Stance(ctypes.Structure):
    _fields_ = [
        ("ignored", c_uint8),
        ("asked", c_uint8),
        ("allowed", c_uint8),
        ("is_on_list", c_uint8),
        ("deny_code", c_uint32),
        ("deny_rule_id", c_uint32),
        ("deny_all_code", c_uint32),
        ("deny_all_rule_id", c_uint32),
        ("strip_mask", c_uint32),
    ]


class SourceRule(NamedTuple):
    """A rule as the core's builder takes it; the pattern as the public functions do."""

    rule_id: int
    match: int = MATCH_NAME
    flags: int = 0
    action: int = 0
    action_value: int = 0
    process_id: int = 0
    start_time: int = 0
    pattern: bytes = b""


class CoreRule(ctypes.Structure):
    """struct cbpi_rule of the core."""

    _fields_ = [
        ("rule_id", c_uint32),
        ("match", c_uint32),
        ("flags", c_uint32),
        ("action", c_uint32),
        ("action_value", c_uint32),
        ("process_id", c_uint32),
        ("start_time", c_uint64),
        ("pattern", c_char_p),
        ("pattern_size", c_uint32),
    ]


class Block:
    """A block in memory of exactly its size, aligned as it has to be; bytes may be changed."""

    def __init__(self, content: bytes) -> None:
        self.size = len(content)
        self._memory = (c_uint64 * (self.size // 8 + 1))()
        self.address = ctypes.addressof(self._memory)
        ctypes.memmove(self.address, content, self.size)

    def content(self) -> bytes:
        return ctypes.string_at(self.address, self.size)

    def header(self) -> Header:
        return Header.from_address(self.address)

    def _section(self, name: str, kind: Any, count: int) -> Any:
        offset = self.header().offsets[SECTIONS.index(name)]
        return (kind * count).from_address(self.address + offset)

    def rules(self) -> Any:
        return self._section("rules", Rule, self.header().rule_count)

    def pairs(self) -> Any:
        return self._section("pairs", c_uint64, self.header().pattern_count)

    def processes(self) -> Any:
        return self._section("processes", Process, self.header().process_count)

    def patterns(self) -> Any:
        return self._section("patterns", Pattern, self.header().pattern_count)

    def filter_words(self) -> Any:
        return self._section("filter", c_uint64, 1 << self.header().filter_bits)

    def buckets(self) -> Any:
        return self._section("buckets", c_uint32, (1 << self.header().bucket_bits) + 1)

    def texts(self) -> Any:
        kind = c_uint16 if self.header().comparison == 2 else c_uint8
        return self._section("texts", kind, self.header().text_size)

    def text_of(self, pattern: Pattern) -> str:
        """The pattern's text, in the form that the oracles take."""
        units = bytes(self.texts())
        if self.header().comparison == 2:
            part = units[2 * pattern.text : 2 * (pattern.text + pattern.size)]
            return part.decode("utf-16-le", "surrogatepass")
        return units[pattern.text : pattern.text + pattern.size].decode("utf-8", "surrogateescape")


def exact_memory(units: bytes) -> Any:
    """The bytes in memory of exactly their size: a reader beyond its end is seen under a sanitizer."""
    memory = ctypes.create_string_buffer(units, len(units)) if units else ctypes.create_string_buffer(1)
    return ctypes.cast(memory, c_char_p)


class Engine:
    """The functions of cbp_ruleset.h in one build of them."""

    def __init__(self, path: Path) -> None:
        self.library = ctypes.CDLL(str(path))
        for name, result, arguments in (
            ("validate", c_uint32, (c_void_p, c_size_t)),
            ("rule_count", c_uint32, (c_void_p,)),
            ("word_count", c_uint32, (c_void_p,)),
            ("rule_at", ctypes.POINTER(Rule), (c_void_p, c_uint32)),
            ("find", c_uint32, (c_void_p, c_uint32)),
            ("comparison", c_uint32, (c_void_p,)),
            ("mark", None, (c_void_p, c_uint32, c_void_p)),
            ("match_name", c_uint32, (c_void_p, c_char_p, c_size_t, c_void_p)),
            ("match_process", c_uint32, (c_void_p, c_uint32, c_uint64, c_void_p)),
            ("mark", None, (c_void_p, c_uint32, c_void_p)),
            ("process_of", None, (c_void_p, c_uint32, ctypes.POINTER(c_uint32), ctypes.POINTER(c_uint64))),
            ("comparison", c_uint32, (c_void_p,)),
            ("retire", None, (c_void_p, c_uint32)),
            ("next", c_uint32, (c_void_p, c_void_p, c_uint32)),
            ("keep", c_uint32, (c_void_p, c_bool, c_void_p)),
            ("add_stance", None, (c_void_p, c_void_p, ctypes.POINTER(Stance))),
        ):
            function = getattr(self.library, f"cbpd_ruleset_{name}")
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)
        self.matches_path = self.library.cbpd_pattern_matches_path
        self.matches_path.restype = c_bool
        self.matches_path.argtypes = (ctypes.POINTER(Text), ctypes.POINTER(Text))

    def is_valid(self, block: Block) -> bool:
        return bool(self.validate(block.address, block.size) == 0)

    def process_of_rule(self, block: Block, index: int) -> tuple[int, int]:
        process_id, start_time = c_uint32(7), c_uint64(7)
        self.process_of(block.address, index, ctypes.byref(process_id), ctypes.byref(start_time))
        return process_id.value, start_time.value

    def matches(self, block: Block) -> Matches:
        return Matches(self, block)


class Matches:
    """A bitmap of rules, with a guard word behind it that must stay as it is."""

    GUARD = 0x5AFE5AFE5AFE5AFE

    def __init__(self, engine: Engine, block: Block) -> None:
        self._engine, self._block = engine, block
        self._count = engine.word_count(block.address)
        self.words = (c_uint64 * (self._count + 1))()
        self.words[self._count] = self.GUARD

    def add_name(self, units: bytes, unit_size: int) -> int:
        added = self._engine.match_name(
            self._block.address, exact_memory(units), len(units) // unit_size, self.words
        )
        assert self.words[self._count] == self.GUARD
        return int(added)

    def add_process(self, process_id: int, start_time: int) -> int:
        added = self._engine.match_process(self._block.address, process_id, start_time, self.words)
        assert self.words[self._count] == self.GUARD
        return int(added)

    def mark(self, index: int) -> None:
        self._engine.mark(self._block.address, index, self.words)
        assert self.words[self._count] == self.GUARD

    def indices(self) -> list[int]:
        found, index, count = [], 0, self._engine.rule_count(self._block.address)
        while (index := self._engine.next(self._block.address, self.words, index)) < count:
            found.append(index)
            index += 1
        return found

    def rule_ids(self) -> list[int]:
        return [self._engine.rule_at(self._block.address, index)[0].rule_id for index in self.indices()]

    def keep(self, *, allowing: bool) -> int:
        left = self._engine.keep(self._block.address, allowing, self.words)
        assert self.words[self._count] == self.GUARD
        return int(left)

    def stance(self) -> tuple[int, ...]:
        total = Stance()
        self._engine.add_stance(self._block.address, self.words, ctypes.byref(total))
        return tuple(getattr(total, name) for name, _ in Stance._fields_)


class Builder(Engine):
    """A build that has the core's builder too."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._build = self.library.cbpi_ruleset_build
        self._build.argtypes = (
            c_uint32,
            ctypes.POINTER(CoreRule),
            c_uint32,
            ctypes.POINTER(c_void_p),
            ctypes.POINTER(c_size_t),
        )
        self._build.restype = c_uint32
        self._free = ctypes.CDLL(None).free
        self._free.argtypes = (c_void_p,)

    def build(self, comparison: int, rules: Sequence[SourceRule]) -> tuple[int, Optional[Block]]:
        """The error code, and the block if that is 0."""
        made, size = c_void_p(), c_size_t()
        source = (CoreRule * (len(rules) + 1))(*(CoreRule(*rule, len(rule.pattern)) for rule in rules))
        error = self._build(comparison, source, len(rules), ctypes.byref(made), ctypes.byref(size))
        if error:
            assert made.value is None and size.value == 0
            return error, None
        try:
            return 0, Block(ctypes.string_at(made.value or 0, size.value))
        finally:
            self._free(made)


class LibrarySet:
    """cbp_pattern_set_...() of the installed library."""

    def __init__(self, meaning: Meaning, patterns: Sequence[str]) -> None:
        self._library, self._set, self._meaning = library.load(), c_void_p(), meaning
        texts = [meaning.encode(pattern) for pattern in patterns]
        self._library.cbp_pattern_set_create(
            (c_char_p * (len(texts) + 1))(*texts),
            (c_uint64 * (len(texts) + 1))(*map(len, texts)),
            len(texts),
            meaning is WINDOWS,
            byref(self._set),
        )

    def __enter__(self) -> LibrarySet:
        return self

    def __exit__(self, *exception: object) -> None:
        self._library.cbp_pattern_set_destroy(self._set)

    def matches(self, name: str, capacity: int) -> tuple[int, list[int]]:
        """How many patterns match, and the numbers of as many as there is room for."""
        indices, count = (c_uint32 * (capacity + 1))(*[7777] * (capacity + 1)), c_uint32()
        text = self._meaning.encode(name)
        self._library.cbp_pattern_set_match(self._set, text, len(text), indices, capacity, byref(count))
        assert indices[capacity] == 7777
        return count.value, indices[: min(count.value, capacity)]

"""Sigma rules as rules: what is imported means what the Sigma rule means, and the rest is told why not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from property import rule_oracles
from unit.instances import assert_code

from cbprocess import CBProcessError, Rule, constants, sigma
from cbprocess.rule_files import RuleSet

pytest.importorskip("sigma.collection")
yaml = pytest.importorskip("yaml")


def rule(detection: dict[str, Any], **keywords: Any) -> str:
    """A Sigma rule as text; keywords replace its other parts."""
    made = {
        "title": "T",
        "id": "6f1a3c1e-0d5b-4a53-9d7e-2b7a3d5a9c01",
        "status": "test",
        "level": "high",
        "logsource": {"category": "process_creation", "product": "linux"},
        "detection": detection,
        **keywords,
    }
    return str(yaml.safe_dump({key: value for key, value in made.items() if value is not None}))


def images(*values: str, **keywords: Any) -> str:
    return rule({"s": [{"Image": value} for value in values], "condition": "s"}, **keywords)


def patterns(text: str, **keywords: Any) -> list[str]:
    found = sigma.import_texts([("test", text)], **keywords)
    assert not found.refused, found.refused
    return [str(made.name) for made in found.rules]


def reason(text: str, **keywords: Any) -> str:
    found = sigma.import_texts([("test", text)], **keywords)
    assert not found.imported and len(found.refused) == 1 and len(found.rules) == 0, found
    return found.refused[0].why


@pytest.mark.parametrize(
    ("detection", "expected"),
    [
        ({"s": {"Image": "/bin/nc"}, "condition": "s"}, ["/bin/nc"]),
        ({"s": {"Image|endswith": "/nc"}, "condition": "s"}, ["*/nc"]),
        ({"s": {"Image|endswith": ["/nc", "/ncat"]}, "condition": "s"}, ["*/nc", "*/ncat"]),
        ({"s": {"Image|startswith": "/tmp/"}, "condition": "s"}, ["/tmp/*"]),
        ({"s": {"Image|contains": "/.x/"}, "condition": "s"}, ["*/.x/*"]),
        ({"s": {"Image|contains": "nc"}, "condition": "s"}, ["/*nc*"]),
        ({"s": {"Image|endswith": "nc"}, "condition": "s"}, ["/*nc"]),
        ({"s": {"Image": "*?nc"}, "condition": "s"}, ["/*nc"]),
        ({"s": {"Image": "???nc"}, "condition": "s"}, ["/??nc"]),
        ({"s": {"Image": "/bin/n?"}, "condition": "s"}, ["/bin/n?"]),
        ({"s": {"Image|endswith|cased": "/NC"}, "condition": "s"}, ["*/NC"]),
        ({"a": {"Image": "/a"}, "b": {"Image": "/b"}, "condition": "a or b"}, ["/a", "/b"]),
        ({"a": {"Image": "/a"}, "b": {"Image": "/b"}, "condition": "1 of *"}, ["/a", "/b"]),
        ({"a": {"Image": "/a"}, "b": {"Image": "/b"}, "condition": ["a", "b"]}, ["/a", "/b"]),
        (
            {"s": {"Image|startswith": "/tmp/", "Image|endswith": "/nc"}, "condition": "s"},
            ["/tmp/*/nc", "/tmp/nc"],
        ),
        ({"a": {"Image": "/bin/*"}, "b": {"Image": ["/bin/x", "/y"]}, "condition": "a and b"}, ["/bin/x"]),
        ({"s": {"Image|contains|all": ["/a", "/a"]}, "condition": "s"}, ["*/a*"]),
    ],
)
def test_what_fits(detection: dict[str, Any], expected: list[str]) -> None:
    assert patterns(rule(detection)) == expected


@pytest.mark.parametrize(
    ("detection", "why"),
    [
        ({"s": {"Image": "/a", "CommandLine|contains": "x"}, "condition": "s"}, "looks at CommandLine;"),
        ({"s": {"User": "x", "ParentImage": "/a"}, "condition": "s"}, "looks at ParentImage and User;"),
        ({"s": {"Image": "/a"}, "f": {"Image": "/b"}, "condition": "s and not f"}, "exception (not)"),
        ({"k": ["word"], "condition": "k"}, "searches events for words"),
        ({"s": {"Image|re": "/n.$"}, "condition": "s"}, "regular expression"),
        ({"s": {"Image": None}, "condition": "s"}, "no text"),
        ({"s": {"Image": 5}, "condition": "s"}, "no text"),
        ({"s": {"Image": ""}, "condition": "s"}, "without a name"),
        ({"s": {"Image": "nc"}, "condition": "s"}, "no path of a program begins like 'nc'"),
        ({"s": {"Image|startswith": "tmp/"}, "condition": "s"}, "no path of a program begins like 'tmp/*'"),
        ({"s": {"Image": "/a\\*b"}, "condition": "s"}, "stands for itself"),
        ({"s": {"Image|expand": "/%names%"}, "condition": "s"}, "placeholder"),
        ({"s": {"Image|contains|all": ["/a", "/b"]}, "condition": "s"}, "two things of the program's name"),
        (
            {"a": {"Image": "/a"}, "b": {"Image": "/b"}, "condition": "a and b"},
            "all that it asks for at once",
        ),
        ({"s": {"Image": "/" + "a" * 5000}, "condition": "s"}, "no rule can have"),
        ({"s": {"Image|endswith": [f"/{n}" for n in range(1001)]}, "condition": "s"}, "1001 alternatives"),
        ({"s": {"Image|nonsense": "/a"}, "condition": "s"}, "it is wrong: "),
        ({"s": {"Image": "/a"}, "condition": "t"}, "its condition is wrong: "),
        ({"s": {"Image": "/a"}, "condition": "s and"}, "its condition is wrong: "),
        ({"s": {"Image": "/a"}}, "it is wrong: "),
    ],
)
def test_what_does_not_fit(detection: dict[str, Any], why: str) -> None:
    told = reason(rule(detection))
    # An old pySigma with a new pyparsing fails where `not` stands behind `and`.
    assert why in told or (why == "exception (not)" and "pySigma cannot read its condition" in told)


@pytest.mark.parametrize(
    ("keywords", "why"),
    [
        ({"logsource": {"category": "file_event", "product": "linux"}}, "it is of category file_event"),
        ({"logsource": {"product": "linux", "service": "auditd"}}, "no category"),
        ({"logsource": {"category": "process_creation", "product": "windows"}}, "for windows, not for linux"),
        ({"logsource": {"category": "process_creation", "service": "x"}}, "the service x"),
        ({"status": "deprecated"}, "its status is deprecated"),
        ({"status": "unsupported"}, "its status is unsupported"),
        ({"title": None}, "it is wrong"),
    ],
)
def test_rules_that_are_for_others(keywords: dict[str, Any], why: str) -> None:
    assert why in reason(images("/a", **keywords))


def test_levels() -> None:
    assert patterns(images("/a", level="high"), min_level="high") == ["/a"]
    assert "its level is medium, and high is asked for" in reason(
        images("/a", level="medium"), min_level="high"
    )
    assert "its level is unknown" in reason(images("/a", level=None), min_level="low")


def test_windows() -> None:
    source = {"category": "process_creation", "product": "windows"}

    def on_windows(detection: dict[str, Any]) -> str:
        return rule(detection, logsource=source)

    for value, expected in (
        ("*\\nc.exe", "*\\nc.exe"),
        ("*nc.exe", "*nc.exe"),
        ("C:\\Temp\\\\*", "C:\\Temp\\*"),  # a backslash before a star is written twice
    ):
        assert patterns(on_windows({"s": {"Image": value}, "condition": "s"}), system="windows") == [expected]
    for key, value, why in (
        ("Image|contains", "nc", "which takes a pattern with a separator"),
        ("Image|endswith|cased", "\\NC.exe", "depends on case"),
        ("Image|endswith", "/nc.exe", "no path on Windows has a /"),
    ):
        text = on_windows({"s": {key: value}, "condition": "s"})
        assert why in reason(text, system="windows")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "---",
        "a: b",
        "[1, 2]",
        "x",
        "a: [",
        "\x00",
        "title: a\nlogsource: 5\ndetection: 6",
        "- - - a",
        "7",
        "null",
    ],
)
def test_texts_that_are_no_rules(text: str) -> None:
    assert reason(text).startswith(("it is", "it is wrong"))


@settings(max_examples=30, deadline=None)
@given(st.text(alphabet="title:logsrcdn{}[]&*!|>-'\" \n\t", max_size=80))
def test_any_text_has_an_answer(text: str) -> None:
    found = sigma.import_texts([("test", text)])
    assert found.refused and not found.imported


def test_a_rule_that_joins_others_does_not_fit() -> None:
    base = {"name": "base", **yaml.safe_load(images("/a"))}
    joined = {
        "title": "J",
        "correlation": {"type": "event_count", "rules": ["base"], "group-by": ["User"], "timespan": "5m"},
    }
    joined["correlation"]["condition"] = {"gte": 10}
    found = sigma.import_texts([("test", yaml.safe_dump_all([base, joined]))])
    assert [made.title for made in found.imported] == ["T"]
    assert "counts or joins events" in found.refused[0].why


def test_two_rules_for_one_program() -> None:
    texts = [("one", images("/a", "/b", title="One")), ("two", images("/b", title="Two", id=None))]
    found = sigma.import_texts(texts, code=2)
    assert list(found.rules) == [
        Rule(name="/a", action="deny", code=2),
        Rule(name="/b", action="deny", code=2),
    ]
    comments = [entry["comment"] for entry in found.rules.to_dict()["rules"]]
    assert comments[1].startswith("One (6f1a") and comments[1].endswith("); Two")
    assert [made.patterns for made in found.imported] == [("/a", "/b"), ("/b",)]
    assert len(found.notes) == 2
    assert RuleSet.from_dict(found.rules.to_dict()) == found.rules


def test_rules_that_ask() -> None:
    found = sigma.import_texts([("test", images("/a"))], action="ask")
    assert list(found.rules) == [Rule(name="/a", action="ask")]


def test_wrong_keywords() -> None:
    for keywords in (
        {"system": "macos"},
        {"min_level": "worst"},
        {"action": "kill"},
        {"action": "ask", "code": 5},
        {"code": 0},
    ):
        assert_code(constants.ERROR_INVALID_PARAMETER, partial(sigma.import_texts, [], **keywords))


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sigma.collection", None)
    with pytest.raises(CBProcessError) as raised:
        sigma.import_texts([])
    assert "cbprocess[sigma]" in raised.value.message


# Parts of paths and patterns that overlap in many ways. All is in small letters: case is told in a note.
PARTS = st.lists(st.sampled_from(["/", "a", "b", "/a", "ab", "//"]), max_size=5).map("".join)
PATHS = PARTS.map(lambda text: f"/{text}")
VALUES = st.lists(st.sampled_from(["/", "a", "b", "*", "?", "/a"]), min_size=1, max_size=5).map("".join)
MODIFIERS = st.sampled_from(["", "|startswith", "|endswith", "|contains"])
ITEMS = st.builds(
    lambda modifier, values: {f"Image{modifier}": values}, MODIFIERS, st.lists(VALUES, min_size=1, max_size=2)
)


def is_detected(item: dict[str, list[str]], path: str) -> bool:
    """By the definition of Sigma's modifiers: each is the value with stars around it."""
    ((key, values),) = item.items()
    before, after = {
        "Image": ("", ""),
        "Image|startswith": ("", "*"),
        "Image|endswith": ("*", ""),
        "Image|contains": ("*", "*"),
    }[key]
    return any(rule_oracles.matches(WHOLE, f"{before}{value}{after}", path) for value in values)


# Sigma's patterns are held against the whole path, whether they have a separator or not.
WHOLE = rule_oracles.LINUX._replace(separators="\0")


@settings(max_examples=60, deadline=None)
@given(
    ITEMS,
    ITEMS,
    st.sampled_from(["one", "one or two", "one and two"]),
    st.lists(PATHS, min_size=5, max_size=20),
)
def test_what_is_imported_means_the_same(
    one: dict[str, list[str]], two: dict[str, list[str]], condition: str, paths: list[str]
) -> None:
    found = sigma.import_texts([("test", rule({"one": one, "two": two, "condition": condition}))])
    for path in paths:
        first, second = is_detected(one, path), is_detected(two, path)
        expected = {"one": first, "one or two": first or second, "one and two": first and second}[condition]
        if found.refused:
            # What nothing can be at once is refused, so it must detect nothing.
            assert not (expected and "at once" in found.refused[0].why.replace("name at once", ""))
            continue
        got = any(rule_oracles.matches(rule_oracles.LINUX, str(made.name), path) for made in found.rules)
        assert got == expected, (path, list(found.rules))


def test_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "b.yaml").write_text(images("/b"))
    (tmp_path / "deep" / "a.yml").write_text(images("/a"))
    (tmp_path / "deep" / "README.md").write_text("# no rule")
    (tmp_path / "c.txt").write_text(images("/c"))
    found = sigma.import_files([tmp_path / "deep", tmp_path / "c.txt"])
    assert [made.name for made in found.rules] == ["/a", "/b", "/c"]
    with pytest.raises(FileNotFoundError):
        sigma.import_files([tmp_path / "none"])
    (tmp_path / "long.yml").write_bytes(b"#" * (sigma.FILE_SIZE_MAX + 1))
    with pytest.raises(OSError, match="too large"):
        sigma.import_files([tmp_path / "long.yml"])
    (tmp_path / "bytes.yml").write_bytes(b"\xff\xfe\x00")
    assert len(sigma.import_files([tmp_path / "bytes.yml"]).refused) == 1


def test_the_command(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(images("/nowhere/a"))
    (tmp_path / "b.yml").write_text(rule({"s": {"User": "x"}, "condition": "s"}, title="B\x1b[1m"))
    line = [sys.executable, "-m", "cbprocess", "rules", "import-sigma", "--system", "linux"]
    out = tmp_path / "rules.json"
    done = subprocess.run(
        [*line, str(tmp_path), "-o", str(out)], capture_output=True, text=True, timeout=60, check=True
    )
    assert list(RuleSet.from_file(out)) == [Rule(name="/nowhere/a", action="deny")]
    assert f"{tmp_path / 'b.yml'}: 'B\\x1b[1m' does not fit: it looks at User" in done.stderr
    assert done.stderr.endswith("cbprocess: 1 rule of 1 Sigma rule; 1 does not fit\n") and done.stdout == ""
    done = subprocess.run([*line, str(tmp_path / "b.yml")], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and json.loads(done.stdout) == {"schema": 1, "rules": []}
    done = subprocess.run([*line, str(tmp_path / "none.yml")], capture_output=True, text=True, timeout=60)
    assert done.returncode == 125 and "No such file" in done.stderr and "Traceback" not in done.stderr


def test_a_condition_that_is_nested_too_deep_is_told() -> None:
    assert "too deep" in reason(rule({"s": {"Image": "*/x"}, "condition": "not " * 5000 + "s"}))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_in_a_folder_of_rules_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rule.yml")
    program = "import sys; from cbprocess import sigma; sigma.import_files(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=30
    )
    assert "no regular file" in done.stderr

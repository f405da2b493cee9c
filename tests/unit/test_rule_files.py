"""Rule files: what they say, what is told of their mistakes, and how they are written and read again."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.instances import assert_code

from cbprocess import CBProcess, CBProcessError, Rule, constants, enums, rule_files
from cbprocess.rule_files import AppliedRules, RuleFile, RuleFileError, RuleSet, file_warnings, replace_file

RULES = [
    Rule(name="*/nc", action="deny"),
    Rule(process_id=-1, action="deny", code=2, include_children=True),
    Rule(name="/usr/bin/make", action="allow"),
    Rule(name="server", action="strip", access=0x1 | 0x20),
    Rule(name="cc*", action="ignore"),
    Rule(name="ld", action="ask", include_children=True),
]
DOCUMENT = {
    "schema": 1,
    "comment": "for everybody",
    "rules": [
        {"name": "*/nc", "action": "deny", "id": "N1", "comment": "no netcat"},
        {"process_id": -1, "action": "deny", "code": "FILE_NOT_FOUND", "include_children": True},
        {"name": "/usr/bin/make", "action": "allow"},
        {"name": "server", "action": "strip", "access": ["TERMINATE", "VM_WRITE"]},
        {"name": "cc*", "action": "ignore"},
        {"name": "ld", "action": "ask", "include_children": True},
    ],
}
TOML = """
schema = 1
comment = "for everybody"

[[rules]]
id = "N1"
comment = "no netcat"
name = "*/nc"
action = "deny"

[[rules]]
process_id = -1
action = "deny"
code = "FILE_NOT_FOUND"
include_children = true

[[rules]]
name = "/usr/bin/make"
action = "allow"

[[rules]]
name = "server"
action = "strip"
access = ["TERMINATE", "VM_WRITE"]

[[rules]]
name = "cc*"
action = "ignore"

[[rules]]
name = "ld"
action = "ask"
include_children = true
"""


def needs_toml() -> None:
    if sys.version_info < (3, 11):
        pytest.importorskip("tomli")


def test_both_forms(tmp_path: Path) -> None:
    needs_toml()
    (tmp_path / "rules.TOML").write_text(TOML)
    (tmp_path / "rules.json").write_text(json.dumps(DOCUMENT))
    for path in (tmp_path / "rules.TOML", tmp_path / "rules.json"):
        found = RuleSet.from_file(path)
        assert list(found) == RULES and found.rules == tuple(RULES) and len(found) == 6
        assert found == RuleSet(RULES) and hash(found) == hash(RuleSet(RULES))
        assert found.to_dict()["rules"][0]["comment"] == "N1 no netcat"
    assert RuleSet.from_text(TOML, "toml") == RuleSet.from_text(json.dumps(DOCUMENT).encode())


def test_a_python_without_toml_says_what_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tomllib", "tomli"):
        monkeypatch.setitem(sys.modules, name, None)
    error = assert_code(constants.ERROR_INVALID_DATA, RuleSet.from_text, TOML, "toml")
    assert "cbprocess[rules]" in error.message and "JSON" in error.message


# Names of system files that are no text, and rights that have no name, among them.
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
ODD_NAMES = st.builds(lambda name: f"{name}\udcff", NAMES)


@st.composite
def drawn_rules(draw: st.DrawFn) -> Rule:
    action = draw(st.sampled_from(["ask", "ignore", "allow", "deny", "strip"]))
    values: dict[str, Any] = {"include_children": draw(st.booleans())}
    if action != "ignore" and draw(st.booleans()):
        values["process_id"] = -1
    else:
        values["name"] = draw(NAMES | ODD_NAMES)
    if action == "deny":
        values["code"] = draw(st.integers(1, 2**32 - 1))
    if action == "strip":
        values["access"] = draw(st.integers(1, 2**32 - 1))
    return Rule(action=action, **values)


RULE_SETS = st.lists(
    drawn_rules(), max_size=6, unique_by=lambda rule: (rule.name, rule.process_id, rule.action)
)


@settings(deadline=None)
@given(RULE_SETS)
def test_what_is_written_is_read(rules: list[Rule]) -> None:
    made = RuleSet(rules)
    assert RuleSet.from_dict(made.to_dict()) == made
    assert RuleSet.from_text(json.dumps(made.to_dict())) == made


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ([], "a table is needed, not a list"),
        ({"rule": []}, "there is no key 'rule'"),
        ({"schema": 2, "rules": []}, "schema must be 1, not 2"),
        ({"schema": True}, "schema must be 1"),
        ({"rules": {"name": "a"}}, "rules must be a list, not a table"),
        ({"rules": ["a"]}, "rule 1: a table is needed, not a text"),
        ({"rules": [{"name": "a"}]}, "rule 1 ('a'): the action is missing"),
        ({"rules": [{"name": "a", "action": 3}]}, "action must be a name"),
        ({"rules": [{"name": "a", "action": "kill"}]}, "action must be one of"),
        ({"rules": [{"action": "deny"}]}, "give one of them"),
        ({"rules": [{"name": "a", "process_id": -1, "action": "deny"}]}, "give one of them"),
        ({"rules": [{"process_id": 4, "action": "deny"}]}, "process_id can only be -1"),
        ({"rules": [{"process_id": True, "action": "deny"}]}, "process_id can only be -1"),
        ({"rules": [{"process_id": -1, "action": "ignore"}]}, "process_id must be from 0"),
        ({"rules": [{"name": "", "action": "deny"}]}, "name must not be empty"),
        ({"rules": [{"name": 7, "action": "deny"}]}, "name must be a str"),
        ({"rules": [{"name": "a", "action": "deny", "code": "EACCES"}]}, "code has no 'EACCES'"),
        ({"rules": [{"name": "a", "action": "deny", "code": "SUCCESS"}]}, "code has no 'SUCCESS'"),
        ({"rules": [{"name": "a", "action": "deny", "code": 0}]}, "code must be from 1"),
        ({"rules": [{"name": "a", "action": "deny", "access": 1}]}, "access means nothing"),
        ({"rules": [{"name": "a", "action": "strip"}]}, "access must be from 1"),
        ({"rules": [{"name": "a", "action": "strip", "access": []}]}, "access must be from 1"),
        ({"rules": [{"name": "a", "action": "strip", "access": ["READ"]}]}, "access has no 'READ'"),
        ({"rules": [{"name": "a", "action": "strip", "access": [1]}]}, "access has no 1"),
        ({"rules": [{"name": "a", "action": "deny", "acces": 1}]}, "a rule has no 'acces'"),
        ({"rules": [{"name": "a", "action": "deny", "include_children": "yes"}]}, "include_children"),
        ({"rules": [{"name": "a", "action": "deny", "comment": 1}]}, "id and comment must be texts"),
        ({"rules": [{"name": "a", "action": "deny"}] * 2}, "rule 2 ('a'): rule 1 has the same programs"),
    ],
)
def test_mistakes(document: Any, told: str) -> None:
    error = assert_code(constants.ERROR_INVALID_PARAMETER, RuleSet.from_dict, document)
    assert isinstance(error, RuleFileError) and len(error.mistakes) == 1
    assert told in error.mistakes[0] and told in error.message


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("schema = {}", "schema must be 1, not int"),
        ("[[rules]]\nname = 'a'\naction = 'deny'\ncode = {}", "not one of 24000 bits"),
        ("[[rules]]\nname = 'a'\naction = 'strip'\naccess = {}", "not one of 24000 bits"),
        ("[[rules]]\nname = 'a'\naction = 'strip'\naccess = [{}]", "access has no int"),
        ("[[rules]]\nname = {}\naction = 'deny'", "name must be a str"),
    ],
)
def test_numbers_that_python_does_not_write(text: str, told: str) -> None:
    needs_toml()
    huge = text.replace("{}", "0x" + "f" * 6000)
    error = assert_code(constants.ERROR_INVALID_PARAMETER, RuleSet.from_text, huge, "toml")
    # Python before 3.11 writes them, and they are shown cut.
    assert told in error.message or sys.version_info < (3, 11)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "rules.json"
    path.write_text(json.dumps({"x": 1, "rules": [{"name": f"a{n}"} for n in range(50)]}))
    with pytest.raises(RuleFileError) as raised:
        RuleSet.from_file(path)
    assert len(raised.value.mistakes) == 51
    assert raised.value.message.startswith(f"{path}: there is no key 'x'; rule 1 ('a0'): ")
    assert raised.value.message.endswith("and 31 more mistakes")


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (b"", "json"),
        (b"{", "json"),
        (b"\xff\xfe", "json"),
        (b'{"rules": [], "rules": []}', "json"),
        (b'{"rules": [{"name": "a", "name": "b", "action": "deny"}]}', "json"),
        (b'{"schema": NaN}', "json"),
        (b'{"a":' * 100_000, "json"),
        (b"[[rules]", "toml"),
        (b"rules = 1\nrules = 2", "toml"),
        (b"a = '\xff'", "toml"),
    ],
)
def test_texts_of_no_form(text: bytes, form: str) -> None:
    needs_toml()
    error = assert_code(constants.ERROR_INVALID_DATA, RuleSet.from_text, text, form)
    assert error.message.startswith(f"no {form.upper()}: ") and len(error.message) < 400


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,rules\\name1 ').map(str.encode))
def test_any_text_has_an_answer(text: bytes) -> None:
    with contextlib.suppress(RuleFileError):
        RuleSet.from_text(text)


def test_wrong_sets() -> None:
    assert_code(constants.ERROR_INVALID_PARAMETER, RuleSet, ["a"])
    assert_code(constants.ERROR_INVALID_PARAMETER, RuleSet, [RULES[0], RULES[0]])
    assert_code(constants.ERROR_INVALID_PARAMETER, RuleSet.from_text, "{}", "yaml")
    many = [{"name": "a", "action": "deny"}] * (rule_files.RULES_MAX + 1)
    error = assert_code(constants.ERROR_INVALID_PARAMETER, RuleSet.from_dict, {"rules": many})
    assert "too many" in error.message


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        RuleSet.from_file(tmp_path / "none")
    assert_code(constants.ERROR_INVALID_DATA, RuleSet.from_file, tmp_path)
    if hasattr(os, "mkfifo"):
        # Nobody writes to it: reading it would wait for ever.
        os.mkfifo(tmp_path / "pipe")
        assert_code(constants.ERROR_INVALID_DATA, RuleSet.from_file, tmp_path / "pipe")
    with open(tmp_path / "long", "wb") as file:
        file.truncate(rule_files.FILE_SIZE_MAX + 1)
    error = assert_code(constants.ERROR_INVALID_DATA, RuleSet.from_file, tmp_path / "long")
    assert "longer than" in error.message


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_that_comes_in_the_place_of_the_file_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    regular, pipe = tmp_path / "file", tmp_path / "pipe"
    regular.touch()
    os.mkfifo(pipe)
    found, look = os.stat(regular), os.stat
    monkeypatch.setattr(os, "stat", lambda path, **rest: found if path == str(pipe) else look(path, **rest))
    answers: list[CBProcessError] = []

    def read() -> None:
        answers.append(assert_code(constants.ERROR_INVALID_DATA, RuleSet.from_file, pipe))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(10)
    is_done = not reader.is_alive()
    if not is_done:
        os.close(os.open(pipe, os.O_RDWR))  # so that it does not stay for ever
    assert is_done and "no regular file" in answers[0].message


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rules.json"
    RuleSet(RULES).write_file(path)
    assert RuleSet.from_file(path) == RuleSet(RULES)
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="space"):
        RuleSet([]).write_file(path)
    assert RuleSet.from_file(path) == RuleSet(RULES)
    assert os.listdir(tmp_path) == ["rules.json"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_a_link_in_the_place_of_the_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("other")
    (tmp_path / "link").symlink_to("other")
    replace_file(os.fspath(tmp_path / "link"), b"new", 0o640)
    assert (tmp_path / "other").read_text() == "other"
    assert (tmp_path / "link").read_text() == "new" and not (tmp_path / "link").is_symlink()
    assert stat.S_IMODE((tmp_path / "link").stat().st_mode) == 0o640


def test_warnings() -> None:
    doubtful = RuleSet(
        [
            Rule(process_id=-1, action="deny"),
            Rule(name="make", action="allow"),
            Rule(name="*/nc", action="deny"),
            Rule(name="*/nc", action="allow"),
            Rule(name="~/tool", action="ignore"),
            Rule(name="/$HOME/tool", action="ignore"),
        ]
    )
    labels = [text.partition(":")[0] for text in doubtful.warnings()]
    assert labels == ["rule 2 ('make')", "rule 4 ('*/nc')", "rule 5 ('~/tool')", "rule 6 ('/$HOME/tool')"]
    assert RuleSet(RULES).warnings() == []


@pytest.mark.parametrize(
    ("allowed", "asked", "is_useless"),
    [
        ({"name": "ld"}, {"name": "ld"}, True),
        ({"name": "ld", "include_children": True}, {"name": "ld", "include_children": True}, True),
        ({"process_id": -1}, {"name": "ld", "include_children": True}, True),
        ({"process_id": -1}, {"process_id": -1}, True),
        # Its descendants are asked about, or other programs.
        ({"name": "ld"}, {"name": "ld", "include_children": True}, False),
        ({"name": "cc", "include_children": True}, {"name": "ld"}, False),
        ({"name": "ld"}, {"process_id": -1}, False),
    ],
)
def test_a_rule_that_asks_for_what_another_allows_is_doubtful(
    allowed: dict[str, Any], asked: dict[str, Any], is_useless: bool
) -> None:
    rules = RuleSet([Rule(action="ask", **asked), Rule(action="allow", **allowed)])
    label = "rule 1 ('ld'): " if "name" in asked else "rule 1: "
    told = f"{label}an allow rule for the same programs is stronger, so it asks nobody"
    assert rules.warnings() == [told] * is_useless


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_files_that_others_can_write(tmp_path: Path) -> None:
    path = tmp_path / "rules.json"
    path.touch(0o600)
    assert file_warnings(os.fspath(path)) == []
    path.chmod(0o620)
    assert "can be written by others" in file_warnings(os.fspath(path))[0]
    if os.geteuid() == 0:
        path.chmod(0o600)
        os.chown(path, 12345, 12345)
        assert "another user (id 12345)" in file_warnings(os.fspath(path))[0]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_folders_in_which_others_can_replace_the_file(tmp_path: Path) -> None:
    folder, links = tmp_path / "rules", tmp_path / "links"
    for made in (folder, links):
        made.mkdir(0o700)
    (folder / "rules.json").touch(0o600)
    path, link = str(folder / "rules.json"), str(links / "rules.json")
    os.symlink(path, link)
    assert file_warnings(path) == file_warnings(link) == []
    links.chmod(0o770)
    assert file_warnings(path) == []
    assert [f"the folder {links} can be written by others" in text for text in file_warnings(link)] == [True]
    # Others cannot remove what is not theirs there.
    links.chmod(0o1777)
    assert file_warnings(link) == []
    folder.chmod(0o702)
    assert len(file_warnings(path)) == len(file_warnings(link)) == 1
    if os.geteuid() == 0:
        folder.chmod(0o700)
        os.chown(folder, 12345, 12345)
        assert "belongs to another user (id 12345), who can put another" in file_warnings(link)[0]


def test_rights_and_codes_have_the_names_of_the_enumerations() -> None:
    for right in enums.ProcessAccess:
        if int(right):
            made = RuleSet.from_dict({"rules": [{"name": "a", "action": "strip", "access": [right.name]}]})
            assert made.rules[0].access == int(right)
    for code in enums.ErrorCode:
        if int(code):
            made = RuleSet.from_dict({"rules": [{"name": "a", "action": "deny", "code": code.name}]})
            assert made.rules[0].code == int(code)


def test_changes_between_sets() -> None:
    before = RuleSet([Rule(name="a", action="deny"), Rule(name="b", action="deny"), RULES[2]])
    after = RuleSet([Rule(name="a", action="deny", code=2), RULES[2], Rule(name="c", action="deny")])
    change = after.changes_from(before)
    assert change.added == (Rule(name="c", action="deny"),)
    assert change.removed == (Rule(name="b", action="deny"),)
    assert change.changed == ((Rule(name="a", action="deny"), Rule(name="a", action="deny", code=2)),)
    assert change.kept == 1 and change
    assert str(change) == "3 rules in force: 1 added (deny c), 1 removed (deny b), 1 changed (deny a), 1 kept"
    assert json.loads(json.dumps(change.to_dict()))["changed"][0]["after"]["code"] == 2
    assert str(after.changes_from(after)) == "nothing has changed, 3 rules in force"
    assert not after.changes_from(after)


def test_the_sentence_of_a_change_stays_short() -> None:
    many = RuleSet(
        [Rule(process_id=-1, action="allow"), Rule(name="x" * 4000, action="deny")]
        + [Rule(name=f"program{number}", action="strip", access=1) for number in range(50)]
    )
    told = f"52 rules in force: 52 added (allow everything, deny {'x' * 60}..., strip program0, ...), 0 kept"
    assert str(many.changes_from(RuleSet())) == told


def test_a_file_is_reloaded_all_or_nothing(process: CBProcess, tmp_path: Path) -> None:
    applied = AppliedRules(process)
    path = tmp_path / "rules.json"
    file = RuleFile(path, applied)
    assert not file.has_changed()
    with pytest.raises(FileNotFoundError):
        file.reload()
    RuleSet(RULES).write_file(path)
    assert file.has_changed()
    assert file.reload().added == tuple(RULES) and not file.has_changed()
    # The file is replaced, and wrong: the rules stay, and it is not read again until it changes.
    replace_file(os.fspath(path), b'{"rules": [{"name": "x"}]}')
    assert file.has_changed()
    assert_code(constants.ERROR_INVALID_PARAMETER, file.reload)
    assert applied.rules("file") == tuple(RULES) and not file.has_changed()
    path.unlink()
    assert not file.has_changed() and applied.rules() == tuple(RULES)
    RuleSet(RULES[1:]).write_file(path)
    assert file.reload().removed == (RULES[0],)
    # The instance has just these.
    for rule in RULES[1:]:
        process.remove_rule(rule)
    assert_code(constants.ERROR_NOT_FOUND, process.remove_rule, RULES[0])


def test_rules_of_layers_and_of_the_program_itself(process: CBProcess) -> None:
    applied = AppliedRules(process)
    mine, shared = Rule(name="mine", action="deny"), Rule(name="shared", action="deny")
    process.add_rule(mine)
    applied.apply("a", [shared])
    assert not applied.apply("b", [Rule(name="shared", action="deny", code=2, include_children=True)]).added
    assert applied.rules() == (Rule(name="shared", action="deny", include_children=True),)
    assert not applied.remove("a").removed and applied.layers() == ("b",)
    # The program may remove a rule of a layer itself: taking the layer back is no error then.
    process.remove_rule(shared)
    assert applied.remove("b").removed
    process.remove_rule(mine)


def test_a_set_that_cannot_be_applied_changes_nothing(process: CBProcess) -> None:
    applied = AppliedRules(process)
    applied.apply("a", RULES[:2])
    with pytest.raises(rule_files.CBProcessError):
        applied.apply("a", [Rule(name="new", action="deny"), Rule(process_id=2**31 - 7, action="deny")])
    assert applied.rules() == tuple(RULES[:2])
    assert_code(constants.ERROR_NOT_FOUND, process.remove_rule, name="new", action="deny")
    for rule in RULES[:2]:
        process.remove_rule(rule)

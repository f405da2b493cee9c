"""The commands for the driver of the machine without one: arguments, what they ask of the library, what they
say, and monitor with a driver that plays a script."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import pytest

import cbprocess
from cbprocess import cli, constants, script
from cbprocess.cli import install, machine, monitor, status, uninstall, words
from cbprocess.fleet import following
from cbprocess.rule_files import RuleSet

GUID = "{713CC6CE-B3E2-4fd9-838D-E28F558F6866}"
COMMANDS = ("install", "uninstall", "status", "monitor")
DRIVER = f"the {words.MACHINE_DRIVER} driver"


class Library:
    """An instance that keeps what it was asked for."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.must_restart = False
        self.status = constants.MODULE_STATUS_RUNNING

    def install(self, *arguments: Any) -> bool:
        self.calls.append(("install", *arguments))
        return self.must_restart

    def uninstall(self, *arguments: Any) -> bool:
        self.calls.append(("uninstall", *arguments))
        return self.must_restart

    def get_driver_status(self, product: str) -> int:
        return self.status

    def get_driver_version(self, product: str) -> int:
        return 0x0001000200030004 if self.status else 0


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Library:
    made = Library()
    for module in (install, uninstall, status):
        monkeypatch.setattr(module, "machine_process", lambda: made)
    return made


@pytest.mark.parametrize("command", COMMANDS)
def test_defaults(command: str) -> None:
    assert cli.parse([command]).product == words.PRODUCT_GUID


@pytest.mark.parametrize("given", [GUID, GUID.strip("{}"), GUID.lower()])
def test_a_guid_with_braces_or_without(given: str) -> None:
    found = cli.parse(["status", "--product", given]).product
    assert found.upper() == GUID.upper()


@pytest.mark.parametrize(
    "arguments",
    [
        ["install", "x.cab"],
        ["install", "--product", ""],
        ["install", "--product", GUID[:-1]],
        ["install", "--product", GUID[1:]],
        ["install", "--product", GUID.replace("7", "g")],
        ["uninstall", "--versions", "2017"],
        ["status", "--", "x"],
        ["monitor", "ls"],
        ["monitor", "--timeout", "2999"],
        ["monitor", "--no-children"],
        ["monitor", "--allow", "x"],
        ["monitor", "-o", "f", "--trace", "f"],
    ],
)
def test_wrong_usage(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        cli.parse(arguments)
    assert raised.value.code == 2


def test_monitor_has_the_options_of_run() -> None:
    line = "monitor --json -o f -e all --name a --ignore b --no-children --deny c --protect d --timeout 0"
    options = cli.parse([*line.split(), "--summary", "--color", "always"])
    assert (options.name, options.ignore, options.deny, options.protect) == (["a"], ["b"], ["c"], ["d"])
    assert options.json and options.no_children and options.summary and options.timeout == 0
    assert cli.parse(["monitor"]).events == words.PROCESS_NAMES
    assert cli.parse(["monitor", "--protect", "p"]).events == (*words.PROCESS_NAMES, *words.HANDLE_NAMES)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_system_without_such_a_driver(
    command: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine.sys, "platform", "darwin")
    assert cli.main([command]) == words.OWN_FAILURE
    told = capfd.readouterr()
    assert told.out == "" and f"{command} is for {DRIVER}" in told.err and told.err.count("\n") == 1


def test_install(asked: Library, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["install", "--product", GUID]) == 0
    assert capsys.readouterr().out == f"{DRIVER} 1.2.3.4 is installed for {GUID}\n"
    [(_, package, product, folder, flags)] = asked.calls
    if os.name == "nt":
        assert os.path.isabs(package) and os.path.basename(package) == machine.PACKAGE
    else:
        assert package == ""
    assert (product, folder, flags) == (GUID, None, 0)


def test_every_option_of_install(asked: Library, capsys: pytest.CaptureFixture[str]) -> None:
    asked.must_restart = True
    line = f"install --product {GUID} --cab x.cab --path folder --keep-start-type --remove-old-versions"
    assert cli.main(line.split()) == machine.RESTART_NEEDED == 3010
    assert "; restart the machine to complete that\n" in capsys.readouterr().out
    flags = constants.INSTALL_KEEP_START_TYPE | constants.INSTALL_REMOVE_OLD_VERSIONS
    assert asked.calls == [("install", os.path.abspath("x.cab"), GUID, "folder", flags)]


@pytest.mark.parametrize(
    ("versions", "flags"),
    [
        ("all", constants.UNINSTALL_VERSION_ALL),
        ("current", constants.UNINSTALL_VERSION_CURRENT),
        ("previous", constants.UNINSTALL_VERSION_PREVIOUS),
    ],
)
def test_uninstall(asked: Library, versions: str, flags: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["uninstall", "--product", GUID, "--versions", versions]) == 0
    assert asked.calls[0][2:] == (GUID, None, flags)
    assert f"{DRIVER} is uninstalled for {GUID}\n" in capsys.readouterr().out
    asked.must_restart = True
    assert cli.main(["uninstall", "--product", GUID]) == machine.RESTART_NEEDED


@pytest.mark.parametrize("number", sorted(status.NAMES))
def test_status(asked: Library, number: int, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    asked.status = number
    is_there = number != constants.MODULE_STATUS_NOT_PRESENT
    assert cli.main(["status", "--product", GUID]) == (0 if is_there else 1)
    text = capsys.readouterr().out
    assert text == f"{DRIVER}{' 1.2.3.4' if is_there else ''}: {status.NAMES[number]} for {GUID}\n"
    file = tmp_path / "status"
    assert cli.main(["status", "--json", "-o", str(file), "--product", GUID]) == (0 if is_there else 1)
    assert json.loads(file.read_text()) == {
        "driver": words.MACHINE_DRIVER,
        "product": GUID,
        "status": status.NAMES[number],
        "version": "1.2.3.4" if is_there else "",
    }


def test_an_error_is_one_line(
    monkeypatch: pytest.MonkeyPatch, asked: Library, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: Any) -> bool:
        raise cbprocess.CBProcessError(constants.ERROR_PRIVILEGE_NOT_HELD, "that takes an administrator")

    monkeypatch.setattr(asked, "install", fail)
    assert cli.main(["install"]) == words.OWN_FAILURE
    error = capfd.readouterr().err
    assert "that takes an administrator" in error and "1314" in error and error.count("\n") == 1


# ---- monitor ----

OWN_VERSION = 0x0000000100000000


@pytest.mark.skipif(os.name == "nt", reason="the kernel driver has to be installed")
@pytest.mark.parametrize(
    ("installed", "product"),
    [
        (OWN_VERSION, words.PRODUCT_GUID),
        (0, words.NO_PRODUCT),
        (OWN_VERSION - 1, words.NO_PRODUCT),
        (OWN_VERSION + 1, words.NO_PRODUCT),
    ],
)
def test_monitor_uses_the_package_where_its_version_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, installed: int, product: str
) -> None:
    versions = {words.PRODUCT_GUID: installed, words.NO_PRODUCT: OWN_VERSION}
    asked = argparse.Namespace(get_driver_version=versions.__getitem__)
    monkeypatch.setattr(machine, "machine_process", lambda: asked)
    assert machine.monitoring_product(cli.parse(["monitor"])) == product
    # A product that was named is taken as it is.
    assert machine.monitoring_product(cli.parse(["monitor", "--product", GUID])) == GUID


class Scripted(cbprocess.CBProcess):
    """An instance whose driver plays a script instead."""

    path = ""

    def start_filter(self, timeout: int) -> None:
        self.config("ReplaySpeed=max")
        self.config(f"Script={self.path}")
        super().start_filter(timeout)


class CtrlC:
    """Comes when the script has been played."""

    played: Any = None

    def __init__(self) -> None:
        self._looks = 0

    def __enter__(self) -> CtrlC:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    @property
    def number(self) -> int | None:
        self._looks += 1
        return 2 if self._looks > 5 else None


def observed(
    monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str
) -> tuple[int, list[dict[str, Any]]]:
    """The status, and the events that monitor prints of a creation and an end."""
    path, output = folder / "script", folder / "output"
    first = {"process_id": 100, "process_name": "/usr/bin/first"}
    second = {"process_id": 101, "process_name": "/usr/bin/second", "creating_process_id": 100}
    script.save(
        path,
        [
            script.process_creation(**first),
            script.process_creation(**second),
            script.process_termination(process_id=101, exit_status=3),
        ],
    )
    monkeypatch.setattr(Scripted, "path", str(path))
    monkeypatch.setattr(monitor, "CBProcess", Scripted)
    monkeypatch.setattr(monitor, "Interrupt", CtrlC)
    options: argparse.Namespace = cli.parse(["monitor", "--json", "-o", str(output), *arguments])
    found = monitor.observe(options, "simulated")
    return found, [json.loads(line) for line in output.read_text().splitlines()]


def test_monitor_tells_of_all_processes_and_holds_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found, events = observed(monkeypatch, tmp_path)
    assert found == 0
    assert [(event["event"], event["process_id"]) for event in events] == [
        ("process_creation", 100),
        ("process_creation", 101),
        ("process_termination", 101),
    ]
    assert not any("held" in event["flags"] for event in events)
    assert [event["number"] for event in events] == [1, 2, 3]
    assert all("decided_by_rule" in event["flags"] for event in events)


def test_monitor_denies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _, events = observed(monkeypatch, tmp_path, "--deny", "*/second")
    codes = {
        event["process_id"]: event.get("result_code") for event in events if "creation" in event["event"]
    }
    assert codes == {100: 0, 101: constants.ERROR_ACCESS_DENIED}


def test_monitor_with_a_spool_follows_the_rules_of_the_fleet(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its host tells the fleet that they are in force."""
    root = tmp_path / "spool"
    following.write_rules(root, RuleSet([cbprocess.Rule(name="*/second", action="deny")]))
    _, events = observed(monkeypatch, tmp_path, "--spool", str(root))
    codes = {event["process_id"]: event["result_code"] for event in events if "creation" in event["event"]}
    assert codes == {100: 0, 101: constants.ERROR_ACCESS_DENIED}
    # What it says of the rules goes with its end.
    assert list((root / following.REPORTS).iterdir()) == []


def test_monitor_shows_what_was_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _, events = observed(monkeypatch, tmp_path, "--name", "*/second")
    assert {event["process_id"] for event in events} == {101}

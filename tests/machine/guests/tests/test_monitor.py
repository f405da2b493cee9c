"""`cbprocess monitor` refuses to the whole machine what its options and its rule file deny, and tells so."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from machine.native.monitor_tools import Starting, read_again, write_rules
from machine.native.monitor_tools import monitor as monitor
from machine.native.monitor_tools import program as program


def test_what_is_denied_is_refused_to_the_whole_machine(monitor: Starting, program: Path) -> None:
    watching = monitor("--deny", f"*/{program.name}")
    with pytest.raises(PermissionError):
        subprocess.run([program])
    assert watching.stop() == 0
    refused = [event for event in watching.events() if event.get("result_code")]
    assert [event["image_file_name"] for event in refused] == [str(program)]
    subprocess.run([program], check=True)


def test_a_rule_file_is_in_force_for_the_whole_machine(
    monitor: Starting, program: Path, tmp_path: Path
) -> None:
    """From one SIGHUP to the next. The record has the rule's code, whatever error the caller sees."""
    path = tmp_path / "rules.json"
    write_rules(path)
    watching = monitor("--rules", str(path), style=("--spool",))
    subprocess.run([program], check=True)
    write_rules(path, {"name": program.name, "action": "deny", "code": "FILE_NOT_FOUND"})
    read_again(watching, f"1 added (deny {program.name})")
    with pytest.raises(PermissionError):
        subprocess.run([program])
    write_rules(path)
    read_again(watching, f"1 removed (deny {program.name})")
    subprocess.run([program], check=True)
    assert watching.stop() == 0
    rows = [row for row in watching.events() if row.get("image_file_name") == str(program)]
    codes = [row["result_code"] for row in rows if row["event"] == "process_creation"]
    assert codes == [0, 2, 0]
    assert all(row["creating_process_id"] == os.getpid() for row in rows if "creating_process_id" in row)

"""`cbprocess convert`: all that it reads, what it writes, and what it says of what it cannot read."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest
from formats.samples import SAMPLES, creation

from cbprocess import formats, records
from cbprocess._sources import Source
from cbprocess.script import MAGIC

KINDS = [
    "process_creation",
    "process_creation",
    "thread_creation",
    "process_handle_operation",
    "thread_termination",
    "process_termination",
]
FAILED = 125


def convert(*arguments: object, **options: Any) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "cbprocess", "convert", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=60, **options)


def documents(output: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def test_a_recording_and_its_lines_are_converted_to_equal_records(recording: Path, lines: Path) -> None:
    first, second = convert(recording), convert(lines)
    assert (first.returncode, first.stderr) == (0, b"")
    assert first.stdout == second.stdout == lines.read_bytes()
    found = documents(first.stdout)
    assert [record["event"] for record in found] == KINDS
    assert [record["number"] for record in found] == [1, 2, 3, 4, 5, 6]
    assert found[1]["result_code"] == 5 and found[1]["arguments_bytes"] == [None, "/w=="]
    assert found[3]["desired_access"] == ["vm_read"]


@pytest.mark.parametrize("format_name", formats.NAMES)
def test_each_format_is_that_of_the_library(recording: Path, lines: Path, format_name: str) -> None:
    encode = formats.encoder(format_name)
    expected = b"".join(encode(record) for record in records.read_lines(lines))
    assert convert(recording, "--format", format_name).stdout == expected


def test_several_files_a_folder_and_standard_input(recording: Path, lines: Path, tmp_path: Path) -> None:
    session = tmp_path / "spool" / "session"
    session.mkdir(parents=True)
    whole = lines.read_bytes().splitlines(keepends=True)
    # The second segment sorts behind the first, and other files are none.
    (session / "000000000004.jsonl").write_bytes(b"".join(whole[3:]))
    (session / "000000000001.jsonl").write_bytes(b"".join(whole[:3]))
    (session / "head.json").write_text("{}")
    assert convert(tmp_path / "spool").stdout == lines.read_bytes()
    assert convert(lines, recording).stdout == lines.read_bytes() * 2
    assert convert("-", input=lines.read_bytes()).stdout == lines.read_bytes()
    assert convert("-", input=recording.read_bytes()).stdout == lines.read_bytes()
    with lines.open("rb") as file:
        assert convert("-", stdin=file).stdout == lines.read_bytes()


def test_a_recording_of_windows_is_one_of_windows_everywhere(recording: Path, tmp_path: Path) -> None:
    """It has no ids of users, whole command lines, and no signals. On Linux its users were all root."""
    data = recording.read_bytes()
    size, _ = struct.unpack_from("=II", data, len(MAGIC))
    begin = len(MAGIC) + 8
    head = data[begin : begin + size]
    other = head.replace(b"Linux x86_64", b"Windows AMD6").replace(b"Linux aarch64", b"Windows ARM64")
    assert other != head and len(other) == len(head)
    path = tmp_path / "windows.cbpr"
    path.write_bytes(
        data[: len(MAGIC)] + struct.pack("=II", size, zlib.crc32(other)) + other + data[begin + size :]
    )
    given = documents(convert(path, "--redact").stdout)
    assert [record["event"] for record in given] == KINDS
    assert {record["user_id"] for record in given} == {None}
    # The words of Linux stand for one text here.
    line = "server\0--password=[redacted]"
    assert (given[0]["arguments"], given[0]["command_line"]) == ([line], line)
    before = documents(convert(recording).stdout)
    assert [record["exit_status"] for record in before[-2:]] == [0, 3]
    assert [record["exit_status"] for record in given[-2:]] == [0, 3 << 8]


def test_the_host_of_a_recording_can_be_given(recording: Path, tmp_path: Path) -> None:
    given = documents(convert(recording, "--host", "web9").stdout)
    assert {record["host"] for record in given} == {"web9"}
    # Records that name their host keep it.
    path = tmp_path / "lines"
    path.write_bytes(records.line_of(creation()) + records.line_of({**creation(), "host": None}))
    assert [record["host"] for record in documents(convert(path, "--host", "web9").stdout)] == [
        "web1",
        "web9",
    ]
    assert convert(recording, "--host", "a\nb").returncode == FAILED


def test_bad_lines_are_left_out_and_told(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    good = records.line_of(creation())
    deep = b'{"a":' * 100_000
    path.write_bytes(
        b"\n".join([b"no json", b"[1]", b'{"schema":2}', b'{"schema":true}', b"\xff\xfe", deep, b"", good])
        + b'{"schema":1,"eve'
    )
    result = convert(path)
    assert (result.stdout, result.returncode) == (good, FAILED)
    assert result.stderr.decode() == f"cbprocess: {path}: line 1 is no JSON; 6 more lines like it\n"
    path.write_bytes(good + good[:-1])
    assert convert(path).stdout == good * 2, "a last line may lack its end"


@pytest.mark.parametrize("format_name", formats.NAMES)
def test_lines_that_others_have_made_do_not_hide_the_rest(tmp_path: Path, format_name: str) -> None:
    path = tmp_path / "hostile.jsonl"
    good = records.line_of(creation())
    begin = b'{"schema":1,"event":"x","x":'
    deep = [b"[" * 900 + b"]" * 900, b'{"a":' * 450 + b"1" + b"}" * 450]
    bad = [begin + value + b"}\n" for value in (b"NaN", b"-Infinity", b"1e999", *deep)]
    half = b'{"schema":1,"event":"x","process_name":"\\ud800"}\n'
    path.write_bytes(b"".join([*bad, half, good]))
    result = convert(path, "--format", format_name)
    assert result.stderr.decode() == f"cbprocess: {path}: line 1 is no JSON; 4 more lines like it\n"
    assert len(documents(result.stdout)) == 2 and b"\\ud800" not in result.stdout
    assert result.stdout.endswith(formats.encoder(format_name)(creation()))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_in_a_folder_of_lines_keeps_nobody_waiting(lines: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "0.jsonl")
    shutil.copy(lines, tmp_path / "1.jsonl")
    assert convert(tmp_path).stdout == lines.read_bytes()


def test_secrets_are_hidden_in_a_summary(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    rows = [{"index": 0, "command_line": "tool --token geheim", "command_line_bytes": "Z2VoZWlt"}, "other"]
    path.write_bytes(records.line_of(records.made("summary", processes=rows, counts={})))
    (record,) = documents(convert(path, "--redact").stdout)
    assert record["processes"] == [{"index": 0, "command_line": "tool --token [redacted]"}, "other"]


def test_a_damaged_recording_is_converted_as_far_as_it_is_sound(recording: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.cbpr"
    path.write_bytes(recording.read_bytes()[:-200])
    result = convert(path)
    assert result.returncode == FAILED
    assert f"{path}: " in result.stderr.decode() and result.stderr.count(b"\n") == 1
    assert 0 < len(documents(result.stdout)) < len(KINDS) + 1
    path.write_bytes(recording.read_bytes()[:20])
    assert convert(path).returncode == FAILED


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["no such file"], FAILED, "no such file: No such file or directory"),
        (["."], FAILED, ". has no files *.jsonl"),
        ([], 2, "FILE"),
        (["x", "--format", "xml"], 2, "invalid choice"),
        (["x", "--redact-also", ","], 2, "names of options"),
        (["x", "--redact-also", "a b"], 2, "no name of an option"),
        (["x", "-o", "no/such/folder"], FAILED, "no/such/folder: No such file or directory"),
    ],
)
def test_wrong_arguments(arguments: list[str], status: int, text: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(records.line_of(creation()))
    result = convert(*arguments, cwd=tmp_path)
    assert result.returncode == status
    assert text in result.stderr.decode() and "Traceback" not in result.stderr.decode()


def test_one_bad_file_does_not_hide_the_others(lines: Path, tmp_path: Path) -> None:
    result = convert("no such file", lines, cwd=tmp_path)
    assert (result.stdout, result.returncode) == (lines.read_bytes(), FAILED)


def test_the_output_is_its_owners_alone_and_never_the_input(lines: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    assert convert(lines, "-o", out).returncode == 0
    assert out.read_bytes() == lines.read_bytes()
    if os.name == "posix":
        assert stat.S_IMODE(out.stat().st_mode) == 0o600
    copy = tmp_path / "copy.jsonl"
    shutil.copy(lines, copy)
    result = convert(copy, "-o", copy)
    assert result.returncode == 2 and b"would both go to" in result.stderr
    assert copy.read_bytes() == lines.read_bytes()


def test_an_input_that_cannot_be_read_costs_no_output_of_before(lines: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("of before")
    assert convert(tmp_path / "absent", "-o", out).returncode == FAILED
    assert out.read_text() == "of before"
    empty = tmp_path / "empty.jsonl"
    empty.write_bytes(b"")
    assert convert(empty, "-o", out).returncode == 0
    assert out.read_bytes() == b"", "nothing to convert is an empty file"
    assert convert(tmp_path / "absent", lines, "-o", out).returncode == FAILED
    assert out.read_bytes() == lines.read_bytes()


def test_a_spool_that_loses_segments_while_it_is_read(lines: Path, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        shutil.copy(lines, tmp_path / f"{number}.jsonl")
    with Source(tmp_path) as source:
        size = lines.stat().st_size
        assert source.total == 3 * size
        taken = iter(source)
        next(taken)
        (tmp_path / "2.jsonl").unlink()
        assert len(list(taken)) == 11
        assert source.trouble == f"{tmp_path / '2.jsonl'}: it has been removed"
        assert source.done == 2 * size


def test_secrets_are_hidden_in_every_form_they_stand_in(tmp_path: Path) -> None:
    secret = "gehe\udcffim"
    path = tmp_path / "lines"
    arguments = ["tool", "--password", secret, f"--token={secret}", "-x", "pub\udcfflic"]
    command = " ".join(arguments)
    path.write_bytes(records.line_of(creation(arguments=arguments, command_line=command)))
    plain = convert(path).stdout
    hidden = convert(path, "--redact").stdout
    assert b"gehe" in plain
    assert b"gehe" not in hidden and b"public" not in hidden
    (record,) = documents(hidden)
    assert record["arguments"] == [
        "tool",
        "--password",
        "[redacted]",
        "--token=[redacted]",
        "-x",
        "pub\ufffdlic",
    ]
    # The exact bytes of what is hidden are gone, and those of the rest are there.
    assert records.exact(record, "arguments") == [
        *(text.encode() for text in record["arguments"][:5]),
        b"pub\xfflic",
    ]
    assert "command_line_bytes" not in record
    also = documents(convert(path, "--redact-also", "x").stdout)[0]
    assert also["arguments"][5] == "[redacted]" and "arguments_bytes" not in also


def test_a_reader_that_has_seen_enough_is_no_failure(tmp_path: Path) -> None:
    path = tmp_path / "many.jsonl"
    path.write_bytes(records.line_of(creation()) * 5000)
    command = [sys.executable, "-m", "cbprocess", "convert", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert (process.wait(60), process.stderr.read()) == (0, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_full_disk_is_told(tmp_path: Path) -> None:
    path = tmp_path / "many.jsonl"
    path.write_bytes(records.line_of(creation()) * 500)
    for arguments in ([path], [path, "-o", "/dev/full"]):
        with open("/dev/full", "wb") as full:
            command = [sys.executable, "-m", "cbprocess", "convert", *map(str, arguments)]
            result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
        assert result.returncode == FAILED
        assert b"No space left on device" in result.stderr and b"Traceback" not in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_events_of_a_pipe_are_converted_when_they_come(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cbprocess", "convert", "-", "--format", "ecs"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        for name in ("creation", "termination"):
            process.stdin.write(records.line_of(SAMPLES[name]))
            process.stdin.flush()
            # This would wait for ever if lines were kept back.
            assert json.loads(process.stdout.readline())["cbprocess"]["event"] == SAMPLES[name]["event"]
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == -signal.SIGINT
        assert process.stderr.read() == b""

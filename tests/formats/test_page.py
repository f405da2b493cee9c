"""docs/formats.md says what is so: its example events, its programs and command lines, its table of
metrics."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from formats.samples import creation

import cbprocess
from cbprocess import formats, metrics

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(recording: Path, lines: Path, tmp_path: Path) -> Path:
    """A folder with the files that the page speaks of."""
    shutil.copy(recording, tmp_path / "build.cbpr")
    shutil.copy(lines, tmp_path / "events.jsonl")
    return tmp_path


def test_each_format_has_one_example_event_which_is_what_the_format_makes() -> None:
    examples = [json.loads(block) for block in blocks("json")]
    documents = [formats.converter(name)(creation()) for name in formats.NAMES[1:]]
    version = cbprocess.__version__
    text = json.dumps(examples).replace('"version": "0.1.0"', f'"version": "{version}"')
    assert json.loads(text) == documents


PROGRAMS = blocks("py")
NEEDED = ["pandas", "pyarrow.parquet", "pandas", "prometheus_client"]


@pytest.mark.parametrize(("program", "package"), [*zip(PROGRAMS, NEEDED)])
def test_each_program_runs(program: str, package: str, folder: Path) -> None:
    pytest.importorskip(package)
    assert len(PROGRAMS) == len(NEEDED)
    # Any port will do.
    (folder / "program.py").write_text(program.replace("9100", "0"))
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    if "print(" in program:
        assert "/opt/server" in done.stdout
    else:
        assert done.stdout == ""


def test_the_table_written_by_the_page_has_all_rows(folder: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    (program,) = (program for program in PROGRAMS if "events.parquet" in program)
    (folder / "program.py").write_text(program)
    subprocess.run([sys.executable, "program.py"], cwd=folder, check=True, timeout=60)
    assert parquet.read_table(folder / "events.parquet").num_rows == 6
    assert (folder / "events.parquet").stat().st_mode & 0o077 == 0


def test_the_command_line_for_a_recording(folder: Path) -> None:
    (line,) = re.findall(r"^cbprocess (convert build.cbpr .*)$", PAGE, re.MULTILINE)
    command = [sys.executable, "-m", "cbprocess", *shlex.split(line)]
    subprocess.run(command, cwd=folder, check=True, timeout=60)
    assert len((folder / "events.ocsf.jsonl").read_bytes().splitlines()) == 6


def test_the_queries_of_the_page(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    duckdb = pytest.importorskip("duckdb")
    monkeypatch.chdir(folder)
    (query,) = re.findall(r"\| `(select .*)` \|", PAGE)
    assert sorted(duckdb.sql(query).fetchall()) == [("/bin/cat", 1), ("/opt/server", 1)]
    for package, call in (("pandas", "pandas.read_json"), ("polars", "polars.read_ndjson")):
        module = pytest.importorskip(package)
        (program,) = re.findall(rf"`({re.escape(call)}\(.*?\))`", PAGE)
        assert len(eval(program, {package: module})) == 6


def test_jq_as_on_the_page(folder: Path) -> None:
    if shutil.which("jq") is None:
        pytest.skip("jq is not installed")
    (line,) = re.findall(r"\| `(jq -r .*)` \|", PAGE)
    command = shlex.split(line.replace("\\|", "|"))
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "cat '\ufffd'\n"


def test_the_table_of_metrics_is_whole() -> None:
    rows = re.findall(r"^\| `(cbprocess_\w+)` \| (\w+) \| `(\w+)` \|$", PAGE, re.MULTILINE)
    expected = [(f"cbprocess_{name}_total", "counter", key) for key, (name, _) in metrics.COUNTERS.items()]
    expected += [(f"cbprocess_{name}", "gauge", key) for key, (name, _) in metrics.GAUGES.items()]
    assert rows == expected


def test_versions_on_the_page_are_those_of_the_formats() -> None:
    from cbprocess.formats import ecs, ocsf, otel

    assert f"Schema](#elastic-common-schema) {ecs.VERSION.rpartition('.')[0]} " in PAGE
    assert f"OCSF](#ocsf-process-activity) {ocsf.VERSION.rpartition('.')[0]}, class {ocsf.CLASS_UID}" in PAGE
    assert f"(schema {otel.SCHEMA_URL.rpartition('/')[2]})" in PAGE

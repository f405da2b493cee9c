"""Each kind of output is loaded by the tools that it is for: duckdb, pyarrow, pandas, polars, and the JSON
Schema of records. A program that has arguments like no text is among what is watched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from formats.samples import SAMPLES

from cbprocess import formats, frames, records

# What other programs' readers refuse, or misread, more than anything else.
HARD = ("creation that is not Unicode", "number beyond 64 bits of JSON", "creation on Windows", "error")


@pytest.fixture(params=formats.NAMES)
def format_name(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def file(format_name: str, lines: Path, tmp_path: Path) -> Path:
    encode = formats.encoder(format_name)
    path = tmp_path / f"events.{format_name}.jsonl"
    found = [*records.read_lines(lines), *(SAMPLES[name] for name in HARD)]
    path.write_bytes(b"".join(encode(record) for record in found))
    return path


# The process id and the program of the first event, for a query, by format.
PATHS = {
    "cbprocess": ("process_id", "process_name"),
    "ecs": ("process.pid", "process.executable"),
    "ocsf": ("process.pid", "process.file.path"),
}
ROWS = 6 + len(HARD)


def test_duckdb_reads_and_queries_it(format_name: str, file: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    loaded = duckdb.read_json(str(file), format="newline_delimited")
    assert len(loaded.fetchall()) == ROWS
    if format_name in PATHS:
        number, name = PATHS[format_name]
        query = f"select {name} from loaded where {number} = 70 order by 1 limit 1"
        assert loaded.query("loaded", query).fetchall() == [("/opt/server",)]
        return
    query = """
        select r.eventName from (select unnest(resourceLogs[1].scopeLogs[1].logRecords) as r from loaded)
        where r.severityText = 'WARN'"""
    assert {name for (name,) in loaded.query("loaded", query).fetchall()} == {
        "cbprocess.process_creation",
        "cbprocess.process_handle_operation",
    }


def test_pyarrow_reads_it(file: Path) -> None:
    reading = pytest.importorskip("pyarrow.json")
    assert reading.read_json(str(file)).num_rows == ROWS


def test_pandas_reads_it(file: Path) -> None:
    pd = pytest.importorskip("pandas")
    assert len(pd.read_json(str(file), lines=True)) == ROWS


def test_polars_reads_it(file: Path) -> None:
    pl = pytest.importorskip("polars")
    assert pl.read_ndjson(file, infer_schema_length=None).height == ROWS


def test_the_samples_are_valid_records() -> None:
    """What these tests convert is what the package makes: else they would prove nothing."""
    jsonschema = pytest.importorskip("jsonschema")
    check = jsonschema.Draft202012Validator(records.schema())
    for name, sample in SAMPLES.items():
        if name.startswith("nothing"):
            continue
        whole = {"number": None, **sample}
        assert not [error.message for error in check.iter_errors(whole)], name


def test_a_table_goes_to_parquet_and_is_queried_there(recording: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    duckdb = pytest.importorskip("duckdb")
    path = tmp_path / "events.parquet"
    parquet.write_table(frames.arrow(recording), path)
    loaded = duckdb.read_parquet(str(path))
    assert loaded.columns == list(frames.COLUMNS)
    query = """
        select process_name, list_contains(arguments, '--password=geheim'), epoch_ns(time) > 0
        from loaded where number = 1"""
    assert loaded.query("loaded", query).fetchall() == [("/opt/server", True, True)]


def test_the_lines_of_records_stay_what_they_are_by_way_of_a_table(lines: Path) -> None:
    pytest.importorskip("polars")
    rows = frames.polars(lines).to_dicts()
    for row, record in zip(rows, records.read_lines(lines)):
        assert (row["event"], row["process_id"]) == (record["event"], record["process_id"])
        other: dict[str, Any] = json.loads(row["other"] or "{}")
        assert other == {key: value for key, value in record.items() if key.endswith("_bytes")}

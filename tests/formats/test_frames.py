"""Tables of events: their columns and types in pandas, polars and Arrow, and what is damaged or unknown."""

from __future__ import annotations

import datetime
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from formats.samples import ENRICHED, SAMPLES, TIME_NS, creation

from cbprocess import CBProcessError, CBProcessWarning, _extras, frames, records

PACKAGES = {"pandas": "pandas", "polars": "polars", "arrow": "pyarrow"}
ALL = [*SAMPLES.values()]


@pytest.fixture(params=PACKAGES)
def made(request: pytest.FixtureRequest) -> Any:
    """Each function that makes a table; its rows come as dicts of Python's own values."""
    name = request.param
    pytest.importorskip(PACKAGES[name])
    make = getattr(frames, name)

    def rows(*arguments: Any, **options: Any) -> list[dict[str, Any]]:
        table = make(*arguments, **options)
        if name == "pandas":
            import pandas as pd

            assert isinstance(table, pd.DataFrame)
            found = table.to_dict("records")
            return [{key: plain(value) for key, value in row.items()} for row in found]
        if name == "polars":
            rows: list[dict[str, Any]] = table.to_dicts()
            return rows
        return [
            {
                key: table[key][row].as_py() if key != "time" else moment(table[key][row].value)
                for key in table.column_names
            }
            for row in range(table.num_rows)
        ]

    return rows


def plain(value: Any) -> Any:
    import pandas as pd

    if isinstance(value, list):
        return value
    if pd.isna(value):
        return None
    return moment(value.value) if isinstance(value, pd.Timestamp) else value


def moment(time_ns: int | None) -> datetime.datetime | None:
    """A time as Python has it, in microseconds."""
    if time_ns is None:
        return None
    second = datetime.datetime.fromtimestamp(time_ns // 10**9, datetime.timezone.utc)
    return second.replace(microsecond=time_ns % 10**9 // 1000)


def test_every_column_has_what_the_record_says(made: Any) -> None:
    sample = creation(**ENRICHED, os_error=8, verdict="answered", new="x")
    (row,) = made([sample])
    assert list(row) == list(frames.COLUMNS)
    machine = f"web1:{sample['boot']}"
    expected = {
        **{key: sample.get(key) for key in frames.COLUMNS},
        "time": moment(TIME_NS),
        "start_time": 8812345,
        "parent_start_time": 8812300,
        "creator_start_time": 8812345,
        "process": f"{machine}:4102:8812345",
        "parent": f"{machine}:4101:8812300",
        "creator": f"{machine}:4102:8812345",
        "other": '{"new":"x"}',
    }
    assert row == expected


def test_every_kind_of_record_is_a_row_and_nothing_is_lost(made: Any) -> None:
    rows = made(ALL)
    assert len(rows) == len(ALL)
    for row, sample in zip(rows, ALL):
        assert row["event"] == sample.get("event")
        other = json.loads(row["other"] or "{}")
        for key, value in sample.items():
            if value is None or key in ("schema", "time", "time_ns"):
                continue
            if row.get(key) is None:
                assert other[key] == value
            else:
                assert key not in other and str(row[key]) == str(value)


def test_numbers_beyond_53_bits_and_nanoseconds_are_exact(made: Any) -> None:
    (row,) = made([SAMPLES["number beyond 64 bits of JSON"]], columns=["start_time", "time"])
    assert row == {"start_time": 2**64 - 1, "time": moment(TIME_NS)}


def test_a_recording_and_its_lines_make_equal_tables(made: Any, recording: Path, lines: Path) -> None:
    rows = made(recording)
    assert rows == made(lines) == made(str(lines)) == made(records.read_lines(lines))
    assert [row["number"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[0]["process"] == rows[2]["process"] == rows[5]["process"]
    assert rows[3]["desired_access"] == ["vm_read"] and rows[5]["exit_status"] == 3
    assert {row["host"] for row in made(recording, host="web9")} == {"web9"}
    assert made(records.read_lines(lines), host="web9") == made(lines, host="web9")


def test_no_record_makes_a_table_without_rows(made: Any, tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_bytes(b"")
    assert made(empty) == made([]) == []


def test_columns_can_be_chosen(made: Any) -> None:
    assert made([creation()], columns="event") == [{"event": "process_creation"}]
    (row,) = made([creation()], columns=("user_id", "event", "user_id"))
    assert list(row) == ["user_id", "event"]
    for columns in (["event", "nonsense"], [], ["schema"]):
        with pytest.raises(CBProcessError) as caught:
            made([creation()], columns=columns)
        assert caught.value.code == 87


def test_what_is_damaged_is_left_out_with_a_warning(made: Any, lines: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.jsonl"
    damaged.write_bytes(b"nonsense\n" + lines.read_bytes()[:-10])
    with pytest.warns(CBProcessWarning, match=r"damaged.jsonl: line 1 is no JSON; 1 more lines"):
        assert len(made(damaged)) == 5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made(lines)


def test_text_of_others_that_is_not_unicode_makes_a_table(made: Any, tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(
        b'{"schema":1,"event":"x","process_name":"a\\ud800","arguments":["\\udfff"],"y":"\\udc00"}\n'
    )
    assert len(made(path)) == 1


@pytest.mark.parametrize("source", [5, None, b"path", {"event": "x"}, [b"x"], ["x"], [None]])
def test_what_is_no_source_is_error_87(made: Any, source: Any) -> None:
    with pytest.raises(CBProcessError) as caught:
        made(source)
    assert caught.value.code == 87


def test_a_file_that_cannot_be_read_is_told_at_once(made: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        made(tmp_path / "absent")
    with pytest.raises(CBProcessError) as caught:
        made(tmp_path)
    assert caught.value.code == 11


def test_the_types_of_a_table_do_not_depend_on_its_rows() -> None:
    pytest.importorskip("pyarrow")
    assert frames.arrow([]).schema == frames.arrow(ALL).schema
    types = {str(kind) for kind in frames.arrow([]).schema.types}
    assert types == {"string", "list<item: string>", "int64", "uint64", "timestamp[ns, tz=UTC]"}


def test_polars_and_pandas_have_their_own_types() -> None:
    pl = pytest.importorskip("polars")
    pd = pytest.importorskip("pandas")
    schema = frames.polars([]).schema
    assert (schema["time"], schema["start_time"]) == (pl.Datetime("ns", "UTC"), pl.UInt64)
    assert frames.polars(ALL).schema == schema
    for source in ([], ALL):
        types = frames.pandas(source).dtypes
        assert str(types["time"]) == "datetime64[ns, UTC]"
        assert (types["process_id"], types["start_time"]) == (pd.Int64Dtype(), pd.UInt64Dtype())


def test_batches_are_read_one_at_a_time() -> None:
    pa = pytest.importorskip("pyarrow")
    taken: list[int] = []

    def endless() -> Any:
        while True:
            taken.append(1)
            yield creation()

    reader = frames.batches(endless(), rows=10)
    first = reader.read_next_batch()
    assert first.num_rows == 10 and len(taken) == 10
    assert reader.read_next_batch().num_rows == 10
    table = pa.Table.from_batches(frames.batches(ALL, rows=3))
    assert table.equals(frames.arrow(ALL))
    for rows in (0, -1, 1.5, None):
        with pytest.raises(CBProcessError) as caught:
            frames.batches(ALL, rows=rows)  # type: ignore[arg-type]
        assert caught.value.code == 87


def test_a_missing_package_is_an_error_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(module: str) -> Any:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr(_extras, "import_module", absent)
    for name, package in PACKAGES.items():
        with pytest.raises(
            CBProcessError, match=rf"takes {package}: pip install 'cbprocess\[{name}\]'"
        ) as caught:
            getattr(frames, name)([])
        assert caught.value.code == 50

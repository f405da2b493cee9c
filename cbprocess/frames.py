"""Events as tables: recordings and JSON Lines as a pandas, polars or Arrow table.

    from cbprocess import frames
    table = frames.pandas("build.cbpr")
    table[table.event == "process_creation"].groupby("process_name").size()

Each needs its own package only (extras `pandas`, `polars`, `arrow`, or `frames` for all). Knows records and
the types of columns; nothing of filters and of the command line."""

from __future__ import annotations

import os
from itertools import islice

from ._checks import UINT32_MAX, checked_int, wrong
from ._extras import need
from ._sources import Source
from .errors import warn
from .formats._fields import as_number, entity_id
from .records import WHO, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any, Union

    Records = Union[str, os.PathLike[str], Iterable[Mapping[str, Any]]]
    Columns = dict[str, list[Any]]

__all__ = ("COLUMNS", "arrow", "batches", "pandas", "polars")

TEXT, TEXTS, NUMBER, UNSIGNED, TIME = "text", "texts", "number", "unsigned", "time"

# The columns of every table, in their order, with their types. A time is in nanoseconds, in UTC. What a
# record does not have is null.
COLUMNS: dict[str, str] = {
    "time": TIME,
    "host": TEXT,
    "boot": TEXT,
    "session": TEXT,
    "number": NUMBER,
    "event": TEXT,
    "sequence": NUMBER,
    "process_id": NUMBER,
    "start_time": UNSIGNED,
    "user_id": NUMBER,
    "flags": TEXTS,
    "result_code": NUMBER,
    "process_name": TEXT,
    "image_file_name": TEXT,
    "arguments": TEXTS,
    "command_line": TEXT,
    "exit_status": NUMBER,
    "thread_id": NUMBER,
    "parent_process_id": NUMBER,
    "parent_start_time": UNSIGNED,
    "creating_process_id": NUMBER,
    "creating_thread_id": NUMBER,
    "creator_start_time": UNSIGNED,
    "originator_process_id": NUMBER,
    "originator_thread_id": NUMBER,
    "originator_start_time": UNSIGNED,
    "original_desired_access": TEXTS,
    "desired_access": TEXTS,
    "source_process_id": NUMBER,
    "target_process_id": NUMBER,
    "thread_count": NUMBER,
    "verdict": TEXT,
    "os_error": NUMBER,
    "error_code": NUMBER,
    "description": TEXT,
    "working_directory": TEXT,
    "cgroup": TEXT,
    "container_id": TEXT,
    "session_id": NUMBER,
    "terminal": TEXT,
    "user_name": TEXT,
    # The identities of processes over all machines: what tables are joined on.
    **{who: TEXT for who in WHO},
    # Everything else that a record has, as a text of JSON.
    "other": TEXT,
}
# The columns that are a field of the record, of the same name.
FIELDS = {name: kind for name, kind in COLUMNS.items() if name not in (*WHO, "time", "other")}
# These are told by other columns.
TOLD = ("schema", "time", "time_ns")
LIMITS = {NUMBER: (-(2**63), 2**63 - 1), UNSIGNED: (0, 2**64 - 1), TIME: (0, 2**63 - 1)}
# So many rows stand in one batch of an Arrow table.
ROWS = 65_536


def pandas(source: Records, *, columns: Iterable[str] | None = None, host: str | None = None) -> Any:
    """Makes a pandas.DataFrame with one row for each record, in their order.

    source: the path of a recording, of JSON Lines, or of a folder of them (a spool); or records, as dicts.
    columns: names of COLUMNS, in place of all. host: the name of the host, for records without one, as those
    of recordings. What is damaged is left out, with a CBProcessWarning.

    Numbers are nullable (Int64, UInt64), times are datetime64[ns, UTC]. Any thread. Errors: 50 without
    pandas, 87 for a column that does not exist, those of open() and of Recording for the source."""
    pd = need("pandas", "pandas")
    found = _columns(source, columns, host)
    return pd.DataFrame({name: _series(pd, values, COLUMNS[name]) for name, values in found.items()})


def polars(source: Records, *, columns: Iterable[str] | None = None, host: str | None = None) -> Any:
    """Makes a polars.DataFrame. Arguments and errors are those of pandas(); error 50 without polars."""
    pl = need("polars", "polars")
    types = {
        TEXT: pl.String,
        TEXTS: pl.List(pl.String),
        NUMBER: pl.Int64,
        UNSIGNED: pl.UInt64,
        TIME: pl.Datetime("ns", "UTC"),
    }
    found = _columns(source, columns, host)
    return pl.DataFrame(
        [pl.Series(name, values, dtype=types[COLUMNS[name]]) for name, values in found.items()]
    )


def arrow(source: Records, *, columns: Iterable[str] | None = None, host: str | None = None) -> Any:
    """Makes a pyarrow.Table. Arguments and errors are those of pandas(); error 50 without pyarrow."""
    return batches(source, columns=columns, host=host).read_all()


def batches(
    source: Records, *, columns: Iterable[str] | None = None, host: str | None = None, rows: int = ROWS
) -> Any:
    """Makes a pyarrow.RecordBatchReader, for files that are larger than the memory: of JSON Lines one batch
    of so many rows (from 1) is in memory at a time. The source is read while batches are taken. Arguments
    and errors are those of arrow()."""
    pa = need("pyarrow", "arrow")
    checked_int(rows, "rows", 1, UINT32_MAX)
    types = {
        TEXT: pa.string(),
        TEXTS: pa.list_(pa.string()),
        NUMBER: pa.int64(),
        UNSIGNED: pa.uint64(),
        TIME: pa.timestamp("ns", "UTC"),
    }
    names = _checked_columns(columns)
    schema = pa.schema([(name, types[COLUMNS[name]]) for name in names])

    def made() -> Iterator[Any]:
        for part in _parts(_records(source, host), names, rows):
            yield pa.record_batch([pa.array(part[field.name], field.type) for field in schema], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, made())


def _series(pd: Any, values: list[Any], kind: str) -> Any:
    if kind == TIME:
        return pd.to_datetime(pd.Series(values, dtype="Int64"), unit="ns", utc=True)
    types = {TEXT: "string", NUMBER: "Int64", UNSIGNED: "UInt64", TEXTS: object}
    return pd.Series(values, dtype=types[kind])


def _columns(source: Records, columns: Iterable[str] | None, host: str | None) -> Columns:
    names = _checked_columns(columns)
    result: Columns = {name: [] for name in names}
    for part in _parts(_records(source, host), names, ROWS):
        for name, values in part.items():
            result[name] += values
    return result


def _checked_columns(columns: Iterable[str] | None) -> tuple[str, ...]:
    if columns is None:
        return tuple(COLUMNS)
    names = (columns,) if isinstance(columns, str) else tuple(dict.fromkeys(columns))
    unknown = [name for name in names if name not in COLUMNS]
    if unknown or not names:
        raise wrong(f"columns must be names of frames.COLUMNS, not {unknown or 'none'!r:.100}")
    return names


def _records(source: Records, host: str | None) -> Iterator[Mapping[str, Any]]:
    """The records of a source. A file is opened at once, so that its errors come from the caller's call."""
    if isinstance(source, (str, os.PathLike)):
        return _of_file(Source(source, host))
    if isinstance(source, (bytes, dict)) or not hasattr(source, "__iter__"):
        raise wrong(f"source must be a path or records, not {type(source).__name__}")
    return _of_records(source, host)


def _of_file(source: Source) -> Iterator[Mapping[str, Any]]:
    with source:
        yield from source
        if source.trouble is not None:
            warn(f"not everything could be read: {source.trouble}")


def _of_records(source: Iterable[Mapping[str, Any]], host: str | None) -> Iterator[Mapping[str, Any]]:
    for record in source:
        if not isinstance(record, dict):
            raise wrong(f"a record must be a dict, as record_of() makes it, not {type(record).__name__}")
        yield record if host is None or record.get("host") is not None else {**record, "host": host}


def _parts(records: Iterator[Mapping[str, Any]], names: tuple[str, ...], rows: int) -> Iterator[Columns]:
    """The values of records by columns, up to so many rows at a time."""
    while part := list(islice(records, rows)):
        yield {name: _column(part, name) for name in names}


def _column(part: list[Mapping[str, Any]], name: str) -> list[Any]:
    """The values of one column. What does not fit into its column stands in `other`."""
    if name in WHO:
        fields = WHO[name]
        return [entity_id(record, *fields) for record in part]
    if name == "other":
        return [_other(record) for record in part]
    kind, key = COLUMNS[name], "time_ns" if name == "time" else name
    return [None if (value := record.get(key)) is None else _fitting(value, kind) for record in part]


def _other(record: Mapping[str, Any]) -> str | None:
    rest = {
        key: value
        for key, value in record.items()
        if value is not None and (key not in FIELDS or _fitting(value, FIELDS[key]) is None)
    }
    for key in TOLD:
        rest.pop(key, None)
    return text_of(rest) if rest else None


def _fitting(value: Any, kind: str) -> Any:
    """The value as its column has it, or None."""
    if kind == TEXT:
        return value if isinstance(value, str) else None
    if kind == TEXTS:
        fits = isinstance(value, list) and all(isinstance(item, str) for item in value)
        return value if fits else None
    number = as_number(value)
    low, high = LIMITS[kind]
    return number if number is not None and low <= number <= high else None

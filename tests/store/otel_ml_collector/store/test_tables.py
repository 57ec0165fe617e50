"""Tests of records as columns, and of the tables that store them."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest

from otel_ml_collector.records import TagValue, text_of
from otel_ml_collector.store.rows import fold_rows
from otel_ml_collector.store.schema import TABLES
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.tables import RUNS, TRACE_INDEX, arrow_type
from tests.support.folders import SCHEMAS
from tests.support.otel_ml_collector.spans import make_call, map_all, map_one, span_id
from tests.support.otel_ml_collector.stores import Store

# Tables of older schemas whose rows moved to another table.
DROPPED: Final = frozenset({"views", "experiment_traces"})
_TABLE: Final = re.compile(
    r"CREATE TABLE IF NOT EXISTS (\w+) \(\n(.*?)\n\)\nENGINE", re.DOTALL | re.ASCII
)
_COLUMN: Final = re.compile(r"^  (?!INDEX)`?(\w+)`? [^\n]*(?:\n    [^\n]*)*", re.MULTILINE)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("text", "text"),
        ("", ""),
        ('"quoted"', '"quoted"'),
        (True, "true"),
        (False, "false"),
        (3, "3"),
        (-(2**63), "-9223372036854775808"),
        (0.5, "0.5"),
        (3.0, "3.0"),
    ],
)
def test_text_of(value: TagValue, text: str) -> None:
    """The text of a tag, used by filters, is a string unchanged and any other value as JSON."""
    assert text_of(value) == text


def test_stamps() -> None:
    """Each row has a distinct arrival time if the table has a column for it."""
    records = map_all(make_call(), make_call())
    assert RUNS.to_arrow(records.runs, [5, 6])["arrived_ns"].to_pylist() == [5, 6]
    assert "arrived_ns" not in TRACE_INDEX.to_arrow(records.trace_keys).column_names


def test_root() -> None:
    """A run without a parent has a parent ID of zeros."""
    run = map_one(make_call())
    child = replace(run, parent_span_id=span_id(7))
    parents = RUNS.to_arrow([run, child], [1, 2])["parent_span_id"].to_pylist()
    assert parents == [bytes(8), span_id(7)]


def test_misfit() -> None:
    """A value that does not fit its column raises an Arrow error."""
    run = replace(map_one(make_call()), trace_id=b"short")
    with pytest.raises(pa.ArrowException):
        RUNS.to_arrow([run], [1])


@pytest.mark.parametrize(
    "table", ["runs", "payloads", "metrics", "model_versions", "late_tags", "late_logs", "objects"]
)
def test_all_columns(store: Store, table: str) -> None:
    """Written records have every column of their table."""
    from otel_ml_collector.store import tables as declared

    tables: dict[str, declared.Table[Any]] = {
        found.name: found for found in vars(declared).values() if isinstance(found, declared.Table)
    }
    rows = store.reader.rows(
        Sql(
            "SELECT name FROM system.columns WHERE database = currentDatabase()"
            " AND table = {table:String} AND default_kind != 'ALIAS'"
        ),
        {"table": table},
    )
    written = tables[table].to_arrow([], [])
    if table == "runs":
        written = fold_rows(written, {})
    assert sorted(written.column_names) == sorted(row["name"] for row in rows)


def columns_of_schema(text: str) -> dict[tuple[str, str], str]:
    """Return the definition of each column by table and name."""
    found: dict[tuple[str, str], str] = {}
    for table in _TABLE.finditer(text):
        for line in _COLUMN.finditer(table[2]):
            found[table[1], line[1]] = " ".join(line[0].rstrip(",").split())
    return found


# Columns that a step of `store.migrations` changed, with the number of this step.
CHANGED: Final = {("runs", "rank"): 32, ("runs", "final_scores"): 38}


@pytest.mark.parametrize("file", sorted(SCHEMAS.glob("schema_*.sql")), ids=lambda file: file.stem)
def test_released_columns(file: Path) -> None:
    """A released column still has the same type, codec and other definitions."""
    version = int(file.stem.removeprefix("schema_"))
    released = {
        key: column
        for key, column in columns_of_schema(file.read_text()).items()
        if version >= CHANGED.get(key, 0)
    }
    today = columns_of_schema(";\n".join(TABLES) + ";")
    assert len(released) > 50
    assert {key: today.get(key) for key in released} == released


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("LowCardinality(String)", pa.string()),
        ("String CODEC(ZSTD(1))", pa.string()),
        ("Nullable(Float64)", pa.float64()),
        ("FixedString(16)", pa.binary(16)),
        ("SimpleAggregateFunction(max, Int64)", pa.int64()),
        ("Map(LowCardinality(String), String)", pa.map_(pa.string(), pa.string())),
        ("Array(UInt64) EPHEMERAL", pa.list_(pa.uint64())),
        (
            "SimpleAggregateFunction(maxMap, Map(String, Int64)) DEFAULT map('', a)",
            pa.map_(pa.string(), pa.int64()),
        ),
    ],
)
def test_arrow_type(sql: str, expected: pa.DataType) -> None:
    """A value's Arrow type is that of its column, without wrappers, codecs and defaults."""
    assert arrow_type(sql) == expected

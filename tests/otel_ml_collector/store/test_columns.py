"""Tests of records as columns."""

from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from otel_ml_collector.records import TagValue, text_of
from otel_ml_collector.store.columns import RUNS, TRACE_INDEX
from tests.otel_ml_collector.spans import make_call, map_all, map_one, span_id
from tests.otel_ml_collector.stores import Store


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
    """A tag's text is what a filter compares: a text as it is, other values as in JSON."""
    assert text_of(value) == text


def test_stamps() -> None:
    """Each row has its own time of arrival, where the table has a column for it."""
    records = map_all(make_call(), make_call())
    assert RUNS.to_arrow(records.runs, [5, 6])["arrived_ns"].to_pylist() == [5, 6]
    assert "arrived_ns" not in TRACE_INDEX.to_arrow(records.trace_keys).column_names


def test_root() -> None:
    """A run without a parent has a parent of zeros."""
    run = map_one(make_call())
    child = replace(run, parent_span_id=span_id(7))
    parents = RUNS.to_arrow([run, child], [1, 2])["parent_span_id"].to_pylist()
    assert parents == [bytes(8), span_id(7)]


def test_misfit() -> None:
    """A value that does not fit its column is an error of its column's making."""
    run = replace(map_one(make_call()), trace_id=b"short")
    with pytest.raises(pa.ArrowException):
        RUNS.to_arrow([run], [1])


@pytest.mark.parametrize(
    "table", ["runs", "payloads", "metrics", "model_versions", "late_tags", "late_logs", "objects"]
)
def test_all_columns(store: Store, table: str) -> None:
    """What is written has every column of its table."""
    from otel_ml_collector.store import columns

    tables: dict[str, columns.Table[Any]] = {
        found.name: found for found in vars(columns).values() if isinstance(found, columns.Table)
    }
    rows = store.reader.rows(
        "SELECT name FROM system.columns WHERE database = currentDatabase()"
        " AND table = {table:String}",
        {"table": table},
    )
    written = tables[table].to_arrow([], []).column_names
    assert sorted(written) == sorted(row["name"] for row in rows)

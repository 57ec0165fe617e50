"""Compares the two ways to write a label or ground truth as JSON text: in Python and in SQL."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from otel_ml_collector.fold.late import write_word
from otel_ml_collector.records import Metric
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.tables import WORD
from tests.support.otel_ml_collector.stores import Store

_WRITTEN = Sql("""
    SELECT {word} AS word FROM (
      SELECT 'human' AS source, {actual:String} AS actual, {label:String} AS label,
        {value:Nullable(Float64)} AS value, {passed:Nullable(Bool)} AS passed)""").fill(word=WORD)


def write_in_sql(store: Store, metric: Metric) -> str:
    """Write the word of a record with the SQL of the store."""
    fields = {name: getattr(metric, name) for name in ("actual", "label", "value", "passed")}
    [row] = store.reader.rows(_WRITTEN, fields)
    return str(row["word"])


def label(value: float | None = None, **fields: Any) -> Metric:
    """Make a label by a reviewer."""
    made: dict[str, Any] = {
        "project": "p",
        "owner": "",
        "owner_start_ns": 0,
        "name": "tone",
        "source": "human",
    }
    return Metric(**made | {"step": -1, "mode": "single", "time_ns": 1, "value": value} | fields)


@example(1e16)
@example(1e21)
@example(1e-6)
@example(1e-7)
@example(-0.0)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers(store: Store, value: float) -> None:
    """A number has the same text."""
    assert write_word(label(value)) == write_in_sql(store, label(value))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"passed": False},
        {"actual": '{"a": 1.50}', "label": "good"},
        {"label": 'a "quoted" back\\slash / and ü', "value": 1.0},
        {"label": "two\nlines\t\x01"},
        {"value": float("nan"), "passed": True},
        {"value": float("inf")},
    ],
)
def test_words(store: Store, fields: dict[str, Any]) -> None:
    """A label has the same JSON value."""
    texts = write_word(label(**fields)), write_in_sql(store, label(**fields))
    first, second = (json.loads(text) if text else None for text in texts)
    assert first == second

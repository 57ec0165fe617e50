"""Compares the two ways to write a label or ground truth as JSON text: in Python and in SQL."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from otel_ml_collector.fold.late import write_word
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.tables import WORD
from tests.support.otel_ml_collector.stores import Store

_WRITTEN = Sql("""
    SELECT {word} AS word FROM (
      SELECT 'human' AS source, {actual:String} AS actual, {label:String} AS label,
        {value:Nullable(Float64)} AS value, {passed:Nullable(Bool)} AS passed)""").fill(word=WORD)
_NOTHING: dict[str, Any] = {"actual": "", "label": "", "value": None, "passed": None}


def write_in_sql(store: Store, **fields: Any) -> str:
    """Write the word of a record with the SQL of the store."""
    [row] = store.reader.rows(_WRITTEN, _NOTHING | fields)
    return str(row["word"])


@example(1e16)
@example(1e21)
@example(1e-6)
@example(1e-7)
@example(-0.0)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers(store: Store, value: float) -> None:
    """A number has the same text."""
    assert write_word("", "", value, None) == write_in_sql(store, value=value)


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
    texts = write_word(**_NOTHING | fields), write_in_sql(store, **fields)
    first, second = (json.loads(text) if text else None for text in texts)
    assert first == second

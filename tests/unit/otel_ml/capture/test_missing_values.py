"""Missing values of all libraries are null, wherever they are."""

import decimal
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it carries no types
import polars as pl
import pyarrow as pa
import pytest

from tests.support.otel_ml.recording import Recording, inputs, outputs

MISSING: dict[str, Any] = {
    "pd.NA": pd.NA,
    "pd.NaT": pd.NaT,
    "datetime64": np.datetime64("NaT"),
    "datetime64 of a unit": np.datetime64("NaT", "ns"),
    "timedelta64": np.timedelta64("NaT"),
    "NaN": float("nan"),
    "NaN of numpy": np.float32("nan"),
    "Decimal": decimal.Decimal("NaN"),
    "masked": np.ma.masked,
    "masked number": np.ma.array(5, mask=True),
    "pa.NA": pa.NA,
    "null of Arrow": pa.scalar(None, pa.timestamp("us")),
    "null of polars": pl.Series([1, None])[1],
}


@pytest.mark.parametrize("value", MISSING.values(), ids=MISSING)
def test_missing_value(value: Any) -> None:
    """A missing value is null: alone, in a dict, a list, a tuple and an array of objects."""
    recording = Recording()
    array = np.empty(2, dtype=object)
    array[:] = [1, value]

    @recording.client.trace
    def give(alone: Any, named: Any, listed: Any, array: Any) -> Any:
        return value

    give(value, {"a": 1, "b": {"c": value}}, [1, (value, "x")], array)

    run = recording.run()
    recorded = inputs(run)
    assert recorded.pop("array")["values"] == [1, None]
    assert recorded == {
        "alone": None,
        "named": {"a": 1, "b": {"c": None}},
        "listed": [1, [None, "x"]],
    }
    assert outputs(run) is None


CELLS = {name: value for name, value in MISSING.items() if name != "masked number"}


@pytest.mark.parametrize("value", CELLS.values(), ids=CELLS)
def test_missing_cell(value: Any) -> None:
    """A missing cell in a column of objects is null in the preview of the table."""
    recording = Recording()
    frame = pd.DataFrame({"a": pd.Series([1, "x", value], dtype=object)})
    recording.client.trace(lambda frame: None)(frame)
    assert inputs(recording.run())["frame"]["cells"] == {"a": [1, "x", None]}


def test_values_that_are_there() -> None:
    """Values of the same types that are not missing are recorded as before."""
    recording = Recording()
    given = [
        pa.scalar(3),
        pa.scalar({"a": None, "b": 1}),
        np.datetime64("2026-01-02"),
        decimal.Decimal("1.10"),
        np.ma.array(5, mask=False),
    ]
    recording.client.trace(lambda given: None)(given)
    assert inputs(recording.run())["given"] == [3, {"a": None, "b": 1}, "2026-01-02", "1.10", 5]


def test_long_list_of_arrow() -> None:
    """A list in an Arrow column is recorded like an array, with its first elements."""
    recording = Recording()
    recording.client.trace(lambda given: None)(pa.scalar([*range(100_000), None]))
    assert inputs(recording.run())["given"]["shape"] == [100_001]

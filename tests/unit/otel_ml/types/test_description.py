"""Short descriptions of values."""

from typing import Any

import numpy as np
import orjson
import pandas as pd  # type: ignore[import-untyped]  # it carries no types
import pytest
from hypothesis import given
from PIL import Image as Pillow

from otel_ml.types import Image, describe, wrap
from tests.support.otel_ml.strategies import any_values

DESCRIPTIONS: list[tuple[Any, dict[str, Any]]] = [
    (
        np.array([[1.0, np.nan], [3.0, 2.0]]),
        {
            "type": "otel_ml.types.Numpy",
            "dtype": "float64",
            "shape": [2, 2],
            "min": 1.0,
            "max": 3.0,
            "missing": 1,
            "mean": 2.0,
            "head": [1.0, None, 3.0, 2.0],
        },
    ),
    (
        np.array(["2024-05-17", "NaT"], "M8[D]"),
        {
            "type": "otel_ml.types.Numpy",
            "dtype": "datetime64[D]",
            "shape": [2],
            "min": "2024-05-17",
            "max": "2024-05-17",
            "missing": 1,
            "head": ["2024-05-17", None],
        },
    ),
    (
        pd.Series([1, None], dtype="Int64", name="n"),
        {
            "type": "otel_ml.types.Series",
            "dtype": "Int64",
            "shape": [2],
            "name": "n",
            "min": 1,
            "max": 1,
            "mean": 1.0,
            "missing": 1,
            "head": [1, "<NA>"],
        },
    ),
    (
        pd.DataFrame({"a": [1, 2], "b": pd.Categorical(["x", None])}),
        {
            "type": "otel_ml.types.DataFrame",
            "shape": [2, 2],
            "columns": [["a", "int64"], ["b", "category"]],
            "missing": 1,
            "head": [[1, "x"], [2, None]],
        },
    ),
    (
        Image(Pillow.new("RGB", (4, 3)), lossless=False),
        {"type": "otel_ml.types.Image", "mode": "RGB", "size": [4, 3], "lossless": False},
    ),
    ("text", {"type": "otel_ml.types.Text", "length": 4, "head": "text"}),
    (b"\xff\x00", {"type": "otel_ml.types.Bytes", "length": 2, "head": "ff00"}),
    (
        {"a": (1, None)},
        {"type": "otel_ml.types.Native", "of": "dict", "length": 1, "head": {"a": [1, None]}},
    ),
    (7, {"type": "otel_ml.types.Native", "of": "int", "head": 7}),
]


@pytest.mark.parametrize(("value", "expected"), DESCRIPTIONS, ids=lambda part: type(part).__name__)
def test_description(value: object, expected: dict[str, Any]) -> None:
    """A description has the value's type, its measures and its first elements."""
    assert describe(wrap(value)) == expected


LONG: list[Any] = [
    pd.DataFrame(np.zeros((3, 500)), columns=[f"column {'é' * 50} {n}" for n in range(500)]),
    pd.DataFrame({"a": ["é" * 10_000] * 20}),
    np.array(["é" * 10_000] * 20),
    np.zeros(1, [(f"field {n}", "i4") for n in range(500)]),
    "é" * 10_000,
    [{"é" * 1_000: "\0" * 1_000}] * 100,
    pd.Series([1], name="é" * 10_000),
]


@pytest.mark.parametrize("value", LONG, ids=lambda value: type(value).__name__)
def test_description_is_short(value: object) -> None:
    """The description of a long value is short."""
    assert len(orjson.dumps(describe(wrap(value)))) <= 1_024


@given(value=any_values)
def test_any_description_is_short(value: object) -> None:
    """Any value has a short description in JSON."""
    assert len(orjson.dumps(describe(wrap(value)))) <= 1_024


@pytest.mark.parametrize(
    "array",
    [
        np.array([], "f4"),
        np.array([np.nan]),
        np.array([np.inf, -np.inf]),
        np.array([60_000, 60_000], "f2"),
        np.array([1e308, 1e308]),
        np.ma.MaskedArray([1, 2], [True, True]),
        np.array([1j]),
        np.array([{}, None], object),
    ],
    ids=repr,
)
def test_array_without_statistics_is_described(array: Any) -> None:
    """An array without a finite mean is still described."""
    found = describe(wrap(array))
    assert (found["dtype"], found["shape"]) == (str(array.dtype), list(array.shape))
    orjson.dumps(found)

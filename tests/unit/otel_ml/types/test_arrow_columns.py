"""Pandas columns with Arrow types read back with their types."""

import datetime
import decimal
from typing import Any

import pandas as pd  # type: ignore[import-untyped]  # it carries no types
import pyarrow as pa
import pytest

from tests.support.otel_ml.types.trips import same_series, trip

NOON = datetime.datetime(2024, 5, 17, 12)  # noqa: DTZ001 - a column without a zone
TYPES: dict[str, tuple[Any, list[Any]]] = {
    "int8": (pa.int8(), [1, None]),
    "double": (pa.float64(), [0.5, None]),
    "bool": (pa.bool_(), [True, None]),
    "string": (pa.string(), ["a", None]),
    "large string": (pa.large_string(), ["a", None]),
    "binary": (pa.binary(), [b"\xff", None]),
    "date": (pa.date32(), [datetime.date(2024, 5, 17), None]),
    "timestamp": (pa.timestamp("us"), [NOON, None]),
    "zoned timestamp": (pa.timestamp("ns", "Europe/Amsterdam"), [pd.Timestamp(1, tz="UTC"), None]),
    "duration": (pa.duration("ms"), [datetime.timedelta(seconds=1), None]),
    "decimal": (pa.decimal128(5, 2), [decimal.Decimal("1.10"), None]),
    "list": (pa.list_(pa.int64()), [[1, None], None]),
    "struct": (pa.struct([("a", pa.int8()), ("b", pa.string())]), [{"a": 1, "b": None}, None]),
}


@pytest.mark.parametrize("name", TYPES)
def test_arrow_column_comes_back(name: str) -> None:
    """An Arrow column keeps its type and missing values."""
    kind, items = TYPES[name]
    series = pd.Series(items, dtype=pd.ArrowDtype(kind))
    same_series(trip(series), series)


def test_other_arrow_column_becomes_objects() -> None:
    """A column of an unsupported Arrow type keeps its values as objects."""
    kind = pd.ArrowDtype(pa.map_(pa.string(), pa.int8()))
    found = trip(pd.Series([[("a", 1)]], dtype=kind))
    same_series(found, pd.Series([[("a", 1)]], dtype=object))

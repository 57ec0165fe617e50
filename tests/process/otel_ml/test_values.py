"""Cases of tests/unit/otel_ml/test_values.py that start processes."""

from collections.abc import Callable

import orjson
import polars as pl
import pytest

from otel_ml.capture.values import (
    encode,
)
from tests.unit.otel_ml.test_values import TABLE


@pytest.mark.parametrize("make", [lambda: TABLE, lambda: pl.from_pandas(TABLE[[*TABLE][:5]])])
def test_cells_of_tables(make: Callable[[], object]) -> None:
    """Table cells are plain values by column: missing cells are null, long ones are shortened."""
    cells = orjson.loads(encode(make()).text)["cells"]
    assert [cells[name] for name in ("age", "member", "count")] == [
        [31.5, None, 64.0],
        [True, False, True],
        [1, None, 3],
    ]
    assert cells["card"] == ["visa", None, "x" * 64]
    assert cells["day"] == ["2026-11-01T00:00:00", None, "2026-11-03T00:00:00"]
    assert cells.get("parts", ["builtins.list"])[0] == "builtins.list"

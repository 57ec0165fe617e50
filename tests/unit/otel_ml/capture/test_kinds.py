"""One table of kinds says which classes of other libraries are captured and stored."""

from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # has no types
import polars as pl
import pyarrow as pa
import pytest
from PIL import Image
from scipy import sparse

from otel_ml import types
from otel_ml.capture.kinds import LibraryKind, find_kinds
from otel_ml.redaction import Redaction

VALUES: dict[LibraryKind, Any] = {
    LibraryKind.NUMPY_ARRAY: np.arange(3),
    LibraryKind.NUMPY_SCALAR: np.float32(1.5),
    LibraryKind.PANDAS_TABLE: pd.DataFrame({"a": [1]}),
    LibraryKind.PANDAS_COLUMN: pd.Series([1]),
    LibraryKind.PANDAS_MISSING: pd.NA,
    LibraryKind.POLARS_TABLE: pl.DataFrame({"a": [1]}),
    LibraryKind.POLARS_COLUMN: pl.Series([1]),
    LibraryKind.ARROW_TABLE: pa.record_batch({"a": [1]}),
    LibraryKind.ARROW_COLUMN: pa.chunked_array([[1]]),
    LibraryKind.ARROW_SCALAR: pa.scalar(1),
    LibraryKind.ARROW_SCHEMA: pa.schema({"a": pa.int64()}),
    LibraryKind.SPARSE_MATRIX: sparse.dok_array((2, 2)),
    LibraryKind.PILLOW_IMAGE: Image.new("L", (2, 2)),
}
# Kinds whose values are stored like any other object.
NOT_WRAPPED = {LibraryKind.PANDAS_MISSING, LibraryKind.ARROW_SCALAR}


class Frame(pd.DataFrame):  # type: ignore[misc]  # of any type
    """A table of the user's own class."""


@pytest.mark.parametrize("kind", VALUES, ids=lambda kind: kind.name)
def test_kind_is_captured_and_stored(kind: LibraryKind) -> None:
    """A value of each kind has a snapshot of its own, and a wrapper unless it is a single value."""
    value = VALUES[kind]
    assert next(find_kinds(type(value))) is kind
    captured = Redaction().capture({"x": value})
    text = captured if isinstance(captured, str) else captured.encode().text
    assert '"x"' in text
    assert "object at" not in text
    assert (type(types.wrap(value)) is types.Native) is (kind in NOT_WRAPPED)


def test_subclass_has_the_kind_of_its_base() -> None:
    """A subclass of a library's class is captured and stored like that class."""
    assert next(find_kinds(Frame)) is LibraryKind.PANDAS_TABLE
    assert type(types.wrap(Frame({"a": [1]}))) is types.DataFrame


def test_class_of_the_same_name_has_no_kind() -> None:
    """A class of the user that is named like a library's class has no kind."""
    assert [*find_kinds(type("DataFrame", (), {}))] == []

"""Write and read values, and check that they are unchanged, including types."""

import decimal
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # has no types

from otel_ml.types import Data, dump, load, wrap


def trip(value: Any) -> Any:
    """Write a value and return it as read back."""
    return load(dump(wrap(value))).data


def same(left: Any, right: Any) -> bool:
    """Return whether two values are equal and have equal types; NaN equals NaN."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float | complex | decimal.Decimal):
        return repr(left) == repr(right)
    if isinstance(left, dict):
        return all(map(same, left, right)) and same([*left.values()], [*right.values()])
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, np.ndarray | np.generic):
        return same_array(left, right)
    if isinstance(left, Data):
        return same(left.data, right.data)
    return left is right or bool(left == right)


def same_array(left: Any, right: Any) -> bool:
    """Return whether two arrays or scalars have equal dtype, shape and elements."""
    if (left.dtype, left.shape) != (right.dtype, right.shape):
        return False
    if left.dtype.hasobject:
        return same(left.ravel().tolist(), right.ravel().tolist())
    return repr(left.tolist()) == repr(right.tolist())


def same_frame(left: Any, right: Any) -> None:
    """Assert that two tables are equal, including dtypes, indexes, and kinds of missing values."""
    pd.testing.assert_frame_equal(
        left,
        right,
        check_exact=True,
        check_freq=True,
        check_column_type=True,
        check_index_type=True,
    )
    assert left.dtypes.tolist() == right.dtypes.tolist()
    same_index(left.index, right.index)
    same_index(left.columns, right.columns)
    for place in range(left.shape[1]):
        _same_objects(left.iloc[:, place], right.iloc[:, place])


def same_series(left: Any, right: Any) -> None:
    """Assert that two series are equal, including name and index."""
    pd.testing.assert_series_equal(left, right, check_exact=True, check_index_type=True)
    assert same(left.name, right.name)
    same_index(left.index, right.index)
    _same_objects(left, right)


def same_index(left: Any, right: Any) -> None:
    """Assert that two indexes are equal: kind, dtype, names, frequency."""
    assert type(left) is type(right)
    pd.testing.assert_index_equal(left, right, exact=True)
    assert same(list(left.names), list(right.names))
    assert getattr(left, "freq", None) == getattr(right, "freq", None)


def _same_objects(left: Any, right: Any) -> None:
    if left.dtype == object:
        assert all(map(same, left.tolist(), right.tolist()))

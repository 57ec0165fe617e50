"""Pandas tables and series read back with dtypes, indexes and kinds of missing values."""

import datetime
import decimal
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it carries no types
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import pandas as pdst

from otel_ml.types import dump, load, wrap
from tests.support.otel_ml.types.trips import same, same_frame, same_index, same_series, trip

dtypes = st.sampled_from(
    ["int8", "uint64", "float32", "float64", "bool", "complex128", "M8[ns]", "m8[ns]"]
)
names = st.lists(st.text() | st.integers(), min_size=0, max_size=4, unique=True)
indexes = pdst.range_indexes(max_size=5) | pdst.indexes(dtype="int64", max_size=5)


@st.composite
def frames(draw: st.DrawFn) -> Any:
    columns = [pdst.column(name, dtype=draw(dtypes)) for name in draw(names)]
    return draw(pdst.data_frames(columns, index=indexes))


@given(frame=frames())
def test_any_table_comes_back(frame: Any) -> None:
    """Any table with numpy dtypes reads back equal, even without rows or columns."""
    same_frame(load(dump(wrap(frame))).data, frame)


cells = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([pd.NA, pd.NaT])
    | st.lists(st.integers(), max_size=2)
)


@given(items=st.lists(cells, max_size=6))
def test_any_mixture_comes_back(items: list[object]) -> None:
    """A column of objects keeps each object, including its kind of missing value."""
    values = np.empty(len(items), object)
    for place, item in enumerate(items):
        values[place] = item
    series = pd.Series(values, dtype=object)
    assert same(trip(series).tolist(), items)


def _objects(items: list[Any]) -> Any:
    return pd.Series(items, dtype=object)


COLUMNS: dict[str, Any] = {
    "Int8": pd.array([1, None], dtype="Int8"),
    "UInt64": pd.array([2**64 - 1, None], dtype="UInt64"),
    "Float32": pd.array([1.5, None], dtype="Float32"),
    "boolean": pd.array([True, None], dtype="boolean"),
    "text of Python": pd.array(["a", None, "é\ud800"], dtype=pd.StringDtype("python")),
    "text": pd.array(["a", None], dtype="string"),
    "inferred text": pd.Series(["a", None]).array,
    "categories": pd.Categorical(["b", "a", None], categories=["b", "a", "unused"]),
    "ordered categories": pd.Categorical([3, 1], categories=[3, 2, 1], ordered=True),
    "categories of intervals": pd.cut([1, 5], [0, 2, 6]),
    "seconds": pd.array(np.array(["2024-05-17", "NaT"], "M8[s]")),
    "zoned": pd.array(pd.to_datetime(["2024-10-27", None]).tz_localize("Europe/Amsterdam")),
    "utc": pd.array(pd.to_datetime(["2024-10-27", None], utc=True)),
    "fixed offset": pd.array(
        pd.to_datetime(["2024-10-27"]).tz_localize(datetime.timezone(datetime.timedelta(hours=2)))
    ),
    "durations": pd.array(pd.to_timedelta(["1s", None])),
    "periods": pd.array(pd.PeriodIndex(["2024-05", None], freq="M")),
    "periods of weeks": pd.array(pd.PeriodIndex(["2024-05"], freq="2W-WED")),
    "intervals": pd.arrays.IntervalArray.from_tuples([(0, 1), None], closed="left"),
    "intervals of times": pd.array(pd.interval_range(pd.Timestamp("2024-05-17"), periods=2)),
    "sparse": pd.arrays.SparseArray([0, 0, 1]),
    "sparse floats": pd.arrays.SparseArray([np.nan, 1.5]),
    "big-endian": pd.Series(np.array([1, 2], ">i4")).array,
    "mixed objects": _objects(
        [1, "a", None, float("nan"), pd.NA, pd.NaT, [1], decimal.Decimal("1.0")]
    ).array,
    "times as objects": _objects([pd.Timestamp("2024-05-17", tz="UTC"), datetime.date(1, 2, 3)]),
    "texts as objects": _objects(["a", None]),
    "no rows": pd.array([], dtype="Int64"),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_column_comes_back(name: str) -> None:
    """A column reads back with its dtype and missing values."""
    series = pd.Series(COLUMNS[name], name="n")
    same_series(trip(series), series)


@pytest.mark.parametrize("name", COLUMNS)
def test_column_comes_back_in_a_table(name: str) -> None:
    """A table with two columns of the same name reads back equal."""
    series = pd.Series(COLUMNS[name])
    frame = pd.concat([series, series], axis=1, keys=["n", "n"])
    same_frame(trip(frame), frame)


def test_float_that_is_nan_is_not_missing() -> None:
    """A nullable float column distinguishes NaN from missing values."""
    values = pd.arrays.FloatingArray(np.array([np.nan, 1.0]), np.array([False, True]))
    found = trip(pd.Series(values)).array
    again = pd.arrays.FloatingArray(np.array([np.nan, 1.0]), np.array([False, True]))
    assert repr(found) == repr(again)


INDEXES: dict[str, Any] = {
    "range": pd.RangeIndex(2, 8, 3, name="r"),
    "no labels": pd.Index([], dtype=object),
    "texts": pd.Index(["a", "b"], name=("a", 1)),
    "texts as objects": pd.Index(["a", "b"], dtype=object),
    "same twice": pd.Index([1, 1]),
    "mixed": pd.Index(["a", 1, None, 2.5], dtype=object),
    "tuples": pd.Index([("a", 1), ("b", 2)], tupleize_cols=False),
    "floats": pd.Index([0.5, np.nan], dtype="float32"),
    "nullable": pd.Index([1, 2], dtype="Int64"),
    "days": pd.date_range("2024-05-17", periods=3, freq="D", name="d"),
    "month ends": pd.date_range("2024-05-17", periods=3, freq="ME", tz="Europe/Amsterdam"),
    "business days": pd.bdate_range("2024-05-17", periods=3),
    "no frequency": pd.DatetimeIndex(["2024-05-17", "2024-05-19", "2024-05-20"]),
    "durations": pd.timedelta_range("1h", periods=3, freq="2h"),
    "periods": pd.period_range("2024-05", periods=2, freq="Q"),
    "categories": pd.CategoricalIndex(["a", "b"], ordered=True),
    "intervals": pd.interval_range(0, 3),
    "levels": pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)], names=["x", None]),
    "levels with gaps": pd.MultiIndex.from_arrays([["a", None], [pd.NaT, pd.Timestamp(0)]]),
    "unused level": pd.MultiIndex.from_product([["a", "b"], [1, 2]])[:1],
}


@pytest.mark.parametrize("name", INDEXES)
def test_index_comes_back(name: str) -> None:
    """Row and column indexes read back with kind, dtype, names and frequency."""
    index = INDEXES[name]
    size = len(index)
    frame = pd.DataFrame(np.zeros((size, size)))
    frame.index = frame.columns = index
    same_frame(trip(frame), frame)


@pytest.mark.parametrize("name", INDEXES)
def test_index_of_series_comes_back(name: str) -> None:
    """The index of a series reads back equal."""
    series = pd.Series(range(len(INDEXES[name])), index=INDEXES[name], name=("n", 1))
    same_series(trip(series), series)


def test_frequency_of_its_own_is_left_out() -> None:
    """A frequency that its text does not fully describe is dropped, and the times are kept."""
    holidays = pd.offsets.CustomBusinessDay(holidays=["2024-05-20"])
    index = pd.date_range("2024-05-17", periods=3, freq=holidays)
    found = trip(pd.Series(range(3), index=index)).index
    same_index(found, pd.DatetimeIndex(index, freq=None))


def test_unknown_frequency_is_left_out() -> None:
    """A frequency that this pandas version does not know is dropped, and the table is kept."""
    form = wrap(pd.Series(range(3), index=INDEXES["days"])).to_jcr()
    form["params"]["index"]["freq"] = "fortnight"
    same_index(load(form).data.index, pd.DatetimeIndex(INDEXES["days"], freq=None))


FRAMES: dict[str, Any] = {
    "empty": pd.DataFrame(),
    "no columns": pd.DataFrame(index=["a", "b"]),
    "no rows": pd.DataFrame({"a": pd.Series([], dtype="Int64"), "b": pd.Series([], dtype=object)}),
    "names of all kinds": pd.DataFrame([[1, 2.5, "a", None]], columns=[1, "1", None, ("a", 1)]),
    "order": pd.DataFrame({"b": [1], "a": [2]}),
    "view": pd.DataFrame({"a": range(6), "b": range(6)}).iloc[::-2],
}


@pytest.mark.parametrize("name", FRAMES)
def test_table_comes_back(name: str) -> None:
    """A table reads back equal."""
    same_frame(trip(FRAMES[name]), FRAMES[name])


def test_written_table_is_a_copy() -> None:
    """A written table does not change with the original."""
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    form = wrap(frame).to_jcr()
    frame.loc[:, "a"] = 0
    frame.loc[:, "b"] = ""
    same_frame(load(form).data, pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}))


def test_table_that_is_read_can_be_written() -> None:
    """A loaded table is writable."""
    found = trip(pd.DataFrame({"a": [1, 2]}))
    found.loc[0, "a"] = 5
    assert found["a"].tolist() == [5, 2]


def test_columns_must_have_the_rows() -> None:
    """A table whose columns are shorter than its index is refused."""
    form = wrap(pd.DataFrame({"a": [1, 2]})).to_jcr()
    form["params"]["index"]["range"] = [0, 3, 1]
    with pytest.raises(ValueError, match="Length"):
        load(form)

"""Values of Python's own types read back equal."""

import datetime
import decimal
import fractions
import json
import pathlib
import uuid
import zoneinfo
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it carries no types
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ml.types import Native, Numpy, Text, TextOnly, describe, dump, load, wrap
from tests.support.examples import examples
from tests.support.otel_ml import hostile
from tests.support.otel_ml.strategies import any_values
from tests.support.otel_ml.types.trips import same, trip

AMSTERDAM = zoneinfo.ZoneInfo("Europe/Amsterdam")

hashable = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters())
    | st.binary()
    | st.decimals(allow_nan=False)
    | st.dates()
    | st.datetimes(timezones=st.none() | st.just(datetime.timezone.utc) | st.just(AMSTERDAM))
    | st.times(timezones=st.none() | st.just(datetime.timezone.utc))
    | st.timedeltas()
    | st.uuids()
    | st.fractions()
)
leaves = hashable | st.floats() | st.complex_numbers() | st.binary().map(bytearray)
natives = st.recursive(
    leaves | st.sets(hashable) | st.frozensets(hashable),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(hashable | st.tuples(hashable), inner)
        | st.dictionaries(st.sampled_from(["$", "v", "a"]), inner)
    ),
    max_leaves=12,
)


@given(value=natives)
@settings(max_examples=examples(300))
def test_any_native_value_comes_back(value: object) -> None:
    """Any mixture of the standard library's values reads back with its types."""
    assert same(Native.from_jcr(Native(value).to_jcr()["params"]).data, value)


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("-inf"),
        -0.0,
        10**4_000,
        -(2**63) - 1,
        2**64 - 1,
        complex(float("nan"), -0.0),
        (),
        ((1, [2]), {3}),
        {"$": "tuple", "v": [1]},
        {1: "a", "1": "b", None: "c", (1, 2): "d"},
        b"\xff",
        bytearray(b"a"),
        decimal.Decimal("1.10"),
        decimal.Decimal("-0"),
        decimal.Decimal("NaN"),
        fractions.Fraction(1, 3),
        uuid.UUID(int=7),
        datetime.date(2024, 5, 17),
        datetime.time(1, 2, 3, 4, tzinfo=datetime.timezone.utc),
        datetime.datetime(2024, 10, 27, 2, 30, tzinfo=AMSTERDAM, fold=1),
        datetime.datetime(
            2024, 5, 17, tzinfo=datetime.timezone(datetime.timedelta(hours=2), "here")
        ),
        datetime.timedelta(-1, 2, 3),
        pathlib.PurePosixPath("a/b"),
        pathlib.PureWindowsPath("c:/b"),
        pathlib.Path("models/a.bin"),
        range(1, 10, 3),
        "a\ud800b",
        {"\udfff": 1},
        [np.arange(3), np.float32(1.5), Numpy(np.arange(2)), Text("a")],
        [pd.NA, pd.NaT, float("nan"), None],
        [
            pd.Timestamp("2024-05-17 01:02:03.000000004", tz="Europe/Amsterdam"),
            pd.Timedelta("1ns"),
            pd.Period("2024-05", "M"),
            pd.Interval(0.5, 1.5, closed="left"),
        ],
    ],
)
def test_native_value_comes_back(value: object) -> None:
    """A value that JSON cannot represent reads back equal."""
    assert same(load(dump(Native(value))).data, value)


def test_huge_number_comes_back() -> None:
    """A number with more decimal digits than Python agrees to print reads back equal."""
    assert trip(-(10**50_000)) == -(10**50_000)


def test_fold_comes_back() -> None:
    """The second 2:30 of the night when summer time ends keeps its fold."""
    assert trip([datetime.datetime(2024, 10, 27, 2, 30, tzinfo=AMSTERDAM, fold=1)])[0].fold == 1


def test_index_in_a_list_comes_back() -> None:
    """A pandas index in a list keeps its dtype, name and kind."""
    [found] = trip([pd.Index(["a", "b"], name="n", dtype=object)])
    pd.testing.assert_index_equal(found, pd.Index(["a", "b"], name="n", dtype=object))


def test_array_of_pandas_in_a_list_comes_back() -> None:
    """A pandas array in a list keeps its dtype."""
    [found] = trip([pd.array([1, None], dtype="Int8")])
    pd.testing.assert_extension_array_equal(found, pd.array([1, None], dtype="Int8"))


def test_member_keeps_its_name_in_the_document() -> None:
    """The document names the enumeration member of a value."""
    [written] = json.loads(dump(wrap([hostile.Colour.RED])))["params"]["data"]
    assert written == {"$": "member", "v": "red", "of": "tests.support.otel_ml.hostile.Colour.RED"}


def test_fields_that_are_not_set_are_left_out() -> None:
    """An object with unset fields is stored with the fields that are set."""
    assert trip(hostile.Unset()) == {"size": 1}


def test_text_of_an_object_says_so() -> None:
    """An object without declared fields is read as its ``repr``, as text with the object's type."""
    [found] = trip([hostile.Endless])
    assert (type(found), found.of) == (TextOnly, "builtins.type")
    assert found == "<class 'tests.support.otel_ml.hostile.Endless'>"


def test_value_that_its_package_cannot_write_leaves_its_text() -> None:
    """A polars frame with a column of objects, which polars cannot write, is kept as text."""
    [found] = trip([pl.DataFrame({"a": [object()]})])
    assert (type(found), found.of) == (TextOnly, "polars.dataframe.frame.DataFrame")


def test_nothing_in_data_is_unpickled() -> None:
    """An Arrow type that old releases would unpickle is refused."""
    field = pa.field("a", pa.int8(), metadata={"ARROW:extension:name": "arrow.py_extension_type"})
    document = dump(wrap(pa.table({"a": pa.array([1], pa.int8())}, schema=pa.schema([field]))))
    with pytest.raises(ValueError, match="can only be read with pickle"):
        load(document)


def test_object_without_repr_leaves_its_type() -> None:
    """An object whose ``repr`` raises is read as text with its type."""
    assert trip(hostile.Hostile()).startswith("<tests.support.otel_ml.hostile.Hostile object at ")


def test_list_that_holds_itself_ends() -> None:
    """A list that contains itself has an ellipsis at that place."""
    assert trip(hostile.cyclic_list()) == [1, "…"]


def test_array_that_holds_itself_ends() -> None:
    """An array of objects that contains itself has an ellipsis at that place."""
    array = np.empty(1, object)
    array[0] = array
    assert trip([array])[0].tolist() == ["…"]


def test_deep_list_is_cut() -> None:
    """A value nested too deep for JSON is cut at depth 128."""
    found, depth = trip(hostile.deep_list()), 0
    while isinstance(found, list):
        [found], depth = found, depth + 1
    assert (found, depth) == ("…", 128)


def test_endless_tree_ends() -> None:
    """A small graph of lists that unfolds to an endless tree is cut to a bounded size."""
    items: list[Any] = ["x" * 1_000_000] * 10
    for _ in range(20):
        items = [items] * 10
    assert len(dump(Native(items))) < 2**29


def test_hostile_value_is_written_and_read() -> None:
    """Writing, reading and describing a hostile value does not raise."""
    for name, make in hostile.VALUES.items():
        data = wrap(make())
        describe(data)
        assert type(load(dump(data))) is type(data), name


@given(value=any_values)
def test_any_value_is_written_and_read(value: object) -> None:
    """Writing and reading any mixture of values does not raise."""
    data = wrap(value)
    assert type(load(dump(data))) is type(data)


def test_what_is_written_is_a_copy() -> None:
    """A written value does not change with the original."""
    value = {"a": [1, {"b": 2}], "c": bytearray(b"x")}
    form = wrap(value).to_jcr()
    value["a"] = value["c"][0] = 0  # type: ignore[index]  # the bytearray
    assert same(load(form).data, {"a": [1, {"b": 2}], "c": bytearray(b"x")})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"a", b"a"),
        (bytearray(b"a"), bytearray(b"a")),
        (memoryview(b"abcd")[::2], b"ac"),
        ("text", "text"),
        ("a\ud800b", "a\ud800b"),
        (hostile.HostileText("text"), "text"),
    ],
    ids=["bytes", "bytearray", "memoryview", "text", "lone surrogate", "subclass of text"],
)
def test_text_and_bytes_come_back(value: object, expected: object) -> None:
    """Text and bytes read back with their types, and a memoryview as bytes."""
    assert same(trip(value), expected)

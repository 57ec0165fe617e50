"""Numpy arrays and scalars read back with dtype, shape and content."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from otel_ml.types import Numpy, dump, load
from tests.support.examples import examples
from tests.support.otel_ml.types.trips import same, same_array, trip

Array = np.ndarray[Any, Any]

single = (
    npst.scalar_dtypes()
    | npst.unicode_string_dtypes()
    | npst.byte_string_dtypes()
    | npst.complex_number_dtypes()
)
dtypes = single | npst.array_dtypes(single) | npst.nested_dtypes(single, max_leaves=4)
arrays = dtypes.flatmap(
    lambda dtype: npst.arrays(
        dtype, npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
    )
)


@given(array=arrays)
@settings(max_examples=examples(300))
def test_any_array_comes_back(array: Array) -> None:
    """Any array of any dtype, byte order and shape reads back equal."""
    found = load(dump(Numpy(array))).data
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert repr(found.tolist()) == repr(array.tolist())


@given(array=arrays, data=st.data())
def test_any_view_comes_back(array: Array, data: st.DataObject) -> None:
    """Any view of an array, with any strides, reads back equal."""
    if array.ndim:
        array = array[data.draw(npst.basic_indices(array.shape, allow_newaxis=True))]
    found = load(dump(Numpy(array))).data
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert repr(found.tolist()) == repr(array.tolist())


ARRAYS: dict[str, Array] = {
    "no dimensions": np.array(3),
    "no elements": np.zeros((2, 0, 3), "f4"),
    "big-endian": np.arange(3, dtype=">i4"),
    "Fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "steps": np.arange(10)[::-3],
    "bool": np.array([True, False]),
    "half": np.array([1.5, np.nan, -np.inf], "f2"),
    "long": np.array([1.5], np.longdouble),
    "complex": np.array([1 + 2j, complex(np.nan, -0.0)]),
    "datetimes": np.array(["2024-05-17", "NaT"], "M8[ns]"),
    "dates of 25 s": np.array([1, 2], "M8[25s]"),
    "durations": np.array([1, "NaT"], "m8[D]"),
    "texts": np.array([["a", "bé"], ["", "\0x"]]),
    "bytes": np.array([b"a\0b", b""]),
    "void": np.array([b"abc"], "V3"),
    "record": np.array([(1, (0.5, 2.0))], [("a", "i1"), ("b", ">f8", 2)]),
    "aligned": np.array([(1, 2.0)], np.dtype([("a", "i1"), ("b", "f8")], align=True)),
    "titled": np.array([(1,)], [(("title", "a"), "i4")]),
    "overlapping": np.zeros(
        2, np.dtype({"names": ["a", "b"], "formats": ["i4", "i2"], "offsets": [0, 0]})
    ),
    "objects": np.array([1, "a", None, [2, (3,)], {"k": b"v"}], object),
    "objects, no dimensions": np.array(None, object),
    "objects in rows": np.array([[1, "a"], [None, 2.5]], object),
    "record of objects": np.array([(1, [2]), (3, None)], [("a", "i4"), ("b", object)]),
    "nested arrays": np.array([np.arange(3), None], object),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_array_comes_back(name: str) -> None:
    """An array reads back with dtype, shape and content."""
    assert same(trip(ARRAYS[name]), ARRAYS[name])


@pytest.mark.parametrize("name", ARRAYS)
def test_array_that_is_read_can_be_written(name: str) -> None:
    """A loaded array is writable, even if the original was read-only."""
    array = ARRAYS[name].copy()
    array.flags.writeable = False
    assert trip(array).flags.writeable


def test_alignment_comes_back() -> None:
    """An aligned record dtype stays aligned."""
    assert trip(ARRAYS["aligned"]).dtype.isalignedstruct


def test_masked_array_keeps_its_mask() -> None:
    """A masked array reads back with its mask."""
    array = np.ma.MaskedArray([1, 2, 3], [False, True, False])
    found = trip(array)
    assert (found.data.tolist(), found.mask.tolist()) == ([1, 2, 3], [False, True, False])


@pytest.mark.skipif(not hasattr(np.dtypes, "StringDType"), reason="numpy 2 has it")
def test_texts_of_any_length_come_back() -> None:
    """An array of numpy's variable-length strings keeps its dtype and missing values."""
    array = np.array(["a", None, "b" * 100], np.dtypes.StringDType(na_object=None))
    assert same_array(trip(array), array)


@pytest.mark.parametrize(
    "scalar",
    [
        np.float32(1.5),
        np.float64("nan"),
        np.longdouble(0.5),
        np.int8(-1),
        np.uint64(2**64 - 1),
        np.bool_(True),
        np.complex64(1j),
        np.datetime64("2024-05-17T01", "h"),
        np.datetime64("NaT", "s"),
        np.timedelta64(3, "ms"),
        np.str_("a\0"),
        np.str_(""),
        np.bytes_(b"a\0"),
        np.array([(1, "a")], [("n", "i4"), ("t", "U1")])[0],
    ],
    ids=lambda scalar: type(scalar).__name__,
)
def test_scalar_keeps_its_type(scalar: Any) -> None:
    """A numpy scalar reads back with the same type."""
    found = trip(scalar)
    assert type(found) is type(scalar)
    assert (found.dtype, repr(found)) == (scalar.dtype, repr(scalar))
    assert found.nbytes == scalar.nbytes


def test_written_array_is_a_copy() -> None:
    """A written array does not change with the original."""
    array = np.arange(3)
    form = Numpy(array).to_jcr()
    array[:] = 0
    assert load(form).data.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "params",
    [
        {"dtype": "<i8", "shape": [2], "data": "AAAAAAAAAAA="},
        {"dtype": "<i8", "shape": [10**12], "data": "AAAAAAAAAAA="},
        {"dtype": "<i8", "shape": [-1], "data": "AAAAAAAAAAA="},
        {"dtype": "|O", "shape": [1], "data": "AAAAAAAAAAA="},
        {"dtype": [["a", "|O"]], "shape": [1], "data": "AAAAAAAAAAA="},
        {"dtype": "|O", "shape": [10**12], "values": []},
        {"dtype": "no dtype", "shape": [1], "data": ""},
        {"dtype": "<i8", "data": ""},
        {"dtype": "<i8", "shape": 3, "data": ""},
        {"dtype": {"base": "|O", "shape": [1]}, "shape": [1], "data": "AAAAAAAAAAA="},
    ],
)
def test_broken_params_are_refused(params: dict[str, Any]) -> None:
    """Params that do not fit together are refused, without allocating the size they claim."""
    with pytest.raises(ValueError, match=r".+"):
        load({"type": "otel_ml.types.Numpy", "params": params})

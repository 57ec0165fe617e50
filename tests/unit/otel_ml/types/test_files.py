"""Logged values become files that other tools open, and are read back unchanged."""

import io
import sys
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # has no types
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from otel_ml import types
from otel_ml.file_formats import NPY, PARQUET, PLAIN_BYTES, PLAIN_JSON, PNG, UTF8_TEXT
from otel_ml.types.data import File
from otel_ml.types.walker import BuiltIn
from tests.support.otel_ml.types.samples import SAMPLES, photo
from tests.support.otel_ml.types.trips import same_frame


def file_of(value: Any) -> File | str:
    data = types.wrap(value)
    assert isinstance(data, BuiltIn)
    return data._to_file({})


def content_of(value: Any, media_type: str) -> bytes:
    made = file_of(value)
    assert isinstance(made, File), made
    assert made.media_type == media_type
    return made.content


# Values that keep the typed form, by the reason. Values of Python keep it unless they are listed in
# `JSON`.
TYPED: Final = {
    "an npy file holds neither Python objects nor texts of any length": {
        "numpy: array of objects",
        "numpy: texts of any length",
        "numpy: many texts of any length",
        "numpy: texts that may be missing",
        "numpy: texts that are not coerced",
    },
    "an npy file does not return its dtype unchanged": {"numpy: array of aligned records"},
    "an npy file holds an array, not a scalar": {
        "numpy: scalar of float32",
        "numpy: scalar of bytes",
        "numpy: scalar of text",
        "numpy: scalar of time",
    },
    "an npy file has no mask": {
        "numpy: masked array",
        "numpy: masked array with fill value",
        "numpy: masked array of floats with nan for a fill",
        "numpy: masked array with hard mask",
        "numpy: masked array without mask",
        "numpy: masked records",
        "numpy: masked texts",
        "numpy: masked objects",
    },
    "two of its columns have the same name": {"pandas: table, doubled columns"},
    "a Parquet file does not return its columns or index unchanged": {
        "pandas: table, lists",
        "pandas: series, arrow texts",
    },
    "its file format cannot hold it": {
        "pandas: series, sparse",
        "pandas: series, arrow lists",
        "pyarrow: runs",
    },
    "a Parquet file does not return its columns unchanged": {"pyarrow: maps", "pyarrow: lists"},
    **{
        f"PNG does not return an image of mode {mode} unchanged": {f"pillow: image of {mode}"}
        for mode in ("P", "CMYK", "YCbCr", "HSV", "LAB", "I", "F", "I;16")
    },
    "UTF-8 cannot hold its lone surrogates": {"python: text with lone surrogate"},
    "a file without content could be taken for a missing one": {"python: empty text"},
    "a file of bytes does not say that it is a bytearray": {"python: bytearray"},
}
JSON: Final = {
    f"python: {name}"
    for name in (
        *("none", "true", "number", "float", "negative zero", "list", "dict"),
        *("defaultdict", "mapping proxy", "subclass of list"),
    )
}


def reason_of(name: str) -> str:
    """Return why a sample keeps the typed form; empty if it becomes a file."""
    for reason, found in TYPED.items():
        if name in found:
            return reason
    if name.startswith("scipy: "):
        return "no common file format holds this type"
    is_native = name.startswith(("python: ", "pandas: index", "polars: lazy")) or name in NATIVE
    if is_native and name not in JSON | TEXTS:
        return "JSON does not have all of its types"
    return ""


NATIVE: Final = {
    *("pandas: timestamp", "pandas: timedelta", "pandas: period", "pandas: interval"),
    *("pandas: not available", "pandas: not a time", "pyarrow: scalar", "pyarrow: type"),
}
TEXTS: Final = {
    "python: text",
    "python: text enum",
    "python: subclass of str",
    "python: bytes",
    "python: memoryview",
}


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_file_is_read_back(sample: Any) -> None:
    """Each sample becomes a file that returns it unchanged, or keeps the typed form as listed."""
    value = sample.make()
    made = file_of(value)
    if isinstance(made, str):
        assert made == reason_of(sample.name)
        return
    assert not reason_of(sample.name)
    found = types.load(made.content, types.wrap(value).type_name).data
    expected = sample.plain if sample.less else value
    assert type(found) is type(expected)
    assert sample.equals(found, expected)


INDEXES: Final[dict[str, Callable[[], Any]]] = {
    "range": lambda: pd.RangeIndex(3),
    "named range": lambda: pd.RangeIndex(2, 8, 2, name="row"),
    "numbers": lambda: pd.Index([7, 5, 7], name="id"),
    "texts": lambda: pd.Index(["x", "y", "z"]),
    "days": lambda: pd.date_range("2026-11-01", periods=3, freq="D", name="day"),
    "times with zone": lambda: pd.date_range("2026-10-25", periods=3, freq="h", tz="Europe/Rome"),
    "levels": lambda: pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)], names=["k", None]),
}


@pytest.mark.parametrize("index", INDEXES.values(), ids=INDEXES)
def test_ordinary_table_becomes_parquet(index: Callable[[], Any]) -> None:
    """A table of usual columns becomes Parquet with every usual index, and is unchanged."""
    table = pd.DataFrame(
        {
            "age": [31, 45, 28],
            "income": [5.5, np.nan, -0.0],
            "job": ["baker", None, "clerk"],
            "is new": [True, False, True],
            "at": pd.to_datetime(["2026-11-01", None, "2026-11-03"]),
            "grade": pd.Categorical(["b", "a", "b"], ["b", "a", "c"], ordered=True),
            "count": pd.array([1, None, 3], "Int64"),
            "small": np.array([1, 2, 3], "f4"),
        },
        index=index(),
    )
    content = content_of(table, PARQUET)
    same_frame(types.load(content, "otel_ml.types.DataFrame").data, table)
    assert pq.read_table(io.BytesIO(content)).column("age").to_pylist() == [31, 45, 28]
    assert pl.read_parquet(content)["job"].to_list() == ["baker", None, "clerk"]


def test_table_of_numbered_columns_becomes_parquet() -> None:
    """A table made of an array, whose columns are numbers, becomes Parquet and is unchanged."""
    table = pd.DataFrame(np.arange(6.0).reshape(2, 3))
    content = content_of(table, PARQUET)
    same_frame(types.load(content, "otel_ml.types.DataFrame").data, table)


def test_other_tools_open_the_files() -> None:
    """NumPy, Pillow and any editor open what is stored for an array, an image and a text."""
    array = np.arange(6, dtype=">f4").reshape(2, 3)
    opened = np.load(io.BytesIO(content_of(array, NPY)))
    assert (opened.dtype, opened.tolist()) == (array.dtype, array.tolist())
    image = Image.new("RGB", (3, 2), "teal")
    with Image.open(io.BytesIO(content_of(image, PNG))) as shown:
        assert (shown.mode, shown.tobytes()) == (image.mode, image.tobytes())
    assert content_of("Grüße\r\n", UTF8_TEXT) == "Grüße\r\n".encode()
    assert content_of(b"\x00\xff", PLAIN_BYTES) == b"\x00\xff"
    assert content_of({"a": [1, 2.5, None]}, PLAIN_JSON) == b'{"a":[1,2.5,null]}'


def test_photo_is_upright_in_its_file() -> None:
    """The PNG of a photograph held sideways shows it upright; reading turns it back."""
    held = photo(6).copy()
    content = content_of(held, PNG)
    with Image.open(io.BytesIO(content)) as shown:
        assert shown.size == (held.height, held.width)
    assert types.load(content, "otel_ml.types.Image").data.size == held.size


def test_missing_library_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pyarrow, a pandas table keeps the typed form, and the reason names the library."""
    monkeypatch.setitem(sys.modules, "otel_ml.types.parquet_form", None)
    monkeypatch.delitem(sys.modules, "otel_ml.types.parquet_form")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert file_of(pd.DataFrame({"a": [1]})) == "pyarrow.parquet is not installed"


@pytest.mark.parametrize(
    "value",
    [
        '{"type":"otel_ml.types.Text","params":{"data":"other"}}',
        b'{"type":"otel_ml.types.Bytes","params":{"data":"AA=="}}',
        {"type": "otel_ml.types.Native", "params": {"data": 1}},
    ],
)
def test_value_that_looks_typed_keeps_the_typed_form(value: Any) -> None:
    """A text, bytes or dict that could be taken for typed JSON is stored as typed JSON."""
    assert "could be taken for typed JSON" in str(file_of(value))
    data = types.wrap(value)
    assert types.load(types.dump(data), data.type_name).data == value


def test_file_of_another_tool_is_refused() -> None:
    """A Parquet file that otel-ml did not write gives a clear error."""
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}), sink)
    for kind in ("DataFrame", "Polars", "Arrow"):
        with pytest.raises(ValueError, match="Invalid Parquet file"):
            types.load(sink.getvalue(), f"otel_ml.types.{kind}")

"""Values written by raymon's wrappers can be read.

The forms in ``raymon_forms.json`` are output of ``to_json()`` of raymon 0.0.39. Its ``types.py``
and ``globals.py`` were used unchanged, as a package without its ``__init__`` (which needs packages
that no longer install), under Python 3.10 with numpy 1.26, pandas 2.2 and Pillow 10. The original
values are below, under the names of the forms.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it carries no types
import pytest

from otel_ml.types import Image, load
from tests.support.otel_ml.types.trips import same, same_frame, same_series

FORMS: dict[str, str] = json.loads((Path(__file__).parent / "raymon_forms.json").read_text())

NATIVES: dict[str, Any] = {
    "native": {"a": [1, None, "x"], "$": "tuple"},
    "native nan": [float("nan"), 1.5],
}
ARRAYS: dict[str, Any] = {
    "numpy": np.arange(6, dtype="float32").reshape(2, 3),
    "numpy scalar shape": np.array(7, dtype=">i2"),
    "numpy dates": np.array(["2021-03-04", "NaT"], dtype="datetime64[D]"),
    "numpy bool": np.array([True, False]),
    "numpy one": np.arange(3),
    "numpy structured": np.array([(1, 0.5)], dtype=[("a", "i4"), ("b", "f8")]),
}
FRAMES: dict[str, Any] = {
    "frame": pd.DataFrame({"a": [1, 2], "b": [0.1, None], "c": ["x", "y"], "date": [1, 2]}),
    "frame labels": pd.DataFrame({"a": [True, False]}, index=["r", "s"]),
}
SERIES: dict[str, Any] = {
    "series": pd.Series([1.5, None, 3.0]),
    "series labels": pd.Series(["u", "v"], index=["r", "s"]),
}


@pytest.mark.parametrize("name", NATIVES | ARRAYS)
def test_native_or_array_is_read(name: str) -> None:
    """A native value or an array written by raymon reads back equal."""
    assert same(load(FORMS[name]).data, (NATIVES | ARRAYS)[name])


@pytest.mark.parametrize("name", ARRAYS)
def test_array_can_be_written(name: str) -> None:
    """An array written by raymon is writable after reading, unlike in raymon itself."""
    assert load(FORMS[name]).data.flags.writeable


@pytest.mark.parametrize("name", FRAMES)
def test_frame_is_read(name: str) -> None:
    """A table written by raymon can be read, which raymon itself can no longer do."""
    found = load(FORMS[name]).data
    found.index, found.columns = pd.Index(list(found.index)), pd.Index(list(found.columns))
    expected = FRAMES[name].copy()
    expected.index = pd.Index(list(expected.index))
    same_frame(found, expected)


@pytest.mark.parametrize("name", SERIES)
def test_series_is_read(name: str) -> None:
    """A series written by raymon is read with its labels."""
    found = load(FORMS[name]).data
    found.index = pd.Index(list(found.index))
    expected = SERIES[name].copy()
    expected.index = pd.Index(list(expected.index))
    same_series(found, expected)


def test_table_keeps_texts_of_digits() -> None:
    """A text in a raymon table stays text, even if it looks like a number."""
    form = {"type": "raymon.types.DataFrame", "params": {"data": {"a": {"0": "007"}}}}
    assert load(form).data["a"].tolist() == ["007"]


@pytest.mark.parametrize(
    ("name", "mode", "lossless"), [("image", "RGB", False), ("image lossless", "RGBA", True)]
)
def test_image_is_read(name: str, mode: str, lossless: bool) -> None:
    """An image written by raymon is read with its mode, size and `lossless` flag."""
    found = load(FORMS[name])
    assert isinstance(found, Image)
    assert (found.data.mode, found.data.size, found.lossless) == (mode, (4, 2), lossless)
    red, green, blue = found.data.getpixel((0, 0))[:3]
    assert max(abs(red - 200), abs(green - 100), abs(blue - 50)) < 8


def test_array_of_objects_is_refused() -> None:
    """An array of objects is refused, because raymon wrote only their addresses."""
    with pytest.raises(ValueError, match="Python objects"):
        load(FORMS["numpy objects"])


@pytest.mark.parametrize("shape", ["__import__('os')", "(" * 200_000, "(9" * 9, "(-1,)", 3])
def test_hostile_shape_is_refused(shape: object) -> None:
    """A shape that is not a tuple of numbers is refused and never evaluated."""
    params = {"data": "AAAA", "shape": shape, "dtype": "uint8"}
    with pytest.raises(ValueError, match="Invalid"):
        load({"type": "raymon.types.Numpy", "params": params})

"""Reads what the wrappers of raymon 0.0.39 wrote; its packages and its code are not needed."""

import ast
import re
from typing import Any, Final

from otel_ml.types.data import Params, Reader, read_by
from otel_ml.types.scalars import from_base64
from otel_ml.types.wrappers import DataFrame, Image, Native, Numpy, Series

_SHAPE: Final = re.compile(r"\([\d, ]*\)")
_NUMBER: Final = re.compile(r"0|-?[1-9]\d{0,17}")
_DTYPE_CHARS: Final = 16 * 1024


def _read_native(params: Params) -> Native:
    try:
        return Native.from_jcr(params)
    except (ValueError, KeyError, TypeError):  # raymon's own, which has no tags
        return Native(params["data"])


def _read_numpy(params: Params) -> Numpy:
    """Read an array; one of objects is refused, raymon wrote their addresses."""
    import numpy as np  # optional

    from otel_ml.types import array_form

    if _SHAPE.fullmatch(params["shape"]) is None:
        raise ValueError(f"Invalid shape {params['shape'][:100]!r}: expected a tuple of numbers")
    shape = tuple(int(size) for size in re.findall(r"\d+", params["shape"]))
    text = params["dtype"][:_DTYPE_CHARS]
    dtype = np.dtype(ast.literal_eval(text) if text.startswith(("[", "{")) else text)
    return Numpy(array_form.read_bytes(from_base64(params["data"]), dtype, shape))


def _read_frame(params: Params) -> DataFrame:
    import pandas as pd  # type: ignore[import-untyped]  # it carries no types; optional

    frame = pd.DataFrame(params["data"])
    frame.index, frame.columns = _labels(frame.index), _labels(frame.columns)
    return DataFrame(frame)


def _read_series(params: Params) -> Series:
    import pandas as pd

    series = pd.Series(params["data"])
    series.index = _labels(series.index)
    return Series(series)


def _labels(index: Any) -> Any:
    """Return numbers again where all labels are: JSON has texts only. Dates stay numbers."""
    are_numbers = len(index) and all(_NUMBER.fullmatch(label) for label in index)
    return index.astype("int64") if are_numbers else index


def _read_image(params: Params) -> Image:
    from otel_ml.types import image_form  # loads Pillow, which is optional

    return Image(image_form.open_image(from_base64(params["data"])), params["lossless"])


def _either(theirs: Reader, ours: Reader, mark: str) -> Reader:
    """Read the params of raymon's wrapper, or of ours under its name, which have `mark`."""
    return lambda params: (ours if isinstance(params.get(mark), list | dict) else theirs)(params)


def read_raymon() -> None:
    """Let `load` read the type strings of raymon, whose wrappers `otel_ml.compat.raymon` has."""
    for name, theirs, ours, mark in (
        ("Numpy", _read_numpy, Numpy.from_jcr, "shape"),
        ("DataFrame", _read_frame, DataFrame.from_jcr, "index"),
        ("Series", _read_series, Series.from_jcr, "index"),
        ("Image", _read_image, Image.from_jcr, "size"),
    ):
        read_by(f"raymon.types.{name}", _either(theirs, ours, mark))
    read_by("raymon.types.Native", _read_native)

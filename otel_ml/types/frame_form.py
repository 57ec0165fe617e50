"""Tables, series and indexes of pandas as JSON."""

from contextlib import suppress
from typing import Any

import pandas as pd  # type: ignore[import-untyped]  # it carries no types

from otel_ml.types import array_form, column_form
from otel_ml.types.data import Decode, Form, Params, Writer


def write_frame(frame: Any, writer: Writer) -> Form:
    """Write a table: its two indexes, and its columns in their order, by place."""
    columns = (frame.iloc[:, place] for place in range(frame.shape[1]))
    return {
        "index": write_index(frame.index, writer),
        "columns": write_index(frame.columns, writer),
        "data": [column_form.write(column, writer) for column in columns],
    }


def read_frame(params: Params, decode: Decode) -> Any:
    """Read a table."""
    index = read_index(params["index"], decode)
    rows = pd.RangeIndex(len(index))
    columns = {
        place: _series(column_form.read(column, decode), rows)
        for place, column in enumerate(params["data"])
    }
    frame = pd.DataFrame(columns, index=rows)
    frame.index, frame.columns = index, read_index(params["columns"], decode)
    return frame


def write_series(series: Any, writer: Writer) -> Form:
    """Write a series: its index, its values and its name."""
    return {
        "index": write_index(series.index, writer),
        "name": writer.encode(series.name),
        "data": column_form.write(series, writer),
    }


def read_series(params: Params, decode: Decode) -> Any:
    """Read a series."""
    values = column_form.read(params["data"], decode)
    return _series(values, read_index(params["index"], decode), decode(params["name"]))


def _series(values: Any, index: Any, name: Any = None) -> Any:
    """Make a series of values as they are; it refuses those that the index is too long for."""
    return pd.Series(values, index=index, dtype=values.dtype, name=name)


def write_index(index: Any, writer: Writer) -> Form:
    """Write an index of any kind."""
    if isinstance(index, pd.MultiIndex):
        return {
            "levels": [write_index(level, writer) for level in index.levels],
            "codes": [array_form.write(codes, writer) for codes in index.codes],
            "names": [writer.encode(name) for name in index.names],
        }
    name = writer.encode(index.name)
    if isinstance(index, pd.RangeIndex):
        return {"range": [index.start, index.stop, index.step], "name": name}
    return {"data": column_form.write(index, writer), "name": name, "freq": _write_freq(index)}


def read_index(params: Params, decode: Decode) -> Any:
    """Read an index."""
    if "levels" in params:
        return pd.MultiIndex(
            levels=[read_index(level, decode) for level in params["levels"]],
            codes=[array_form.read(codes, decode) for codes in params["codes"]],
            names=[decode(name) for name in params["names"]],
        )
    name = decode(params["name"])
    if "range" in params:
        return pd.RangeIndex(*params["range"], name=name)
    index = column_form.plain_index(column_form.read(params["data"], decode), name)
    if params["freq"] is not None:
        with suppress(ValueError):  # another version of pandas may know other frequencies
            index.freq = params["freq"]
    return index


def _write_freq(index: Any) -> str | None:
    """Return the frequency of an index of times; None for one that its text does not say whole."""
    if not isinstance(index, pd.DatetimeIndex | pd.TimedeltaIndex) or index.freq is None:
        return None
    text = str(index.freqstr)
    try:
        known = pd.tseries.frequencies.to_offset(text) == index.freq
    except ValueError:
        return None
    return text if known else None

"""Single values of pandas as JSON: times, periods, intervals, and what is missing."""

from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it carries no types

from otel_ml.types import column_form, frame_form, zones
from otel_ml.types.data import Decode, Writer
from otel_ml.types.scalars import tagged


def write(value: Any, writer: Writer) -> Any:
    """Write a value under the tag ``pandas``; None for one that is not known."""
    form = _write(value, writer)
    return None if form is None else tagged("pandas", form)


def _write(value: Any, writer: Writer) -> Any:
    if value is pd.NA or value is pd.NaT:
        return [str(value).strip("<>")]
    if isinstance(value, pd.Timestamp):
        zone = None if value.tz is None else zones.write(value.tz, value)
        return ["Timestamp", int(value.asm8.view("i8")), value.unit, zone]
    if isinstance(value, pd.Timedelta):
        return ["Timedelta", int(value.asm8.view("i8")), value.unit]
    if isinstance(value, pd.Period):
        return ["Period", value.ordinal, value.freqstr]
    if isinstance(value, pd.Interval):
        return ["Interval", writer.encode(value.left), writer.encode(value.right), value.closed]
    return _write_many(value, writer)


def _write_many(value: Any, writer: Writer) -> Any:
    if isinstance(value, pd.Index):
        return ["Index", frame_form.write_index(value, writer)]
    if isinstance(value, pd.api.extensions.ExtensionArray):
        return ["array", column_form.write(pd.Series(value), writer)]
    return None


def read(form: Any, decode: Decode) -> Any:
    """Read a value."""
    kind, *parts = form
    if kind == "NA":
        return pd.NA
    if kind == "NaT":
        return pd.NaT
    if kind == "Timestamp":
        number, unit, zone = parts
        instant = pd.Timestamp(np.datetime64(number, unit)).as_unit(unit)
        return instant if zone is None else instant.tz_localize("UTC").tz_convert(zones.read(zone))
    if kind == "Timedelta":
        number, unit = parts
        return pd.Timedelta(np.timedelta64(number, unit)).as_unit(unit)
    if kind == "Index":
        return frame_form.read_index(parts[0], decode)
    if kind == "array":
        values = column_form.read(parts[0], decode)
        return pd.Series(values, dtype=values.dtype).array
    return _read_span(kind, parts, decode)


def _read_span(kind: str, parts: list[Any], decode: Decode) -> Any:
    if kind == "Period":
        ordinal, freq = parts
        return pd.Period(ordinal=ordinal, freq=freq)
    if kind == "Interval":
        left, right, closed = parts
        return pd.Interval(decode(left), decode(right), closed)
    raise ValueError(f"Unknown value of pandas {kind!r}")

"""Pandas values as JSON: DataFrames, Series, their indexes and columns, and single values."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it carries no types

from otel_ml.errors import untrusted
from otel_ml.types import array_form
from otel_ml.types.data import Decode, Form, Params, ValueWriter
from otel_ml.types.scalars import read_zone, tagged, write_zone

_ZONED: Final = "timestamp"


# DataFrames, Series and indexes.


def write_frame(frame: Any, writer: ValueWriter) -> Form:
    """Serialise a DataFrame: both indexes, and the columns in order."""
    columns = (frame.iloc[:, place] for place in range(frame.shape[1]))
    return {
        "index": _write_index(frame.index, writer),
        "columns": _write_index(frame.columns, writer),
        "data": [_write_column(column, writer) for column in columns],
        **_write_attrs(frame, writer),
    }


def read_frame(params: Params, decode: Decode) -> Any:
    """Read a DataFrame."""
    index = _read_index(params["index"], decode)
    rows = pd.RangeIndex(len(index))
    columns = {
        place: _series(_read_column(column, decode), rows)
        for place, column in enumerate(params["data"])
    }
    frame = pd.DataFrame(columns, index=rows)
    frame.index, frame.columns = index, _read_index(params["columns"], decode)
    return _with_attrs(frame, params, decode)


def write_series(series: Any, writer: ValueWriter) -> Form:
    """Serialise a Series: index, values and name."""
    return {
        "index": _write_index(series.index, writer),
        "name": writer.encode(series.name),
        "data": _write_column(series, writer),
        **_write_attrs(series, writer),
    }


def read_series(params: Params, decode: Decode) -> Any:
    """Read a Series."""
    values = _read_column(params["data"], decode)
    series = _series(values, _read_index(params["index"], decode), decode(params["name"]))
    return _with_attrs(series, params, decode)


def write_labels(table: Any, writer: ValueWriter) -> Form:
    """Serialise what a Parquet file lacks: labels, the frequency of the index, and attributes."""
    form: Form = {"freq": _write_freq(table.index), **_write_attrs(table, writer)}
    if isinstance(table, pd.Series):
        return {**form, "name": writer.encode(table.name)}
    return {**form, "columns": _write_index(table.columns, writer)}


def read_labels(table: Any, form: Params, decode: Decode) -> Any:
    """Restore what `write_labels` serialised. Returns the same table or series, changed."""
    if "name" in form:
        table.name = decode(form["name"])
    else:
        table.columns = _read_index(form["columns"], decode)
    if form["freq"] is not None:
        with suppress(ValueError):  # another pandas version may know other frequencies
            table.index.freq = form["freq"]
    return _with_attrs(table, form, decode)


def _write_attrs(table: Any, writer: ValueWriter) -> Form:
    return {"attrs": writer.encode(dict(table.attrs))} if table.attrs else {}


def _with_attrs(table: Any, params: Params, decode: Decode) -> Any:
    if "attrs" in params:
        table.attrs = decode(params["attrs"])
    return table


def _series(values: Any, index: Any, name: Any = None) -> Any:
    """Create a Series without converting the values. It rejects an index of a different length."""
    return pd.Series(values, index=index, dtype=values.dtype, name=name)


def _write_index(index: Any, writer: ValueWriter) -> Form:
    """Serialise an index of any type."""
    if isinstance(index, pd.MultiIndex):
        return {
            "levels": [_write_index(level, writer) for level in index.levels],
            "codes": [array_form.write(codes, writer) for codes in index.codes],
            "names": [writer.encode(name) for name in index.names],
        }
    name = writer.encode(index.name)
    if isinstance(index, pd.RangeIndex):
        return {"range": [index.start, index.stop, index.step], "name": name}
    return {"data": _write_column(index, writer), "name": name, "freq": _write_freq(index)}


def _read_index(params: Params, decode: Decode) -> Any:
    """Read an index."""
    if "levels" in params:
        return pd.MultiIndex(
            levels=[_read_index(level, decode) for level in params["levels"]],
            codes=[array_form.read(codes, decode) for codes in params["codes"]],
            names=[decode(name) for name in params["names"]],
        )
    name = decode(params["name"])
    if "range" in params:
        return pd.RangeIndex(*params["range"], name=name)
    index = _plain_index(_read_column(params["data"], decode), name)
    if params["freq"] is not None:
        with suppress(ValueError):  # another pandas version may know other frequencies
            index.freq = params["freq"]
    return index


def _write_freq(index: Any) -> str | None:
    """Return the frequency of a time index, or None if its text is incomplete."""
    if not isinstance(index, pd.DatetimeIndex | pd.TimedeltaIndex) or index.freq is None:
        return None
    text = str(index.freqstr)
    try:
        known = pd.tseries.frequencies.to_offset(text) == index.freq
    except ValueError:
        return None
    return text if known else None


# Columns: values and their dtype.


def _write_column(column: Any, writer: ValueWriter) -> Form:
    """Serialise the values of a Series or an index.

    Values of a dtype that belongs neither to pandas nor to NumPy are stored one by one, without the
    dtype.
    """
    dtype = column.dtype
    if isinstance(dtype, np.dtype):
        return array_form.write(column.to_numpy(), writer)
    if dtype.name in _NULLABLE:
        return _write_nullable(column.array, writer)
    for kind, write_values in _WRITERS.items():
        if type(dtype) is kind:
            form = write_values(column.array, writer)
            if form is not None:
                return form
    return array_form.write(column.to_numpy(dtype=object), writer)


def _read_column(params: Params, decode: Decode) -> Any:
    """Read values as a NumPy or pandas array."""
    if "of" in params:
        return _ARRAY_READERS[params["of"]](params, decode)
    return array_form.read(params, decode)


def _write_nullable(values: Any, writer: ValueWriter) -> Form:
    name = str(values.dtype.name)
    known = values.to_numpy(dtype="bool" if name == "boolean" else name.lower(), na_value=0)
    return {
        "of": "nullable",
        "name": name,
        "known": array_form.write(known, writer),
        "missing": array_form.write(_missing(values), writer),
    }


def _missing(values: Any) -> Any:
    """Return which values are NA. NaN may be an ordinary value, so it is not always NA."""
    return getattr(values, "_mask", values.isna())


def _read_nullable(params: Params, decode: Decode) -> Any:
    known = array_form.read(params["known"], decode)
    missing = array_form.read(params["missing"], decode)
    if params["name"] == "boolean":
        return pd.arrays.BooleanArray(known, missing)
    if known.dtype.kind == "f":
        return pd.arrays.FloatingArray(known, missing)
    return pd.arrays.IntegerArray(known, missing)


_NULLABLE: Final = frozenset(
    ["boolean", "Float32", "Float64"]
    + [sign + bits for sign in ("Int", "UInt") for bits in ("8", "16", "32", "64")]
)


def _write_categorical(values: Any, writer: ValueWriter) -> Form:
    return {
        "of": "categorical",
        "categories": _write_column(values.categories, writer),
        "codes": array_form.write(values.codes, writer),
        "ordered": bool(values.ordered),
    }


def _read_categorical(params: Params, decode: Decode) -> Any:
    return pd.Categorical.from_codes(
        array_form.read(params["codes"], decode),
        categories=_plain_index(_read_column(params["categories"], decode)),
        ordered=params["ordered"],
    )


def _plain_index(values: Any, name: Any = None) -> Any:
    """Create an index without converting the values to other types."""
    return pd.Index(values, dtype=values.dtype, name=name, tupleize_cols=False)


def _write_zoned(values: Any, writer: ValueWriter) -> Form:
    """Serialise times with a time zone. If the zone has no name, only the times in UTC are kept."""
    zone: Form = {"offset_us": 0}
    with untrusted:
        zone = write_zone(values.dtype.tz)
    instants = array_form.write(values.tz_convert(None).to_numpy(), writer)
    return {"of": "zoned", "instants": instants, "zone": zone}


def _read_zoned(params: Params, decode: Decode) -> Any:
    instants = pd.DatetimeIndex(array_form.read(params["instants"], decode))
    return instants.tz_localize("UTC").tz_convert(read_zone(params["zone"])).array


def _write_text(values: Any, writer: ValueWriter) -> Form:
    missing = values.isna()
    texts = [None if gone else text for text, gone in zip(values, missing, strict=True)]
    return {
        "of": "text",
        "values": writer.items(texts),
        "storage": values.dtype.storage,
        "missing": writer.encode(values.dtype.na_value),
    }


def _read_text(params: Params, decode: Decode) -> Any:
    return pd.array(decode(params["values"]), dtype=_text_dtype(params, decode))


def _text_dtype(params: Params, decode: Decode) -> Any:
    """Return a text dtype that works here: its storage is installed, its NA value supported."""
    missing = decode(params["missing"])
    for storage in (params["storage"], "python"):
        for options in ({"na_value": missing}, {}):
            try:
                return pd.StringDtype(storage, **options)
            except (ImportError, TypeError, ValueError):
                continue
    raise ValueError(f"Invalid storage {params['storage']!r}: expected 'python' or 'pyarrow'")


def _write_period(values: Any, writer: ValueWriter) -> Form:
    ordinals = array_form.write(values.view("i8"), writer)
    return {"of": "period", "ordinals": ordinals, "freq": pd.PeriodIndex(values).freqstr}


def _read_period(params: Params, decode: Decode) -> Any:
    ordinals = array_form.read(params["ordinals"], decode)
    return pd.PeriodIndex.from_ordinals(ordinals, freq=params["freq"]).array


def _write_interval(values: Any, writer: ValueWriter) -> Form:
    return {
        "of": "interval",
        "left": _write_column(values.left, writer),
        "right": _write_column(values.right, writer),
        "closed": values.closed,
    }


def _read_interval(params: Params, decode: Decode) -> Any:
    left, right = (_plain_index(_read_column(params[side], decode)) for side in ("left", "right"))
    return pd.arrays.IntervalArray.from_arrays(left, right, closed=params["closed"])


def _write_sparse(values: Any, writer: ValueWriter) -> Form:
    return {
        "of": "sparse",
        "dense": array_form.write(np.asarray(values), writer),
        "fill": writer.encode(values.fill_value),
    }


def _read_sparse(params: Params, decode: Decode) -> Any:
    dense, fill = array_form.read(params["dense"], decode), decode(params["fill"])
    return pd.arrays.SparseArray(dense, dtype=pd.SparseDtype(dense.dtype, fill))


# Arrow-backed columns: the Arrow type as text, and the values one by one.


def _write_arrow(values: Any, writer: ValueWriter) -> Form | None:
    """Serialise an Arrow-backed column, or return None if its type is not supported."""
    kind = _write_arrow_type(values.dtype.pyarrow_dtype)
    if kind is None:
        return None
    cells = values.__arrow_array__().to_pylist()
    return {"of": "arrow", "type": kind, "values": writer.items(cells)}


def _read_arrow(params: Params, decode: Decode) -> Any:
    """Read an Arrow-backed column. Without pyarrow, the values become objects."""
    values = decode(params["values"])
    try:
        import pyarrow as pa  # optional dependency
    except ImportError:
        objects = np.empty(len(values), object)
        objects[:] = values
        return objects
    kind = _read_arrow_type(params["type"])
    return pd.arrays.ArrowExtensionArray(pa.array(values, type=kind))


def _write_arrow_type(kind: Any) -> Any:
    import pyarrow as pa  # optional, but installed if there is such a column

    try:
        if pa.type_for_alias(str(kind)) == kind:
            return str(kind)
    except ValueError:
        pass
    types = pa.types
    if types.is_timestamp(kind):
        return {"name": _ZONED, "unit": kind.unit, "zone": kind.tz}
    if types.is_decimal128(kind) or types.is_decimal256(kind):
        return {"name": f"decimal{kind.bit_width}", "digits": [kind.precision, kind.scale]}
    if types.is_list(kind) or types.is_large_list(kind):
        inner = _write_arrow_type(kind.value_type)
        name = "large_list" if types.is_large_list(kind) else "list"
        return None if inner is None else {"name": name, "of": inner}
    if types.is_struct(kind):
        fields = [[field.name, _write_arrow_type(field.type)] for field in kind]
        return (
            None if any(inner is None for _, inner in fields) else {"name": "struct", "of": fields}
        )
    return None


def _read_arrow_type(form: Any) -> Any:
    import pyarrow as pa  # optional, see `_read_arrow`

    if isinstance(form, str):
        return pa.type_for_alias(form)
    name = form["name"]
    if name == _ZONED:
        return pa.timestamp(form["unit"], form["zone"])
    if name in {"decimal128", "decimal256"}:
        make = pa.decimal128 if name == "decimal128" else pa.decimal256
        return make(*form["digits"])
    if name == "struct":
        return pa.struct([(field, _read_arrow_type(inner)) for field, inner in form["of"]])
    if name in {"list", "large_list"}:
        make = pa.list_ if name == "list" else pa.large_list
        return make(_read_arrow_type(form["of"]))
    raise ValueError(f"Invalid Arrow type {name!r}")


_WRITERS: Final[dict[type, Callable[[Any, ValueWriter], Form | None]]] = {
    pd.CategoricalDtype: _write_categorical,
    pd.DatetimeTZDtype: _write_zoned,
    pd.StringDtype: _write_text,
    pd.PeriodDtype: _write_period,
    pd.IntervalDtype: _write_interval,
    pd.SparseDtype: _write_sparse,
    pd.ArrowDtype: _write_arrow,
}
_ARRAY_READERS: Final[dict[str, Callable[[Params, Decode], Any]]] = {
    "nullable": _read_nullable,
    "categorical": _read_categorical,
    "zoned": _read_zoned,
    "text": _read_text,
    "period": _read_period,
    "interval": _read_interval,
    "sparse": _read_sparse,
    "arrow": _read_arrow,
}


# Single values.


def write_scalar(value: Any, writer: ValueWriter) -> Any:
    """Serialise a single pandas value such as a Timestamp, or return None for other types."""
    form = _write_single(value, writer)
    return None if form is None else tagged("pandas", form)


def _write_single(value: Any, writer: ValueWriter) -> Any:
    if value is pd.NA or value is pd.NaT:
        return [str(value).strip("<>")]
    if isinstance(value, pd.Timestamp):
        zone = None if value.tz is None else write_zone(value.tz, value)
        return ["Timestamp", int(value.asm8.view("i8")), value.unit, zone]
    if isinstance(value, pd.Timedelta):
        return ["Timedelta", int(value.asm8.view("i8")), value.unit]
    if isinstance(value, pd.Period):
        return ["Period", value.ordinal, value.freqstr]
    if isinstance(value, pd.Interval):
        return ["Interval", writer.encode(value.left), writer.encode(value.right), value.closed]
    if isinstance(value, pd.Index):
        return ["Index", _write_index(value, writer)]
    if isinstance(value, pd.api.extensions.ExtensionArray):
        return ["array", _write_column(pd.Series(value), writer)]
    return None


def read_scalar(form: Any, decode: Decode) -> Any:
    """Read a single value."""
    kind, *parts = form
    if kind == "NA":
        return pd.NA
    if kind == "NaT":
        return pd.NaT
    if kind == "Timestamp":
        number, unit, zone = parts
        instant = pd.Timestamp(np.datetime64(number, unit)).as_unit(unit)
        return instant if zone is None else instant.tz_localize("UTC").tz_convert(read_zone(zone))
    if kind == "Timedelta":
        number, unit = parts
        return pd.Timedelta(np.timedelta64(number, unit)).as_unit(unit)
    if kind == "Index":
        return _read_index(parts[0], decode)
    if kind == "array":
        values = _read_column(parts[0], decode)
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

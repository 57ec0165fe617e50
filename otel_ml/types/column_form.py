"""Columns of pandas as JSON: values with the dtype that they have."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it carries no types

from otel_ml.errors import untrusted
from otel_ml.types import array_form, arrow_form, zones
from otel_ml.types.data import Decode, Form, Params, Writer


def write(column: Any, writer: Writer) -> Form:
    """Write the values of a series or an index.

    Values of a dtype that is neither pandas' nor numpy's are written one by one and lose it.
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


def read(params: Params, decode: Decode) -> Any:
    """Read values: an array of numpy, or one of pandas."""
    if "of" in params:
        return _READERS[params["of"]](params, decode)
    return array_form.read(params, decode)


def _write_nullable(values: Any, writer: Writer) -> Form:
    name = str(values.dtype.name)
    known = values.to_numpy(dtype=_numpy_name(name), na_value=0)
    return {
        "of": "nullable",
        "name": name,
        "known": array_form.write(known, writer),
        "missing": array_form.write(_missing(values), writer),
    }


def _missing(values: Any) -> Any:
    """Return which values are NA, where a NaN may be a value of its own."""
    return getattr(values, "_mask", values.isna())


def _read_nullable(params: Params, decode: Decode) -> Any:
    known = array_form.read(params["known"], decode)
    missing = array_form.read(params["missing"], decode)
    if params["name"] == "boolean":
        return pd.arrays.BooleanArray(known, missing)
    if known.dtype.kind == "f":
        return pd.arrays.FloatingArray(known, missing)
    return pd.arrays.IntegerArray(known, missing)


def _numpy_name(name: str) -> str:
    return "bool" if name == "boolean" else name.lower()


_NULLABLE: Final = frozenset(
    ["boolean", "Float32", "Float64"]
    + [sign + bits for sign in ("Int", "UInt") for bits in ("8", "16", "32", "64")]
)


def _write_categorical(values: Any, writer: Writer) -> Form:
    return {
        "of": "categorical",
        "categories": write(values.categories, writer),
        "codes": array_form.write(values.codes, writer),
        "ordered": bool(values.ordered),
    }


def _read_categorical(params: Params, decode: Decode) -> Any:
    return pd.Categorical.from_codes(
        array_form.read(params["codes"], decode),
        categories=plain_index(read(params["categories"], decode)),
        ordered=params["ordered"],
    )


def plain_index(values: Any, name: Any = None) -> Any:
    """Make an index of values as they are: no text, tuple or date is guessed from them."""
    return pd.Index(values, dtype=values.dtype, name=name, tupleize_cols=False)


def _write_zoned(values: Any, writer: Writer) -> Form:
    """Write times with a time zone; of a zone without a name only the instants stay, in UTC."""
    zone: Form = {"offset_us": 0}
    with untrusted:
        zone = zones.write(values.dtype.tz)
    instants = array_form.write(values.tz_convert(None).to_numpy(), writer)
    return {"of": "zoned", "instants": instants, "zone": zone}


def _read_zoned(params: Params, decode: Decode) -> Any:
    instants = pd.DatetimeIndex(array_form.read(params["instants"], decode))
    return instants.tz_localize("UTC").tz_convert(zones.read(params["zone"])).array


def _write_text(values: Any, writer: Writer) -> Form:
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
    """Return the dtype, with the storage that is installed and the NA that this pandas knows."""
    missing = decode(params["missing"])
    for storage in (params["storage"], "python"):
        for options in ({"na_value": missing}, {}):
            try:
                return pd.StringDtype(storage, **options)
            except (ImportError, TypeError, ValueError):
                continue
    raise ValueError(f"Invalid storage {params['storage']!r}: expected 'python' or 'pyarrow'")


def _write_period(values: Any, writer: Writer) -> Form:
    ordinals = array_form.write(values.view("i8"), writer)
    return {"of": "period", "ordinals": ordinals, "freq": pd.PeriodIndex(values).freqstr}


def _read_period(params: Params, decode: Decode) -> Any:
    ordinals = array_form.read(params["ordinals"], decode)
    return pd.PeriodIndex.from_ordinals(ordinals, freq=params["freq"]).array


def _write_interval(values: Any, writer: Writer) -> Form:
    return {
        "of": "interval",
        "left": write(values.left, writer),
        "right": write(values.right, writer),
        "closed": values.closed,
    }


def _read_interval(params: Params, decode: Decode) -> Any:
    left, right = (plain_index(read(params[side], decode)) for side in ("left", "right"))
    return pd.arrays.IntervalArray.from_arrays(left, right, closed=params["closed"])


def _write_sparse(values: Any, writer: Writer) -> Form:
    return {
        "of": "sparse",
        "dense": array_form.write(np.asarray(values), writer),
        "fill": writer.encode(values.fill_value),
    }


def _read_sparse(params: Params, decode: Decode) -> Any:
    dense, fill = array_form.read(params["dense"], decode), decode(params["fill"])
    return pd.arrays.SparseArray(dense, dtype=pd.SparseDtype(dense.dtype, fill))


_WRITERS: Final[dict[type, Callable[[Any, Writer], Form | None]]] = {
    pd.CategoricalDtype: _write_categorical,
    pd.DatetimeTZDtype: _write_zoned,
    pd.StringDtype: _write_text,
    pd.PeriodDtype: _write_period,
    pd.IntervalDtype: _write_interval,
    pd.SparseDtype: _write_sparse,
    pd.ArrowDtype: arrow_form.write,
}
_READERS: Final[dict[str, Callable[[Params, Decode], Any]]] = {
    "nullable": _read_nullable,
    "categorical": _read_categorical,
    "zoned": _read_zoned,
    "text": _read_text,
    "period": _read_period,
    "interval": _read_interval,
    "sparse": _read_sparse,
    "arrow": arrow_form.read,
}

"""Columns of pandas that Arrow holds, as JSON: the Arrow type in words, the values one by one."""

from typing import Any, Final

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it carries no types

from otel_ml.types.data import Decode, Form, Params, Writer

_ZONED: Final = "timestamp"


def write(values: Any, writer: Writer) -> Form | None:
    """Write an Arrow column; None for one whose type has no words here."""
    kind = _write_type(values.dtype.pyarrow_dtype)
    if kind is None:
        return None
    found = values.__arrow_array__().to_pylist()
    return {"of": "arrow", "type": kind, "values": writer.items(found)}


def read(params: Params, decode: Decode) -> Any:
    """Read an Arrow column; without pyarrow its values are objects."""
    values = decode(params["values"])
    try:
        import pyarrow as pa  # optional: who has such a column has it
    except ImportError:
        objects = np.empty(len(values), object)
        objects[:] = values
        return objects
    kind = _read_type(params["type"])
    return pd.arrays.ArrowExtensionArray(pa.array(values, type=kind))


def _write_type(kind: Any) -> Any:
    import pyarrow as pa  # as above

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
        inner = _write_type(kind.value_type)
        name = "large_list" if types.is_large_list(kind) else "list"
        return None if inner is None else {"name": name, "of": inner}
    if types.is_struct(kind):
        fields = [[field.name, _write_type(field.type)] for field in kind]
        return (
            None if any(inner is None for _, inner in fields) else {"name": "struct", "of": fields}
        )
    return None


def _read_type(form: Any) -> Any:
    import pyarrow as pa  # as above

    if isinstance(form, str):
        return pa.type_for_alias(form)
    name = form["name"]
    if name == _ZONED:
        return pa.timestamp(form["unit"], form["zone"])
    if name in {"decimal128", "decimal256"}:
        make = pa.decimal128 if name == "decimal128" else pa.decimal256
        return make(*form["digits"])
    if name == "struct":
        return pa.struct([(field, _read_type(inner)) for field, inner in form["of"]])
    if name in {"list", "large_list"}:
        make = pa.list_ if name == "list" else pa.large_list
        return make(_read_type(form["of"]))
    raise ValueError(f"Invalid Arrow type {name!r}")

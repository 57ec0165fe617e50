"""NumPy arrays as JSON: dtype, shape and bytes. Objects are stored one by one."""

import io
import math
from typing import Any, Final

import numpy as np

from otel_ml.file_formats import NPY
from otel_ml.types.data import Decode, File, Form, Params, ValueWriter
from otel_ml.types.scalars import from_base64, to_base64

_EXTRA_DTYPES: Final = frozenset(
    {
        *("bfloat16", "float4_e2m1fn", "float6_e2m3fn", "float6_e3m2fn", "float8_e3m4"),
        *("float8_e4m3", "float8_e4m3b11fnuz", "float8_e4m3fn", "float8_e4m3fnuz"),
        *("float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"),
        *("int1", "int2", "int4", "uint1", "uint2", "uint4"),
    }
)


def why_not(value: object) -> str:
    """Explain why a value is not a NumPy array; return "" if it is."""
    is_ours = issubclass(type(value), np.ndarray | np.generic)
    return "" if is_ours else "expected an array or scalar of numpy"


def write(array: "np.ndarray[Any, Any]", writer: ValueWriter) -> Form:
    """Serialise an array in C order, including the mask of a masked array."""
    plain = np.asarray(array)
    form = {"dtype": write_dtype(plain.dtype), "shape": list(plain.shape)}
    if _is_text(plain.dtype):
        if hasattr(plain.dtype, "na_object"):
            form["missing"] = writer.encode(plain.dtype.na_object)
        if not getattr(plain.dtype, "coerce", True):
            form["coerce"] = False
        form["values"] = writer.items(plain.ravel().tolist())
    elif plain.dtype.names is not None and plain.dtype.hasobject:
        form["fields"] = [write(plain[name], writer) for name in plain.dtype.names]
    elif plain.dtype.hasobject:
        form["values"] = writer.items(plain.ravel().tolist())
    else:
        form["data"] = to_base64(plain.tobytes())
    if isinstance(array, np.ma.MaskedArray):
        form["mask"] = to_base64(np.ma.getmaskarray(array).tobytes())
        form["hard_mask"] = bool(array.hardmask)
        fill, usual = (
            np.asarray(value, plain.dtype)
            for value in (array.fill_value, np.ma.default_fill_value(plain.dtype))
        )
        if repr(fill.tolist()) != repr(usual.tolist()):
            form["fill"] = write(fill, writer)
    return form


def read(params: Params, decode: Decode) -> "np.ndarray[Any, Any]":
    """Convert the stored form of an array back to a NumPy array, which is writable.

    Raises:
        ValueError: Dtype, shape and content do not match.
    """
    dtype, shape = read_dtype(params["dtype"], params, decode), tuple(params["shape"])
    array = _content(params, decode, dtype, shape)
    if "mask" in params:
        mask = read_bytes(from_base64(params["mask"]), np.ma.make_mask_descr(dtype), shape)
        fill: Any = read(params["fill"], decode)[()] if "fill" in params else None
        hard = bool(params.get("hard_mask"))
        return np.ma.MaskedArray(array, mask, fill_value=fill, hard_mask=hard)
    return array


def _content(
    params: Params, decode: Decode, dtype: "np.dtype[Any]", shape: tuple[int, ...]
) -> "np.ndarray[Any, Any]":
    if "values" in params:
        values = params["values"]
        if len(values) != math.prod(shape):
            raise ValueError(f"Invalid array: expected {math.prod(shape)} elements")
        flat = np.empty(len(values), dtype)
        for place, item in enumerate(values):
            flat[place] = decode(item)  # one by one, because an element may be a list
        return flat.reshape(shape)
    if "fields" in params:
        fields = [read(field, decode) for field in params["fields"]]
        array = np.empty(shape if fields else (0,), dtype)
        for name, field in zip(dtype.names or (), fields, strict=True):
            array[name] = field
        return array
    return read_bytes(from_base64(params["data"]), dtype, shape)


def read_bytes(
    raw: bytes, dtype: "np.dtype[Any]", shape: tuple[int, ...]
) -> "np.ndarray[Any, Any]":
    """Read an array from bytes in C order.

    Object arrays are rejected: the bytes would be pointers.
    """
    if dtype.hasobject:
        raise ValueError(
            "Invalid array: its elements are Python objects, whose values were not stored"
        )
    if len(raw) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"Invalid array: {len(raw)} bytes for shape {shape} of {dtype}")
    return np.ndarray(shape, dtype, buffer=raw).copy()


def write_value(value: Any, writer: ValueWriter) -> Form:
    """Serialise an array or a scalar. A scalar is stored as an array without dimensions."""
    if not isinstance(value, np.generic):
        return write(value, writer)
    form = write(np.asarray(value), writer)
    if isinstance(value, np.bytes_ | np.str_):  # an array would drop trailing zeros
        raw: Any = bytes(value) if isinstance(value, np.bytes_) else str.__str__(value)
        form = {"dtype": write_dtype(value.dtype), "shape": [], "text": writer.encode(raw)}
    return {**form, "scalar": True}


def read_value(params: Params, decode: Decode) -> Any:
    """Read an array, or a scalar with its original type."""
    if not params.get("scalar"):
        return read(params, decode)
    if "text" in params:
        return read_dtype(params["dtype"], params, decode).type(decode(params["text"]))
    return read(params, decode)[()]


def write_file(value: Any) -> File | str:
    """Convert an array to a file of NumPy's format; return why not, if it would change it.

    Spec: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
    """
    if not isinstance(value, np.ndarray):
        return "an npy file holds an array, not a scalar"
    if isinstance(value, np.ma.MaskedArray):
        return "an npy file has no mask"
    plain = np.asarray(value)
    if plain.dtype.hasobject or _is_text(plain.dtype):
        return "an npy file holds neither Python objects nor texts of any length"
    described = np.lib.format.dtype_to_descr(plain.dtype)
    again = np.lib.format.descr_to_dtype(described)
    if write_dtype(again) != write_dtype(plain.dtype):
        return "an npy file does not return its dtype unchanged"
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(plain, order="C"), allow_pickle=False)
    return File(NPY, file.getvalue())


def read_file(content: bytes) -> "np.ndarray[Any, Any]":
    """Read an array from a file of NumPy's format. The array is writable.

    Raises:
        ValueError: The file is invalid, or contains Python objects, which need pickle.
    """
    array: np.ndarray[Any, Any] = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    return array


def write_dtype(dtype: "np.dtype[Any]") -> Any:
    """Return a dtype as text, or as an object if it has several parts."""
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return {"base": write_dtype(base), "shape": list(shape)}
    if dtype.names is None or dtype.fields is None:
        if dtype.type.__module__ == "ml_dtypes":
            return {"extra": dtype.name}
        return "T" if _is_text(dtype) else dtype.str
    fields = [dtype.fields[name] for name in dtype.names]
    return {
        "names": list(dtype.names),
        "formats": [write_dtype(field[0]) for field in fields],
        "offsets": [field[1] for field in fields],
        "titles": [field[2] if len(field) > 2 else None for field in fields],  # noqa: PLR2004 - the third is a title
        "itemsize": dtype.itemsize,
        "align": dtype.isalignedstruct,
    }


def read_dtype(form: Any, params: Params, decode: Decode) -> "np.dtype[Any]":
    """Read a dtype."""
    if form == "T":
        options = {"na_object": decode(params["missing"])} if "missing" in params else {}
        return _text_dtype(coerce=params.get("coerce", True), **options)
    if isinstance(form, str):
        return np.dtype(form)
    if "extra" in form:
        return _extra_dtype(form["extra"])
    if "base" in form:
        return np.dtype((read_dtype(form["base"], params, decode), tuple(form["shape"])))
    formats = [read_dtype(part, params, decode) for part in form["formats"]]
    fields: Any = {**form, "formats": formats}
    align = fields.pop("align")
    if not any(fields["titles"]):
        del fields["titles"]
    dtype: np.dtype[Any] = np.dtype(fields, align=align)
    return dtype


def _extra_dtype(name: Any) -> "np.dtype[Any]":
    """Return a dtype of small floats or integers from ml_dtypes."""
    if name not in _EXTRA_DTYPES:
        raise ValueError(f"Unknown dtype {str(name)[:40]!r}: expected one of ml_dtypes")
    import ml_dtypes  # such an array exists only if ml_dtypes is installed

    dtype: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
    return dtype


def _is_text(dtype: "np.dtype[Any]") -> bool:
    return dtype.kind == "T"


def _text_dtype(**options: Any) -> "np.dtype[Any]":
    if not hasattr(np.dtypes, "StringDType"):
        raise ValueError("Invalid dtype 'T': expected numpy 2 or newer, which has StringDType")
    dtype: np.dtype[Any] = np.dtypes.StringDType(**options)
    return dtype

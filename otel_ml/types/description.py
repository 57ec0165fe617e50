"""What a wrapper holds, in short: for previews, within 1,024 bytes of JSON."""

import math
from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

import orjson

from otel_ml.capture.description import first_elements, type_name
from otel_ml.capture.values import PREVIEW_BYTES, clean, encode, preview
from otel_ml.types.data import Form

_HEAD: Final = 8  # elements of an array, or rows of a table
_HEAD_BYTES: Final = 400
_NATIVE_BYTES: Final = 640  # of a value of which little else is said
_LOOKED_AT_BYTES: Final = 4_096  # of a value of which the beginning is shown
_TEXT_CHARS: Final = 200
NAME_CHARS: Final = 100  # a character takes at most six bytes
_COUNTED: Final = 4 * 1024 * 1024  # elements: the statistics of more take tens of milliseconds
_COLUMNS: Final = 32


def _brief(value: Any, limit_bytes: int = _HEAD_BYTES) -> Any:
    """Return what stands for any value, short."""
    text = encode(value, _LOOKED_AT_BYTES).text
    return orjson.loads(preview(value, text, limit_bytes) or text)


def of_native(value: Any) -> Form:
    """Describe any other value."""
    form: Form = {"of": clean(type(value).__name__[:_TEXT_CHARS])}
    if isinstance(value, list | tuple | dict | set | frozenset | deque):
        form["length"] = len(value)
    return {**form, "head": _brief(value, _NATIVE_BYTES)}


def of_text(value: str) -> Form:
    """Describe a text."""
    return {"length": len(value), "head": _brief(value[:_TEXT_CHARS])}


def of_bytes(value: bytes | bytearray | memoryview) -> Form:
    """Describe bytes."""
    raw = value.tobytes() if isinstance(value, memoryview) else value
    return {"length": len(raw), "head": raw[:_HEAD].hex()}


def of_array(value: Any) -> Form:
    """Describe an array of numpy, or one that is like it."""
    return {
        "dtype": str(value.dtype)[:_TEXT_CHARS],
        "shape": list(value.shape),
        **_statistics(value),
        "head": _brief(first_elements(value, _HEAD) if value.shape else value.tolist()),
    }


def of_series(value: Any) -> Form:
    """Describe a series of pandas."""
    known = value.dropna()
    return {
        "dtype": str(value.dtype)[:_TEXT_CHARS],
        "shape": list(value.shape),
        "name": _brief(value.name),
        **_statistics(known.to_numpy()),
        "missing": value.size - known.size,
        "head": _brief([_shown(item) for item in value.head(_HEAD).tolist()]),
    }


def of_frame(value: Any) -> Form:
    """Describe a table of pandas."""
    columns = _columns(value.columns[:_COLUMNS], value.dtypes.iloc[:_COLUMNS])
    form: Form = {"shape": list(value.shape), "columns": columns}
    if value.size <= _COUNTED:
        form["missing"] = int(value.isna().to_numpy().sum())
    corner = value.iloc[:_HEAD, :_HEAD]
    shown = [[*map(_shown, corner.iloc[:, n].tolist())] for n in range(corner.shape[1])]
    return {**form, "head": _brief([*zip(*shown, strict=True)])}


def of_image(value: Any) -> Form:
    """Describe an image of Pillow."""
    from otel_ml.types import image_form  # who has an image has loaded Pillow

    orientation = image_form.orientation_of(value)
    turned = {} if orientation is None else {"orientation": orientation}
    return {"mode": value.mode, "size": list(value.size), **turned}


def of_picture(value: Any) -> Form:
    """Describe a figure that is drawn."""
    return {"of": type_name(value)[:_TEXT_CHARS], "kept": "a picture of it"}


def of_tensor(value: Any) -> Form:
    """Describe a tensor of torch."""
    form: Form = {"dtype": str(value.dtype).removeprefix("torch."), "shape": list(value.shape)}
    form["device"] = str(value.device)
    if "sparse" in str(value.layout):
        return {**form, "layout": str(value.layout).removeprefix("torch.")}
    known = value.detach()
    if known.is_floating_point() and 0 < known.numel() <= _COUNTED:
        known = known.float()
        form |= {name: _finite(getattr(known, name)().item()) for name in ("min", "max", "mean")}
    return {**form, "head": _brief(known.flatten()[:_HEAD].tolist())}


def of_state(value: dict[str, Any]) -> Form:
    """Describe tensors of torch by name."""
    tensors = [*value.values()]
    return {
        "length": len(tensors),
        "elements": sum(one.numel() for one in tensors),
        "dtypes": sorted({str(one.dtype).removeprefix("torch.") for one in tensors}),
        "devices": sorted({str(one.device) for one in tensors}),
        "head": [[name[:NAME_CHARS], list(one.shape)] for name, one in [*value.items()][:_HEAD]],
    }


def of_jax(value: Any) -> Form:
    """Describe an array of jax."""
    import numpy as np  # jax needs it

    devices = sorted(str(device) for device in value.devices())
    return {**of_array(np.asarray(value)), "devices": devices}


def of_sparse(value: Any) -> Form:
    """Describe a sparse matrix of scipy."""
    return {
        "of": type(value).__name__,
        "dtype": str(value.dtype),
        "shape": list(value.shape),
        "stored": int(value.nnz),
        "head": _brief(value.tocoo().data[:_HEAD].tolist()),
    }


def of_arrow(value: Any) -> Form:
    """Describe a value of pyarrow."""
    form: Form = {"of": type(value).__name__}
    if hasattr(value, "schema"):
        form["shape"] = [value.num_rows, value.num_columns]
    schema = getattr(value, "schema", value)
    if hasattr(schema, "names"):
        form["columns"] = _columns(schema.names, schema.types)
    else:
        form |= {"dtype": str(value.type)[:_TEXT_CHARS], "length": len(value)}
    if hasattr(value, "slice"):
        form["head"] = _brief([_of_row(row) for row in value.slice(0, _HEAD).to_pylist()])
    return form


def of_polars(value: Any) -> Form:
    """Describe a frame or series of polars."""
    form: Form = {"of": type(value).__name__, "shape": list(value.shape)}
    if hasattr(value, "columns"):
        return {
            **form,
            "columns": _columns(value.columns, value.dtypes),
            "head": _brief([[*map(_shown, row)] for row in value.head(_HEAD).rows()]),
        }
    head = _brief([_shown(item) for item in value.head(_HEAD).to_list()])
    return {**form, "name": value.name, "dtype": str(value.dtype)[:_TEXT_CHARS], "head": head}


def _of_row(row: Any) -> Any:
    return [*map(_shown, row.values())] if isinstance(row, dict) else _shown(row)


def _columns(named: Iterable[object], dtypes: Iterable[object]) -> list[list[str]]:
    """Return the first columns, each with its dtype, in half a preview at most."""
    pairs = zip(islice(named, _COLUMNS), dtypes, strict=False)
    columns = [[str(name)[:_TEXT_CHARS], str(dtype)[:_TEXT_CHARS]] for name, dtype in pairs]
    while len(orjson.dumps(columns)) > PREVIEW_BYTES // 2:
        columns.pop()
    return columns


def _shown(item: Any) -> Any:
    """Return an element as it is shown: what is no number or text, such as a time, in words."""
    return item if isinstance(item, str | bool | int | float) else str(item)


def _statistics(array: Any) -> Form:
    """Return min, max, mean and how many are missing, of an array that has them."""
    import numpy as np  # who has an array has loaded it

    kind = array.dtype.kind
    if kind not in "iufbmM" or not 0 < array.size <= _COUNTED:
        return {}
    known = array.compressed() if isinstance(array, np.ma.MaskedArray) else array
    if kind in "fmM":
        known = known[~(np.isnan(known) if kind == "f" else np.isnat(known))]
    form: Form = {"missing": array.size - known.size}
    if known.size:
        form = {"min": _number(known.min()), "max": _number(known.max()), **form}
        if kind in "iuf":
            with np.errstate(all="ignore"):
                form["mean"] = _number(known.mean(dtype=np.float64))
    return form


def _number(value: Any) -> Any:
    """Return a number, or what JSON has no number for as text."""
    if value.dtype.kind in "mM":
        return str(value)
    number = value.item()
    return number if isinstance(number, int) else _finite(float(number))


def _finite(number: float) -> Any:
    return number if math.isfinite(number) else str(number)

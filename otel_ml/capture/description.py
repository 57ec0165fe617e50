"""Short descriptions for values that JSON cannot represent, such as arrays and tables."""

import dataclasses
import datetime
import enum
import functools
import io
import math
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from itertools import count, islice
from operator import mul, sub
from typing import Any, Final

from otel_ml.errors import untrusted
from otel_ml.statistics.projections import MOST_NUMBERS, is_embedding, project

HEAD: Final = 8  # elements of a large array, or rows of a table, that are shown

_SMALL: Final = 64  # arrays up to this number of elements are shown completely
_REPR_CHARS: Final = 200
MOST_COLUMNS: Final = 50  # columns of a table that are described one by one
_SHOWN_CELLS: Final = 400  # cells of all columns together, from evenly spaced rows
_LONGEST_CELL: Final = 64
_PLAIN_CELLS: Final = frozenset({int, float, bool, type(None)})
_NO_CELLS: Final = frozenset({"NAType", "NaTType"})
_THUMBNAIL: Final = 64  # pixels per side
_CLIENTS: Final = frozenset({"anthropic", "openai"})
_NOT_GIVEN: Final = frozenset({"NotGiven", "Omit"})

# a `repr` that takes longer is slow and is not called again for a minute
_SLOW_S: Final = 0.02
_SLOW_FOR_S: Final = 60.0
_SLOW_TYPES: Final = 1_000
_SLOW: Final[dict[type, float]] = {}


@functools.singledispatch
def describe(value: Any) -> object:
    """Describe a value that JSON cannot hold, for example by type and shape.

    It may raise; callers handle that.
    """
    for base in type(value).__mro__:
        describer = _DESCRIBERS.get(base.__module__.partition(".")[0])
        described = None if describer is None else describer(value)
        if described is not None:
            return described
    if dataclasses.is_dataclass(type(value)):
        return {
            field.name: getattr(value, field.name)
            for field in dataclasses.fields(value)
            if not field.name.startswith("_") and hasattr(value, field.name)
        }
    if hasattr(type(value), "model_dump"):
        return value.model_dump()
    if hasattr(type(value), "__await__"):  # nothing is known before it is awaited
        return {"type": type_name(value), "awaitable": True}
    if choices := _describe_choices(value):
        return {"type": type_name(value), "choices": choices}
    words = words_of(value)
    return {"type": type_name(value)} | ({} if words is None else {"repr": words[:_REPR_CHARS]})


def _describe_choices(value: Any) -> list[dict[str, object]]:
    """Describe the choices of an object that looks like a chat response, else return nothing."""
    listed = getattr(value, "__dict__", {}).get("choices")
    choices = listed[:HEAD] if isinstance(listed, list | tuple) else ()
    described: list[dict[str, object]] = []
    for choice in choices:
        message = getattr(choice, "message", None)
        facts = {name: getattr(message, name, None) for name in ("role", "content")}
        if not isinstance(facts["content"], str):
            return []
        held = {name: text for name, text in facts.items() if isinstance(text, str)}
        described.append({"message": held})
    return described


def field_names(kind: type) -> Sequence[str] | None:
    """Return the names of the fields that a class declares, or None if it declares none.

    It supports dataclasses, named tuples, and classes of attrs, msgspec and pydantic. It may raise.
    """
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    if issubclass(kind, tuple):
        names = getattr(kind, "_fields", None)
        return names if isinstance(names, tuple) else None
    if hasattr(kind, "to_plotly_json"):
        return ()
    if isinstance(getattr(kind, "__attrs_attrs__", None), tuple):
        return [field.name for field in kind.__attrs_attrs__]  # type: ignore[attr-defined]
    struct_fields = getattr(kind, "__struct_fields__", None) or getattr(
        kind, "__pydantic_fields__", None
    )
    return [*struct_fields] if isinstance(struct_fields, tuple | dict) else None


def words_of(value: Any) -> str | None:
    """Return a value's ``repr``, or None if ``repr`` was slow for this type in the last minute.

    A running ``repr`` cannot be interrupted, so a slow one is called only once per minute. It may
    raise; callers handle that.
    """
    kind = type(value)
    began = time.monotonic()
    if began < _SLOW.get(kind, 0.0):
        return None
    try:
        return repr(value)
    finally:
        now = time.monotonic()
        if now - began > _SLOW_S:
            if len(_SLOW) >= _SLOW_TYPES:
                _SLOW.clear()
            _SLOW[kind] = now + _SLOW_FOR_S


for _kinds, _describer in (
    ((set, frozenset), lambda value: sorted(value, key=text_of)),
    (
        (bytes, bytearray, memoryview),
        lambda value: {"type": "bytes", "length": len(value), "head": bytes(value[:HEAD]).hex()},
    ),
    ((enum.Enum,), lambda value: value.value),
    ((datetime.date, datetime.time), lambda value: value.isoformat()),
    ((complex, int, uuid.UUID), str),
    ((str,), lambda value: value.encode("utf-8", "replace").decode()),
    ((dict,), dict),
    ((list, tuple), list),
):
    for _kind in _kinds:
        describe.register(_kind, _describer)


def _describe_numpy(value: Any) -> object:
    if value.shape == ():
        return value.item()
    described = {
        "type": "numpy.ndarray",
        "dtype": str(value.dtype),
        "shape": list(value.shape),
    }
    return {**described, **_elements(value), **_cells_of_array(value)}


def _cells_of_array(array: Any) -> dict[str, object]:
    """Return cells of an array that is a table: two-dimensional with few columns, or structured.

    Small arrays already show all elements in `values`, so they return nothing.
    """
    if array.dtype.names:
        rows = array.ravel()[:: _step(array.size, len(array.dtype.names))]
        return _write_cells((name, rows[name].tolist()) for name in array.dtype.names)
    is_table = array.ndim == 2 and array.dtype.kind in "biufUS"  # noqa: PLR2004 - rows and columns
    if not is_table or array.size <= _SMALL or array.shape[1] > MOST_COLUMNS:
        return {}
    rows = array[:: _step(*array.shape)]
    return _write_cells((str(place), column.tolist()) for place, column in enumerate(rows.T))


def _step(rows: int, columns: int) -> int:
    """Return the step between the rows that are shown."""
    return max(-(-rows // max(_SHOWN_CELLS // max(min(columns, MOST_COLUMNS), 1), HEAD)), 1)


def make_unique(names: Sequence[str]) -> list[str]:
    """Number the names that occur more than once, from the second time on."""
    unique: dict[str, None] = {}
    for name in names:
        numbered = (f"{name}.{number}" for number in count(2))
        own = name
        while own in unique or (own != name and own in names):
            own = next(numbered)
        unique[own] = None
    return [*unique]


def _write_cells(columns: Iterable[tuple[object, Sequence[object]]]) -> dict[str, object]:
    """Return the cells by column, for the first columns. None is a missing value."""
    shown = [*islice(columns, MOST_COLUMNS)]
    names = make_unique([str(name) for name, _ in shown])
    cells = {
        name: [*map(_write_cell, values)] for name, (_, values) in zip(names, shown, strict=True)
    }
    return {"cells": cells} if any(cells.values()) else {}


def _write_cell(cell: Any) -> object:
    kind = type(cell)
    if kind in _PLAIN_CELLS:
        return cell
    if kind is str:
        return cell[:_LONGEST_CELL]
    if kind.__name__ in _NO_CELLS:
        return None
    if isinstance(cell, datetime.date | datetime.time):
        return cell.isoformat()
    if isinstance(cell, float | int):
        return float(cell)
    return float(cell) if kind.__name__ == "Decimal" else type_name(cell)


def _elements(array: Any) -> dict[str, object]:
    """Return the elements of a small NumPy array, or the first ones of a larger array.

    For a vector such as an embedding, also return norm and projections, which drift detection uses.
    """
    if array.size <= _SMALL:
        return {"values": array.tolist()}
    head: dict[str, object] = {"head": first_elements(array, HEAD)}
    if array.ndim != 1 or array.dtype.kind != "f" or array.size > MOST_NUMBERS:
        return head
    numbers = array.tolist()
    if not is_embedding(numbers):
        return head
    projected = project(numbers)
    return {**head, "norm": projected.norm, "projections": [*projected.projections]}


def first_elements(array: Any, count: int) -> list[Any]:
    """Return the first elements of a NumPy array as Python values, in C order.

    Elements are read one by one, because NumPy cannot slice `flat` for variable-length strings.
    """
    head = islice(array.flat, count)
    return [item.tolist() if hasattr(item, "tolist") else item for item in head]


def _describe_tensor(value: Any) -> object:
    """Describe a PyTorch tensor. Data on another device is not copied."""
    if not hasattr(value, "layout"):
        return None
    described = {
        "type": "torch.Tensor",
        "dtype": str(value.dtype).removeprefix("torch."),
        "shape": list(value.shape),
        "device": str(value.device),
    }
    if str(value.layout) != "torch.strided" or value.device.type != "cpu":
        return described
    plain = value.detach()
    if plain.numel() <= _SMALL:
        return {**described, "values": plain.tolist()}
    while plain.dim() > 1:
        plain = plain[0]
    return {**described, "head": plain[:HEAD].tolist()}


def _describe_jax(value: Any) -> object:
    if not hasattr(value, "devices"):
        return None
    devices = sorted(str(device) for device in value.devices())
    described = {
        "type": "jax.Array",
        "dtype": str(value.dtype),
        "shape": list(value.shape),
        "device": ", ".join(devices),
    }
    if not all(device.startswith(("cpu", "TFRT_CPU")) for device in devices):
        return described
    return {**described, **_elements(value.__array__())}


def _describe_sparse(value: Any) -> object:
    if not hasattr(value, "nnz"):
        return None
    return {
        "type": type_name(value),
        "dtype": str(value.dtype),
        "shape": list(value.shape),
        "stored": int(value.nnz),
    }


def _describe_arrow(value: Any) -> object:
    if hasattr(value, "column_names"):
        shown: object = {name: value.column(name) for name in value.column_names[:HEAD]}
        shape = [value.num_rows, value.num_columns]
        described = {"type": type_name(value), "shape": shape, "head": shown}
        return {**described, **_cells_of_arrow(value)}
    if not hasattr(value, "null_count"):
        return None
    described = {"type": type_name(value), "dtype": str(value.type), "shape": [len(value)]}
    return {**described, "head": value[:HEAD].to_pylist()}


def _cells_of_arrow(table: Any) -> dict[str, object]:
    names = table.column_names[:MOST_COLUMNS]
    rows = range(0, table.num_rows, _step(table.num_rows, len(names)))
    return _write_cells(
        (name, [table.column(place)[row].as_py() for row in rows])
        for place, name in enumerate(names)
    )


def _describe_table(value: Any) -> object:
    name = type(value).__name__
    if name not in {"DataFrame", "Series"}:
        return None
    described: dict[str, object] = {"type": type_name(value), "shape": list(value.shape)}
    if name == "DataFrame":
        described["columns"] = [str(column) for column in value.columns]
    described["head"] = str(value.head(HEAD))
    if name == "DataFrame":
        described |= _cells_of_table(value)
    return described


def _cells_of_table(table: Any) -> dict[str, object]:
    step = _step(*table.shape)
    if hasattr(table, "gather_every"):
        rows = table.gather_every(step)
        return _write_cells((column.name, column.to_list()) for column in rows.get_columns())
    rows = table.iloc[::step, :MOST_COLUMNS]
    return _write_cells(
        (name, rows.iloc[:, place].tolist()) for place, name in enumerate(rows.columns)
    )


def _describe_image(value: Any) -> object:
    if not hasattr(value, "mode"):
        return None
    described = {"type": "PIL.Image", "mode": value.mode, "size": list(value.size)}
    return {**described, **_measure_image(value)}


def _measure_image(image: Any) -> dict[str, float]:
    """Return brightness, contrast and sharpness of an image, or nothing if it is not loaded yet.

    They are measured on 64 by 64 pixels. Brightness is the mean grey value (0 to 255), contrast its
    standard deviation. Sharpness is the mean squared difference of neighbouring pixels in the
    middle of the image.
    """
    owned = vars(image)  # accessing the pixels would read the file
    if owned.get("_im", owned.get("im")) is None or min(image.size) < 1:
        return {}
    thumbnail = image.resize((_THUMBNAIL, _THUMBNAIL), 0).convert("L").tobytes()
    left, top = (max((length - _THUMBNAIL) // 2, 0) for length in image.size)
    width, height = (min(length, _THUMBNAIL) for length in image.size)
    middle = image.crop((left, top, left + width, top + height)).convert("L").tobytes()
    mean = sum(thumbnail) / len(thumbnail)
    squares = sum(map(mul, thumbnail, thumbnail)) / len(thumbnail)
    steps = [*map(sub, middle[1:], middle)]
    return {
        "brightness": round(mean, 2),
        "contrast": round(math.sqrt(max(squares - mean * mean, 0.0)), 2),
        "sharpness": round(sum(map(mul, steps, steps)) / max(len(steps), 1), 2),
    }


# by package name, so that no package is imported: a value exists only if its package is loaded
_DESCRIBERS: Final[dict[str, Callable[[Any], object]]] = {
    "decimal": str,
    "pathlib": str,
    "numpy": _describe_numpy,
    "pandas": _describe_table,
    "polars": _describe_table,
    "PIL": _describe_image,
    "torch": _describe_tensor,
    "jaxlib": _describe_jax,
    "scipy": _describe_sparse,
    "pyarrow": _describe_arrow,
}


def is_stream(value: object) -> bool:
    """Tell whether a value is a stream that yields its parts later, such as a generator.

    It never raises or reads the value. Clients of OpenAI and Anthropic may return a context manager
    that creates the stream.
    """
    kind = type(value)
    with untrusted:  # a metaclass may raise
        if hasattr(kind, "__next__") or hasattr(kind, "__anext__"):
            return not issubclass(kind, io.IOBase)
        return kind.__module__.partition(".")[0] in _CLIENTS and "Stream" in kind.__name__
    return False


def is_unsaid(value: object) -> bool:
    """Tell whether a value is a library's placeholder for "argument not given". Never raises.

    Those of OpenAI, Anthropic and similar generated clients are recognised by name.
    """
    kind = type(value)
    with untrusted:  # a metaclass may raise
        return kind.__name__ in _NOT_GIVEN and (
            kind.__module__.partition(".")[0] in _CLIENTS or kind.__module__.endswith("._types")
        )
    return False


def type_name(value: object) -> str:
    """Return the qualified name of a value's type. Never raises."""
    kind = type(value)
    with untrusted:  # a metaclass may raise
        return f"{kind.__module__}.{kind.__qualname__}"
    return "unknown"


def text_of(value: object) -> str:
    """Return ``str(value)``, or the name of its type if that fails. Never raises."""
    with untrusted:
        return str(value)
    return type_name(value)

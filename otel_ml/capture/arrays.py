"""Takes snapshots of arrays and tensors, and describes these snapshots.

The functions named `take_…` run on the thread of the traced call. They copy a bounded sample, by
slicing. The functions named `_describe_…` run later, on the thread that sends.
"""

import functools
import sys
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from otel_ml.capture.cells import (
    HEAD,
    MOST_COLUMNS,
    NUMBER_KINDS,
    copy_in_pieces,
    keep_cell,
    number_step,
    row_step,
    write_cells,
)
from otel_ml.capture.description import type_name_of
from otel_ml.capture.snapshot import SAMPLE_BYTES, Snapshot, Taker, Way
from otel_ml.errors import untrusted
from otel_ml.late import late
from otel_ml.statistics import FEWEST_NUMBERS, MOST_NUMBERS

if TYPE_CHECKING:
    from otel_ml.statistics import projections
else:
    projections = late("statistics.projections")

_SMALL: Final = 64  # arrays up to this number of elements are shown completely
_SMALL_BYTES: Final = 512
_GRID_BYTES: Final = 8 * 1024  # weight of a sampled tensor
_FLOAT_BYTES: Final = 8  # longer floats do not fit into Python's float
_PICTURE_SIDE: Final = 48  # most sampled pixels per side of an array that looks like an image
_LEAST_SIDE: Final = 8
_PICTURE_MODES: Final = {1: "L", 3: "RGB", 4: "RGBA"}  # by number of channels
_LINE: Final = 64  # elements of a long array of numbers that are sampled evenly
_GRID_SIDE: Final = 16  # most sampled rows and columns of a matrix that is no table


class Grid(NamedTuple):
    """Evenly spaced elements of a matrix with more columns than a table, in two dimensions."""

    cells: Any


def take_scalar(value: Any, taker: Taker, depth: int) -> object:
    """Take the Python value of a NumPy scalar."""
    if value.dtype.kind in "mM" and value != value:  # noqa: PLR0124 - NaT differs from itself
        return None
    plain = value.item()
    # `item` returns a long double unchanged, because no Python float is as exact
    return float(plain) if type(plain) is type(value) else taker.take(plain, depth)


def take_array(array: Any, taker: Taker, depth: int) -> object:
    """Take a snapshot of a NumPy array of any dtype."""
    if array.dtype.names and taker.taking.columns is not None:
        array = array[[name for name in array.dtype.names if taker.taking.shows(name)]]
    if array.size <= _SMALL and array.dtype.kind in NUMBER_KINDS and array.ndim:
        # fast path: most arrays in a service are small and numeric
        return Snapshot(type(array), _describe_small, (array.copy(),), _SMALL_BYTES)
    return _take_elements(array, taker, depth, type(array), _describe_numpy)


def _take_elements(
    array: Any, taker: Taker, depth: int, kind: type, describer: Any, *more: object
) -> object:
    shape, dtype = array.shape, array.dtype
    if shape == () and not more:
        return taker.take(array.tolist(), depth)  # None if it is masked
    if dtype.hasobject or dtype.kind == "T":
        return _take_objects(array, taker, depth, kind, (describer, *more))
    size, item_bytes = array.size, dtype.itemsize
    if size <= _SMALL and size * item_bytes <= SAMPLE_BYTES:
        values, head, vector, rows = array.copy(), None, None, None
        weight = values.nbytes
        if dtype.names:
            rows = values
    else:
        values, head = None, array.flat[: max(min(HEAD, SAMPLE_BYTES // (item_bytes or 1)), 1)]
        vector, rows = None, _take_rows(array, taker)
        weight = head.nbytes + (0 if rows is None else rows.nbytes)
        if (
            array.ndim == 1
            and dtype.kind == "f"
            and size <= MOST_NUMBERS
            and taker.has_room(array.nbytes)
        ):
            vector = copy_in_pieces(array)
            weight += vector.nbytes
        elif array.ndim == 1 and dtype.kind in NUMBER_KINDS:
            rows = array[:: _line_step(size)].copy()
            weight += rows.nbytes
        elif array.ndim == 2 and rows is None and dtype.kind in NUMBER_KINDS:  # noqa: PLR2004
            rows = _take_grid(array)
            weight += rows.cells.nbytes
        elif array.ndim > 2 and rows is None:  # noqa: PLR2004 - height, width and channels
            rows = _take_picture(array, taker)
            weight += 0 if rows is None else rows.nbytes
    return Snapshot(kind, describer, (dtype, shape, values, head, vector, rows, *more), weight)


def _take_rows(array: Any, taker: Taker) -> Any:
    """Return evenly spaced rows of an array that looks like a table; None for other arrays."""
    names = array.dtype.names
    if names:
        rows = array.flat[:: row_step(array.size, len(names))]
    elif array.ndim == 2 and array.dtype.kind in "biufUS" and array.shape[1] <= MOST_COLUMNS:  # noqa: PLR2004 - rows and columns
        is_number = array.dtype.kind in NUMBER_KINDS
        height, width = array.shape
        step = number_step(height, width, taker)[0] if is_number else row_step(height, width)
        rows = array[::step]
        if not taker.has_room(rows.nbytes):
            return None
        return copy_in_pieces(rows)
    else:
        return None
    return rows if taker.has_room(rows.nbytes) else None


def _line_step(size: int) -> int:
    return max(-(-size // _LINE), 1)


def _take_grid(matrix: Any) -> Grid:
    height, width = (-(-side // _GRID_SIDE) or 1 for side in matrix.shape)
    return Grid(matrix[::height, ::width].copy())


def _take_picture(array: Any, taker: Taker) -> Any:
    """Return evenly spaced pixels of an array that looks like an image; None for other arrays.

    Its channels are its last axis, or its first one, as in PyTorch. Leading dimensions of length 1
    are left out, so a batch with one image is an image.
    """
    while array.ndim > 3 and array.shape[0] == 1:  # noqa: PLR2004 - height, width and channels
        array = array[0]
    if array.ndim != 3 or array.dtype.name not in {"uint8", "float16", "float32", "float64"}:  # noqa: PLR2004
        return None
    if array.shape[2] not in _PICTURE_MODES and array.shape[0] in _PICTURE_MODES:
        array = array.transpose(1, 2, 0)
    height, width, channels = array.shape
    if channels not in _PICTURE_MODES or min(height, width) < _LEAST_SIDE:
        return None
    if taker.pictures <= 0:
        return None
    taker.pictures -= 1
    step = -(-max(height, width) // _PICTURE_SIDE)
    pixels = array[::step, ::step]
    return copy_in_pieces(pixels) if taker.has_room(pixels.nbytes) else None


def _take_objects(
    array: Any, taker: Taker, depth: int, kind: type, describing: tuple[Any, ...]
) -> object:
    """Take a snapshot of an array whose elements are Python objects."""
    describer, *more = describing
    dtype = array.dtype
    values = head = cells = None
    if array.size <= _SMALL:
        values = taker.take(array.tolist(), depth)
    else:
        head = taker.take(first_elements(array, HEAD), depth)
    if dtype.names:
        rows = array.flat[:: row_step(array.size, len(dtype.names))]
        cells = [(name, [*map(keep_cell, rows[name].tolist())]) for name in dtype.names]
    parts = (describer, (dtype, array.shape), values, head, cells, *more)
    return Snapshot(kind, _describe_objects, parts, 1_024)


def first_elements(array: Any, count: int) -> list[Any]:
    """Return the first `count` elements of a NumPy array as Python values, row by row (C order)."""
    if array.ndim == 1 and array.dtype.kind in NUMBER_KINDS:
        listed: list[Any] = array[:count].tolist()
        return listed
    head = islice(array.flat, count)
    return [item.tolist() if hasattr(item, "tolist") else item for item in head]


def _describe_objects(
    describer: Any, form: tuple[Any, Any], values: object, head: object, *rest: Any
) -> object:
    cells, *more = rest
    shown = {"head": head} if values is None else {"values": values}
    written = {} if cells is None else write_cells(cells)
    return {**describer(*form, None, None, None, None, *more), **shown, **written}


def _describe_small(array: Any) -> object:
    return _describe_numpy(array.dtype, array.shape, array, None, None, None)


def _describe_numpy(dtype: Any, shape: Any, *sample: Any) -> dict[str, object]:
    described = {"type": "numpy.ndarray", "dtype": _name_dtype(dtype), "shape": [*shape]}
    return {**described, **_describe_elements(*sample)}


def _name_dtype(dtype: Any) -> str:
    # structured dtypes can be equal although their texts differ
    return _name_simple_dtype(dtype) if dtype.names is None else str(dtype)


@functools.lru_cache(maxsize=1_024)
def _name_simple_dtype(dtype: Any) -> str:
    return str(dtype)  # cached, because it takes as long as all other work for a small array


def _describe_elements(values: Any, head: Any, vector: Any, rows: Any) -> dict[str, object]:
    """Describe an array's elements, an embedding's norm and projections, and a table's cells.

    Drift detection uses norm and projections, see `otel_ml.statistics.projections`.
    """
    described: dict[str, object] = {}
    if values is not None:
        described["values"] = values.tolist()
    elif head is not None:
        described["head"] = first_elements(head, HEAD)
    if vector is not None and _is_embedding(vector):
        projected = projections.project(vector.tolist())
        described["norm"] = projected.norm
        described["projections"] = [*projected.projections]
    if vector is not None and vector.size > _SMALL:
        described["sample"] = vector[:: _line_step(vector.size)].tolist()
    elif type(rows) is Grid:
        described["sample"] = _describe_grid(rows.cells)
    elif rows is not None and rows.ndim == 3:  # noqa: PLR2004 - height, width and channels
        described["sample"] = _describe_picture(rows)
    elif rows is not None and rows.ndim == 1 and not rows.dtype.names:
        described["sample"] = rows.tolist()
    elif rows is not None:
        described.update(_describe_rows(rows))
    return described


def _describe_grid(cells: Any) -> list[list[float]]:
    """List the sampled elements of a matrix, with four significant digits."""
    rows: list[list[float]] = cells.tolist()
    if cells.dtype.kind != "f":
        return rows
    return [[float(f"{cell:.4g}") for cell in row] for row in rows]


def _describe_picture(pixels: Any) -> dict[str, object]:
    """Describe sampled pixels: their size and mode, and one byte per channel in base64.

    Floats from 0 to 1 are scaled to 0 to 255; those with another range are scaled to fill it.
    """
    height, width, channels = pixels.shape
    if pixels.dtype.kind == "f":
        numpy = sys.modules["numpy"]
        pixels = numpy.nan_to_num(pixels.astype("float64"), posinf=0, neginf=0)
        low, high = float(pixels.min()), float(pixels.max())
        if low < 0 or high > 255:  # noqa: PLR2004 - not a range of pixels
            pixels = (pixels - low) / ((high - low) or 1.0) * 255
        elif high <= 1:
            pixels = pixels * 255
        pixels = pixels.astype("uint8")
    import base64  # on first use: importing otel_ml takes less time

    content = base64.b64encode(pixels.tobytes()).decode()
    return {"mode": _PICTURE_MODES[channels], "size": [width, height], "pixels": content}


def _is_embedding(vector: Any) -> bool:
    """Tell whether an array of floats has finite numbers only, and enough for an embedding."""
    if vector.size < FEWEST_NUMBERS or vector.dtype.itemsize > _FLOAT_BYTES:
        return False
    return bool(sys.modules["numpy"].isfinite(vector).all())


def _describe_rows(rows: Any) -> dict[str, object]:
    names = rows.dtype.names
    if names:
        rows = rows.ravel()
        rows = rows[:: row_step(rows.size, len(names))]
        return write_cells((name, rows[name].tolist()) for name in names)
    return write_cells((str(place), column) for place, column in enumerate(rows.T.tolist()))


def take_tensor(value: Any, taker: Taker, depth: int) -> object:
    """Take a snapshot of a tensor. Elements on a GPU or another device are not copied."""
    kind: Any = type(value)
    device = value.device
    if value.is_nested:
        return Snapshot(kind, _describe_nested, (value.dtype, value.size(0), device), 512)
    # `is_cpu` takes a tenth of the time of `device.type`
    if not value.is_cpu or value.layout is not sys.modules["torch"].strided:
        return _take_form(kind, value.dtype, value.shape, device)
    values = head = sample = None
    plain = value.detach()
    if plain.numel() <= _SMALL:
        values = plain.tolist()
    else:
        with untrusted:  # NumPy has no such dtype, or the tensor is a lazy view
            plain = plain.numpy()
            sample = _sample_tensor(plain)
        while plain.ndim > 1:
            plain = plain[0]
        head = plain[:HEAD].tolist()
    parts = (value.dtype, value.shape, device, values, head, sample)
    return Snapshot(kind, _describe_tensor, parts, 512 if sample is None else _GRID_BYTES)


def _sample_tensor(array: Any) -> Any:
    """Copy evenly spaced elements of a vector or matrix; None for other shapes.

    Leading dimensions of length 1 are left out. A sample of an image takes three times as long as a
    span that is written by hand (`tests/bench/values.py`: 84 instead of 26 µs).
    """
    while array.ndim > 1 and array.shape[0] == 1:
        array = array[0]
    if array.dtype.kind not in NUMBER_KINDS or array.ndim > 2:  # noqa: PLR2004
        return None
    return array[:: _line_step(array.size)].copy() if array.ndim == 1 else _take_grid(array)


@functools.lru_cache(maxsize=1_024)
def _take_form(kind: Any, dtype: Any, shape: Any, device: Any) -> Snapshot:
    """Take a snapshot without elements. Tensors of equal dtype, shape and device share it."""
    return Snapshot(kind, _describe_tensor, (dtype, shape, device), 512)


def _describe_tensor(dtype: object, shape: Any, device: object, *elements: Any) -> object:
    values, head, sample = elements or (None, None, None)
    described: dict[str, object] = {
        "type": "torch.Tensor",
        "dtype": str(dtype).removeprefix("torch."),
        "shape": [*shape],
        "device": str(device),
    }
    if values is not None:
        described["values"] = values
    elif head is not None:
        described["head"] = head
        described.update(_describe_elements(None, None, None, sample))
    return described


def _describe_nested(dtype: object, tensors: int, device: object) -> object:
    described = _describe_tensor(dtype, (), device)
    return {**described, "shape": [tensors, None], "nested": True}  # type: ignore[dict-item]


def take_jax(value: Any, taker: Taker, depth: int) -> object:
    """Take a snapshot of a JAX array. Elements on a GPU or another device are not copied."""
    devices = frozenset(value.devices())
    if any(device.platform != "cpu" for device in devices):
        parts = (value.dtype, value.shape, None, None, None, None, devices)
        return Snapshot(type(value), _describe_jax, parts, 512)
    array = value.__array__()
    return _take_elements(array, taker, depth, type(value), _describe_jax, devices)


def _describe_jax(dtype: Any, shape: Any, *rest: Any) -> object:
    *sample, devices = rest
    sample[3] = None  # leave out the rows: columns of JAX arrays are not described
    return {
        "type": "jax.Array",
        "dtype": str(dtype),
        "shape": [*shape],
        "device": ", ".join(sorted(str(device) for device in devices)),
        **_describe_elements(*sample),
    }


def take_cupy(value: Any, taker: Taker, depth: int) -> object:
    """Record type and shape only, because reading an element would wait for the GPU."""
    device = value.device.id
    return Snapshot(type(value), _describe_cupy, (value.dtype, value.shape, device), 512)


def _describe_cupy(dtype: Any, shape: Any, device: int) -> object:
    described = {"type": "cupy.ndarray", "dtype": str(dtype), "shape": [*shape]}
    return {**described, "device": f"cuda:{device}"}


def way_of_tensorflow(kind: type) -> Way | None:
    """Return the function that takes snapshots of TensorFlow tensors; None for other classes."""
    return _take_tensorflow if hasattr(kind, "dtype") and hasattr(kind, "shape") else None


def _take_tensorflow(value: Any, taker: Taker, depth: int) -> object:
    """Take a snapshot of a tensor. Elements are copied only from the memory of the CPU."""
    device = None
    with untrusted:  # a tensor of a graph may have no device
        device = value.device
    if type(value).__name__ == "EagerTensor" and type(device) is str and ":CPU:" in device:
        array = value.__array__()
        if array.dtype.kind in "biufc":
            return _take_elements(array, taker, depth, type(value), _describe_tensorflow, device)
    parts = (value.dtype, value.shape, None, None, None, None, device)
    return Snapshot(type(value), _describe_tensorflow, parts, 512)


def _describe_tensorflow(dtype: Any, shape: Any, *rest: Any) -> object:
    *sample, device = rest
    sample[3] = None
    return {
        "type": "tensorflow.Tensor",
        "dtype": getattr(dtype, "name", None) or str(dtype),
        "shape": [*shape] if getattr(shape, "rank", 0) is not None else None,
        **({"device": device.rpartition("/device:")[2]} if type(device) is str else {}),
        **_describe_elements(*sample),
    }


def take_sparse(value: Any, taker: Taker, depth: int) -> object:
    """Take a snapshot of a SciPy sparse matrix: its type, shape and number of stored elements."""
    parts = (type(value), value.dtype, value.shape, int(value.nnz))
    return Snapshot(type(value), _describe_sparse, parts, 512)


def _describe_sparse(kind: type, dtype: Any, shape: Any, stored: int) -> object:
    return {
        "type": type_name_of(kind),
        "dtype": str(dtype),
        "shape": [*shape],
        "stored": stored,
    }

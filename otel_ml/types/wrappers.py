"""The built-in wrappers for typed values, and their previews of at most 1,024 bytes of JSON.

Values of other libraries are written by the ``*_form`` modules, which are imported on demand
because they load optional libraries.
"""

import ast
import math
import re
from collections import deque
from collections.abc import Callable, Iterable
from importlib import import_module
from itertools import islice
from typing import Any, ClassVar, Final

import orjson

from otel_ml.arguments import check_flag, invalid
from otel_ml.capture.arrays import first_elements
from otel_ml.capture.description import type_name
from otel_ml.capture.kinds import LibraryKind, bases, is_from
from otel_ml.capture.tables import blocks_of
from otel_ml.capture.values import PREVIEW_BYTES, clean, encode, preview
from otel_ml.errors import untrusted
from otel_ml.file_formats import PLAIN_BYTES, PLAIN_JSON, UTF8_TEXT
from otel_ml.types.data import (
    Data,
    File,
    Form,
    Params,
    Reader,
    Self,
    find_wrapper,
    is_typed,
    may_be_typed,
    read_by,
    read_file_by,
    wraps,
)
from otel_ml.types.scalars import TAG, from_base64, to_base64, write_text
from otel_ml.types.walker import LEAF_BYTES, BuiltIn, Inspection, Walker, decode

_HEAD: Final = 8  # number of elements of an array, or rows of a table
_HEAD_BYTES: Final = 400
_NATIVE_BYTES: Final = 640  # more, because these values have few other details
_PREVIEW_BYTES: Final = 4_096  # encoded part of a value, whose beginning is shown
_FORM_CHARS: Final = 200
_NAME_CHARS: Final = 100  # an escaped character has at most six bytes
_COUNTED: Final = 4 * 1024 * 1024  # elements; statistics of larger arrays take tens of milliseconds
_SHOWN_COLUMNS: Final = 32
# how raymon 0.0.39 writes shapes and labels
_SHAPE: Final = re.compile(r"\([\d, ]*\)")
_WHOLE_NUMBER: Final = re.compile(r"0|-?[1-9]\d{0,17}")
_DTYPE_CHARS: Final = 16 * 1024
_TAG_MARK: Final = orjson.dumps(TAG) + b":"


def _brief(value: Any, limit_bytes: int = _HEAD_BYTES) -> Any:
    """Return a short JSON-compatible version of a value."""
    text = encode(value, _PREVIEW_BYTES).text
    return orjson.loads(preview(value, text, limit_bytes) or text)


def _of_native(value: Any) -> Form:
    form: Form = {"of": clean(type(value).__name__[:_FORM_CHARS])}
    if isinstance(value, list | tuple | dict | set | frozenset | deque):
        form["length"] = len(value)
    return {**form, "head": _brief(value, _NATIVE_BYTES)}


def _of_text(value: str) -> Form:
    return {"length": len(value), "head": _brief(value[:_FORM_CHARS])}


def _of_bytes(value: bytes | bytearray | memoryview) -> Form:
    raw = value.tobytes() if isinstance(value, memoryview) else value
    return {"length": len(raw), "head": raw[:_HEAD].hex()}


def _of_array(value: Any) -> Form:
    return {
        "dtype": str(value.dtype)[:_FORM_CHARS],
        "shape": list(value.shape),
        **_statistics(value),
        "head": _brief(first_elements(value, _HEAD) if value.shape else value.tolist()),
    }


def _of_series(value: Any) -> Form:
    known = value.dropna()
    return {
        "dtype": str(value.dtype)[:_FORM_CHARS],
        "shape": list(value.shape),
        "name": _brief(value.name),
        **_statistics(known.to_numpy()),
        "missing": value.size - known.size,
        "head": _brief([_shown(item) for item in value.head(_HEAD).tolist()]),
    }


def _of_frame(value: Any) -> Form:
    columns = _columns(value.columns[:_SHOWN_COLUMNS], value.dtypes.iloc[:_SHOWN_COLUMNS])
    form: Form = {"shape": list(value.shape), "columns": columns}
    if value.size <= _COUNTED:
        form["missing"] = int(value.isna().to_numpy().sum())
    corner = value.iloc[:_HEAD, :_HEAD]
    shown = [[*map(_shown, corner.iloc[:, n].tolist())] for n in range(corner.shape[1])]
    return {**form, "head": _brief([*zip(*shown, strict=True)])}


def _of_image(value: Any) -> Form:
    from otel_ml.types import image_form  # an image exists only if Pillow is loaded

    orientation = image_form.orientation_of(value)
    turned = {} if orientation is None else {"orientation": orientation}
    return {"mode": value.mode, "size": list(value.size), **turned}


def _of_picture(value: Any) -> Form:
    return {"of": type_name(value)[:_FORM_CHARS], "kept": "a picture of it"}


def _of_tensor(value: Any) -> Form:
    form: Form = {"dtype": str(value.dtype).removeprefix("torch."), "shape": list(value.shape)}
    form["device"] = str(value.device)
    if "sparse" in str(value.layout):
        return {**form, "layout": str(value.layout).removeprefix("torch.")}
    known = value.detach()
    if known.is_floating_point() and 0 < known.numel() <= _COUNTED:
        known = known.float()
        form |= {name: _finite(getattr(known, name)().item()) for name in ("min", "max", "mean")}
    return {**form, "head": _brief(known.flatten()[:_HEAD].tolist())}


def _of_state(value: dict[str, Any]) -> Form:
    tensors = [*value.values()]
    return {
        "length": len(tensors),
        "elements": sum(tensor.numel() for tensor in tensors),
        "dtypes": sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors}),
        "devices": sorted({str(tensor.device) for tensor in tensors}),
        "head": [
            [name[:_NAME_CHARS], list(value.shape)] for name, value in [*value.items()][:_HEAD]
        ],
    }


def _of_jax(value: Any) -> Form:
    import numpy as np  # installed, because JAX needs it

    devices = sorted(str(device) for device in value.devices())
    return {**_of_array(np.asarray(value)), "devices": devices}


def _of_sparse(value: Any) -> Form:
    return {
        "of": type(value).__name__,
        "dtype": str(value.dtype),
        "shape": list(value.shape),
        "stored": int(value.nnz),
        "head": _brief(value.tocoo().data[:_HEAD].tolist()),
    }


def _of_arrow(value: Any) -> Form:
    form: Form = {"of": type(value).__name__}
    if hasattr(value, "schema"):
        form["shape"] = [value.num_rows, value.num_columns]
    schema = getattr(value, "schema", value)
    if hasattr(schema, "names"):
        form["columns"] = _columns(schema.names, schema.types)
    else:
        form |= {"dtype": str(value.type)[:_FORM_CHARS], "length": len(value)}
    if hasattr(value, "slice"):
        form["head"] = _brief([_of_row(row) for row in value.slice(0, _HEAD).to_pylist()])
    return form


def _of_polars(value: Any) -> Form:
    form: Form = {"of": type(value).__name__, "shape": list(value.shape)}
    if hasattr(value, "columns"):
        return {
            **form,
            "columns": _columns(value.columns, value.dtypes),
            "head": _brief([[*map(_shown, row)] for row in value.head(_HEAD).rows()]),
        }
    head = _brief([_shown(item) for item in value.head(_HEAD).to_list()])
    return {**form, "name": value.name, "dtype": str(value.dtype)[:_FORM_CHARS], "head": head}


def _of_row(row: Any) -> Any:
    return [*map(_shown, row.values())] if isinstance(row, dict) else _shown(row)


def _columns(named: Iterable[object], dtypes: Iterable[object]) -> list[list[str]]:
    """Return names and dtypes of the first columns, as many as fit into half a preview."""
    pairs = zip(islice(named, _SHOWN_COLUMNS), dtypes, strict=False)
    columns = [[str(name)[:_FORM_CHARS], str(dtype)[:_FORM_CHARS]] for name, dtype in pairs]
    while len(orjson.dumps(columns)) > PREVIEW_BYTES // 2:
        columns.pop()
    return columns


def _shown(item: Any) -> Any:
    """Return an element for display: numbers and strings unchanged, other values as text."""
    return item if isinstance(item, str | bool | int | float) else str(item)


def _statistics(array: Any) -> Form:
    """Return minimum, maximum, mean and number of missing elements, if the array has them."""
    import numpy as np  # an array exists only if NumPy is loaded

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
    """Return a number, or text if JSON has no number for it."""
    if value.dtype.kind in "mM":
        return str(value)
    number = value.item()
    return number if isinstance(number, int) else _finite(float(number))


def _finite(number: float) -> Any:
    return number if math.isfinite(number) else str(number)


def _why_no_bytes(content: bytes) -> str:
    """Return why content cannot be stored as it is; empty if it can."""
    if not content:
        return "a file without content could be taken for a missing one"
    return "its content could be taken for typed JSON" if may_be_typed(content) else ""


def _is_flat_arrow(value: Any) -> bool:
    schema = getattr(value, "schema", value)
    kinds = schema.types if hasattr(schema, "types") else [value.type]
    return not any(kind.num_fields for kind in kinds)


def _is_plain_dtype(dtype: Any) -> bool:
    """Tell whether the elements of a pandas dtype are single numbers, times or texts."""
    # The kind of these is that of objects.
    return dtype.kind != "O" or dtype.name in {"str", "string", "category"}


def _refused(data: object, expected: str) -> ValueError:
    return ValueError(f"Invalid data of type {type_name(data)}: {expected}")


def _always(_: object) -> bool:
    return True


def _nbytes(value: Any) -> int:
    return int(getattr(value, "nbytes", LEAF_BYTES))


def _size_of_tensor(tensor: Any) -> int:
    if "sparse" not in str(tensor.layout):
        return int(tensor.numel() * tensor.element_size())
    places = 8 * tensor.dim()
    return int(tensor._nnz() * (tensor.element_size() + places))


def _size_of_frame(frame: Any) -> int:
    """Add up the arrays of numbers, which takes a tenth of the time of `memory_usage`."""
    blocks = [block for _, block in blocks_of(frame)]
    if all(block.dtype.kind in "biufcmM" for block in blocks):
        return sum(int(block.nbytes) for block in blocks)
    return int(frame.memory_usage(deep=True).sum())


class Native(BuiltIn):
    """Wrapper for a Python value of any type.

    Objects that cannot be stored become their ``repr``.
    """

    type_name = "otel_ml.types.Native"
    inspection = Inspection(_of_native)

    def write(self, walker: Walker) -> Form:
        """Serialise the value and everything inside it."""
        return {"data": walker.encode(self.data)}

    @classmethod
    def from_jcr(cls, params: Params) -> "Native":
        """Restore the value from serialised params."""
        return cls(decode(params["data"]))

    def _to_file(self, form: Form) -> File | str:
        """Convert the value to plain JSON, if JSON has all its types."""
        plain = (form or self.form(Walker()))["params"]["data"]
        content = orjson.dumps(plain)
        if _TAG_MARK in content:
            return "JSON does not have all of its types"
        if is_typed(plain):
            return "a dict with the keys type and params could be taken for typed JSON"
        return File(PLAIN_JSON, content)

    @classmethod
    def _from_file(cls, content: bytes) -> "Native":
        """Restore the value from plain JSON."""
        return cls(orjson.loads(content))


class Text(BuiltIn):
    """Wrapper for a string."""

    type_name = "otel_ml.types.Text"
    inspection = Inspection(_of_text)

    def validate(self, data: Any) -> None:
        """Raise ValueError if the value is not a string."""
        if not issubclass(type(data), str):
            raise _refused(data, "expected str")

    def write(self, walker: Walker) -> Form:
        """Serialise the string."""
        return {"data": write_text(self.data)}

    @classmethod
    def from_jcr(cls, params: Params) -> "Text":
        """Restore the string from serialised params."""
        return cls(decode(params["data"]))

    def _to_file(self, form: Form) -> File | str:
        """Convert the string to a text file."""
        try:
            content = str.encode(self.data)
        except UnicodeEncodeError:
            return "UTF-8 cannot hold its lone surrogates"
        return _why_no_bytes(content) or File(UTF8_TEXT, content)

    @classmethod
    def _from_file(cls, content: bytes) -> "Text":
        """Restore the string from a text file."""
        return cls(content.decode())


class Bytes(BuiltIn):
    """Wrapper for bytes, a bytearray or a memoryview. A memoryview is read back as bytes."""

    type_name = "otel_ml.types.Bytes"
    inspection = Inspection(_of_bytes, is_binary=_always)

    def validate(self, data: Any) -> None:
        """Raise ValueError if the value is not bytes, a bytearray or a memoryview."""
        if not issubclass(type(data), bytes | bytearray | memoryview):
            raise _refused(data, "expected bytes, bytearray or memoryview")

    def write(self, walker: Walker) -> Form:
        """Serialise the bytes."""
        raw = self.data.tobytes() if isinstance(self.data, memoryview) else self.data
        return {"data": to_base64(raw), "mutable": isinstance(raw, bytearray)}

    @classmethod
    def from_jcr(cls, params: Params) -> "Bytes":
        """Restore the bytes from serialised params."""
        raw = from_base64(params["data"])
        return cls(bytearray(raw) if params.get("mutable") else raw)

    def _to_file(self, form: Form) -> File | str:
        """Return the bytes themselves."""
        if isinstance(self.data, bytearray):
            return "a file of bytes does not say that it is a bytearray"
        content = bytes(self.data)
        return _why_no_bytes(content) or File(PLAIN_BYTES, content)

    @classmethod
    def _from_file(cls, content: bytes) -> "Bytes":
        """Restore the bytes."""
        return cls(content)


class _Formed(BuiltIn):
    """A wrapper with a separate module for reading, writing and checking.

    Attributes:
        form_name: Name of that module. It imports the values' library. Its optional function
            ``why_not`` explains why a value is rejected.
        file_name: Name of the module with ``write_file`` and ``read_file``, if it is another one,
            because it needs another library.
        part: Suffix of its functions for writing and reading.
        expected: Description of the accepted types, for messages.
    """

    form_name: ClassVar[str]
    file_name: ClassVar[str] = ""
    part: ClassVar[str] = ""
    expected: ClassVar[str]

    def validate(self, data: Any) -> None:
        """Raise ValueError if the value has a type of another wrapper."""
        wrapper = find_wrapper(type(data))
        if wrapper is None or not issubclass(type(self), wrapper):
            raise _refused(data, f"expected {self.expected}")
        why = getattr(self.forms(), "why_not", lambda _: "")(data)
        if why:
            raise _refused(data, why)

    def write(self, walker: Walker) -> Form:
        """Serialise the value as it is now."""
        form: Form = getattr(self.forms(), f"write{self.part}")(self.data, walker)
        return form

    @classmethod
    def from_jcr(cls: type[Self], params: Params) -> Self:
        """Restore the value from serialised params."""
        forms = cls.forms()  # type: ignore[attr-defined]  # of `_Formed`
        return cls(getattr(forms, f"read{cls.part}")(params, decode))  # type: ignore[attr-defined]

    def _to_file(self, form: Form) -> File | str:
        """Convert the value to a file, if a format returns it unchanged."""
        with untrusted:  # a library may fail on its own value
            try:
                write = getattr(self.file_forms(), "write_file", None)
                made: File | str = super()._to_file(form) if write is None else write(self.data)
            except ImportError as error:
                return f"{error.name} is not installed"
            return made
        return "its file format cannot hold it"

    @classmethod
    def _from_file(cls: type[Self], content: bytes) -> Self:
        """Restore the value from a file."""
        return cls(cls.file_forms().read_file(content))  # type: ignore[attr-defined]  # as above

    @classmethod
    def forms(cls) -> Any:
        """Import the module that writes and reads the typed form of the values."""
        return import_module(f"otel_ml.types.{cls.form_name}")

    @classmethod
    def file_forms(cls) -> Any:
        """Import the module that writes and reads the values as files."""
        return import_module(f"otel_ml.types.{cls.file_name or cls.form_name}")


@wraps(LibraryKind.NUMPY_ARRAY, LibraryKind.NUMPY_SCALAR)
class Numpy(_Formed):
    """Wrapper for a NumPy array or scalar."""

    type_name = "otel_ml.types.Numpy"
    form_name = "array_form"
    part = "_value"
    expected = "an array or scalar of numpy"
    inspection = Inspection(
        _of_array,
        size_of=_nbytes,
        is_binary=lambda array: not array.dtype.hasobject,
    )


@wraps(LibraryKind.PANDAS_TABLE)
class DataFrame(_Formed):
    """Wrapper for a pandas DataFrame."""

    type_name = "otel_ml.types.DataFrame"
    form_name = "pandas_form"
    file_name = "parquet_form"
    part = "_frame"
    expected = "a DataFrame of pandas"
    inspection = Inspection(
        _of_frame,
        size_of=_size_of_frame,
        is_flat=lambda frame: (
            not frame.attrs and all(_is_plain_dtype(block.dtype) for _, block in blocks_of(frame))
        ),
    )


@wraps(LibraryKind.PANDAS_COLUMN)
class Series(_Formed):
    """Wrapper for a pandas Series."""

    type_name = "otel_ml.types.Series"
    form_name = "pandas_form"
    file_name = "parquet_form"
    part = "_series"
    expected = "a Series of pandas"
    inspection = Inspection(
        _of_series,
        size_of=lambda series: int(series.memory_usage(deep=True)),
        is_flat=lambda series: not series.attrs and _is_plain_dtype(series.dtype),
    )


@wraps(LibraryKind.TORCH_TENSOR)
class Torch(_Formed):
    """Wrapper for a PyTorch tensor or parameter, dense or sparse.

    When you read the value, it is loaded into the memory of the CPU.
    """

    type_name = "otel_ml.types.Torch"
    form_name = "torch_form"
    expected = "a tensor of torch"
    inspection = Inspection(_of_tensor, size_of=_size_of_tensor, is_binary=_always)
    _device: str | None = None  # device of the original tensor, if `data` is a copy

    def write(self, walker: Walker) -> Form:
        """Serialise the tensor as it is now."""
        form = super().write(walker)
        return form if self._device is None else {**form, "device": self._device}


class TorchState(_Formed):
    """Wrapper for a dict of PyTorch tensors by name, as returned by ``state_dict()``."""

    type_name = "otel_ml.types.TorchState"
    form_name = "torch_form"
    part = "_state"
    inspection = Inspection(_of_state, is_binary=_always)

    def validate(self, data: Any) -> None:
        """Raise ValueError if the value is not a dict of dense tensors by name."""
        if not self._is_state(data):
            raise _refused(data, "expected a dict of tensors by name, none of them sparse")

    def _is_state(self, data: Any) -> bool:
        tensors = [*data.values()] if issubclass(type(data), dict) else []
        if not any(is_from("torch", type(item)) for item in tensors):
            return False  # check this before importing PyTorch
        is_state: bool = self.forms().is_state(data)
        return is_state


@wraps(LibraryKind.JAX_ARRAY)
class Jax(_Formed):
    """Wrapper for a JAX array."""

    type_name = "otel_ml.types.Jax"
    form_name = "jax_form"
    expected = "an array of jax"
    inspection = Inspection(_of_jax, size_of=_nbytes, is_binary=_always)


@wraps(LibraryKind.SPARSE_MATRIX)
class Sparse(_Formed):
    """Wrapper for a SciPy sparse matrix or array."""

    type_name = "otel_ml.types.Sparse"
    form_name = "sparse_form"
    expected = "a sparse matrix or array of scipy"
    inspection = Inspection(
        _of_sparse,
        size_of=lambda matrix: int(matrix.nnz * (matrix.dtype.itemsize + LEAF_BYTES)),
        is_binary=_always,
    )


@wraps(LibraryKind.ARROW_TABLE, LibraryKind.ARROW_COLUMN, LibraryKind.ARROW_SCHEMA)
class Arrow(_Formed):
    """Wrapper for a pyarrow table, record batch, array or schema."""

    type_name = "otel_ml.types.Arrow"
    form_name = "arrow_form"
    expected = "a table, batch, array or schema of pyarrow"
    inspection = Inspection(_of_arrow, size_of=_nbytes, is_flat=_is_flat_arrow)


@wraps(LibraryKind.POLARS_TABLE, LibraryKind.POLARS_COLUMN)
class Polars(_Formed):
    """Wrapper for a polars DataFrame or Series."""

    type_name = "otel_ml.types.Polars"
    form_name = "polars_form"
    expected = "a frame or series of polars"
    inspection = Inspection(
        _of_polars,
        size_of=lambda frame: int(frame.estimated_size()),
        is_flat=lambda value: (
            not any(
                dtype.is_nested() or str(dtype) == "Object"
                for dtype in getattr(value, "dtypes", None) or [value.dtype]
            )
        ),
    )


@wraps(LibraryKind.PILLOW_IMAGE)
class Image(_Formed):
    """Wrapper for a Pillow image.

    Attributes:
        lossless: If False, a grey or RGB image may be stored as JPEG, which is smaller but changes
            pixels slightly. Images of other modes are always stored exactly.
    """

    type_name = "otel_ml.types.Image"
    form_name = "image_form"
    expected = "an image of Pillow"
    inspection = Inspection(
        _of_image,
        size_of=lambda image: image.width * image.height * len(image.getbands()),
        is_binary=_always,
    )

    def __init__(self, data: Any, lossless: bool = True) -> None:
        super().__init__(data)
        self.lossless = check_flag("lossless", lossless)

    def write(self, walker: Walker) -> Form:
        """Serialise mode, size and pixels."""
        form: Form = self.forms().write(self.data, self.lossless, walker)
        return form

    def _to_file(self, form: Form) -> File | str:
        """Convert the image to a PNG or JPEG file, if it returns the image unchanged."""
        with untrusted:  # Pillow may fail on its own image
            made: File | str = self.forms().write_file(self.data, lossless=self.lossless)
            return made
        return "PNG cannot hold it"

    @classmethod
    def _from_file(cls, content: bytes) -> "Image":
        """Restore an image from a PNG or JPEG file."""
        image, lossless = cls.forms().read_file(content)
        return cls(image, lossless)

    @classmethod
    def from_jcr(cls, params: Params) -> "Image":
        """Restore an image from serialised params."""
        return cls(cls.forms().read(params, decode), params["lossless"])


@wraps(LibraryKind.MATPLOTLIB_FIGURE, LibraryKind.MATPLOTLIB_AXES, LibraryKind.PLOTLY_FIGURE)
class Picture(_Formed):
    """Wrapper for a matplotlib or plotly figure. It stores the picture that the figure draws.

    When you read the value, you get an `Image`.
    """

    type_name = Image.type_name
    form_name = "picture_form"
    expected = "a figure of matplotlib or plotly"
    inspection = Inspection(_of_picture, is_binary=_always)

    @classmethod
    def from_jcr(cls, params: Params) -> "Picture":
        """Always raise ValueError, because a picture is read as an `Image`."""
        raise ValueError("Invalid picture: expected an image that otel_ml.types.Image can read")

    @classmethod
    def _from_file(cls, content: bytes) -> "Picture":
        """Always raise ValueError, because a picture is read as an `Image`."""
        return cls.from_jcr({})


def wrap(value: Any) -> Data:
    """Wrap a value, so that it can be stored as JSON. Never raises.

    The wrapper depends on the type: `Text` for strings, `Bytes` for bytes, `Picture` for figures of
    matplotlib and plotly. Values of NumPy, pandas, Pillow, PyTorch, JAX, SciPy, pyarrow and polars
    get the wrapper of that library. All other values become `Native`. A value that is a wrapper
    already is returned unchanged.
    """
    kind = type(value)
    if issubclass(kind, Data):
        data: Data = value
        return data
    with untrusted:
        if dict in bases(kind) and _holds_tensors(value):
            return TorchState(value)
    with untrusted:
        return _wrapper(kind)(value)
    return Native(value)


def names_of(data: Data) -> Iterable[object]:
    """Return the names of a table's columns, or the name of a single column. Empty for others."""
    value: Any = data.data
    if isinstance(data, Series | Polars) and hasattr(value, "name"):
        return [value.name]
    if isinstance(data, DataFrame | Polars):
        return list(value.columns)
    return list(getattr(value, "column_names", ())) if isinstance(data, Arrow) else []


def copy_plain(data: Data) -> tuple[Data, Callable[[], object]] | None:
    """Copy an array, a table, an image or a dense tensor to memory, without waiting for a GPU.

    Returns:
        The copy, and a function that waits until it is complete. None for other data.
    """
    if type(data) is Numpy and type(data.data).__name__ == "ndarray" and not _has_objects(data):
        return Numpy(data.data.copy()), bool
    package = type(data.data).__module__.partition(".")[0]
    if _COPIED_BY.get(type(data)) == package:
        copied_value = data.data.copy() if type(data) is not Polars else data.data.clone()
        if isinstance(data, Image):
            return Image(copied_value, data.lossless), bool
        return type(data)(copied_value), bool
    copied = data.forms().copy(data.data) if type(data) is Torch else None
    if copied is None:
        return None
    tensor, wait = copied
    wrapper = Torch(tensor)
    wrapper._device = str(data.data.device)
    return wrapper, wait


# The packages whose own classes are copied. A subclass of the user may do anything.
_COPIED_BY: Final[dict[type, str]] = {
    DataFrame: "pandas",
    Series: "pandas",
    Polars: "polars",
    Image: "PIL",
}


def _has_objects(data: Numpy) -> bool:
    return bool(data.data.dtype.hasobject or data.data.dtype.kind == "T")


def describe(data: Data) -> Form:
    """Return a short description of a wrapped value, such as shape, columns and first elements.

    Returns:
        A dict for JSON, of at most 1,024 bytes. It always has the key ``type``. Other keys are left
        out if there is no space, or if the value cannot be inspected.

    Raises:
        ValueError: `data` is not a wrapper.
    """
    if not issubclass(type(data), Data):
        raise invalid("data", data, "a wrapped value, such as the result of otel_ml.types.wrap")
    form: Form = {"type": clean(data.type_name[:_NAME_CHARS])}
    with untrusted:
        facts = data.inspection.describes(data.data) if isinstance(data, BuiltIn) else {}
        if isinstance(data, Torch) and data._device is not None:
            facts["device"] = data._device
        if hasattr(data, "lossless"):  # an image
            facts["lossless"] = data.lossless
        for key, fact in facts.items():
            if len(orjson.dumps({**form, key: fact})) <= PREVIEW_BYTES:
                form[key] = fact
        return form
    return {"type": form["type"]}


def _wrapper(kind: type) -> type[Data]:
    foreign = find_wrapper(kind)
    if foreign is not None:
        return foreign
    if str in bases(kind):
        return Text
    if kind is memoryview or bytes in bases(kind) or bytearray in bases(kind):
        return Bytes
    return Native


def _holds_tensors(value: dict[Any, Any]) -> bool:
    """Tell quickly whether a dict may be a state_dict. `TorchState` then checks all of it."""
    first = next(iter(dict.values(value)), None)
    return find_wrapper(type(first)) is Torch


_BUILT_IN: Final = (
    *(Native, Text, Bytes, Numpy, DataFrame, Series, Image),
    *(Torch, TorchState, Jax, Sparse, Arrow, Polars),
)


def read_built_in() -> None:
    """Let `load` read values stored by the wrappers of this module."""
    for wrapper in _BUILT_IN:
        read_by(wrapper.type_name, wrapper.from_jcr)
        read_file_by(wrapper.type_name, wrapper._from_file)


def read_raymon() -> None:
    """Let `load` read values written by raymon 0.0.39, without raymon being installed.

    `otel_ml.compat.raymon` has wrappers with raymon's names.
    """
    for name, theirs, load, mark in (
        ("Numpy", _numpy_of_raymon, Numpy.from_jcr, "shape"),
        ("DataFrame", _frame_of_raymon, DataFrame.from_jcr, "index"),
        ("Series", _series_of_raymon, Series.from_jcr, "index"),
        ("Image", _image_of_raymon, Image.from_jcr, "size"),
    ):
        read_by(f"raymon.types.{name}", _either(theirs, load, mark))
    read_by("raymon.types.Native", _native_of_raymon)


def _native_of_raymon(params: Params) -> Native:
    try:
        return Native.from_jcr(params)
    except (ValueError, KeyError, TypeError):  # written by raymon itself, which has no tags
        return Native(params["data"])


def _numpy_of_raymon(params: Params) -> Numpy:
    """Read an array.

    Arrays of objects are rejected, because raymon wrote memory addresses for them.
    """
    import numpy as np  # optional dependency

    from otel_ml.types import array_form

    if _SHAPE.fullmatch(params["shape"]) is None:
        raise ValueError(f"Invalid shape {params['shape'][:100]!r}: expected a tuple of numbers")
    shape = tuple(int(size) for size in re.findall(r"\d+", params["shape"]))
    text = params["dtype"][:_DTYPE_CHARS]
    dtype = np.dtype(ast.literal_eval(text) if text.startswith(("[", "{")) else text)
    return Numpy(array_form.read_bytes(from_base64(params["data"]), dtype, shape))


def _frame_of_raymon(params: Params) -> DataFrame:
    import pandas as pd  # type: ignore[import-untyped]  # it carries no types; optional

    frame = pd.DataFrame(params["data"])
    frame.index, frame.columns = _labels_of_raymon(frame.index), _labels_of_raymon(frame.columns)
    return DataFrame(frame)


def _series_of_raymon(params: Params) -> Series:
    import pandas as pd

    series = pd.Series(params["data"])
    series.index = _labels_of_raymon(series.index)
    return Series(series)


def _labels_of_raymon(index: Any) -> Any:
    """Convert labels back to integers if all are. Raymon's JSON has only text labels."""
    are_numbers = len(index) and all(_WHOLE_NUMBER.fullmatch(label) for label in index)
    return index.astype("int64") if are_numbers else index


def _image_of_raymon(params: Params) -> Image:
    from otel_ml.types import image_form  # imports Pillow, which is optional

    return Image(image_form.open_image(from_base64(params["data"])), params["lossless"])


def _either(theirs: Reader, reader: Reader, mark: str) -> Reader:
    """Return a reader that uses `reader` for params with the key `mark`, else `theirs`."""
    return lambda params: (reader if isinstance(params.get(mark), list | dict) else theirs)(params)

"""The wrappers of this package; what numpy, pandas and Pillow hold is written by the forms.

The forms are imported where they are used: they load the packages, which are optional.
"""

from typing import Any

from otel_ml.arguments import check_flag
from otel_ml.capture.description import type_name
from otel_ml.errors import untrusted
from otel_ml.types.data import Data, Form, Params, bases, find_wrapper, read_by, wraps
from otel_ml.types.scalars import from_base64, to_base64, write_text
from otel_ml.types.tagged import BuiltIn, Walker, decode


def _refused(data: object, expected: str) -> ValueError:
    return ValueError(f"Invalid data of type {type_name(data)}: {expected}")


def _is_from_pandas(data: object, name: str) -> bool:
    import pandas as pd  # type: ignore[import-untyped]  # it carries no types

    return issubclass(type(data), getattr(pd, name))


class Native(BuiltIn):
    """Any value of Python's own types; any other object leaves its ``repr``."""

    type_name = "otel_ml.types.Native"

    def write(self, walker: Walker) -> Form:
        """Write the value with all that it holds."""
        return {"data": walker.encode(self.data)}

    @classmethod
    def from_jcr(cls, params: Params) -> "Native":
        """Read the value."""
        return cls(decode(params["data"]))


class Text(BuiltIn):
    """A text."""

    type_name = "otel_ml.types.Text"

    def validate(self, data: Any) -> None:
        """Refuse what is no text."""
        if not issubclass(type(data), str):
            raise _refused(data, "expected str")

    def write(self, walker: Walker) -> Form:
        """Write the text."""
        return {"data": write_text(self.data)}

    @classmethod
    def from_jcr(cls, params: Params) -> "Text":
        """Read the text."""
        return cls(decode(params["data"]))


class Bytes(BuiltIn):
    """Bytes, a bytearray or a memoryview, which is read as bytes."""

    type_name = "otel_ml.types.Bytes"

    def validate(self, data: Any) -> None:
        """Refuse what are no bytes."""
        if not issubclass(type(data), bytes | bytearray | memoryview):
            raise _refused(data, "expected bytes, bytearray or memoryview")

    def write(self, walker: Walker) -> Form:
        """Write the bytes."""
        raw = self.data.tobytes() if isinstance(self.data, memoryview) else self.data
        return {"data": to_base64(raw), "mutable": isinstance(raw, bytearray)}

    @classmethod
    def from_jcr(cls, params: Params) -> "Bytes":
        """Read the bytes."""
        raw = from_base64(params["data"])
        return cls(bytearray(raw) if params.get("mutable") else raw)


@wraps("numpy", "ndarray", "generic")
class Numpy(BuiltIn):
    """An array or a scalar of numpy."""

    type_name = "otel_ml.types.Numpy"

    def validate(self, data: Any) -> None:
        """Refuse what is not numpy's."""
        import numpy as np

        if not issubclass(type(data), np.ndarray | np.generic):
            raise _refused(data, "expected an array or scalar of numpy")

    def write(self, walker: Walker) -> Form:
        """Write dtype, shape and content."""
        import numpy as np

        from otel_ml.types import array_form

        if isinstance(self.data, np.generic):
            return array_form.write_scalar(self.data, walker)
        return array_form.write(self.data, walker)

    @classmethod
    def from_jcr(cls, params: Params) -> "Numpy":
        """Read an array of its own memory, writable; or a scalar."""
        from otel_ml.types import array_form

        reads = array_form.read_scalar if params.get("scalar") else array_form.read
        return cls(reads(params, decode))


@wraps("pandas", "DataFrame")
class DataFrame(BuiltIn):
    """A table of pandas."""

    type_name = "otel_ml.types.DataFrame"

    def validate(self, data: Any) -> None:
        """Refuse what is no table of pandas."""
        if not _is_from_pandas(data, "DataFrame"):
            raise _refused(data, "expected a DataFrame of pandas")

    def write(self, walker: Walker) -> Form:
        """Write indexes and columns."""
        from otel_ml.types import pandas_form

        return pandas_form.write_frame(self.data, walker)

    @classmethod
    def from_jcr(cls, params: Params) -> "DataFrame":
        """Read a table."""
        from otel_ml.types import pandas_form

        return cls(pandas_form.read_frame(params, decode))


@wraps("pandas", "Series")
class Series(BuiltIn):
    """A series of pandas."""

    type_name = "otel_ml.types.Series"

    def validate(self, data: Any) -> None:
        """Refuse what is no series of pandas."""
        if not _is_from_pandas(data, "Series"):
            raise _refused(data, "expected a Series of pandas")

    def write(self, walker: Walker) -> Form:
        """Write index, name and values."""
        from otel_ml.types import pandas_form

        return pandas_form.write_series(self.data, walker)

    @classmethod
    def from_jcr(cls, params: Params) -> "Series":
        """Read a series."""
        from otel_ml.types import pandas_form

        return cls(pandas_form.read_series(params, decode))


@wraps("PIL", "Image")
class Image(BuiltIn):
    """An image of Pillow.

    Attributes:
        lossless: False lets it be written as a JPEG, smaller and not exact; grey and RGB images
            only, any other stays exact.
    """

    type_name = "otel_ml.types.Image"

    def __init__(self, data: Any, lossless: bool = True) -> None:
        super().__init__(data)
        self.lossless = check_flag("lossless", lossless)

    def validate(self, data: Any) -> None:
        """Refuse what is no image of Pillow."""
        from PIL import Image as Pillow

        if not issubclass(type(data), Pillow.Image):
            raise _refused(data, "expected an image of Pillow")

    def write(self, walker: Walker) -> Form:
        """Write mode, size and pixels."""
        from otel_ml.types import image_form

        return image_form.write(self.data, self.lossless, walker)

    @classmethod
    def from_jcr(cls, params: Params) -> "Image":
        """Read an image."""
        from otel_ml.types import image_form

        return cls(image_form.read(params, decode), params["lossless"])


def wrap(value: Any) -> Data:
    """Wrap a value; a wrapper stays itself. Never raises, whatever the value is.

    Text becomes `Text`, bytes and what is like them `Bytes`, arrays and scalars of numpy `Numpy`,
    tables and series of pandas `DataFrame` and `Series`, images of Pillow `Image`, all else
    `Native`. None of these packages is loaded for it.
    """
    kind = type(value)
    if issubclass(kind, Data):
        data: Data = value
        return data
    with untrusted:
        return _wrapper(kind)(value)
    return Native(value)


def _wrapper(kind: type) -> type[Data]:
    foreign = find_wrapper(kind)
    if foreign is not None:
        return foreign
    if str in bases(kind):
        return Text
    if kind is memoryview or bytes in bases(kind) or bytearray in bases(kind):
        return Bytes
    return Native


def read_built_in() -> None:
    """Let `load` read the type strings of these wrappers."""
    for wrapper in (Native, Text, Bytes, Numpy, DataFrame, Series, Image):
        read_by(wrapper.type_name, wrapper.from_jcr)

"""Raymon's data types: the wrappers of `otel_ml.types` under Raymon's names."""

from collections.abc import Mapping
from typing import Any, Final, NoReturn

from otel_ml import types
from otel_ml.types import Data, load, register
from otel_ml.types.data import Form

__all__ = [
    "DataFrame",
    "Image",
    "Native",
    "Numpy",
    "RaymonDataType",
    "Series",
    "from_msgpack",
    "load_jcr",
]


class _Named(Data):
    """Writes the type of Raymon's wrapper of the same name; logged values keep ours."""

    def class2str(self) -> str:
        """Return the type of the written form."""
        return f"raymon.types.{type(self).__name__}"

    def to_jcr(self) -> Form:
        """Write the value as it is now, under Raymon's name of the type."""
        return {**super().to_jcr(), "type": self.class2str()}  # type: ignore[safe-super]  # a wrapper's


class Native(_Named, types.Native):
    """Any value of Python's own types; see `otel_ml.types.Native`."""

    type_name = types.Native.type_name


class Numpy(_Named, types.Numpy):
    """An array or a scalar of numpy; see `otel_ml.types.Numpy`."""

    type_name = types.Numpy.type_name


class DataFrame(_Named, types.DataFrame):
    """A table of pandas; see `otel_ml.types.DataFrame`."""

    type_name = types.DataFrame.type_name


class Series(_Named, types.Series):
    """A series of pandas; see `otel_ml.types.Series`."""

    type_name = types.Series.type_name


class Image(_Named, types.Image):
    """An image of Pillow; see `otel_ml.types.Image`."""

    type_name = types.Image.type_name


class RaymonDataType(Data):
    """The base class of wrappers of your own; defining a subclass lets `load_jcr` read it."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        register(cls)

    def class2str(self) -> str:
        """Return the type of the written form."""
        return self.type_name


_KIND_OF_FORM: Final = {kind.__mro__[2]: kind for kind in (Native, Numpy, DataFrame, Series, Image)}


def load_jcr(jcr: Mapping[str, Any] | str | bytes) -> Data:
    """Read a form written by ``to_jcr`` here, by logging, or by raymon 0.0.39.

    Returns:
        A wrapper of this module where there is one for the value, else as `otel_ml.types.load`.

    Raises:
        ValueError: It is no such form, its type is not registered, or its params are broken.
        ImportError: It needs a package that is not installed.
    """
    wrapper = load(jcr)
    named = _KIND_OF_FORM.get(type(wrapper))
    if named is not None:
        wrapper.__class__ = named  # it differs in the name of the written form alone
    return wrapper


def from_msgpack(data: bytes) -> NoReturn:
    """Refuse MessagePack: data is sent and read as JSON here.

    Raises:
        NotImplementedError: Always.
    """
    raise NotImplementedError("from_msgpack: use load_jcr(msgpack.unpackb(data)), or JSON")

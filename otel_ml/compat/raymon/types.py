"""Raymon's data types: the wrappers of `otel_ml.types` under raymon's names."""

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
    """Writes the type name of raymon's wrapper. Logged values keep the type name of otel-ml."""

    def class2str(self) -> str:
        """Return the type name that is written to the JSON."""
        return f"raymon.types.{type(self).__name__}"

    def to_jcr(self) -> Form:
        """Return the current value as a dict for JSON, with raymon's type name."""
        return {**super().to_jcr(), "type": self.class2str()}  # type: ignore[safe-super]  # a wrapper's


class Native(_Named, types.Native):
    """A plain Python value. See `otel_ml.types.Native`."""

    type_name = types.Native.type_name


class Numpy(_Named, types.Numpy):
    """A NumPy array or scalar. See `otel_ml.types.Numpy`."""

    type_name = types.Numpy.type_name


class DataFrame(_Named, types.DataFrame):
    """A pandas table. See `otel_ml.types.DataFrame`."""

    type_name = types.DataFrame.type_name


class Series(_Named, types.Series):
    """A pandas series. See `otel_ml.types.Series`."""

    type_name = types.Series.type_name


class Image(_Named, types.Image):
    """A Pillow image. See `otel_ml.types.Image`."""

    type_name = types.Image.type_name


class RaymonDataType(Data):
    """Base class for your own wrappers, so that you can log values of further types.

    Defining a subclass registers it, so that `load_jcr` can read its values.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        register(cls)

    def class2str(self) -> str:
        """Return the name of the type in JSON."""
        return self.type_name


_KIND_OF_FORM: Final = {kind.__mro__[2]: kind for kind in (Native, Numpy, DataFrame, Series, Image)}


def load_jcr(jcr: Mapping[str, Any] | str | bytes) -> Data:
    """Read a logged value from the JSON that ``to_jcr`` or raymon 0.0.39 wrote.

    Returns:
        A wrapper, such as `Image`, with the value in ``data``. For types that raymon does not have,
        it is a wrapper of `otel_ml.types`.

    Raises:
        ValueError: The JSON is invalid, or its type is not registered.
        ImportError: The value needs a package that is not installed.
    """
    wrapper = load(jcr)
    named = _KIND_OF_FORM.get(type(wrapper))
    if named is not None:
        wrapper.__class__ = named  # the classes differ only in the written type name
    return wrapper


def from_msgpack(data: bytes) -> NoReturn:
    """Always raises an error: otel-ml reads and writes JSON instead of MessagePack.

    Raises:
        NotImplementedError: Always.
    """
    raise NotImplementedError("from_msgpack: use load_jcr(msgpack.unpackb(data)), or JSON")

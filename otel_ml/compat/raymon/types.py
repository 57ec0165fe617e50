"""Raymon's data types: the wrappers of `otel_ml.types` under Raymon's names."""

from typing import Any, NoReturn

from otel_ml.types import Data, DataFrame, Image, Native, Numpy, Series, load, register

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

load_jcr = load


class RaymonDataType(Data):
    """What a wrapper of your own is a subclass of; defining it lets `load_jcr` read it."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        register(cls)

    def class2str(self) -> str:
        """Return the type of the written form."""
        return self.type_name


def from_msgpack(data: bytes) -> NoReturn:
    """Refuse MessagePack: what is sent and read here is JSON.

    Raises:
        NotImplementedError: Always.
    """
    raise NotImplementedError("from_msgpack: use load_jcr(msgpack.unpackb(data)), or JSON")

"""Typed data: values as JSON that is read back as the same type, dtype and shape."""

from otel_ml.types.data import Data, dump, load, register
from otel_ml.types.description import describe
from otel_ml.types.raymon import read_raymon
from otel_ml.types.wrappers import (
    Bytes,
    DataFrame,
    Image,
    Native,
    Numpy,
    Series,
    Text,
    read_built_in,
    wrap,
)

read_built_in()
read_raymon()

__all__ = [
    "Bytes",
    "Data",
    "DataFrame",
    "Image",
    "Native",
    "Numpy",
    "Series",
    "Text",
    "describe",
    "dump",
    "load",
    "register",
    "wrap",
]

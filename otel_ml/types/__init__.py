"""Typed values: stored as JSON and read back with the same type, dtype and shape."""

from otel_ml.types.data import Data, dump, load, register
from otel_ml.types.scalars import TextOnly
from otel_ml.types.wrappers import (
    Arrow,
    Bytes,
    DataFrame,
    Image,
    Jax,
    Native,
    Numpy,
    Picture,
    Polars,
    Series,
    Sparse,
    Text,
    Torch,
    TorchState,
    describe,
    read_built_in,
    read_raymon,
    wrap,
)

read_built_in()
read_raymon()

__all__ = [
    "Arrow",
    "Bytes",
    "Data",
    "DataFrame",
    "Image",
    "Jax",
    "Native",
    "Numpy",
    "Picture",
    "Polars",
    "Series",
    "Sparse",
    "Text",
    "TextOnly",
    "Torch",
    "TorchState",
    "describe",
    "dump",
    "load",
    "register",
    "wrap",
]

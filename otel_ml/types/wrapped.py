"""Which wrapper a value belongs in."""

from typing import Any

from otel_ml.errors import untrusted
from otel_ml.types.data import Data
from otel_ml.types.recognition import bases, find_wrapper
from otel_ml.types.wrappers import Bytes, Native, Text


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

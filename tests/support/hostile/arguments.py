"""Arguments and results of every kind: they are read, never changed, consumed or kept."""

import collections
import dataclasses
import io
import math
import sys
import tempfile
import threading
import unittest.mock
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # has no types
import polars as pl
import pydantic
from PIL import Image

from tests.support.hostile.case import Case
from tests.support.otel_ml.hostile import VALUES, changing_list


def take(value: Any) -> Any:
    return value


def is_given_back(function: Callable[..., Any], value: Any) -> bool:
    return function(value) is value


def consume(values: Any) -> list[Any]:
    return list(values)


def read(file: Any) -> str:
    return str(file.read())


def change(items: list[int], table: dict[str, int]) -> int:
    items.append(3)
    table["b"] = 2
    return len(items)


def fill(array: Any) -> float:
    array[:] = 7
    return float(array.sum())


def _refuse(*_arguments: object) -> NoReturn:
    raise RuntimeError("hostile")


def _refusing(*names: str) -> type:
    return type(f"Refuses{names[0]}", (), dict.fromkeys(names, _refuse))


class Answering:
    """It has every attribute."""

    def __getattr__(self, name: str) -> "Answering":
        return Answering()

    def __call__(self, *_arguments: object) -> "Answering":
        return self


class Item(pydantic.BaseModel):
    name: str
    sizes: list[int]


class RefusingItem(pydantic.BaseModel):
    name: str

    @pydantic.field_serializer("name")
    def refuse(self, name: str) -> str:
        raise RuntimeError("hostile")


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    item: str
    weights: Any


class Text(str):
    __slots__ = ()


def _numbers() -> Iterator[int]:
    yield from range(3)


def _written() -> io.TextIOWrapper:
    path = Path(tempfile.mkdtemp()) / "file"
    path.write_text("content")
    return path.open()


def _lopsided() -> Any:
    items: Any = "leaf"
    for number in range(10_000):
        items = [items] if number % 2 else {"inner": items}
    return items


def _cyclic_array() -> Any:
    array = np.empty(1, dtype=object)
    array[0] = array
    return array


def _closed_image() -> Any:
    image = Image.new("RGB", (2, 2))
    image.close()
    return image


def _closed() -> Any:
    file = _written()
    file.close()
    return file


OWN: dict[str, Callable[[], object]] = {
    **{
        f"{name} raises": _refusing(name)
        for name in (
            "__repr__",
            "__str__",
            "__eq__",
            "__len__",
            "__bool__",
            "__getattr__",
            "__iter__",
            "__getattribute__",
            "__dir__",
            "__sizeof__",
            "__index__",
            "__float__",
            "__array__",
            "__dataclass_fields__",
            "__json__",
            "__fspath__",
            "__reduce__",
            "__copy__",
            "keys",
        )
    },
    "__hash__ raises": type("RefusesHash", (), {"__hash__": _refuse}),
    "all raise": _refusing("__repr__", "__str__", "__getattribute__", "__eq__"),
    "text of 5 MB": lambda: "ä" * 2_500_000,
    "bytes of 5 MB": lambda: b"\xff" * 5_000_000,
    "array of 100 MB": lambda: np.zeros(12_500_000),
    "list of a million": lambda: list(range(1_000_000)),
    "dict of 100,000": lambda: {str(number): number for number in range(100_000)},
    "nested 10,000 deep": _lopsided,
    "10**5000": lambda: 10**5_000,
    "minus 10**5000": lambda: -(10**5_000),
    "answers every attribute": Answering,
    "mock": unittest.mock.MagicMock,
    "mock of a dict": lambda: unittest.mock.MagicMock(spec=dict),
    "text subclass": lambda: Text("text"),
    "string with zeros": lambda: "a\0b",
    "surrogates in a dict": lambda: {"a": ["\ud800"], "\udc00": 1},
    "numpy object array": lambda: np.array([{1}, threading.Lock(), None], dtype=object),
    "numpy array of itself": _cyclic_array,
    "numpy structured array": lambda: np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
    "numpy 0-d array": lambda: np.array(3.5),
    "numpy 0-d object array": lambda: np.array(threading.Lock(), dtype=object),
    "numpy strided array": lambda: np.arange(100).reshape(10, 10)[::2, ::3],
    "numpy transposed array": lambda: np.arange(100).reshape(10, 10).T,
    "numpy big-endian array": lambda: np.arange(5, dtype=">i4"),
    "numpy empty array": lambda: np.empty((0, 3)),
    "numpy text array": lambda: np.array(["a", "\ud800"]),
    "numpy dates": lambda: np.array(["2024-05-17", "NaT"], dtype="datetime64[D]"),
    "numpy masked array": lambda: np.ma.array([1, 2], mask=[False, True]),
    "numpy not numbers": lambda: np.array([math.nan, math.inf]),
    "numpy void": lambda: np.void(b"ab"),
    "pandas frame": lambda: pd.DataFrame({"a": [1, None], ("b", 1): ["x", object()]}),
    "pandas big frame": lambda: pd.DataFrame(np.zeros((100_000, 20))),
    "pandas many columns": lambda: pd.DataFrame(np.zeros((2, 20_000))),
    "pandas empty frame": pd.DataFrame,
    "pandas same columns": lambda: pd.DataFrame([[1, 2]], columns=["a", "a"]),
    "pandas index": lambda: pd.MultiIndex.from_product([[1], ["a"]]),
    "pandas grouped": lambda: pd.DataFrame({"a": [1, 1]}).groupby("a"),
    "polars frame": lambda: pl.DataFrame({"a": [1, None], "b": [["x"], []]}),
    "polars lazy frame": lambda: pl.LazyFrame({"a": [1]}).filter(pl.col("missing") > 1),
    "polars series": lambda: pl.Series("a", [1.5, None]),
    "image": lambda: Image.new("RGB", (64, 64)),
    "broken image": _closed_image,
    "pydantic model": lambda: Item(name="a", sizes=[1]),
    "pydantic that refuses": lambda: RefusingItem(name="a"),
    "pydantic class": lambda: Item,
    "dataclass": lambda: Order("a", np.arange(3)),
    "dataclass without its fields": lambda: object.__new__(Order),
    "list that changes when it is read": changing_list,
    "default dict": lambda: collections.defaultdict(list, a=[1]),
    "counter": lambda: collections.Counter("aab"),
    "deque": lambda: collections.deque([1]),
    "mapping proxy": lambda: type.__dict__["__dict__"].__get__(Item),
    "condition": threading.Condition,
    "thread": threading.current_thread,
    "exception": lambda: ValueError("a"),
    "exception group": lambda: ExceptionGroup("a", [ValueError("b")]),  # noqa: F821 - Python 3.11
    "closed file": _closed,
    "code": lambda: take.__code__,
    "frame": sys._getframe,
}


def _made(make: Callable[[], object]) -> Callable[[], tuple[object]]:
    return lambda: (make(),)


CASES = [
    *(
        Case(f"given {name}", take, _made(make), is_given_back)
        for name, make in {**VALUES, **OWN}.items()
    ),
    Case("generator is not used up", consume, lambda: (_numbers(),)),
    Case("iterator is not used up", consume, lambda: (iter([1, 2]),)),
    Case("map is not used up", consume, lambda: (map(str, [1, 2]),)),
    Case("file is not read", read, lambda: (_written(),)),
    Case("stream is not read", read, lambda: (io.StringIO("content"),)),
    Case(
        "input that changes is recorded as it was",
        change,
        lambda: ([1, 2], {"a": 1}),
        inputs={"items": [1, 2], "table": {"a": 1}},
    ),
    Case(
        "array that changes is recorded as it was",
        fill,
        lambda: (np.array([1, 2]),),
        inputs={
            "array": {"type": "numpy.ndarray", "dtype": "int64", "shape": [2], "values": [1, 2]}
        },
    ),
]

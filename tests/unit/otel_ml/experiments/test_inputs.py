"""Recorded values are rebuilt as the types that a function's annotations require."""

import dataclasses
import datetime
import decimal
import enum
import pathlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, NewType, Optional, TypedDict

import numpy as np
import orjson
import pandas as pd  # type: ignore[import-untyped]  # it carries no types
import pytest
from pydantic import BaseModel

from otel_ml.capture.values import encode
from otel_ml.experiments.inputs import NotRebuiltError, Recorded, rebuild


class Colour(enum.Enum):
    RED = 1


class Level(str, enum.Enum):
    HIGH = "high"


class Pair(NamedTuple):
    day: datetime.date
    number: int


class Row(TypedDict):
    day: datetime.date


@dataclasses.dataclass(frozen=True)
class Order:
    day: datetime.date
    price: decimal.Decimal
    parts: "list[Order]" = dataclasses.field(default_factory=list)


class Question(BaseModel):
    text: str
    at: datetime.datetime


class Odd:
    pass


UserId = NewType("UserId", str)
NOW = datetime.datetime(2026, 11, 24, 1, 2, 3, 4, tzinfo=datetime.timezone.utc)
DAY = NOW.date()
ORDER = Order(DAY, decimal.Decimal("1.10"), [Order(DAY, decimal.Decimal(2))])


def recorded(value: object) -> Any:
    """Return the JSON that is recorded for a value."""
    return orjson.loads(encode(value).text)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("text", str),
        (1.0, float),
        (float("inf"), float),
        (2**70, int),
        (None, Optional[int]),  # noqa: UP045 - as hosts still write it
        (3, int | None),
        (NOW, datetime.datetime),
        (DAY, datetime.date),
        (NOW.time(), datetime.time),
        (DAY, datetime.date | None),
        (decimal.Decimal("1.10"), decimal.Decimal),
        (uuid.UUID(int=7), uuid.UUID),
        (pathlib.PurePosixPath("a/b"), pathlib.PurePosixPath),
        (1 + 2j, complex),
        (b"12345678", bytes),
        (Colour.RED, Colour),
        (Level.HIGH, Level),
        ({3, 1}, set[int]),
        ((1, 2), tuple[int, ...]),
        ((DAY, 1), tuple[datetime.date, int]),
        (Pair(DAY, 1), Pair),
        ([DAY], list[datetime.date]),
        ([DAY], Sequence[datetime.date]),
        ({"a": DAY}, Mapping[str, datetime.date]),
        ({1: "a"}, dict[int, str]),
        ({"day": DAY}, Row),
        (ORDER, Order),
        ([ORDER], list[Order]),
        (Question(text="why", at=NOW), Question),
        (UserId("ada"), UserId),
        ("a", Literal["a", "b"]),
        (DAY, Annotated[datetime.date, "of birth"]),
        ({"type": "function", "function": {"name": "f"}}, dict[str, Any]),
        ({"type": "object", "head": 1}, Any),
        ([1, {"a": None}], Any),
    ],
)
def test_value_comes_back(value: object, hint: Any) -> None:
    """A captured value is rebuilt with its type if the annotation names the type."""
    found = rebuild(recorded(value), hint)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype="int32").reshape(2, 3),
        np.array([1.5, np.inf]),
        np.array(["a", "bc"]),
        np.array([True]),
        np.array(["2026-11-24"], dtype="datetime64[D]"),
    ],
)
@pytest.mark.parametrize("hint", [Any, np.ndarray])
def test_short_array_comes_back(array: Any, hint: Any) -> None:
    """An array of up to 64 elements is rebuilt with dtype and shape, with any annotation."""
    found = rebuild(recorded({"x": array}), dict[str, hint])["x"]
    assert (found.dtype, found.shape, found.tolist()) == (array.dtype, array.shape, array.tolist())


@pytest.mark.parametrize(
    ("value", "hint", "of"),
    [
        (np.arange(65), Any, "numpy.ndarray"),
        (pd.DataFrame({"a": [1]}), Any, "pandas.DataFrame"),
        (b"123456789", Any, "bytes"),
        ([Odd()], Any, "tests.unit.otel_ml.experiments.test_inputs.Odd"),
        (Odd(), Odd, "tests.unit.otel_ml.experiments.test_inputs.Odd"),
        ("yesterday", datetime.date, "date"),
        (float("nan"), float, "float"),
        ({"day": DAY.isoformat()}, Order, "Order"),
        ({"text": 1}, Question, "Question"),
        ("three", int, "int"),
        (1, Sequence[int], "Sequence"),
        (1, datetime.date | None, "date | NoneType"),
    ],
)
def test_too_little_is_no_value(value: object, hint: Any, of: str) -> None:
    """A value that was not recorded completely raises an error that names its type."""
    with pytest.raises(NotRebuiltError) as caught:
        rebuild(recorded(value), hint)
    assert caught.value.of.endswith(of)


def plain(a: int, b: int = 2) -> Any:
    return a, b


def starred(a: int, *rest: datetime.date, **more: datetime.date) -> Any:
    return a, rest, more


def positional(a: int, /, b: datetime.date) -> Any:
    return a, b


def none(day: datetime.date = None) -> Any:  # type: ignore[assignment]  # noqa: RUF013 - as hosts write it
    return day


@pytest.mark.parametrize(
    ("function", "args", "kwargs"),
    [
        (plain, (1,), {}),
        (plain, (1,), {"b": 3}),
        (starred, (1, DAY, DAY), {"x": DAY}),
        (starred, (1,), {}),
        (positional, (1, DAY), {}),
        (none, (), {}),
        (pow, (2, 3), {}),
        (range, (2, 3), {}),
    ],
)
def test_call_is_made_again(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """A call can be repeated with its recorded arguments, including starred ones."""
    from otel_ml.functions import make_binder

    again = Recorded(function)
    inputs = recorded(make_binder(function)(args, kwargs))
    new_args, new_kwargs = again.spread(again.inputs(inputs))
    assert function(*new_args, **new_kwargs) == function(*args, **kwargs)

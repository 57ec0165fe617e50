"""Registered types: which type names are read, and by which class."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it carries no types
import pyarrow as pa
import pytest
from PIL import Image as Pillow

from otel_ml.types import (
    Arrow,
    Bytes,
    Data,
    DataFrame,
    Image,
    Native,
    Numpy,
    Series,
    Text,
    dump,
    load,
    register,
    wrap,
)


class Point(Data):
    """A user's wrapper."""

    def to_jcr(self) -> dict[str, Any]:
        x, y = self.data
        return {"type": self.type_name, "params": {"x": x, "y": y}}

    @classmethod
    def from_jcr(cls, params: Mapping[str, Any]) -> "Point":
        return cls((params["x"], params["y"]))

    def validate(self, data: Any) -> None:
        if len(data) != 2:
            raise ValueError(f"Invalid point {data!r}: expected two numbers")


@pytest.fixture
def point() -> type[Point]:
    return register(Point, name="tests.Point")


@pytest.mark.parametrize(
    ("wrapper", "value"), [(Arrow, pa.table({"a": [1]})), (DataFrame, pd.DataFrame({"a": [1]}))]
)
def test_subclass_takes_what_its_base_takes(wrapper: type[Data], value: Any) -> None:
    """A subclass of a built-in wrapper holds the same values."""
    derived = type("Mine", (wrapper,), {})
    assert derived(value).data is value


def test_wrapper_of_the_users_comes_back(point: type[Point]) -> None:
    """A user's registered wrapper is read by its own class."""
    found = load(dump(point((1, 2))))
    assert (type(found), found.data) == (Point, (1, 2))


def test_wrapper_of_the_users_comes_back_within_others(point: type[Point]) -> None:
    """A user's wrapper inside another value is read by its own class too."""
    [found] = load(dump(wrap([point((1, 2))]))).data
    assert (type(found), found.data) == (Point, (1, 2))


def test_form_is_the_json_of_jcr(point: type[Point]) -> None:
    """The written form is JSON with type and params."""
    expected = {"type": "tests.Point", "params": {"x": 1, "y": 2}}
    assert json.loads(dump(point((1, 2)))) == json.loads(point((1, 2)).to_json()) == expected


def test_name_is_the_qualified_name_of_the_class() -> None:
    """A wrapper registered without a name has its qualified name."""

    @register
    class Local(Point):
        pass

    assert Local.type_name == f"{__name__}.{Local.__qualname__}"
    assert type(load(dump(Local((1, 2))))) is Local


def test_wrapper_that_is_defined_again_replaces_itself() -> None:
    """A wrapper that is defined again, as in a notebook, is read by its latest class."""

    def define() -> type[Point]:
        @register
        class Again(Point):
            pass

        return Again

    define()
    latest = define()
    assert type(load(dump(latest((1, 2))))) is latest


@pytest.mark.parametrize("name", ["otel_ml.types.Numpy", "raymon.types.Numpy", "tests.Point", ""])
def test_taken_name_is_refused(point: type[Point], name: str) -> None:
    """A name of otel-ml, of raymon or of another wrapper is refused."""

    class Other(point):  # type: ignore[valid-type,misc]  # the fixture's class
        pass

    with pytest.raises(ValueError, match="Invalid name "):
        register(Other, name=name)


def test_class_that_is_no_wrapper_is_refused() -> None:
    """A class that is not a wrapper cannot be registered."""
    with pytest.raises(ValueError, match=r"expected a subclass of otel_ml\.types\.Data"):
        register(dict)  # type: ignore[type-var]  # refused


def test_unknown_type_is_refused_by_name() -> None:
    """The error for an unknown type lists the registered ones, and nothing is imported."""
    with pytest.raises(ValueError, match=r"Unknown type 'os\.system'.*otel_ml\.types\.Numpy"):
        load({"type": "os.system", "params": {"command": "true"}})


@pytest.mark.parametrize(
    "form",
    [
        b"no json",
        "[]",
        "{}",
        "null",
        '{"type": "otel_ml.types.Text"}',
        '{"type": 1, "params": {}}',
        "[" * 100_000,
        {"type": "otel_ml.types.Text", "params": {}},
        {"type": "otel_ml.types.Native", "params": {"data": {"$": "os.system", "v": "true"}}},
        {"type": "otel_ml.types.Native", "params": {"data": {"$": ["list"], "v": "true"}}},
        {"type": "otel_ml.types.Native", "params": {"data": {"$": "uuid", "v": [1]}}},
        {"type": "otel_ml.types.Native", "params": {"data": {"$": "dict", "v": [[[], 1]]}}},
    ],
    ids=lambda form: str(form)[:60],
)
def test_broken_form_is_refused(form: Any) -> None:
    """An invalid document, or one with wrong params for its type, is refused."""
    with pytest.raises(ValueError, match=r"Invalid|Unknown"):
        load(form)


def test_broken_wrapper_of_the_users_is_told() -> None:
    """A user's wrapper whose `to_jcr` returns a value that JSON cannot represent raises."""

    class Broken(Point):
        def to_jcr(self) -> dict[str, Any]:
            return {"type": self.type_name, "params": {"x": object()}}

    with pytest.raises(ValueError, match="expected to_jcr"):
        dump(Broken((1, 2)))


VALUES: list[tuple[object, type[Data]]] = [
    ("a", Text),
    (b"a", Bytes),
    (bytearray(b"a"), Bytes),
    (memoryview(b"a"), Bytes),
    (np.arange(3), Numpy),
    (np.ma.MaskedArray([1]), Numpy),
    (np.float64(1), Numpy),
    (np.str_("a"), Numpy),
    (pd.DataFrame(), DataFrame),
    (pd.Series([1]), Series),
    (Pillow.new("L", (1, 1)), Image),
    (pd.Timestamp(0), Native),
    (1, Native),
    (None, Native),
    ([b"a"], Native),
]


@pytest.mark.parametrize(("value", "expected"), VALUES, ids=lambda part: type(part).__name__)
def test_value_is_wrapped_by_its_type(value: object, expected: type[Data]) -> None:
    """A value is wrapped by the class for its type and stays the same object."""
    data = wrap(value)
    assert type(data) is expected
    assert data.data is value


def test_wrapper_stays_itself() -> None:
    """A wrapper is not wrapped again."""
    data = Native("a")
    assert wrap(data) is data


def test_false_array_is_wrapped_as_any_object() -> None:
    """An object that only claims to be a numpy array is wrapped like any other object."""
    false = type("ndarray", (), {"__module__": "numpy"})()
    assert type(wrap(false)) is Native


@pytest.mark.parametrize(
    ("wrapper", "value"),
    [(Text, b"a"), (Bytes, "a"), (Numpy, [1]), (DataFrame, {}), (Series, []), (Image, b"")],
)
def test_wrapper_refuses_another_type(wrapper: type[Data], value: object) -> None:
    """A wrapper's error names the type it got and the type it expected."""
    expected = f"Invalid data of type builtins.{type(value).__name__}: expected"
    with pytest.raises(ValueError, match=expected):
        wrapper(value)


def test_lossless_must_be_a_bool() -> None:
    """`lossless` must be True or False."""
    with pytest.raises(ValueError, match="Invalid lossless 'no': expected True or False"):
        Image(Pillow.new("L", (1, 1)), lossless="no")  # type: ignore[arg-type]  # refused

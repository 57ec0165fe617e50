"""Reports and messages show values as JSON, or as Python does where JSON has no such value."""

from collections import namedtuple
from typing import Any

import numpy as np
import pytest

from otel_ml.experiments.value_text import describe_value, write_value

Point = namedtuple("Point", "x y")


class Broken:
    def __repr__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ({"a": [1, True, None, "x"]}, '{"a":[1,true,null,"x"]}'),
        ((1, "a"), '(1, "a")'),
        ((1,), "(1,)"),
        ((), "()"),
        ([("é", 2.5), {"k": (None, True)}], '[("é", 2.5), {"k": (None, True)}]'),
        ({1}, "{1}"),
        (set(), "set()"),
        ({1: "a"}, '{1: "a"}'),
        (float("nan"), "nan"),
        (2**70, str(2**70)),
        (b"ab", "b'ab'"),
        (Point(1, 2), "Point(x=1, y=2)"),
        (np.arange(3), "array([0, 1, 2])"),
    ],
    ids=repr,
)
def test_value_is_written_as_json_or_as_in_python(value: Any, written: str) -> None:
    """A value that JSON lacks is not shown as the reference under which it is stored."""
    assert write_value(value) == written


def test_only_json_stays_as_it_is() -> None:
    """In a report as JSON, a value that JSON lacks is its text."""
    assert [describe_value(value) for value in ([1], (1,))] == [[1], "(1,)"]


def test_a_broken_object_is_written_as_its_type() -> None:
    """An object whose ``repr`` fails is shown as its type."""
    assert write_value([Broken()]).endswith(".Broken]")

"""Tests of converting attribute values to JSON, text and numbers."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ml_collector.mapping.values import (
    parse,
    to_float,
    to_int,
    to_json,
    to_sorted_json,
    to_text,
)
from otel_ml_collector.span import Value

INF, NEG = "Infinity", "-Infinity"
json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(exclude_categories=["Cs"])),
    ),
    lambda inner: st.one_of(
        st.lists(inner),
        st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    ),
    max_leaves=10,
)


@given(json_values)
def test_json_round_trip(value: object) -> None:
    """A JSON value that is written and read back is unchanged."""
    assert parse(to_json(value)) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": [None, True]}, '{"b":1,"a":[null,true]}'),
        (b"\x00\xff", '"AP8="'),
        ({"a": [b"\x01"]}, '{"a":["AQ=="]}'),
        (math.nan, "null"),
        ([1.5, math.inf, {"a": -math.inf}], '[1.5,"Infinity",{"a":"-Infinity"}]'),
        ({"a": None, "b": 1.5}, '{"a":null,"b":1.5}'),
        ("ü\n", '"ü\\n"'),
        ({1: "a"}, '{"1":"a"}'),
    ],
    ids=repr,
)
def test_to_json(value: object, text: str) -> None:
    """A value is written as compact JSON, with keys in their original order and bytes as base64."""
    assert to_json(value) == text


@given(st.dictionaries(st.text("abc", max_size=2), st.integers(0, 9)), st.randoms())
def test_to_sorted_json(value: dict[str, int], shuffle: random.Random) -> None:
    """Attributes are written the same in whatever order they arrive."""
    items = list(value.items())
    shuffle.shuffle(items)
    assert to_sorted_json(dict(items)) == to_sorted_json(value)
    assert parse(to_sorted_json(value)) == value


def test_numbers_of_attributes() -> None:
    """An attribute that is NaN or infinite keeps its name, even within a list."""
    value = {"loss": math.inf, "ratio": math.nan, "bounds": [1.5, -math.inf], "none": None}
    text = '{"bounds":[1.5,"-Infinity"],"loss":"Infinity","none":null,"ratio":"NaN"}'
    assert to_sorted_json(value) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ("{broken", "{broken"),
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ('{"a": NaN, "b": [Infinity, -Infinity, 1e999]}', {"a": None, "b": [INF, NEG, INF]}),
        ('{"a": NaN, "b": 123456789012345678901}', {"a": None, "b": 123456789012345678901.0}),
        ('{"a": NaN', '{"a": NaN'),
        ("[NaN" * 5_000, "[NaN" * 5_000),
        ('["NaN", "\\ud83d", "\\ud83d\\ude00"]', ["NaN", "\ufffd", "\U0001f600"]),
        ('"\\ud800"', "\ufffd"),
        ('{"a": "\\\\ud83d\\ud83d", "b": NaN}', {"a": "\\ud83d\ufffd", "b": None}),
        ("['NaN']", "['NaN']"),
        ("", ""),
        (3, 3),
        (None, None),
    ],
    ids=repr,
)
def test_parse(text: Value, value: object) -> None:
    """JSON text is parsed. Other text is kept as it is."""
    assert parse(text) == value


@pytest.mark.parametrize("depth", [300, 1_000, 100_000])
@pytest.mark.parametrize("wrap", ["[|]", '{"a":|}'], ids=["lists", "objects"])
def test_deep_json(depth: int, wrap: str) -> None:
    """A text nested to any depth is parsed and written without an error."""
    opening, closing = wrap.split("|")
    value = parse(opening * depth + "1" + closing * depth)
    assert isinstance(to_json(value), str)


@pytest.mark.parametrize(
    ("value", "text"), [("a", "a"), (None, ""), (3, "3"), (True, "true"), (["a"], '["a"]')]
)
def test_to_text(value: Value, text: str) -> None:
    """Text is unchanged, and other values are written as JSON."""
    assert to_text(value) == text


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (3, 3.0),
        ("0.5", 0.5),
        (" 7 ", 7.0),
        ("1e3", 1000.0),
        (True, None),
        ("", None),
        ("three", None),
        (None, None),
        ([1], None),
        (b"1", None),
    ],
    ids=repr,
)
def test_to_float(value: Value, number: float | None) -> None:
    """A number is read from int, float and numeric text, and from nothing else."""
    assert to_float(value) == number


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (0, 0),
        (2**63 - 1, 2**63 - 1),
        (-(2**63), -(2**63)),
        (2**63, None),
        (2.9, 2),
        ("12", 12),
        ("-1", -1),
        (math.inf, None),
        (math.nan, None),
        (1e300, None),
        (False, None),
    ],
    ids=repr,
)
def test_to_int(value: Value, number: int | None) -> None:
    """A count is read from int, float and numeric text if it fits into 64 bits."""
    assert to_int(value) == number

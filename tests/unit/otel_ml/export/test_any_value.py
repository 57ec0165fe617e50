"""Attributes of every type, short and long, valid and invalid."""

import sys
from collections import deque
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.sdk.trace import Event

from otel_ml.errors import trouble
from otel_ml.export.encoder import encode_spans
from tests.unit.otel_ml.export.official import (
    assert_official,
    attributes_of,
    decode_only_span,
    make_span,
)
from tests.unit.otel_ml.export.span_strategies import values


@given(values)
def test_every_value_as_official(value: object) -> None:
    """A value is encoded the same the first time, when its key is cached, and the second time."""
    span = make_span(attributes={"key": value})
    assert_official([span, span])


EDGES = [0, 1, 63, 64, 65, 127, 128, 129, 255, 256, 8191, 8192, 16_383, 16_384, 2_097_152]


@pytest.mark.parametrize("letter", ["x", "é", "😀"])
def test_text_of_any_length(letter: str) -> None:
    """Text of any length is encoded like the official encoder does."""
    for length in EDGES:
        text = letter * length
        span = make_span(name=text, attributes={"k": text, text: "v"})
        assert_official([span, span])


@pytest.mark.parametrize("number", [*EDGES, 4095, 4096, 2**31, 2**63 - 1])
def test_integers(number: int) -> None:
    """Integers within 64 bits are encoded like the official encoder does."""
    span = make_span(attributes={"plus": number, "minus": -number, "least": -number - 1})
    assert_official([span, span])


def test_equal_values_of_other_types() -> None:
    """Values that are equal in Python keep their types, in any order."""
    given = [True, 1, 1.0, "1", False, 0, 0.0, -0.0, "0", [True], [1], [1.0], 1]
    assert_official([make_span(attributes={"key": value}) for value in [*given, *given[::-1]]])


class Color(str, Enum):
    RED = "red"


class Size(IntEnum):
    BIG = 300


class Ratio(float):
    def __repr__(self) -> str:
        return "ratio"


class Name(str):
    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return b"other"


@pytest.mark.parametrize(
    "value",
    [
        Color.RED,
        Size.BIG,
        Ratio(0.5),
        Name("own"),
        Name("own" * 100),
        range(3),
        deque([1, 2]),
        bytearray(b"ab"),
        memoryview(b"ab"),
        MappingProxyType({"a": 1}),
        {Color.RED: 1, 2: 3, None: 4, "nested": {"deep": [{}, [], ""]}},
    ],
    ids=lambda value: type(value).__name__,
)
def test_subclasses_and_relatives(value: object) -> None:
    """A value whose type resembles one of OTLP's is encoded like the official encoder does."""
    span = make_span(attributes={"key": value})
    assert_official([span, span])


def test_none_and_bytes() -> None:
    """None and bytes are encoded like the newest encoder does, whatever version is installed."""
    found = attributes_of(make_span(attributes={"none": None, "bytes": b"\xff", "in": [None]}))
    assert found["none"] == AnyValue()
    assert found["bytes"] == AnyValue(bytes_value=b"\xff")
    assert list(found["in"].array_value.values) == [AnyValue()]


def test_integers_outside_64_bits() -> None:
    """An integer beyond 64 bits is encoded as its decimal text, also in a list."""
    found = attributes_of(make_span(attributes={"a": 2**63, "b": -(2**63) - 1, "c": [2**64]}))
    assert found["a"] == AnyValue(string_value="9223372036854775808")
    assert found["b"] == AnyValue(string_value="-9223372036854775809")
    assert list(found["c"].array_value.values) == [AnyValue(string_value="18446744073709551616")]


@pytest.mark.parametrize("tail", ["", "x" * 100])
def test_lone_surrogates_in_attributes(tail: str) -> None:
    """A lone surrogate becomes a question mark in keys, in short and long text, and nested."""
    given: dict[str, Any] = {f"k\ud800{tail}": f"v\udfff{tail}", "in": {"\ud800": ["\udfff"]}}
    span = make_span(attributes=given)
    for found in (attributes_of(span), attributes_of(span)):
        assert found[f"k?{tail}"] == AnyValue(string_value=f"v?{tail}")
        [pair] = found["in"].kvlist_value.values
        assert (pair.key, list(pair.value.array_value.values)) == (
            "?",
            [AnyValue(string_value="?")],
        )


def nested(depth: int, *, mapping: bool) -> Any:
    """Return lists or mappings nested in each other, `depth` deep."""
    value: Any = 1
    for _ in range(depth):
        value = {"k": value} if mapping else [value]
    return value


def cyclic() -> list[object]:
    value: list[object] = []
    value.append(value)
    return value


BAD_VALUES: dict[str, object] = {
    "foreign": object(),
    "set": {1, 2},
    "complex": 1j,
    "foreign in a list": [1, object()],
    "too long for decimal text": 10**5000,
    "too deep": nested(31, mapping=True),
    "far too deep": nested(sys.getrecursionlimit() * 2, mapping=False),
    "cyclic": cyclic(),
}


@pytest.mark.parametrize("bad", BAD_VALUES.values(), ids=BAD_VALUES)
def test_bad_value_costs_its_attribute_alone(bad: object) -> None:
    """An invalid value is left out and counted, even if its key is cached."""
    before = trouble().get("encode", 0)
    good = {"first": 1, "last": "x"}
    for _ in range(2):
        found = attributes_of(make_span(attributes={"first": 1, "bad": bad, "last": "x"}))
        assert set(found) == set(good)
        assert "bad" in attributes_of(make_span(attributes={**good, "bad": 1}))
    assert trouble()["encode"] == before + 2


def test_bad_key_costs_its_attribute_alone() -> None:
    """An attribute whose key is not text is left out."""
    assert set(attributes_of(make_span(attributes={5: "x", "good": 1, None: 2}))) == {"good"}


@pytest.mark.parametrize("mapping", [True, False])
def test_deep_values_can_be_read(mapping: bool) -> None:
    """The deepest value that is encoded can be decoded, in spans and in events."""
    value = nested(30, mapping=mapping)
    span = make_span(attributes={"key": value}, events=[Event("e", {"key": value})])
    assert "key" in attributes_of(span)
    [event] = decode_only_span(encode_spans([span]).body).events
    assert [pair.key for pair in event.attributes] == ["key"]

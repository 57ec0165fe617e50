"""Tests of lists that are flattened into attribute names."""

import random
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ml_collector.mapping.dialects.table import MAX_DEPTH, MAX_NAMES, Leaf, fill, find_list
from otel_ml_collector.span import Value

PARTS: Final = st.sampled_from(["0", "1", "2", "10", "999999999", "a", "content", "", "²"])


def read(attributes: dict[str, Value], suffix: str = "") -> Value:
    listed = find_list(attributes, "list.", suffix)
    return None if listed is None else fill(listed, attributes)


@pytest.mark.parametrize(
    ("attributes", "value"),
    [
        ({"list.0": "a", "list.1": "b"}, ["a", "b"]),
        ({"list.10": "b", "list.9": "a", "list.700": "c"}, ["a", "b", "c"]),
        ({"list.0.a": 1, "list.0.b.c": 2}, [{"a": 1, "b": {"c": 2}}]),
        ({"list.0.a.1.b": 1, "list.0.a.0.b": 2}, [{"a": [{"b": 2}, {"b": 1}]}]),
        ({"list.0.a.0": 1, "list.0.a.x": 2}, [{"a": {"0": 1, "x": 2}}]),
        ({"list.0": 1, "list.0.a": 2}, [{"a": 2}]),
        ({"list.0.a": 2, "list.0": 1}, [{"a": 2}]),
        ({"list.0.a": None}, [{"a": None}]),
        ({"list.0.contents.0.image.url": "u"}, [{"content": [{"url": "u"}]}]),
        (
            {"list.0.message_content.type": "tool", "list.0.tool_call.id": "t"},
            [{"type": "tool", "id": "t"}],
        ),
        (
            {"list.0.message_content.id": "m", "list.0.tool_call.id": "t"},
            [{"message_content": {"id": "m"}, "tool_call": {"id": "t"}}],
        ),
        ({"list.a": 1, "list": 2, "list.²": 3, "lists.0": 4}, None),
        ({}, None),
    ],
)
def test_list(attributes: dict[str, Value], value: Value) -> None:
    """Items are sorted by their numbers, and gaps are closed."""
    assert read(attributes) == value


def test_suffix() -> None:
    """A suffix after the number is removed, and items without it are omitted."""
    assert read({"list.0.message.role": "user", "list.1.other": 1}, "message") == [{"role": "user"}]


def test_long() -> None:
    """A list with too many names is cut, and the remaining names are not used."""
    names = [f"list.{number}" for number in range(MAX_NAMES + 100)]
    random.Random(1).shuffle(names)  # noqa: S311 - not for secrets
    listed = find_list(names, "list.")
    assert listed == [Leaf(f"list.{number}") for number in range(MAX_NAMES)]


def test_deep() -> None:
    """A name that is nested too deeply is omitted."""
    deep = "list.0" + ".a" * MAX_DEPTH
    assert find_list(["list.1.a", deep], "list.") == [{"a": Leaf("list.1.a")}]


@given(st.lists(st.lists(PARTS, min_size=1, max_size=5), max_size=8), st.randoms())
def test_order(paths: list[list[str]], order: random.Random) -> None:
    """A list does not depend on the order of its attribute names."""
    names = sorted({"list." + ".".join(path) for path in paths})
    shuffled = order.sample(names, len(names))
    assert read({name: name for name in names}) == read({name: name for name in shuffled})

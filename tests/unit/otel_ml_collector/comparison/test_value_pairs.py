"""Tests of what differs between two inputs or outputs."""

from typing import Any

import pytest

from otel_ml_collector.comparison.value_pairs import MemberPair, compare_values
from otel_ml_collector.web.payload import ShownMember


def test_objects() -> None:
    """Of two objects, members that differ are listed, with the change of a number."""
    before = {"city": "Leipzig", "area": 119, "rooms": 4, "lift": True}
    after = {"city": "Leipzig", "area": 88.5, "rooms": 4, "garden": False}
    pair = compare_values("inputs", before, after)
    assert pair.members == [
        MemberPair(
            "area",
            ShownMember("area", "119", kind="number"),
            ShownMember("area", "88.5", kind="number"),
            "−30.5",
        ),
        MemberPair("lift", ShownMember("lift", "yes", kind="word"), None),
        MemberPair("garden", None, ShownMember("garden", "no", kind="word")),
    ]
    assert (pair.same, pair.inner, pair.texts, pair.sides) == (2, [], None, ())


def test_nested_objects() -> None:
    """Objects inside objects are compared by member, too."""
    before = {"flat": {"area": 119, "rooms": 4}, "id": 7}
    after = {"flat": {"area": 119, "rooms": 5}, "id": 7}
    pair = compare_values("inputs", before, after)
    [flat] = pair.inner
    assert (pair.same, flat.name, flat.same) == (1, "flat", 1)
    assert [member.name for member in flat.members] == ["rooms"]


@pytest.mark.parametrize(
    ("before", "after"), [("it is 42", "it is 41"), ({"text": "it is 42"}, {"text": "it is 41"})]
)
def test_texts(before: Any, after: Any) -> None:
    """Texts are compared by word, also as the only member of an object."""
    assert compare_values("outputs", before, after).texts == ("it is 42", "it is 41")


def test_numbers() -> None:
    """A number that is the only member of an object keeps its name, and has a change."""
    [price] = compare_values("outputs", {"price": 1071}, {"price": 792}).members
    assert (price.name, price.change) == ("price", "−279")


def test_tables() -> None:
    """Tables are shown as grids next to each other."""
    tables = [[{"area": area, "rooms": 4}, {"area": 64, "rooms": 2}] for area in (119, 88)]
    pair = compare_values("inputs", {"houses": tables[0]}, {"houses": tables[1]})
    assert [payload.form for payload in pair.sides] == ["Table", "Table"]


def test_conversations() -> None:
    """Messages with which both conversations begin are counted, the others are shown."""
    first = {"role": "user", "content": "Why?"}
    answers = [{"role": "assistant", "content": text} for text in ("Because.", "No idea.")]
    pair = compare_values("inputs", [first, answers[0]], [first, answers[1]])
    assert pair.same == 1
    assert [payload.form for payload in pair.sides] == ["Chat", "Chat"]


def test_deep_objects() -> None:
    """Any depth and size of two values is compared."""
    deep: list[Any] = [1, 2]
    for side in (0, 1):
        for _ in range(400):
            deep[side] = {"in": deep[side], "x": 0}
    assert compare_values("inputs", *deep).same == 1
    many = [{f"n{number}": number + side for number in range(2_000)} for side in (0, 1)]
    assert len(compare_values("inputs", *many).members) == 200

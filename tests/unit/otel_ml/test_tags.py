"""Tags: accepted forms, and attributes on the wire."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ml.tags import Tag, Tags, fits, primitive, read_tags, tag_attributes
from tests.support.otel_ml.hostile import VALUES
from tests.support.otel_ml.recording import Recording, attributes
from tests.support.otel_ml.strategies import any_text


@pytest.mark.parametrize(
    "given_as",
    [
        [{"client": "acme", "size": 3}],
        [{"client": "acme"}, {"size": 3}],
        [[Tag("client", "acme"), {"size": 3}]],
        [None, {"client": "beta"}, Tag("client", "acme"), Tag("size", 3)],
    ],
)
def test_tags_may_be_given_as(given_as: list[Tags]) -> None:
    """Tags may be mappings, `Tag` objects and lists of both; the last value of a name wins."""
    assert read_tags(given_as) == ({"client": "acme", "size": 3}, {})


def test_tag_has_a_type(recording: Recording) -> None:
    """Type and group of a tag are recorded with its value."""
    with recording.client.run("training") as run:
        run.tag([Tag("area", "120", type="metric", group="house"), {"plain": 1}])
        run.tag(Tag("error", "LowerBound", type="error"))
    found = attributes(recording.run())
    assert {key: found[key] for key in found if key.startswith("otel_ml.tag.")} == {
        "otel_ml.tag.area": "120",
        "otel_ml.tag.plain": 1,
        "otel_ml.tag.error": "LowerBound",
    }
    assert json.loads(found["otel_ml.tags"]) == {
        "area": {"type": "metric", "group": "house"},
        "error": {"type": "error"},
    }


def test_tags_that_do_not_fit_are_noted(recording: Recording) -> None:
    """Tags that exceed the size of one attribute are dropped, and the run notes that."""
    with recording.client.run("training") as run:
        run.tag({f"t{number:04}": "x" * 200 for number in range(1_000)})
    found = attributes(recording.run())
    assert json.loads(found["otel_ml.capture"]) == {"tags": ["truncated"]}
    assert not fits({f"t{number:04}": "x" * 200 for number in range(1_000)})
    assert fits({f"t{number:04}": number for number in range(100)})


@given(value=st.integers() | st.floats(allow_nan=False) | st.booleans() | any_text | st.none())
def test_primitive_is_stable(value: object) -> None:
    """Converting a tag value a second time does not change it."""
    assert primitive(primitive(value)) == primitive(value)


@given(value=st.integers())
def test_integer_fits_the_wire(value: int) -> None:
    """An integer is kept if it fits 64 bits; otherwise it becomes text."""
    expected: Any = value if -(2**63) <= value < 2**63 else str(value)
    assert primitive(value) == expected


def test_tags_within_the_budget_are_attributes() -> None:
    """Up to 80 tags are single attributes, without a packed attribute."""
    tags = {f"t{number}": number for number in range(80)}
    assert tag_attributes(tags) == {f"otel_ml.tag.t{number}": number for number in range(80)}
    assert tag_attributes({}) == {}


def test_hostile_tag_has_no_text() -> None:
    """A tag value that cannot be read is replaced by its type's name."""
    assert primitive(VALUES["hostile"]()) == "tests.support.otel_ml.hostile.Hostile"

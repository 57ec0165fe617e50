"""Previews: short JSON in place of a long payload."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from otel_ml.capture.values import PREVIEW_BYTES, encode, preview
from tests.support.examples import examples
from tests.support.otel_ml.hostile import VALUES
from tests.support.otel_ml.strategies import any_text, any_values

# A long text, so that a preview is always made.
LONG = "x" * (PREVIEW_BYTES + 1)

# Marks for omitted text: three ASCII dots if all of it is ASCII, else one character.
MORE = ("...", "…")


def _nest(value: object, depth: int) -> object:
    for level in range(depth):
        value = {"inner": value} if level % 2 else [value]
    return value


large_values: st.SearchStrategy[Any] = (
    any_values
    | st.lists(any_values, max_size=4).map(lambda items: items * 50)
    | any_text.map(lambda text: text * 200)
    | st.dictionaries(any_text.map(lambda text: text * 60), any_values, max_size=20)
    | st.lists(any_text.map(lambda text: text * 30), max_size=20)
    | st.builds(_nest, any_values, st.integers(0, 300))
)


def assert_short(short: str | None) -> Any:
    assert short is not None
    assert len(short.encode()) <= PREVIEW_BYTES
    return orjson.loads(short)


@given(value=large_values)
@settings(max_examples=examples(150))
def test_preview_of_any_value_is_short_json(value: object) -> None:
    """The preview of any value is valid JSON of at most 1,024 bytes."""
    assert_short(preview(value, LONG))


@pytest.mark.parametrize("wrap", [lambda value: value, lambda value: {"a": [value] * 50}])
def test_preview_of_a_hostile_value_is_short_json(wrap: Callable[[object], object]) -> None:
    """The preview of a hostile value is valid JSON of at most 1,024 bytes."""
    for make in VALUES.values():
        assert_short(preview(wrap(make()), LONG))


@given(value=large_values)
def test_preview_stands_only_for_long_text(value: object) -> None:
    """A payload has a preview exactly if its text is longer than the limit of a preview."""
    text = encode(value).text
    assert (preview(value, text) is not None) == (len(text.encode()) > PREVIEW_BYTES)


@pytest.mark.parametrize("character", ["a", "é", "語", "📦", '"', "\\", "\n", "\x00", "\ud800"])
def test_preview_shows_the_beginning(character: str) -> None:
    """The preview of a long text shows its beginning, however many bytes a character takes."""
    found = assert_short(preview({"a": character * 5_000}, LONG))["a"]
    assert found.endswith(MORE)
    assert set(found) <= {character, "?", *"".join(MORE)}
    assert len(found) >= 64


def test_preview_shows_each_part() -> None:
    """The preview of several long parts shows the beginning of each."""
    names = [f"part {number}" for number in range(8)]
    value = {name: name * 1_000 for name in names}
    found = assert_short(preview(value, encode(value).text))
    assert list(found) == names
    assert all(text.startswith(name) and text.endswith(MORE) for name, text in found.items())


def test_preview_of_a_list_says_that_it_goes_on() -> None:
    """The preview of a long list shows its first elements and a mark that there are more."""
    value = list(range(1_000))
    assert preview(value, encode(value).text) == '[0,1,2,3,4,5,6,7,"..."]'


def test_preview_changes_nothing() -> None:
    """Making a preview keeps no reference to the value."""
    for name, make in VALUES.items():
        value = make()
        before = sys.getrefcount(value)
        preview([value] * 20, LONG)
        assert sys.getrefcount(value) == before, name


@pytest.mark.parametrize(
    ("make", "facts"),
    [
        (lambda: np.arange(1000), {"dtype": "int64", "shape": [1000]}),
        (lambda: np.full((40, 5), 0.123456789012345), {"dtype": "float64", "shape": [40, 5]}),
        (lambda: np.array(["long text"] * 100), {"dtype": "<U9", "shape": [100]}),
        (lambda: np.array(["x" * 99] * 100, object), {"dtype": "object", "shape": [100]}),
        (lambda: sparse.csr_array(np.eye(3)), {"dtype": "float64", "shape": [3, 3]}),
    ],
)
@pytest.mark.parametrize("count", [1, 3, 50])
def test_preview_of_arrays_in_a_list(
    make: Callable[[], Any], facts: dict[str, Any], count: int
) -> None:
    """The preview of each array in a list has its full shape and its first elements."""
    array = make()
    text = encode([array] * count).text
    found = orjson.loads(preview([array] * count, text + " " * PREVIEW_BYTES) or "")
    assert found[8:] == ([] if count <= 8 else ["..."])
    for one in found[:8]:
        assert facts.items() <= one.items()
        head = np.ravel(array).tolist() if isinstance(array, np.ndarray) else None
        assert head is None or (
            one["head"] == head[: len(one["head"])]
            if len(str(head[0])) < 20
            else one["head"][0].startswith("x")
        )


def test_preview_of_what_looks_like_an_array() -> None:
    """A user's dict with a dtype and a shape is not treated as an array."""
    value = {"dtype": "float32", "shape": [1], "weights": "x" * 2000}
    short = orjson.loads(preview(value, encode(value).text) or "")
    assert short.keys() == value.keys()

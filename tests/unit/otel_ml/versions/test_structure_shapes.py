"""Cheap keys of outputs: outputs with the same key have the same structure."""

import gc
import itertools
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ml import Client
from otel_ml.versions.structure import flat_shape, output_structure, shape
from tests.support.examples import examples
from tests.support.otel_ml.hostile import VALUES
from tests.support.otel_ml.providers import open_provider
from tests.support.otel_ml.recording import attributes
from tests.support.otel_ml.strategies import any_values

Draw = Callable[[st.SearchStrategy[Any]], Any]

# Few keys and leaves, so that generated outputs are often alike.
_keys = st.sampled_from(["a", "b", "c d", 1, True, None])
outputs: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(0, 1)
    | st.floats(0, 1)
    | st.sampled_from(["", "x", b""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(_keys, inner, max_size=3)
        | st.lists(inner, min_size=1, max_size=1).map(lambda items: items * 17)
    ),
    max_leaves=8,
)
_twins = {
    bool: st.booleans(),
    int: st.integers(),
    float: st.floats(),
    str: st.text(),
}


def twin(draw: Draw, value: Any) -> Any:
    """Return another value with the same types in other places, which often has the same key."""
    kind = type(value)
    if kind in _twins:
        return draw(_twins[kind])
    if kind is dict:
        return {key: twin(draw, item) for key, item in value.items()}
    if kind is list or kind is tuple:
        items = [twin(draw, item) for item in value]
        items = draw(st.permutations(items)) + items[: draw(st.integers(0, 2))]
        return draw(st.sampled_from([list, tuple]))(items)
    return value


@st.composite
def alike(draw: Draw) -> list[Any]:
    value = draw(outputs)
    return [value, *(twin(draw, value) for _ in range(3)), draw(outputs)]


def assert_pure(values: Iterable[object]) -> None:
    """Assert that values with the same key have the same structure."""
    kept: dict[object, str | None] = {}
    for value in values:
        structure = output_structure(value)
        for key in (flat_shape(value), shape(value)):
            if key in kept:
                assert structure == kept[key]
        if shape(value) is not None:
            kept[shape(value)] = structure


@given(values=alike())
@settings(max_examples=examples(150))
def test_same_key_same_structure(values: list[Any]) -> None:
    """Similar outputs with the same key have the same structure."""
    assert_pure(values)


@given(values=st.lists(any_values, min_size=2, max_size=8))
@settings(max_examples=examples(40))
def test_same_key_same_structure_of_any_values(values: list[Any]) -> None:
    """Any outputs with the same key have the same structure."""
    assert_pure(values)


def test_same_key_same_structure_of_hostile_values() -> None:
    """Hostile outputs with the same key have the same structure."""
    values = [make() for _ in range(2) for make in VALUES.values()]
    values += [{"a": value} for value in values] + [[value] for value in values]
    assert_pure(values)


@given(values=alike())
@settings(max_examples=examples(40))
def test_key_is_stable(values: list[Any]) -> None:
    """The key of an output is the same each time."""
    for value in values:
        assert shape(value) == shape(value)
        assert flat_shape(value) == flat_shape(value)


@pytest.mark.parametrize("value", [1, "a", 1.5, True, None, {}, {"a": 1, "b": None}])
def test_flat_output_is_found_at_once(value: object) -> None:
    """For a leaf, or an object of leaves, the cheap key equals the full key."""
    assert flat_shape(value) == shape(value)


@pytest.mark.parametrize("value", [[], [1], (1,), {"a": []}, {"a": {"b": 1}}])
def test_nested_output_is_not_found_at_once(value: object) -> None:
    """For an output with nested parts, the cheap key equals no full key."""
    assert flat_shape(value) != shape(value)
    assert flat_shape(value) not in {shape(item) for item in (1, "a", {"a": 1}, {"a": "b"}, [1])}


ROW = {f"column_{number}": 1 for number in range(64)}


def numbered(first: object) -> dict[object, object]:
    """Make a dict with 17 items. Only 16 of them are read, chosen by their keys."""
    return {first: "text", **dict.fromkeys([*range(1, 9), *range(10, 18)], 1)}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([[ROW] * 15] * 6, [[ROW]]),
        ({"a": [ROW], "b": [[ROW]]}, {"a": [ROW] * 16, "b": [[ROW] * 16] * 3}),
        (numbered(9), numbered(9.0)),
        ({1: "a"}, {True: "a"}),
    ],
    ids=["tables", "named tables", "numbers as keys", "few numbers as keys"],
)
def test_same_key_same_structure_of_large_outputs(first: object, second: object) -> None:
    """Large outputs with the same key have the same structure, even if reading stops early."""
    assert_pure([first, second])
    assert_pure([second, first])


def versions(*outputs: object) -> list[str | None]:
    """Return the output structures recorded for calls with these outputs."""
    provider, exporter = open_provider()
    given = iter(outputs)
    call = Client("shop", tracer_provider=provider).trace(name="model")(lambda: next(given))
    for _ in outputs:
        call()
    key = "otel_ml.model.output_schema"
    return [attributes(span).get(key) for span in exporter.get_finished_spans()]


@given(values=alike())
@settings(max_examples=examples(25))
def test_version_does_not_depend_on_earlier_calls(values: list[Any]) -> None:
    """The version of a call does not depend on earlier outputs of the function."""
    alone = [versions(value)[0] for value in values]
    assert versions(*values) == alone
    assert versions(*reversed(values)) == alone[::-1]


def test_keys_of_a_map_are_not_kept() -> None:
    """The keys of an output that is a map are freed after the call."""

    class Key(str):
        """Text that can be weakly referenced."""

        __slots__ = ("__weakref__",)

    provider, exporter = open_provider()
    call = Client("shop", tracer_provider=provider).trace(name="model")(
        lambda: {Key(f"document {number}"): 0.5 for number in range(100)}
    )
    output = call()
    keys = [weakref.ref(key) for key in itertools.islice(output, 3)]
    del output
    exporter.clear()
    gc.collect()
    assert [key() for key in keys] == [None] * 3


def streamed(function: Callable[..., Any], *arguments: object) -> set[str | None]:
    """Return the output structures recorded for a function's streams."""
    provider, exporter = open_provider()
    call = Client("shop", tracer_provider=provider).trace(name="model")(function)
    for argument in arguments:
        list(call(argument))
    key = "otel_ml.model.output_schema"
    return {attributes(span).get(key) for span in exporter.get_finished_spans()}


def words(count: int) -> Iterator[object]:
    """A text, word by word."""
    yield from ["word "] * count


def words_and_more(count: int) -> Iterator[object]:
    """A text, and for a long one what it was made of."""
    yield from words(count)
    if count > 20:
        yield {"sources": ["a"]}


def events(count: int) -> Iterator[object]:
    """Events of kinds that depend on how much is said."""
    yield {"start": True}
    for number in range(count):
        yield {"delta": "word", "index": number}
        if number % 10 == 9:
            yield {"ping": None}
    yield {"end": "stop", "usage": {"words": count}}


@pytest.mark.parametrize("stream", [words, words_and_more, events])
def test_length_of_a_stream_does_not_count(stream: Callable[[int], Iterator[object]]) -> None:
    """The length of a stream does not change its version."""
    assert len(streamed(stream, 3, 8, 12, 30, 60, 2_000)) == 1

"""Normalised structures of outputs."""

from collections.abc import Iterator
from typing import Any

import pandas  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ml.versions.structure import flat_shape, output_structure, shape, structure_digest
from tests.support.otel_ml.hostile import VALUES, Node
from tests.support.otel_ml.strategies import json_values

outputs = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, min_size=1) | st.dictionaries(st.text(max_size=3), inner, max_size=30)
    ),
    max_leaves=40,
)


def reordered(value: Any) -> Any:
    """Return the same value with every dict in reverse order."""
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    if isinstance(value, list):
        return [reordered(item) for item in value]
    return value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, "number"),
        (1.5, "number"),
        (float("nan"), "number"),
        (10**30, "number"),
        (True, "bool"),
        ("a", "str"),
        ("", "str"),
        ([1, 2.5], "[number]"),
        ((1, 2), "[number]"),
        ([1, "a", True], "[bool|number|str]"),
        (["a", 1], "[number|str]"),
        ([[1], ["a"]], "[[number]|[str]]"),
        ({"b": 1, "a": "x"}, "{a: str, b: number}"),
        ({"answer": "x", "sources": ["y"]}, "{answer: str, sources: [str]}"),
        ({}, "{}"),
        ({"a b": 1}, "{*: number}"),
        ({1: "a", 2: "b"}, "{*: str}"),
        ({"a": 1, "2": "x"}, "{*: number|str}"),
        (Node("a"), "tests.support.otel_ml.hostile.Node"),
        (b"a", "builtins.bytes"),
    ],
)
def test_value_has_its_structure(value: object, expected: str) -> None:
    """The structure names types, not values."""
    assert output_structure(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        [None],
        [1, None],
        {"a": None},
        {"a": []},
        {"a b": None},
        [[1], []],
        {"a": {"b": []}},
    ],
)
def test_unsure_value_has_none(value: object) -> None:
    """A null or an empty list anywhere gives no structure."""
    assert output_structure(value) is None


@pytest.mark.parametrize("length", [1, 14, 15, 16, 17, 20, 31, 32, 63, 64, 65, 200, 100_000])
def test_length_of_a_list_does_not_count(length: int) -> None:
    """The length of a list does not change its structure."""
    assert output_structure([1] * length + ["end"]) == "[number|str]"
    assert output_structure([{"a": 1}] * length + [{"end": 1}]) == "[{a: number}|{end: number}]"
    assert output_structure(["start", *[1] * length]) == "[number|str]"


def test_all_of_a_short_list_counts() -> None:
    """In a list of up to 16 elements every element counts."""
    for place in range(16):
        numbers: list[object] = [1] * 15
        numbers.insert(place, "a")
        assert output_structure(numbers) == "[number|str]"


def test_null_at_the_end_leaves_the_structure_open() -> None:
    """A null at the end of a list gives no structure, however long the list is."""
    assert [output_structure([1] * length + [None]) for length in (1, 16, 1_000)] == [None] * 3


def test_middle_of_a_long_list_does_not_count() -> None:
    """Elements in the middle of a long list are not read."""
    assert output_structure([*[1] * 50, "a", *[1] * 50]) == "[number]"


class Table:
    """A stand-in for a library's table, which is recognized by module and name of its class."""

    def __init__(self, columns: list[object]) -> None:
        self.columns = columns


@pytest.fixture(autouse=True)
def _table_of_pandas() -> Iterator[None]:
    Table.__name__, Table.__module__ = "DataFrame", "pandas.core.frame"
    yield
    Table.__name__, Table.__module__ = "Table", __name__


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (["a", "b"], "table{a, b}"),
        (["sepal length (cm)"], "table{sepal length (cm)}"),
        ([], "table{}"),
        ([0, 1], "table{*}"),
        ([f"c{number}" for number in range(65)], "table{*}"),
    ],
)
def test_table_is_told_by_its_columns(columns: list[object], expected: str) -> None:
    """Named columns of a table count, in order; unnamed or very many columns do not."""
    assert output_structure(Table(columns)) == expected
    assert output_structure({"rows": Table(columns)}) == f"{{rows: {expected}}}"


def test_tables_have_keys_of_their_columns() -> None:
    """Tables with the same columns have the same key, and other tables have other keys."""
    one, same, other = Table(["a"]), Table(["a"]), Table(["b"])
    assert shape(one) == shape(same) != shape(other)
    assert flat_shape(one) != shape(one)


def test_pandas_tables_have_columns() -> None:
    """A pandas table has its columns, whatever its rows are."""
    assert output_structure(pandas.DataFrame({"a": [1], "b": ["x"]})) == "table{a, b}"
    assert output_structure(pandas.DataFrame({"a": [], "b": []})) == "table{a, b}"
    assert output_structure(pandas.DataFrame([[1, 2]])) == "table{*}"


def test_few_keys_are_an_object() -> None:
    """The structure of an object with up to 64 keys has its keys."""
    names = [chr(ord("a") + n // 8) + str(n % 8) for n in range(64)]
    expected = ", ".join(f"{name}: number" for name in names)
    assert output_structure(dict.fromkeys(names, 1)) == f"{{{expected}}}"


@pytest.mark.parametrize("keys", [65, 66, 1_000])
def test_many_keys_are_a_map(keys: int) -> None:
    """An object with more than 64 keys is a map, whatever the keys are."""
    assert output_structure({f"k{n}": n for n in range(keys)}) == "{*: number}"


@given(value=json_values)
def test_structure_is_pure(value: object) -> None:
    """The structure of an output is the same each time."""
    assert output_structure(value) == output_structure(value)


@given(value=outputs)
def test_order_of_keys_does_not_count(value: object) -> None:
    """The structure does not depend on the order of an object's keys."""
    assert output_structure(reordered(value)) == output_structure(value)


def test_order_of_a_map_does_not_count() -> None:
    """A map of more than 16 values has the same structure in any order."""
    value: dict[str, object] = {f"key {n}": n for n in range(16)}
    value["key 16"] = "text"
    assert output_structure(reordered(value)) == output_structure(value)


def test_hostile_value_has_a_structure_or_none() -> None:
    """A hostile value has a structure or None, and reading it raises nothing."""
    structures = {name: output_structure(make()) for name, make in VALUES.items()}
    assert {type(structure) for structure in structures.values()} <= {str, type(None)}, structures


def test_tangled_value_is_read_in_time() -> None:
    """The structure of nodes that refer to each other takes a bounded number of steps."""
    steps = 0

    class Counted(dict[str, Any]):
        def __getitem__(self, key: str) -> Any:
            nonlocal steps
            steps += 1
            assert steps < 10_000, "the structure of three nodes took 10,000 steps"
            return super().__getitem__(key)

    nodes = [Counted(), Counted(), Counted()]
    for node in nodes:
        node.update(a=nodes[0], b=nodes[1], c=nodes[2])
    output_structure(nodes[0])


def test_digest_is_short_and_sure() -> None:
    """A structure's digest is the first 16 hex digits of SHA-256 over its text."""
    assert structure_digest("number") == "12886f9d00055adf"

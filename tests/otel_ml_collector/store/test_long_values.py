"""Tests of lists that are longer than a server takes one parameter."""

from otel_ml_collector.store.long_values import split_long_values
from tests.otel_ml_collector.stores import Store

SQL = "SELECT {wanted:Array(String)} AS one, length({wanted:Array(String)}) AS size"


def test_short_list() -> None:
    """A short list stays one parameter."""
    values = {"wanted": ["a"] * 100, "name": "x" * 200_000}
    assert split_long_values(SQL, values) == (SQL, values)


def test_long_list(store: Store) -> None:
    """A long list is several parameters, none of them too long, and means the same."""
    wanted = [f"{number:049}" for number in range(10_000)]
    _, split = split_long_values(SQL, {"wanted": wanted})
    assert len(split) > 1
    assert all(len(str(part)) < 128 * 1024 for part in split.values())
    assert store.reader.rows(SQL, {"wanted": wanted}) == [{"one": wanted, "size": 10_000}]


def test_characters_that_are_escaped() -> None:
    """Text that takes more room on its way is cut earlier."""
    _, split = split_long_values(SQL, {"wanted": ["ü'\\"] * 30_000})
    assert all(len(part) * 12 < 128 * 1024 for part in split.values())

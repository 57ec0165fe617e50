"""Tests of model version numbers, which rank versions by first arrival."""

import itertools
from collections.abc import Sequence
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ml_collector.records import ModelVersion, Records
from otel_ml_collector.store import versions
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.versions import NUMBERED_VERSIONS
from otel_ml_collector.store.writer import Writer
from tests.support.examples import examples
from tests.support.otel_ml_collector.spans import NOW_NS
from tests.support.otel_ml_collector.stores import Store
from tests.support.sampling import at_night

Pair = tuple[str, str]
COUNTER = itertools.count()


def arrive(store: Store, project: str, *pairs: Pair, name: str = "answer") -> None:
    """Store versions of a model one by one, each in a separate batch."""
    for digest, structure in pairs:
        version = ModelVersion(project, "model", name, digest, structure, "", NOW_NS, NOW_NS)
        store.writer.write(Records(versions=[version]))


def numbers(store: Store, project: str, name: str = "answer") -> dict[Pair, int]:
    """Return the number of each pair of digest and output structure."""
    rows = versions.read_versions(store.reader, project, "model", [name])
    return {(row["digest"], row["structure"]): row["number"] for row in rows}


def test_first_arrival(store: Store, project: str) -> None:
    """Versions are numbered in the order of their first arrival."""
    arrive(store, project, ("c", "s"), ("a", "s"), ("b", "s"))
    assert numbers(store, project) == {("c", "s"): 1, ("a", "s"): 2, ("b", "s"): 3}


def test_first_start(store: Store, project: str) -> None:
    """Versions that arrive together are numbered in the order of their first runs."""
    versions = [
        ModelVersion(project, "model", "answer", digest, "", "", NOW_NS + start, NOW_NS + start)
        for digest, start in (("a", 3), ("b", 1), ("a", 2), ("c", 0), ("b", 9))
    ]
    store.writer.write(Records(versions=versions))
    assert numbers(store, project) == {("c", ""): 1, ("b", ""): 2, ("a", ""): 3}


def test_old_code(store: Store, project: str) -> None:
    """Going back to old code gives its old number."""
    arrive(store, project, ("a", "s"), ("b", "s"), ("a", "s"), ("c", "s"), ("b", "s"))
    assert numbers(store, project) == {("a", "s"): 1, ("b", "s"): 2, ("c", "s"): 3}


def test_models_apart(store: Store, project: str) -> None:
    """Versions are numbered separately for each model."""
    arrive(store, project, ("a", "s"), ("b", "s"))
    arrive(store, project, ("b", "s"), name="search")
    assert numbers(store, project, "search") == {("b", "s"): 1}


def test_projects_apart(store: Store, project: str) -> None:
    """Versions are numbered separately for each project."""
    arrive(store, f"{project} one", ("a", "s"))
    arrive(store, f"{project} two", ("b", "s"), ("a", "s"))
    assert numbers(store, f"{project} one") == {("a", "s"): 1}


def test_new_structure(store: Store, project: str) -> None:
    """A different structure of the output is a different version."""
    arrive(store, project, ("a", "s"), ("a", "t"))
    assert numbers(store, project) == {("a", "s"): 1, ("a", "t"): 2}


def test_no_structure_first(store: Store, project: str) -> None:
    """The number of runs without structure passes to the first structure of their definition."""
    arrive(store, project, ("a", ""), ("b", "s"), ("a", "t"), ("a", "u"))
    assert numbers(store, project) == {
        ("a", ""): 1,
        ("a", "t"): 1,
        ("b", "s"): 2,
        ("a", "u"): 3,
    }


def test_no_structure_later(store: Store, project: str) -> None:
    """Runs without structure have the number of the first structure of their definition."""
    arrive(store, project, ("b", "s"), ("a", "t"), ("a", "u"), ("a", ""))
    assert numbers(store, project) == {
        ("b", "s"): 1,
        ("a", "t"): 2,
        ("a", "u"): 3,
        ("a", ""): 2,
    }


def test_only_no_structure(store: Store, project: str) -> None:
    """A definition whose runs never had a structure has one number."""
    arrive(store, project, ("a", ""), ("a", ""))
    assert numbers(store, project) == {("a", ""): 1}


def test_many_structures(store: Store, project: str) -> None:
    """All structures of a definition from the second on count as one version."""
    arrive(store, project, *[("a", f"s{number:02}") for number in range(40)])
    expected = {("a", f"s{number:02}"): min(number + 1, 2) for number in range(40)}
    assert numbers(store, project) == expected


def test_after_many_structures(store: Store, project: str) -> None:
    """A later definition gets the next number after one with many structures."""
    arrive(store, project, *[("a", f"s{number:02}") for number in range(40)], ("b", "s"))
    arrive(store, project, ("a", "s99"))
    found = numbers(store, project)
    assert (found["b", "s"], found["a", "s99"]) == (3, 2)


def test_judges(store: Store, project: str) -> None:
    """Judges are numbered separately from models of the same name."""
    arrive(store, project, ("a", "s"), ("b", "s"))
    judge = ModelVersion(project, "judge", "answer", "b", "", "", NOW_NS, NOW_NS)
    store.writer.write(Records(versions=[judge]))
    (row,) = versions.read_versions(store.reader, project, "judge", ["answer"])
    assert (row["digest"], row["number"]) == ("b", 1)
    assert numbers(store, project) == {("a", "s"): 1, ("b", "s"): 2}


def test_unknown_name(store: Store, project: str) -> None:
    """An unknown model has no versions."""
    assert numbers(store, project) == {}


pairs = st.tuples(st.sampled_from("abc"), st.sampled_from(["", "s", "t", "u"]))


def expected_numbers(arrivals: Sequence[Pair]) -> dict[Pair, int]:
    """Return the expected numbers: ranks over definitions and their structures."""
    structures: dict[str, list[str]] = {}
    for digest, structure in arrivals:
        known = structures.setdefault(digest, [])
        if structure and structure not in known:
            known.append(structure)

    def slot(digest: str, structure: str) -> tuple[str, bool]:
        return digest, structure in structures[digest][1:]

    slots = list(dict.fromkeys(slot(*pair) for pair in arrivals))
    return {pair: 1 + slots.index(slot(*pair)) for pair in set(arrivals)}


@settings(max_examples=examples(30, on_commit=10))
@given(arrivals=st.lists(pairs, min_size=1, max_size=10), data=st.data())
def test_never_renumbered(store: Store, arrivals: list[Pair], data: st.DataObject) -> None:
    """Numbers stay the same if everything arrives again in any order through a second writer."""
    project = f"again {next(COUNTER)}"
    arrive(store, project, *arrivals)
    first = numbers(store, project)
    other = Store(store.connections, Writer(store.connections), store.reader)
    arrive(other, project, *data.draw(st.permutations(arrivals)))
    assert first == expected_numbers(arrivals)
    assert numbers(store, project) == first


@at_night
@settings(max_examples=examples(30, on_commit=10))
@given(arrivals=st.lists(pairs, min_size=1, max_size=10), later=st.lists(pairs, max_size=10))
def test_never_renumbered_by_more(store: Store, arrivals: list[Pair], later: list[Pair]) -> None:
    """Numbers stay the same if more versions arrive."""
    project = f"more {next(COUNTER)}"
    arrive(store, project, *arrivals)
    first = numbers(store, project)
    arrive(store, project, *later)
    found = numbers(store, project)
    assert {pair: found[pair] for pair in first} == first


def known(store: Store, project: str, name: str = "answer") -> dict[Pair, int]:
    """Return the numbers as pages read them, with queries only for unknown versions."""
    found = versions.version_numbers(store.reader, project, "model", [name])
    return {(digest, structure): number for (_, digest, structure), number in found.items()}


def test_known_numbers(store: Store, project: str) -> None:
    """A version that arrives after numbers were read is numbered immediately."""
    arrive(store, project, ("a", "s"))
    assert known(store, project) == {("a", "s"): 1}
    arrive(store, project, ("b", "s"), ("a", "t"))
    assert known(store, project) == {("a", "s"): 1, ("a", "t"): 3, ("b", "s"): 2}


def test_numbers_of_two_writers(store: Store, project: str) -> None:
    """Versions stored by another writer to the same folder get numbers in earlier readers."""
    arrive(store, project, ("a", "s"))
    assert known(store, project) == {("a", "s"): 1}
    other = Store(store.connections, Writer(store.connections), store.reader)
    arrive(other, project, ("b", "s"))
    assert known(store, project) == {("a", "s"): 1, ("b", "s"): 2}


ALL: Final = Sql("SELECT digest, structure, number FROM ({versions}) WHERE last_ns > 0").fill(
    versions=NUMBERED_VERSIONS
)


@settings(max_examples=examples(30), deadline=None)
@given(arrivals=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["", *"stuv"]))))
def test_numbers_in_filters(store: Store, arrivals: Sequence[Pair]) -> None:
    """Filters and statistics number versions like pages do, for any arrivals in any order."""
    project = f"in filters {next(COUNTER)}"
    arrive(store, project, *arrivals)
    rows = store.reader.rows(ALL, {"project": project})
    assert known(store, project) == {
        (row["digest"], row["structure"]): row["number"] for row in rows
    }

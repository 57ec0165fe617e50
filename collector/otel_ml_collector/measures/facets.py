"""The most frequent values of the fields of runs, to choose from: outcome, function, tags."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from otel_ml_collector.filter.writing import quoted
from otel_ml_collector.store.facet_values import count_facet_values
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.sql import Condition
from otel_ml_collector.store.versions import all_version_numbers
from otel_ml_collector.windows import Window

_FACET_VALUES: Final = 6
_FACET_TAGS: Final = 5
_FACET_LABELS: Final = {
    "outcome": "Outcome",
    "model": "Function",
    "version": "Version",
    "user": "User",
    "session": "Session",
}
_FACET_TAG: Final = "tag:"


@dataclass(frozen=True, slots=True)
class FacetValue:
    """A value of a facet: how many runs have it, and the condition that selects them."""

    text: str
    runs: int
    condition: str


@dataclass(frozen=True, slots=True)
class Facet:
    """A field or tag with its most frequent values.

    Attributes:
        more: Number of values that are not in `values`.
    """

    label: str
    values: Sequence[FacetValue]
    more: int


def find_facets(
    reader: Reader, project: str, condition: Condition, window: Window
) -> Sequence[Facet]:
    """Count the values of the fields of matching runs, and of the five most used tags."""
    rows: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in count_facet_values(
        reader, project, condition, (window.start_ns, window.end_ns), most=_FACET_VALUES
    ):
        rows[row["facet"]].append(row)
    facets: list[Facet] = []
    for name, label in _FACET_LABELS.items():
        if name == "version":
            if versions := _list_versions(reader, project, rows[name]):
                facets.append(Facet(label, versions, 0))
        elif own := rows[name]:
            facets.append(_make_facet(label, name, own))
    tags = [name for name in rows if name.startswith(_FACET_TAG)][:_FACET_TAGS]
    for name in tags:
        tag = name.removeprefix(_FACET_TAG)
        facets.append(_make_facet(tag, f"tags[{quoted(tag)}]", rows[name]))
    return facets


def _make_facet(label: str, field: str, rows: Sequence[dict[str, Any]]) -> Facet:
    values = [
        FacetValue(row["value"], row["runs"], f"{field} == {quoted(row['value'])}") for row in rows
    ]
    return Facet(label, values, rows[0]["different"] - len(rows))


def _list_versions(
    reader: Reader, project: str, rows: Sequence[dict[str, Any]]
) -> list[FacetValue]:
    """List the versions of functions by number; with several functions, with their names."""
    numbers = {
        f"{digest}:{structure}:{model}": (model, number)
        for (model, digest, structure), number in all_version_numbers(
            reader, project, "model"
        ).items()
    }
    found: Counter[tuple[str, int]] = Counter()
    for row in rows:
        if row["value"] in numbers:
            found[numbers[row["value"]]] += row["runs"]
    is_one = len({model for model, _ in found}) == 1
    return [
        FacetValue(
            f"v{number}" if is_one else f"{model} v{number}",
            runs,
            f"model == {quoted(model)} and version == {number}",
        )
        for (model, number), runs in found.most_common()
    ]

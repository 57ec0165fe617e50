"""The most frequent values of the fields of runs, to choose from: outcome, function, tags."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from otel_ml_collector.filter.writing import quoted
from otel_ml_collector.store.counted import NAMED, RECORDED, Bounds, named, shares
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.record_kinds import find_record_kinds
from otel_ml_collector.store.sql import EMPTY, Condition, Sql, identifier
from otel_ml_collector.store.targets import TAG_TEXT
from otel_ml_collector.store.versions import all_version_numbers
from otel_ml_collector.windows import Window

_VALUES: Final = 6
_TAGS: Final = 5
_LABELS: Final = {
    "outcome": "Outcome",
    "model": "Function",
    "version": "Version",
    "user": "User",
    "session": "Session",
}
_TAG: Final = "tag:"
_IN_WINDOW: Final = Bounds(start=Sql("{start:Int64}"), end=Sql("{end:Int64}")).sql
# Runs of which the values are counted, the newest first.
_MOST_RUNS: Final = 500_000
_COUNT: Final = Sql("""
    SELECT facet, value, runs, sum(runs) OVER (PARTITION BY facet) AS of_facet,
      count() OVER (PARTITION BY facet) AS different
    FROM (
      SELECT pair.1 AS facet, pair.2 AS value, count() AS runs
      FROM (
        SELECT arrayJoin(arrayConcat([
            ('outcome', toString(outcome)), ('model', toString(model)),
            ('version', concat(toString(digest), ':', toString(structure), ':', toString(model))),
            ('user', toString({user})), ('session', toString({session}))
          ], arrayMap((name, text) -> (concat('tag:', name), {tag}), mapKeys(tags),
            mapValues(tags)))) AS pair
        FROM {recorded} {join}
        WHERE project = {project:String} AND start_ns >= {start:Int64}
          AND start_ns < {end:Int64} AND ({condition})
        LIMIT {most:UInt32}
      )
      WHERE value != '' AND length(value) <= 200
      GROUP BY facet, value
    )
    ORDER BY of_facet DESC, facet, runs DESC, value
    LIMIT {values:UInt32} BY facet LIMIT 2000""")


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
    is_shared = find_record_kinds(reader, project).named
    columns = {name: identifier(name, NAMED) for name in NAMED}
    names = {name: named(own) if is_shared else own for name, own in columns.items()}
    sql = _COUNT.fill(
        recorded=RECORDED,
        join=shares(_IN_WINDOW) if is_shared else EMPTY,
        condition=condition.sql,
        tag=TAG_TEXT.fill(value=Sql("text")),
        **names,
    )
    values: dict[str, Any] = {
        "project": project,
        "start": window.start_ns,
        "end": window.end_ns,
        "most": _MOST_RUNS,
        "values": _VALUES,
        **condition.parameters,
    }
    rows: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in reader.rows(sql, values):
        rows[row["facet"]].append(row)
    facets: list[Facet] = []
    for name, label in _LABELS.items():
        if name == "version":
            if versions := _list_versions(reader, project, rows[name]):
                facets.append(Facet(label, versions, 0))
        elif own := rows[name]:
            facets.append(_make_facet(label, name, own))
    tags = [name for name in rows if name.startswith(_TAG)][:_TAGS]
    for name in tags:
        tag = name.removeprefix(_TAG)
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

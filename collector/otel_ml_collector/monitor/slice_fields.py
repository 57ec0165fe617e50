"""Drift of a field by slice: the values in a slice, compared with those in all other runs.

Payloads of at most 5,000 runs are read, chosen by span ID. The rules are those of drift, except
one: a slice has no history, so there is no comparison with usual differences between days. A slice
differs if its drift score is above the margin and statistically significant.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from otel_ml.statistics.comparison import Word
from otel_ml.statistics.distances import FEWEST_VALUES, MARGIN, distance
from otel_ml.statistics.field_drift import FieldDrift, Reference, compare_fields
from otel_ml.statistics.fields import FieldSketch, sketch_field, subtract_field
from otel_ml_collector import wording
from otel_ml_collector.errors import BadInput
from otel_ml_collector.filter.grammar import conjuncts
from otel_ml_collector.filter.writing import narrow, quoted
from otel_ml_collector.findings.drift import count_moved
from otel_ml_collector.findings.slice_sums import (
    LEAST_RUNS,
    AskedRuns,
    SliceCondition,
    SlicesQuery,
    find_dimensions,
    list_members,
)
from otel_ml_collector.findings.slices import (
    MOST_SHOWN,
    CellWord,
    RunSlice,
    SliceCell,
    Slices,
    SlicesFigure,
    find_slices,
)
from otel_ml_collector.monitor.fields import list_values
from otel_ml_collector.store.counted import Bounds
from otel_ml_collector.store.field_values import FIGURES, SECTIONS, ColumnCells, section_of
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.record_kinds import find_counted
from otel_ml_collector.store.sketches import read_sample
from otel_ml_collector.store.sql import Condition, Sql, all_of
from otel_ml_collector.times import to_rfc3339

DRIFT: Final = "drift "

# Maximum number of runs of all models together, and minimum for each model.
_MOST_RUNS: Final = 5_000
_LEAST_RUNS: Final = 500
# Maximum number of values that are sketched for the slices of a model, largest slices first. Texts
# have a lower limit, because they take far longer.
_MOST_VALUES: Final = 200_000
_MOST_TEXTS: Final = 20_000
_STRENGTHS: Final = 3
_LABELS: Final = Sql("""
  SELECT concat(lower(hex(trace_id)), '-', lower(hex(span_id))) AS run_id,
    arrayDistinct({tokens}) AS labels
  FROM {source} WHERE {asked} LIMIT 1000000""")
_WORDS: Final[dict[str, CellWord]] = {
    "drift": "other",
    "as before": Word.NO_DIFFERENCE,
    "too few": Word.NOT_ENOUGH_DATA,
}


def find_any_slices(reader: Reader, query: SlicesQuery, now_ns: int) -> Slices:
    """Compare the slices of a project with all other runs, by any figure.

    Raises:
        BadInput: The filter or the figure is invalid.
    """
    if query.figure.startswith(DRIFT):
        return find_field_slices(reader, query, now_ns)
    return find_slices(reader, query, now_ns)


@dataclass(frozen=True, slots=True)
class _Reading:
    """The values of a field in one run.

    Attributes:
        values: The cells of a column; for any other field, one value or none.
        cells: Number of cells that were read, if the field is a column.
        is_hidden: Whether the field has a value that was not stored.
        is_possible: Whether a run like this can have the field.
    """

    session: str
    values: Sequence[object]
    cells: int
    is_hidden: bool
    is_possible: bool

    @property
    def has_field(self) -> bool:
        """Whether the run has the field."""
        return bool(self.values) or self.cells > 0 or self.is_hidden


def find_field_slices(reader: Reader, query: SlicesQuery, now_ns: int) -> Slices:
    """Compare the values of a field in each slice with those in all other runs of the model.

    A slice is the runs with one tag value, such as one client. Slices that differ come first,
    ordered by the estimated number of runs whose values differ.

    Raises:
        BadInput: The filter is invalid, or no run has the field.
    """
    field = _field_of(query)
    if query.pairs:
        raise BadInput("Drift cannot be shown for pairs of slices: leave out pairs", "pairs")
    if not has_drift(field):
        raise _refuse(field)
    window = query.window(now_ns)
    asked = AskedRuns.of(reader, query, window)
    rows, labels = _read_runs(reader, query, asked) if asked.runs else ([], [])
    readings = [_read(row, field) for row in rows]
    if rows and not any(reading.has_field for reading in readings):
        raise _refuse(field)
    models = pa.array([row["model"] for row in rows], pa.string())
    runs = pa.table({"of_model": models, "labels": pa.array(labels, pa.list_(pa.string()))})
    dimensions = find_dimensions(reader, query, asked, runs)
    # The indexes of the runs, by model and slice.
    members: defaultdict[str, defaultdict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    ids, of_ids = list_members(runs, dimensions)
    for number, place in zip(ids.to_pylist(), of_ids.to_pylist(), strict=True):
        members[rows[place]["model"]][number].append(place)
    made: list[tuple[float, RunSlice]] = []
    judged = 0
    for model, slices in members.items():
        of_model = [place for place, row in enumerate(rows) if row["model"] == model]
        pairs = [
            (its, places)
            for number, places in slices.items()
            if (its := dimensions.of(number, model))
            and its.dimension != field
            and len(of_model) - len(places) >= LEAST_RUNS
        ]
        judged += len(pairs)
        made += _judge(query, model, readings, of_model, pairs)
    made.sort(key=lambda item: (-item[0], -item[1].runs, f"{item[1].model} {item[1].name}"))
    return Slices(
        start_time=to_rfc3339(window.start_ns),
        end_time=to_rfc3339(window.end_ns),
        runs=len(rows),
        share=len(rows) / asked.runs if asked.runs else 1.0,
        figures=[
            SlicesFigure(
                name=query.figure,
                kind="drift",
                lower_is_better=False,
                judge="",
                judge_version=None,
                digest="",
                target="",
                unit="",
            )
        ],
        slices=[item for _, item in made[:MOST_SHOWN]],
        judged=judged,
        left_out=[*dimensions.left_out],
        same_as_version=dimensions.version_tags,
    )


def _field_of(query: SlicesQuery) -> str:
    return query.figure.removeprefix(DRIFT).strip()


def has_drift(field: str) -> bool:
    """Whether slices can be compared by this field. Scores of judges have figures of their own."""
    return section_of(field) in SECTIONS or field in (*FIGURES, "error_type")


def _refuse(field: str) -> BadInput:
    text = f"Invalid figure {DRIFT}{field[:80]}: expected the path of a field that runs have"
    return BadInput(text, "figure")


def _read_runs(
    reader: Reader, query: SlicesQuery, asked: AskedRuns
) -> tuple[list[Row], list[list[str]]]:
    """Read payloads and labels of a sample of the runs of each model."""
    sampled: dict[str, Any] = {"every": asked.every} if asked.every > 1 else {}
    condition = all_of([asked.condition, Condition(asked.sample, sampled)])
    counted = find_counted(
        reader, query.project, Bounds(start=Sql("{first:Int64}"), end=Sql("{until:Int64}"))
    )
    window = asked.window
    sql = _LABELS.fill(tokens=asked.tokens, source=asked.source, asked=asked.sql)
    table = reader.arrow(sql, asked.values)
    ids: list[str] = table["run_id"].to_pylist()
    places = {run_id: place for place, run_id in enumerate(ids)}
    rows = [
        row
        for model in asked.models
        for row in read_sample(
            reader.rows,
            query.project,
            (window.start_ns, window.end_ns),
            counted,
            condition,
            model=model,
            most=max(_MOST_RUNS // len(asked.models), _LEAST_RUNS),
        )
        if row["run_id"] in places
    ]
    chosen = pa.array([places[row["run_id"]] for row in rows], pa.int64())
    return rows, table["labels"].combine_chunks().take(chosen).to_pylist()


def _read(row: Row, field: str) -> _Reading:
    section = section_of(field)
    values = [value for path, value in list_values(row, field) if path == field]
    value = values[0] if values else None
    is_possible = bool(row[section]) if section in SECTIONS else value is not None
    if isinstance(value, ColumnCells):
        return _Reading(row["session"], value.present, len(value.values), False, is_possible)
    is_hidden = bool(values) and value is None and section in SECTIONS
    present = [] if value is None else [value]
    return _Reading(row["session"], present, 0, is_hidden, is_possible)


def _judge(
    query: SlicesQuery,
    model: str,
    readings: Sequence[_Reading],
    of_model: Sequence[int],
    slices: Sequence[tuple[SliceCondition, list[int]]],
) -> list[tuple[float, RunSlice]]:
    """Compare the slices of a model, and count the runs with changed values in each."""
    every = _sketch([readings[place] for place in of_model])
    left = _MOST_VALUES if every.kind in ("number", "category") else _MOST_TEXTS
    kept: list[tuple[SliceCondition, list[int]]] = []
    own: dict[str, FieldSketch] = {}
    rests: dict[str, FieldSketch] = {}
    for its, places in sorted(slices, key=lambda item: (-len(item[1]), item[0].name)):
        left -= len(places) if len(places) >= FEWEST_VALUES else 0
        if left < 0:
            break
        sketch = _sketch([readings[place] for place in places])
        rest = subtract_field(every, sketch)
        old, new = rest.parts(rest.kind), sketch.parts(rest.kind)
        if any(distance(old[part], new[part]) > MARGIN for part in old.keys() & new.keys()):
            # Sketch the other runs again from their values: the subtracted sketch does not show how
            # similar the runs of a session are.
            inside = set(places)
            rest = _sketch([readings[place] for place in of_model if place not in inside])
        name = f"{len(kept):09}"
        own[name], rests[name] = sketch, rest
        kept.append((its, places))
    drifts = compare_fields(own, Reference("the rest", rests))
    return [
        _make_slice(query, model, its, drift, runs=len(places), of_model=len(of_model))
        for (its, places), drift in zip(kept, drifts, strict=True)
    ]


def _sketch(readings: Sequence[_Reading]) -> FieldSketch:
    cells = sum(reading.cells for reading in readings)
    hidden = sum(reading.is_hidden for reading in readings)
    return sketch_field(
        [value for reading in readings for value in reading.values],
        [reading.session for reading in readings for _ in reading.values],
        runs=cells + hidden if cells else sum(reading.is_possible for reading in readings),
        hidden=hidden,
        cells=cells,
        tables=sum(reading.cells > 0 for reading in readings),
    )


def _make_slice(
    query: SlicesQuery,
    model: str,
    its: SliceCondition,
    drift: FieldDrift,
    *,
    runs: int,
    of_model: int,
) -> tuple[float, RunSlice]:
    word = _WORDS[drift.word]
    gap = drift.distance
    field = _field_of(query)
    cell = SliceCell(
        figure=query.figure,
        word=word,
        n=drift.window.n,
        value=None,
        rest=None,
        difference=None,
        excess=None,
        strength=min(int(gap / MARGIN), _STRENGTHS) if word == "other" else 0,
        shown=f"n {drift.window.n:,}" if word == Word.NOT_ENOUGH_DATA else wording.score(gap),
    )
    where, of_its_model = query.where, f"model == {quoted(model)}"
    if of_its_model not in conjuncts(where):
        where = narrow(where, of_its_model)
    item = RunSlice(
        model=model,
        name=its.name,
        dimension=its.dimension,
        where=narrow(where, its.where),
        condition=its.where,
        runs=runs,
        share=runs / of_model,
        excess=0.0,
        word=word,
        sentence=f"{its.name} differs in {field} (all other runs → this slice): {drift.sentence}"
        if word == "other"
        else "",
        cells=[cell],
    )
    return count_moved(drift) if word == "other" else 0.0, item

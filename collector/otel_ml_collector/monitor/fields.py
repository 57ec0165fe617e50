"""Fields of a model, in the API: which there are, which drifted, and reports of single fields."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from otel_ml.statistics.distances import (
    FEWEST_VALUES,
    MARGIN,
    distance,
    distances_of_projections,
    kolmogorov_smirnov,
    population_stability,
    unseen,
    usual_distance,
)
from otel_ml.statistics.field_drift import (
    FieldDrift,
    PartDrift,
    gained_side,
    gained_value,
    own_distances,
    write_share,
    write_typical,
)
from otel_ml.statistics.fields import (
    MISSING,
    TYPE,
    VALUE,
    FieldKind,
    FieldSketch,
    merge_fields,
    subtract_sketch,
)
from otel_ml.statistics.projections import PROJECTED, Projected
from otel_ml.statistics.sketches import (
    Sketch,
    bin_of,
    bucket_of,
    script_of,
    write_value,
)
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.api.parameters import FromReader, Where
from otel_ml_collector.api.route import DeferredRoute
from otel_ml_collector.errors import Missing
from otel_ml_collector.filter.sql import compile_where
from otel_ml_collector.findings.conditions import write_where
from otel_ml_collector.findings.drift import (
    THAN,
    ChangeWord,
    FieldsPast,
    FieldsQuestion,
    ModelDrift,
    find_drift,
    name_started,
)
from otel_ml_collector.findings.releases import Change, find_changes
from otel_ml_collector.monitor.histograms import make_cells
from otel_ml_collector.monitor.unusual_texts import weigh_texts
from otel_ml_collector.store.counted import Bounds
from otel_ml_collector.store.field_values import (
    FIGURES,
    SECTIONS,
    ColumnCells,
    read_values,
    section_of,
)
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.record_kinds import find_counted
from otel_ml_collector.store.sketches import read_sample
from otel_ml_collector.store.sql import ALWAYS, Condition, Sql
from otel_ml_collector.times import to_rfc3339
from otel_ml_collector.windows import Window

_TYPICAL_OF: Final = 1_000
_TYPICAL: Final = 20
_SHOWN_CHARS: Final = 200
_PART_TITLES: Final[Mapping[str, str]] = {
    "value": "Value",
    "words": "Words",
    "characters": "Characters",
    "scripts": "Scripts",
    "digits": "Share of digits",
    "capitals": "Share of capitals",
    "vocabulary": "Words never seen before",
    "missing": "Missing",
    "type": "Type",
}


class FieldSummary(AnswerBody):
    """A field of a model, compared with its reference."""

    field: str = Field(description="Path of the field, as in filters")
    kind: FieldKind
    n: int = Field(
        description="Number of runs of the window with the field; for a column of a table, the "
        "number "
        "of cells that were read and have a value"
    )
    missing: float | None = Field(
        description="Share of the runs that could have the field and do not"
    )
    reference_n: int
    reference_missing: float | None
    word: Literal["drift", "as before", "too few"]
    change: ChangeWord = Field(
        description="What the drift means: broken data, a changed model, changed traffic; empty "
        "without drift"
    )
    sentence: str = Field(description="What changed; empty without drift")
    distance: float = Field(description="Drift score of the part that changed most")
    since: str | None = Field(description="Start of the first window with the new values")
    where: str = Field(description="The filter for runs with the new values")


class ModelFields(AnswerBody):
    """The fields of a model in the newest complete window, compared with a reference."""

    model: str
    start: str = Field(description="Start of the window, RFC 3339")
    end: str
    reference: str = Field(description="Name of the reference with which the window is compared")
    runs: int = Field(
        description="Number of runs in the window that were read: at most 20,000 per hour"
    )
    reference_runs: int
    fields: list[FieldSummary] = Field(
        description="Broken data first, then drift, then the other fields"
    )


class FieldPart(AnswerBody):
    """A part of a field: its values, their presence, their types, or a property of its texts."""

    part: str = Field(
        description="The part of the field: value, words, characters, scripts, missing, type, ..."
    )
    title: str
    reference: str = Field(
        description="Typical value in the reference, as text: the median, the mean or the "
        "largest share"
    )
    window: str
    distance: float
    ks: float | None = Field(
        description="Kolmogorov–Smirnov statistic, from 0 to 1, for numbers only; not used for "
        "the verdict"
    )
    psi: float | None = Field(
        description="Population stability index, for categories only; not used for the verdict"
    )
    margin: float = Field(description="A change with a smaller drift score does not matter")
    usual: float | None = Field(
        description="Usual drift score between windows of the reference; null with fewer than 7 "
        "windows"
    )
    chance: float | None = Field(description="p-value, corrected for the number of fields")
    word: Literal["drift", "as before", "too few"]
    sentence: str


class HistogramCell(AnswerBody):
    """An interval of numbers, or a value, with its share on both sides."""

    label: str
    low: float | None
    high: float | None
    reference: float
    window: float


class FieldHistogram(AnswerBody):
    """Both distributions of a part, in the same cells."""

    part: str
    cells: list[HistogramCell]


class FieldPoint(AnswerBody):
    """How far a window was from the reference."""

    start: str
    start_ns: int = Field(exclude=True)
    n: int
    distance: float | None = Field(description="Drift score; null with fewer than 100 values")
    is_drift: bool
    is_judged: bool = Field(description="Whether the window is complete and was compared")


class FieldMark(AnswerBody):
    """When something began that may have changed a field."""

    time: str
    time_ns: int = Field(exclude=True)
    name: str


class TypicalRun(AnswerBody):
    """A run with values that are typical now and were rare before."""

    run_id: str
    start: str
    value: str = Field(description="Value of the field, shortened; empty if it is missing")


class FieldReport(FieldSummary):
    """A field compared with its reference: in words, as distributions, over time, with runs."""

    model: str
    start: str
    end: str
    reference: str
    is_calibrated: bool = Field(
        description="Whether the reference has at least 7 windows. Then it is known how much "
        "windows usually differ"
    )
    parts: list[FieldPart]
    histograms: list[FieldHistogram]
    curve_part: str = Field(
        description="Property of the field, such as its words, whose drift score is drawn"
    )
    threshold: float = Field(description="Drift scores above this may be drift")
    curve: list[FieldPoint]
    marks: list[FieldMark]
    runs: list[TypicalRun]


class FieldsAsked(BaseModel):
    """A question about the fields of a model."""

    model: Annotated[str, Field(max_length=400, description="Name of the model")]
    last: Annotated[FieldsPast, Field(description="Length of the period to check")] = "24h"
    than: Annotated[
        str,
        Field(
            max_length=400,
            description="The reference: reference (the model's reference, or else "
            "the 28 days before), days before such as 28d, version, version:3, two days such as "
            "2026-11-01/2026-11-08, dataset:qa, dataset:qa:v2 or profile:churn",
        ),
    ] = THAN
    where: Where = ""
    margin: Annotated[
        float, Field(gt=0, le=10, description="Smallest drift score that matters")
    ] = MARGIN


def ask_fields(reader: Reader, project: str, asked: FieldsAsked, now_ns: int) -> FieldsQuestion:
    """Make the question from the parameters of the request."""
    return FieldsQuestion(reader=reader, project=project, now_ns=now_ns, **asked.model_dump())


def find_fields(question: FieldsQuestion) -> ModelFields:
    """Compare the values of all fields in recent runs of a model with reference values.

    The recent runs are those of one time window, such as 24 hours. The reference values can be
    those of the 28 days before this window, of another model version, or of a data set. They can
    also be a profile, which describes the normal values of each field.

    Raises:
        BadInput: The reference or the filter is invalid.
        Missing: The version, data set or profile does not exist.
    """
    drift = find_drift(question)
    order = {"broken": 0, "model": 1, "traffic": 1, "": 2}
    fields = [FieldSummary.model_validate(_summary_of(drift, item)) for item in drift.drifts]
    return ModelFields(
        model=question.model,
        start=to_rfc3339(drift.window.start_ns),
        end=to_rfc3339(drift.window.end_ns),
        reference=drift.reference.name,
        runs=drift.runs,
        reference_runs=drift.reference_runs,
        fields=sorted(
            fields,
            key=lambda field: (
                order[field.change],
                -field.distance if field.change else 0,
                field.field,
            ),
        ),
    )


def _summary_of(drift: ModelDrift, field_drift: FieldDrift) -> dict[str, Any]:
    is_drift = field_drift.word == "drift"
    return {
        "field": field_drift.name,
        "kind": field_drift.kind,
        "n": field_drift.window.n,
        "missing": _missing_share(field_drift.window),
        "reference_n": field_drift.reference.n,
        "reference_missing": _missing_share(field_drift.reference),
        "word": field_drift.word,
        "change": drift.changes.get(field_drift.name, ""),
        "sentence": field_drift.sentence,
        "distance": field_drift.distance,
        "since": to_rfc3339(drift.since_ns(field_drift)) if is_drift else None,
        "where": write_where(drift.model, field_drift),
    }


def _missing_share(sketch: FieldSketch) -> float | None:
    return sketch.missing / sketch.runs if sketch.runs else None


def find_field(question: FieldsQuestion, name: str) -> FieldReport:
    """Compare the values of one field in recent runs of a model with reference values.

    For example, the last 24 hours are compared with the 28 days before. `find_fields` makes the
    same comparison for all fields. This report also has the distributions of the values, the drift
    score over time and example runs.

    Raises:
        BadInput: The reference or the filter is invalid.
        Missing: The field, version, data set or profile does not exist.
    """
    drift = find_drift(question)
    own = next((one for one in drift.drifts if one.name == name), None)
    if own is None:
        raise Missing(f"There is no field {name[:80]!r} of {question.model[:80]!r}")
    shown = own.parts[0]
    curve = _draw_curve(question, drift, own, shown)
    span = Window(curve[0].start_ns if curve else drift.window.start_ns, question.now_ns + 1)
    changes = find_changes(question.reader, question.project, question.now_ns, question.model)
    return FieldReport(
        **_summary_of(drift, own),
        model=question.model,
        start=to_rfc3339(drift.window.start_ns),
        end=to_rfc3339(drift.window.end_ns),
        reference=drift.reference.name,
        is_calibrated=any(part.comparison.usual is not None for part in own.parts)
        or len(drift.reference.windows) >= 7,  # noqa: PLR2004 - as many as calibrate
        parts=[_describe(part) for part in own.parts],
        histograms=[
            FieldHistogram(
                part=part.name,
                cells=[
                    HistogramCell(**asdict(cell))
                    for cell in make_cells(part.reference, part.window)
                ],
            )
            for part in own.parts
            if part.window.kind in ("number", "category")
        ],
        curve_part=shown.name,
        threshold=_threshold(drift, own, shown),
        curve=curve,
        marks=_find_marks(changes, span),
        runs=find_typical(question, own, (own.drifted or own.parts)[0]),
    )


def _describe(part: PartDrift) -> FieldPart:
    both = (part.reference, part.window)
    is_filled = all(side.n for side in both)
    return FieldPart(
        ks=kolmogorov_smirnov(*both) if is_filled and part.window.kind == "number" else None,
        psi=population_stability(*both) if is_filled and part.window.kind == "category" else None,
        part=part.name,
        title=_PART_TITLES[part.name],
        reference=_write_side(part, part.reference),
        window=_write_side(part, part.window),
        distance=part.comparison.distance,
        margin=part.comparison.margin,
        usual=part.comparison.usual,
        chance=part.comparison.chance,
        word=part.comparison.word,
        sentence=part.sentence if part.is_drift else "",
    )


def _write_side(part: PartDrift, sketch: Sketch) -> str:
    """Summarize one side of a part in a few characters."""
    if not sketch.n:
        return "–"
    if part.name == "vocabulary":
        return write_share(unseen(part.reference, sketch)) if sketch is part.window else "–"
    if part.name in ("digits", "capitals"):
        return write_share(sketch.mean)
    if sketch.kind in {"number", "embedding"}:
        return write_typical(sketch)
    if part.name == MISSING:
        return write_share(sketch.values.get(MISSING, 0) / sketch.n)
    # The example is the value whose share grew most, or else the most frequent one.
    value = gained_value(part.reference, part.window) if part.is_drift else None
    if value is None:
        counts = part.reference.values or part.window.values
        value = max(counts, key=lambda value: (counts[value], value), default="")
    return f"{value} {write_share(sketch.values.get(value, 0) / sketch.n)}"


def _threshold(drift: ModelDrift, own: FieldDrift, shown: PartDrift) -> float:
    """Return the drift score above which the drawn part counts as drift."""
    comparison = shown.comparison
    if comparison.usual is not None or not drift.reference.windows:
        return comparison.threshold
    windows = [
        of_window[own.name].parts(own.kind).get(shown.name, Sketch("category"))
        for of_window in drift.reference.windows
    ]
    usual = usual_distance(own_distances(shown.reference, windows))
    return max(comparison.margin, usual or 0.0)


def _draw_curve(
    question: FieldsQuestion, drift: ModelDrift, own: FieldDrift, shown: PartDrift
) -> list[FieldPoint]:
    """Measure the distance of each window, including those of the reference and the current one."""
    threshold = _threshold(drift, own, shown)
    points = []
    starts_ns = {
        question.window.start_ns
        - (question.window.start_ns - at_ns + question.step_ns - 1)
        // question.step_ns
        * question.step_ns
        for at_ns in drift.history
    }
    for start_ns in sorted(starts_ns):
        parts = [
            fields.filled([own.name])[own.name]
            for at_ns, fields in drift.history.items()
            if start_ns <= at_ns < start_ns + question.step_ns
        ]
        sketch = merge_fields(parts).parts(own.kind).get(shown.name, Sketch("category"))
        before = shown.reference
        is_of_reference = (
            start_ns in drift.reference.starts_ns[: len(drift.reference.starts_ns) - shown.lately]
        )
        if is_of_reference and before.n > sketch.n:
            before = subtract_sketch(before, sketch)
        is_enough = sketch.n >= FEWEST_VALUES and before.n >= FEWEST_VALUES
        gap = distance(before, sketch) if is_enough else None
        is_judged = start_ns + question.step_ns <= question.now_ns
        points.append(
            FieldPoint(
                start=to_rfc3339(start_ns),
                start_ns=start_ns,
                n=sketch.n,
                distance=gap,
                is_drift=gap is not None and gap > threshold and is_judged and shown.is_drift,
                is_judged=is_judged,
            )
        )
    return points


def _find_marks(changes: Sequence[Change], span: Window) -> list[FieldMark]:
    return [
        FieldMark(
            time=to_rfc3339(change.began_ns),
            time_ns=change.began_ns,
            name=name_started(change),
        )
        for change in sorted(changes, key=lambda change: (change.began_ns, change.dimension))
        if span.start_ns <= change.began_ns < span.end_ns
    ]


def find_typical(question: FieldsQuestion, own: FieldDrift, part: PartDrift) -> list[TypicalRun]:
    """Find runs that show a field's drift: their values are frequent now and were rare before.

    Up to 1,000 runs of the compared time window are searched, and at most 20 are returned. For a
    text field that has not drifted, the runs with the most unusual texts are returned instead.
    """
    reader, project, window = question.reader, question.project, question.window
    condition: Condition = ALWAYS
    if question.where:
        condition, _ = compile_where(reader, project, question.where, is_bounded=True)
    bounds = Bounds(start=Sql("{first:Int64}"), end=Sql("{until:Int64}"))
    rows = read_sample(
        reader.rows,
        project,
        (window.start_ns, window.end_ns),
        find_counted(reader, project, bounds),
        condition,
        model=question.model,
        most=_TYPICAL_OF,
    )
    if own.kind == "text" and not own.drifted:
        ranked = _rank_texts(rows, own.name)
    else:
        ranked = _rank_new(rows, own.name, part)
    ranked.sort(key=lambda entry: (-entry[0], -entry[1]["start_ns"], entry[1]["run_id"]))
    return [
        TypicalRun(
            run_id=row["run_id"],
            start=to_rfc3339(row["start_ns"]),
            value="" if value is None else write_value(value)[:_SHOWN_CHARS],
        )
        for _, row, value in ranked[:_TYPICAL]
    ]


_Ranked = list[tuple[float, Row, object]]


def _rank_texts(rows: Iterable[Row], name: str) -> _Ranked:
    """Weigh runs by how unusual their texts are."""
    values = [(row, dict(list_values(row, name)).get(name)) for row in rows]
    texts = [(row, value) for row, value in values if isinstance(value, str)]
    weights = weigh_texts([text for _, text in texts])
    return [(weight, row, text) for weight, (row, text) in zip(weights, texts, strict=True)]


def _rank_new(rows: Iterable[Row], name: str, part: PartDrift) -> _Ranked:
    """Weigh runs by how much more frequent their values are than before."""
    ranked: _Ranked = []
    for row in rows:
        values = dict(list_values(row, name))
        value = values.get(name)
        # In a table, the most typical cell counts.
        cells = value.values if isinstance(value, ColumnCells) else (value,)
        weight, place = max(
            ((_weigh(part, cell), -place) for place, cell in enumerate(cells)), default=(0.0, 0)
        )
        if weight > 0:
            ranked.append((weight, row, cells[-place]))
    return ranked


def list_values(row: Row, name: str) -> list[tuple[str, object]]:
    """List the values of a run that belong to a field, each with its path."""
    section = section_of(name)
    if section in SECTIONS:
        return [*read_values(section, row[section])] if row[section] else []
    return [(name, row[name] or None)] if name in (*FIGURES, "error_type") else []


def _weigh(part: PartDrift, value: object) -> float:
    """Weigh how much more frequent a value is than before; 0 if it is not more frequent."""
    if part.name == MISSING:
        return float((value is None) == (gained_value(part.reference, part.window) == MISSING))
    if value is None:
        return 0.0
    if part.name == TYPE:
        kind = "bool" if isinstance(value, bool) else "text" if isinstance(value, str) else "number"
        kind = "embedding" if isinstance(value, Projected) else kind
        return float(kind == gained_value(part.reference, part.window))
    if part.name == VALUE and part.window.kind == "category":
        written = write_value(value)
        shares = [
            side.values.get(written, 0) / max(side.n, 1) for side in (part.reference, part.window)
        ]
        return max(shares[1] - shares[0], 0.0)
    text = value if isinstance(value, str) else ""
    measure: Mapping[str, Callable[[], float]] = {
        "words": lambda: float(len(text.split())),
        "characters": lambda: float(len(text)),
        "digits": lambda: sum(char.isdigit() for char in text) / max(len(text), 1),
        "capitals": lambda: sum("A" <= char <= "Z" for char in text) / max(len(text), 1),
    }
    if part.name == "scripts":
        return float(script_of(text) == gained_value(part.reference, part.window))
    if part.name == "vocabulary":
        words = text.split()
        new = sum(bucket_of(word) not in part.reference.bins for word in words)
        return new / max(len(words), 1)
    if part.name in measure:
        value = measure[part.name]()
    elif isinstance(value, Projected):  # The projection that moved most decides.
        gaps = distances_of_projections(part.reference, part.window)
        if not gaps:
            return 0.0
        name = max(gaps, key=lambda name: (gaps[name], name))
        part = replace(part, reference=part.reference.parts[name], window=part.window.parts[name])
        value = value.projections[PROJECTED.index(name)]
    return _weigh_number(part, value)


def _weigh_number(part: PartDrift, number: object) -> float:
    """Weigh a number: how much more frequent its bin and its side of the median are than before."""
    side = gained_side(part.reference, part.window)
    if not isinstance(number, (int, float)) or isinstance(number, bool):
        return 0.0
    if side is None or (number >= side[0]) != side[1]:
        return 0.0
    key = bin_of(number)[0]
    near = range(key - 2, key + 3)
    shares = [
        sum(sketch.bins[at][0] for at in near if at in sketch.bins) / max(sketch.n, 1)
        for sketch in (part.reference, part.window)
    ]
    return shares[1] * shares[1] / (shares[0] + shares[1]) if shares[1] else 0.0


api = APIRouter(prefix="/api/v1", route_class=DeferredRoute)
AskedFields = Annotated[FieldsAsked, Query()]


@api.get("/projects/{project:path}/fields")
def get_fields(project: str, reader: FromReader, asked: AskedFields) -> ModelFields:
    """List the fields of a model and compare each with the reference.

    Fields are values in inputs, outputs and params, and latency, tokens, cost and scores. The
    parameter `than` names the reference, such as the 28 days before. A field has drifted if three
    conditions are true. Its drift score is above `margin`. It is also above the usual drift score
    between two windows of the reference. And the difference is statistically significant, corrected
    for the number of fields.
    """
    return find_fields(ask_fields(reader, project, asked, time.time_ns()))


@api.get("/projects/{project:path}/fields/{field:path}")
def get_field(project: str, field: str, reader: FromReader, asked: AskedFields) -> FieldReport:
    """Report one field: both distributions, the drift score over time, and example runs."""
    return find_field(ask_fields(reader, project, asked, time.time_ns()), field)

"""Finds how good predictions were: figures by time, version and class, from ground truth."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from pydantic import Field

from otel_ml.counts import write_count
from otel_ml.statistics.calibration import ConfidenceBin, expect_right
from otel_ml.statistics.comparison import WORST_FIRST, Word
from otel_ml.statistics.intervals import Estimate, benjamini_hochberg
from otel_ml.statistics.truth import (
    AgedBucket,
    RatioSums,
    SpreadSums,
    calibrate,
    differ_by_chance,
    difference_of,
    explained_of,
    is_early,
    mean_of,
    rate_of,
    root_of,
    usual_at,
    usual_course,
)
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.errors import Missing
from otel_ml_collector.filter.sql import compile_where
from otel_ml_collector.filter.writing import quoted
from otel_ml_collector.ground_truth.matches import TruthMatches, find_matches
from otel_ml_collector.ground_truth.target import (
    TARGETS,
    SavedTarget,
    WantedTarget,
    make_target,
    make_unsaved,
    write_body,
)
from otel_ml_collector.measures.ground_truth import (
    COVERAGE,
    ERROR_OF_NUMBER,
    HAS_CHANCE,
    HAS_TRUTH,
    IS_POSITIVE,
    IS_RIGHT,
    LEAST_CHANCE,
    TruthFigure,
)
from otel_ml_collector.store.counted import RECORDED, Bounds
from otel_ml_collector.store.documents import Documents, list_documents, read_document
from otel_ml_collector.store.facts import find_truth, list_truths, rank_truths
from otel_ml_collector.store.predictions import (
    COLUMNS,
    PredictionKind,
    PredictionRule,
    list_words,
    read_kept_days,
    read_meaning,
    write_rows,
)
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.record_kinds import find_counted, find_record_kinds
from otel_ml_collector.store.sql import EMPTY, Sql, join_sql
from otel_ml_collector.store.versions import version_numbers
from otel_ml_collector.times import DAY_NS, HOUR_NS, MINUTE_NS, to_rfc3339
from otel_ml_collector.verdicts.verdicts import Interval
from otel_ml_collector.windows import Window

_SLICE_BOUNDS: Final = Bounds(start=Sql("{start:Int64}"), end=Sql("{end:Int64}"))
_MOST_CLASSES: Final = 20
_MOST_VERSIONS: Final = 100
_MOST_UNSAVED: Final = 100
# Maximum length of the filter for wrong predictions; any filter has at most 4,000 characters.
_MOST_FILTER_CHARS: Final = 3_000
_BINS: Final = 10
_SURE_BINS: Final = 100
# Ages at which the share of known outcomes is computed.
_AGES_NS: Final = tuple(
    round(hours * HOUR_NS)
    for hours in (0.25, 1, 3, 6, 12, 24, 48, 72, 96, 120, 168, 240, 336, 504, 720, 1080, 1440, 2160)
)
_STEPS_NS: Final = (
    *(MINUTE_NS, 5 * MINUTE_NS, 15 * MINUTE_NS, HOUR_NS, 6 * HOUR_NS),
    *(DAY_NS, 7 * DAY_NS, 28 * DAY_NS),
)
_USUAL_POINTS: Final = 70


class QualityFigure(AnswerBody):
    """One figure of predictions with known outcome."""

    name: str = Field(description="accuracy, precision, recall, f1, brier, log_loss, mae, ...")
    value: Interval | None = Field(
        description="Value with its interval; null if no run has the figure"
    )


class QualityPoint(AnswerBody):
    """The predictions of a bucket of time, or of a version."""

    start_time: str = Field(description="Start of the bucket, RFC 3339; empty for a version")
    version: int | None = Field(description="Number of the version; null for a bucket")
    runs: int = Field(description="Runs with a prediction")
    here: int = Field(description="Number of these runs with ground truth")
    coverage: float = Field(description="Share of these runs with ground truth")
    usual: float | None = Field(
        description="Share of predictions that usually has ground truth at this age; null if "
        "unknown"
    )
    early: str = Field(
        description="Why it cannot be judged yet: `too young`, or `less than usual` of the ground "
        "truth has arrived; empty if it can be judged"
    )
    figures: list[QualityFigure]
    estimate: float | None = Field(
        default=None,
        description="Expected accuracy of a bucket from the probabilities of its runs, calibrated "
        "on all other buckets with ground truth; null for a version, without a probability, and "
        "with ground truth for fewer than 100 runs",
    )


class QualityClass(AnswerBody):
    """One class: how often it was predicted and how often it occurred, with known outcome."""

    name: str
    predicted: int
    actual: int
    right: int
    runs: int = Field(
        description="Runs for which the class was predicted, with or without ground truth"
    )
    coverage: float | None = Field(description="Share of these runs with ground truth")
    figures: list[QualityFigure] = Field(description="precision, recall, f1")
    where: str = Field(description="Filter that lists the runs for which the class was predicted")


class ConfusedRuns(AnswerBody):
    """Runs with one predicted and one actual class."""

    predicted: str
    actual: str
    runs: int
    where: str = Field(description="Filter that lists the runs")


class CalibratedBin(AnswerBody):
    """Runs with about the same predicted probability."""

    predicted: float = Field(description="Mean predicted probability")
    actual: Interval = Field(description="Share of the runs in which the positive class occurred")


class CoursePoint(AnswerBody):
    """The share of ground truth that has usually arrived at an age."""

    age_s: float
    share: float


class QualitySlice(AnswerBody):
    """The runs with one value of a tag, compared with all other runs by the first figure."""

    name: str = Field(description="Name of the slice, such as plan = monthly")
    condition: str = Field(description="Filter for the runs of the slice, without the model")
    here: int = Field(description="Number of runs of the slice with ground truth")
    coverage: float = Field(description="Share of the runs of the slice with ground truth")
    value: Interval
    rest: Interval
    difference: float = Field(description="Slice minus all other runs")
    low: float = Field(description="Lower bound of the difference, 95 %")
    high: float
    word: Word = Field(
        description="Verdict: worse or better if the difference exceeds both the margin and chance"
    )
    excess: float = Field(
        description="Lower bound of the number of runs that are wrong in addition to the rate "
        "of all other runs; 0 if numbers are predicted"
    )


class TargetQuality(AnswerBody):
    """How good predictions were, by the time of the prediction."""

    target: SavedTarget
    start: str
    end: str
    bucket_s: float
    runs: int = Field(description="Runs with a prediction, without experiments")
    here: int = Field(description="Number of these runs with ground truth")
    not_compared: int = Field(
        description="Number of runs whose ground truth cannot be compared with the prediction, "
        "such as a text with a list, or names with numbers. They do not count as runs with ground "
        "truth"
    )
    notes: list[str] = Field(description="Why ground truth cannot be compared; empty if it can")
    matches: TruthMatches | None = Field(
        description="How much of the ground truth belongs to a run, of any time and model"
    )
    coverage: Interval | None
    delay_s: float | None = Field(description="Median time from prediction to ground truth")
    figures: list[QualityFigure] = Field(description="Figures of all runs with ground truth")
    estimate: float | None = Field(
        description="Expected accuracy of the runs without ground truth, from their probabilities, "
        "calibrated on the runs with ground truth; null without a probability, and with ground "
        "truth for fewer than 100 runs"
    )
    estimate_error: float | None = Field(
        description="Mean distance between estimated and measured accuracy, for buckets that can "
        "be judged; null if there are none"
    )
    guess: str = Field(description="The most frequent actual class")
    guess_accuracy: float | None = Field(description="Accuracy of always predicting this class")
    points: list[QualityPoint] = Field(
        description="Quality in each bucket of time, by the time of the prediction, oldest first"
    )
    versions: list[QualityPoint] = Field(
        description="Quality of each version of the model, newest first"
    )
    classes: list[QualityClass] = Field(
        description="The 20 most frequent predicted or actual classes"
    )
    confusion: list[ConfusedRuns]
    calibration: list[CalibratedBin]
    course: list[CoursePoint] = Field(
        description="Share of predictions that usually has ground truth, by their age"
    )
    wrong: int | None = Field(description="Number of wrong runs; null for numbers and rankings")
    wrong_where: str = Field(description="Filter that lists the wrong runs; empty if no filter can")
    slices: list[QualitySlice] = Field(
        description="Tag values with at least 30 known outcomes, at most 50, sorted by the "
        "first figure, the worst first; empty unless `slices` is set"
    )


_UNLIKE: Final = {"not_compared": TruthFigure(Sql("unlike"), Sql("1"))}


class Targets(AnswerBody):
    """The prediction targets of a project, and ground truth without a prediction target."""

    targets: list[SavedTarget]
    truths: list[str] = Field(
        description="Names of ground truth without a prediction target, at most 100"
    )


_LESS_IS_BETTER: Final = frozenset({"brier", "log_loss", "mae", "rmse"})
_ESTIMATES: Final = {"rate": rate_of, "mean": mean_of, "root": root_of}
_SPREAD: Final = Sql("""
  SELECT count() AS clusters, sum(n) AS n, sum(e) AS error, sum(t) AS truth, sum(s) AS squares,
    sum(n * n) AS nn, sum(n * e) AS ne, sum(n * t) AS nt, sum(n * s) AS ns, sum(e * e) AS ee,
    sum(e * t) AS et, sum(e * s) AS es, sum(t * t) AS tt, sum(t * s) AS ts, sum(s * s) AS ss
  FROM (
    SELECT unit, toFloat64(count()) AS n, sum(pow({error}, 2)) AS e,
      sum(assumeNotNull(truth)) AS t, sum(pow(assumeNotNull(truth), 2)) AS s
    FROM ({rows}) WHERE {here} GROUP BY unit)""")


@dataclass(frozen=True, slots=True)
class QualityQuestion:
    """Which predictions to measure, and in what time buckets.

    Attributes:
        where: Only predictions of runs that match this filter are measured; empty for all.
        step_ns: Length of a time bucket, in nanoseconds.
        slices: Whether to compare each slice (the runs with one tag value) with all other runs.
        has_matches: Whether to count how much of the ground truth belongs to a run.
    """

    project: str
    target: SavedTarget
    window: Window
    where: str
    step_ns: int
    now_ns: int
    slices: bool = False
    has_matches: bool = False


@dataclass(frozen=True, slots=True)
class Predictions:
    """A subquery that selects the predictions whose quality is measured.

    Attributes:
        sql: The SQL. It selects one row per prediction, with columns for the run, the prediction
            and the ground truth. `COLUMNS` in `store.predictions` lists them.
        values: The values of the parameters in `sql`, and in queries that contain `sql`.
        rule: How to read the prediction and the ground truth from a run.
    """

    reader: Reader
    sql: Sql
    values: Mapping[str, Any]
    rule: PredictionRule

    def ask(self, sql: Sql) -> list[Row]:
        """Run a query that contains `self.sql`, and return its rows."""
        return self.reader.rows(sql, self.values)


def read_targets(reader: Reader, project: str) -> tuple[list[SavedTarget], list[SavedTarget]]:
    """Read the saved prediction targets, and the default ones of ground truth without a target."""
    saved = [make_target(document) for document in list_documents(reader, project, TARGETS)]
    known = [target.truth or target.name for target in saved]
    rows = list_truths(reader, project, without=known, most=_MOST_UNSAVED)
    return saved, [make_unsaved(row["name"], is_measured=row["is_measured"]) for row in rows]


def list_targets(reader: Reader, project: str) -> Targets:
    """List the prediction targets of a project, and names of ground truth without a target."""
    saved, unsaved = read_targets(reader, project)
    return Targets(targets=saved, truths=[target.name for target in unsaved])


def choose_truths(
    reader: Reader,
    project: str,
    targets: Sequence[SavedTarget],
    models: Sequence[str],
    window: Window,
    *,
    most: int,
) -> list[SavedTarget]:
    """Choose default targets: of the ground truth that most of the newest runs of some models have.

    Ground truth that was sent about a tag or a trace key belongs to no single run. It comes last.

    Args:
        reader: The store.
        project: The project.
        targets: The targets to choose from.
        models: Names of the models.
        window: Only runs that began in this time count.
        most: Maximum number of targets to return.
    """
    if len(targets) <= most:
        return [*targets]
    names = [target.name for target in targets]
    own = rank_truths(reader, project, names, models=models, window=window)
    order = {name: place for place, name in enumerate(own)}
    return sorted(targets, key=lambda target: order.get(target.name, len(order)))[:most]


def find_target(reader: Reader, project: str, name: str) -> SavedTarget:
    """Return the prediction target with a name.

    If no such target is saved, but there is ground truth of that name, the result is a default
    target (`make_unsaved`).

    Raises:
        Missing: There is no prediction target and no ground truth of that name.
    """
    try:
        return make_target(read_document(reader, project, TARGETS, name))
    except Missing:
        truth = find_truth(reader, project, name)
        if truth is None:
            raise Missing(
                f"There is no prediction target and no ground truth {name[:80]!r}"
            ) from None
        return make_unsaved(name, is_measured=truth["is_measured"])


def choose_step(window: Window) -> int:
    """Choose the length of a bucket, so that the window has about sixty."""
    wanted = (window.end_ns - window.start_ns) / _USUAL_POINTS
    return next((step for step in _STEPS_NS if step >= wanted), _STEPS_NS[-1])


def find_quality(reader: Reader, question: QualityQuestion) -> TargetQuality:
    """Measure how good predictions were, by the time of the prediction."""
    target, window = question.target, question.window
    rows = write_predictions(reader, question)
    figures = target.figures
    # The sums of all runs, of each bucket and of each version.
    groups: dict[str, list[Row]] = {_WHOLE: [], _BUCKETS: [], _VERSIONS: []}
    for row in _sum(rows, {**COVERAGE, **figures, **_UNLIKE}, _GROUPS):
        groups[row["place"][0]].append({**row, "place": row["place"][1:]})
    groups[_BUCKETS].sort(key=lambda row: int(row["place"]))
    total = next(iter(groups[_WHOLE]), None)
    own = [] if total is None else _estimate(figures, total)
    if target.kind == "number":
        own.append(QualityFigure(name="r2", value=_explain(rows)))
    coverage = None if total is None else rate_of(_read(total, 0))
    here = 0 if total is None else int(_read(total, 0).first)
    aged, delay_s = _read_ages(rows, question)
    course = usual_course([bucket for bucket, _ in aged.values()], [*map(float, _AGES_NS)])
    classes, confusion, guess, unlike = (
        _find_classes(rows, question) if target.kind == "class" else ([], [], None, [])
    )
    bins, whole = _read_confidence(rows) if target.probability else ({}, {})
    points = _make_points(groups[_BUCKETS], question, figures, aged, course)
    for point, row in zip(points, groups[_BUCKETS], strict=True):
        # Estimate the accuracy of a bucket from the ground truth of all other buckets.
        sure = bins.get(int(row["place"]), {})
        rest = [part - sure[place] if place in sure else part for place, part in whole.items()]
        point.estimate = expect_right(rest, sure.values())
    filters = [pair.where for pair in confusion if pair.predicted != pair.actual]
    # There is no filter if the filter language cannot express one of the pairs.
    any_of = " or ".join(f"({condition})" for condition in filters) if all(filters) else ""
    not_compared = 0 if total is None else int(_read(total, len(figures) + 1).first)
    notes = _note_types(target, unlike, not_compared)
    matches = None
    if question.has_matches:
        matches = find_matches(reader, question.project, target.rule.truth, question.now_ns)
        if not target.model and total is None and matches.matched:
            notes.append(_NO_NUMBERS)
    right = next((item.value for item in own if item.name == "accuracy"), None)
    return TargetQuality(
        target=target,
        start=to_rfc3339(window.start_ns),
        end=to_rfc3339(window.end_ns),
        bucket_s=question.step_ns / 1e9,
        runs=0 if total is None else int(_read(total, 0).second),
        here=here,
        not_compared=not_compared,
        notes=notes,
        matches=matches,
        coverage=_interval(coverage),
        delay_s=delay_s,
        figures=own,
        estimate=expect_right(whole.values(), [part.waiting for part in whole.values()]),
        estimate_error=_check_estimates(points),
        guess="" if guess is None else guess[0],
        guess_accuracy=None if guess is None else guess[1] / here,
        points=points,
        versions=_make_versions(reader, groups[_VERSIONS], question, figures),
        classes=classes,
        confusion=confusion,
        calibration=_calibrate(rows) if target.probability else [],
        course=[
            CoursePoint(age_s=age / 1e9, share=share)
            for age, share in zip(_AGES_NS, course, strict=True)
            if share is not None
        ],
        wrong=None if right is None else round(right.n * (1 - right.value)),
        wrong_where=any_of if len(any_of) < _MOST_FILTER_CHARS else "",
        slices=_find_slices(rows, next(iter(figures.items()))) if question.slices and here else [],
    )


def write_predictions(reader: Reader, question: QualityQuestion) -> Predictions:
    """Write the SQL for the predictions of the question, from stored days and from runs."""
    rule, project = question.target.rule, question.project
    kinds = find_record_kinds(reader, project)
    counted = find_counted(reader, project, _SLICE_BOUNDS)
    kept = read_kept_days(reader, project, rule, question.window.start_ns, question.window.end_ns)
    sql = write_rows(rule, counted, kinds, kept)
    values = {
        **rule.parameters,
        **kept.parameters,
        "project": project,
        "start": question.window.start_ns,
        "end": question.window.end_ns,
        "step": question.step_ns,
        "positive": read_meaning(question.target.positive),
        "least": LEAST_CHANCE,
        "now": question.now_ns,
        "ages": [*_AGES_NS],
    }
    if question.where:
        condition, _ = compile_where(reader, project, question.where, is_bounded=True, kinds=kinds)
        sql = Sql("""
            SELECT {columns} FROM ({rows}) WHERE (start_ns, trace_id, span_id) IN (
              SELECT start_ns, trace_id, span_id FROM {recorded}
              WHERE {bounds} AND ({condition}))""").fill(
            columns=COLUMNS,
            rows=sql,
            recorded=RECORDED,
            bounds=_SLICE_BOUNDS.sql,
            condition=condition.sql,
        )
        values |= condition.parameters
    return Predictions(reader, sql, values, rule)


_WRONG: Final = Sql("""
  SELECT concat(lower(hex(trace_id)), '-', lower(hex(span_id))) AS run_id, {answer} AS answer
  FROM ({rows})
  WHERE actual != '' AND NOT ifNull({right}, false)
  ORDER BY {order} start_ns DESC, trace_id, span_id LIMIT {most}""")


def find_wrong_predictions(reader: Reader, question: QualityQuestion, most: int) -> dict[str, str]:
    """Find the newest wrong predictions; of numbers, those that are farthest from the truth.

    Args:
        reader: The store.
        question: Which predictions to look at.
        most: Maximum number of predictions.

    Returns:
        The ground truth of each run, by run ID, the newest first. Empty for rankings.
    """
    if question.target.kind == "ranking":
        return {}
    is_class = question.target.kind == "class"
    rows = write_predictions(reader, question)
    sql = _WRONG.fill(
        rows=rows.sql,
        answer=Sql("actual_word") if is_class else Sql("toString(truth)"),
        right=Sql("predicted = actual") if is_class else Sql("amount = truth"),
        order=EMPTY if is_class else Sql("abs(amount - truth) DESC NULLS LAST,"),
        most=most,
    )
    return {row["run_id"]: row["answer"] for row in rows.ask(sql)}


_BUCKET: Final = Sql("intDiv(start_ns - {start:Int64}, {step:Int64})")
# The value of a prediction, by the kind of its target.
PREDICTION_VALUES: Final[Mapping[PredictionKind, Sql]] = {
    "class": Sql("predicted = actual"),
    "number": Sql("abs(amount - truth)"),
    "ranking": Sql("amount"),
}
_COURSE: Final = Sql("""
  SELECT place, avg(raw) AS value FROM (
    SELECT {bucket} AS place, toFloat64({value}) AS raw FROM ({rows}) WHERE actual != '')
  WHERE isFinite(raw) GROUP BY place ORDER BY place LIMIT 10000""")


def find_course(reader: Reader, question: QualityQuestion) -> dict[int, float]:
    """Measure predictions over time: the share of right classes, or the mean of other values.

    Returns:
        The values by start of the bucket, in nanoseconds since 1970. Buckets without ground truth
        are left out.
    """
    rows = write_predictions(reader, question)
    value = PREDICTION_VALUES[question.target.kind]
    sql = _COURSE.fill(bucket=_BUCKET, value=value, rows=rows.sql)
    start_ns, step_ns = question.window.start_ns, question.step_ns
    return {start_ns + row["place"] * step_ns: row["value"] for row in rows.ask(sql)}


def _sum(
    rows: Predictions, figures: Mapping[str, TruthFigure], by: Sql, also: Sql = EMPTY
) -> list[Row]:
    """Compute the sums of some figures over all clusters of runs, for each group of rows."""
    return _add_up(rows, _sum_units(rows, figures, by, also), len(figures))


def _sum_units(
    rows: Predictions, figures: Mapping[str, TruthFigure], by: Sql, also: Sql = EMPTY
) -> Sql:
    """Write the SQL for the sums of some figures, by a group of rows and by cluster."""
    own = [
        Sql("""toFloat64(sum({a})) AS a_{n}, toFloat64(sum({b})) AS b_{n},
          countIf(({b}) > 0) AS n_{n}""").fill(a=figure.first, b=figure.second, n=place)
        for place, figure in enumerate(figures.values())
    ]
    return Sql("""
        SELECT {by} AS place, unit, {own} FROM ({rows}) {also} GROUP BY place, unit""").fill(
        by=by, own=join_sql(", ", own), rows=rows.sql, also=also
    )


def _add_up(rows: Predictions, units: Sql, figures: int) -> list[Row]:
    """Compute the sums of this many figures over all clusters of runs, for each group of rows."""
    moments = [
        Sql("{moments} AS f_{n}").fill(moments=_moments(place), n=place) for place in range(figures)
    ]
    return rows.ask(
        Sql("""
          SELECT place, {moments} FROM ({units})
          GROUP BY place ORDER BY place LIMIT 10000""").fill(
            moments=join_sql(", ", moments), units=units
        )
    )


def _moments(place: int) -> Sql:
    return Sql("""tuple(countIf(b_{n} > 0), sumIf(a_{n}, b_{n} > 0), sum(b_{n}),
      sumIf(a_{n} * a_{n}, b_{n} > 0), sumIf(a_{n} * b_{n}, b_{n} > 0), sum(b_{n} * b_{n}),
      countIf(b_{n} > 0 AND a_{n} > 0), countIf(b_{n} > 0 AND a_{n} < b_{n}),
      sum(n_{n}))""").fill(n=place)


def _read(row: Row, place: int) -> RatioSums:
    return RatioSums(*row[f"f_{place}"])


def _estimate(figures: Mapping[str, TruthFigure], row: Row, first: int = 1) -> list[QualityFigure]:
    """Make the figures of a group, which come after its coverage."""
    made = []
    for place, (name, figure) in enumerate(figures.items(), first):
        estimate = _ESTIMATES[figure.form](_read(row, place))
        value = None if estimate is None else _limit(figure, estimate)
        made.append(QualityFigure(name=name, value=value))
    return made


def _limit(figure: TruthFigure, estimate: Estimate) -> Interval:
    """Limit an interval to the values that the figure can have: an error is never below 0.

    Use it only for display. The width of the whole interval shows how certain a difference is.
    """
    if math.isinf(estimate.low):
        return Interval.model_validate(estimate)
    low, high = max(estimate.low, figure.least), min(estimate.high, figure.most)
    return Interval.model_validate(replace(estimate, low=low, high=high))


def _interval(estimate: Estimate | None) -> Interval | None:
    return None if estimate is None else Interval.model_validate(estimate)


def _explain(rows: Predictions) -> Interval | None:
    [row] = rows.ask(_SPREAD.fill(error=ERROR_OF_NUMBER, here=HAS_TRUTH, rows=rows.sql))
    return _interval(explained_of(SpreadSums(**row))) if row["clusters"] else None


_LEAST_IN_SLICE: Final = 30
_MOST_TOKENS: Final = 2_000
_MOST_TAG_VALUES: Final = 200
_SHOWN_SLICES: Final = 50
_CHANCE_OF_ONE: Final = 0.05
# Smaller differences do not matter: absolute for shares, relative to all other runs for means.
_RATE_MARGIN: Final = 0.02
_MEAN_MARGIN: Final = 0.05
_TAGGED: Final = Sql("""
  SELECT foretold.*, tagged.tokens AS tokens FROM ({rows}) AS foretold
  INNER JOIN (
    SELECT trace_id, span_id, arrayDistinct(tag_kv) AS tokens FROM {recorded} WHERE {bounds}
  ) AS tagged ON tagged.trace_id = foretold.trace_id AND tagged.span_id = foretold.span_id""")
_TOKENS: Final = Sql("""
  SELECT token FROM (SELECT arrayJoin(tokens) AS token FROM ({tagged}) WHERE {here})
  GROUP BY token HAVING count() >= {least} ORDER BY count() DESC, token LIMIT {most}""")
# For each slice and cluster, the sums of all runs of the cluster (2), and of those outside of the
# slice (3).
_WITH_REST: Final = Sql("""
  SELECT *, sumIf(a_1, place = '') OVER whole AS a_2, sumIf(b_1, place = '') OVER whole AS b_2,
    sumIf(n_1, place = '') OVER whole AS n_2, a_2 - a_1 AS a_3, b_2 - b_1 AS b_3, n_2 - n_1 AS n_3
  FROM ({units}) WINDOW whole AS (PARTITION BY unit)""")
_OF_TOKENS: Final = Sql("""arrayJoin(arrayPushFront(
  arrayFilter(token -> has({tokens:Array(String)}, token), tokens), ''))""")


def _find_slices(rows: Predictions, first: tuple[str, TruthFigure]) -> list[QualitySlice]:
    """Compare the runs with each tag value with all other runs, by one figure.

    A tag with more than 200 frequent values, such as an ID, is left out.
    """
    name, figure = first
    tagged = _TAGGED.fill(rows=rows.sql, recorded=RECORDED, bounds=_SLICE_BOUNDS.sql)
    asked = _TOKENS.fill(tagged=tagged, here=HAS_TRUTH, least=_LEAST_IN_SLICE, most=_MOST_TOKENS)
    tokens = [row["token"] for row in rows.ask(asked)]
    values = Counter(token.partition("=")[0] for token in tokens)
    tokens = [token for token in tokens if values[token.partition("=")[0]] <= _MOST_TAG_VALUES]
    if not tokens:
        return []
    of_tags = Predictions(rows.reader, tagged, {**rows.values, "tokens": tokens}, rows.rule)
    units = _sum_units(of_tags, {**COVERAGE, name: figure}, _OF_TOKENS)
    added_up = _add_up(of_tags, _WITH_REST.fill(units=units), 4)
    sums = {row["place"]: row for row in added_up}
    whole = _read(sums.pop(""), 1)
    estimate = _ESTIMATES[figure.form]
    compared = []
    for token, row in sums.items():
        own, covered = _read(row, 1), _read(row, 0)
        # For sessions with runs inside the slice, only their runs outside of it are added.
        rest = _read(row, 2).subtracted_from(whole) + _read(row, 3)
        sides = estimate(own), estimate(rest)
        if rest.n >= _LEAST_IN_SLICE and sides[0] is not None and sides[1] is not None:
            compared.append((token, covered, sides[0], sides[1]))
    return _judge_slices(compared, name, figure)


def _judge_slices(
    compared: Sequence[tuple[str, RatioSums, Estimate, Estimate]], name: str, figure: TruthFigure
) -> list[QualitySlice]:
    """Return slices with a verdict, the worst first.

    A slice differs if its difference exceeds a margin and is unlikely to be chance.
    """
    chances = benjamini_hochberg([differ_by_chance(own, rest) for *_, own, rest in compared])
    sign = -1 if name in _LESS_IS_BETTER else 1
    is_rate = figure.form == "rate"
    slices = []
    for (token, covered, own, rest), chance in zip(compared, chances, strict=True):
        low, high = difference_of(own, rest)
        value = own.value - rest.value
        margin = _RATE_MARGIN if is_rate else _MEAN_MARGIN * abs(rest.value)
        matters = abs(value) > margin and chance < _CHANCE_OF_ONE
        word = Word.NO_DIFFERENCE if max(-low, high) <= margin else Word.NOT_ENOUGH_DATA
        if matters:
            word = Word.WORSE if sign * value < 0 else Word.BETTER
        tag, _, text = token.partition("=")
        lost = max(-high if sign > 0 else low, 0.0) * own.n if is_rate else 0.0
        slices.append(
            QualitySlice(
                name=f"{tag} = {text}",
                condition=f"tags[{quoted(tag)}] == {quoted(text)}",
                here=int(covered.first),
                coverage=covered.first / covered.second,
                value=_limit(figure, own),
                rest=_limit(figure, rest),
                difference=value,
                low=low,
                high=high,
                word=word,
                excess=lost,
            )
        )
    slices.sort(key=lambda one: (WORST_FIRST.index(one.word), -one.excess, sign * one.difference))
    return slices[:_SHOWN_SLICES]


# Each run counts in three groups, from one read: all runs, its bucket and its version.
_WHOLE, _BUCKETS, _VERSIONS = "a", "b", "v"
_GROUPS: Final = Sql("""arrayJoin(['a', concat('b', toString({bucket})),
  concat('v', model, '\\n', digest, ':', structure)])""").fill(bucket=_BUCKET)


def _read_ages(
    rows: Predictions, question: QualityQuestion
) -> tuple[dict[int, tuple[AgedBucket, float]], float | None]:
    """Read for each bucket at which ages its ground truth arrived, and the mean age of its runs.

    The mean is computed from floats. With integers, the database would sum nanoseconds since 1970,
    and this sum overflows. Buckets count from 1 here, because 0 means all runs.

    Returns:
        The buckets by number, and the median seconds from a prediction to its ground truth.
    """
    found = rows.ask(
        Sql("""
          SELECT {bucket} + 1 AS place, count() AS n, max(start_ns) AS last_ns,
            avg(toFloat64({now:Int64} - start_ns)) AS age_ns,
            countIf(truth_ns > 0) AS received,
            quantileExactIf(greatest(truth_ns - start_ns, 0), truth_ns > 0) AS delay_ns,
            sumForEach(arrayMap(age -> toUInt32(truth_ns > 0 AND truth_ns - start_ns <= age),
              {ages:Array(Int64)})) AS arrived
          FROM ({rows}) GROUP BY place WITH ROLLUP ORDER BY place LIMIT 10000""").fill(
            bucket=_BUCKET, rows=rows.sql
        )
    )
    whole = next((row for row in found if row["place"] == 0 and row["received"]), None)
    aged = {
        row["place"] - 1: (
            AgedBucket(float(question.now_ns - row["last_ns"]), row["n"], row["arrived"]),
            row["age_ns"],
        )
        for row in found
        if row["place"]
    }
    return aged, None if whole is None else whole["delay_ns"] / 1e9


def _make_points(
    rows: Sequence[Row],
    question: QualityQuestion,
    figures: Mapping[str, TruthFigure],
    aged: Mapping[int, tuple[AgedBucket, float]],
    course: Sequence[float | None],
) -> list[QualityPoint]:
    ages = [*map(float, _AGES_NS)]
    at_last = max((share for share in course if share is not None), default=None)
    points = []
    for row in rows:
        covered, place = _read(row, 0), int(row["place"])
        usual = usual_at(course, ages, aged[place][1])
        runs, here = int(covered.second), int(covered.first)
        points.append(
            QualityPoint(
                start_time=to_rfc3339(question.window.start_ns + place * question.step_ns),
                version=None,
                runs=runs,
                here=here,
                coverage=here / runs,
                usual=usual,
                early=is_early(here, runs, usual, at_last),
                figures=_estimate(figures, row),
            )
        )
    return points


def _make_versions(
    reader: Reader,
    rows: Sequence[Row],
    question: QualityQuestion,
    figures: Mapping[str, TruthFigure],
) -> list[QualityPoint]:
    models = {row["place"].partition("\n")[0] for row in rows}
    if len(models) != 1:
        return []
    numbers = version_numbers(reader, question.project, "model", models)
    points = []
    for row in rows:
        model, _, version = row["place"].partition("\n")
        number = numbers.get((model, *version.split(":", 1)))
        covered = _read(row, 0)
        if number:
            points.append(
                QualityPoint(
                    start_time="",
                    version=number,
                    runs=int(covered.second),
                    here=int(covered.first),
                    coverage=covered.first / covered.second,
                    usual=None,
                    early="",
                    figures=_estimate(figures, row),
                )
            )
    return sorted(points, key=lambda point: -(point.version or 0))[:_MOST_VERSIONS]


def _find_classes(
    rows: Predictions, question: QualityQuestion
) -> tuple[list[QualityClass], list[ConfusedRuns], tuple[str, int] | None, list[tuple[str, str]]]:
    """Return the classes, pairs of predicted and actual class, and the most frequent class.

    The last item has predictions with ground truth that cannot be compared, and this ground truth.
    """
    counts = rows.ask(
        Sql("""
          SELECT predicted, actual, count() AS n, topK(1)(predicted_word)[1] AS predicted_word,
            topK(1)(actual_word)[1] AS actual_word, maxIf(actual_word, unlike) AS unlike_word
          FROM ({rows}) GROUP BY predicted, actual
          ORDER BY n DESC, predicted, actual LIMIT 10000""").fill(rows=rows.sql)
    )
    names = _name_classes(counts)
    predicted = Counter[str]()
    checked = Counter[str]()
    actual = Counter[str]()
    right = Counter[str]()
    for row in counts:
        predicted[row["predicted"]] += row["n"]
        if row["actual"]:
            checked[row["predicted"]] += row["n"]
            actual[row["actual"]] += row["n"]
            right[row["predicted"]] += row["n"] * (row["predicted"] == row["actual"])
    chosen = sorted(
        {*predicted, *actual}, key=lambda entry: (-predicted[entry] - actual[entry], entry)
    )[:_MOST_CLASSES]
    positive = read_meaning(question.target.positive)
    chosen.sort(key=lambda entry: entry != positive)
    figures = {
        "precision": TruthFigure(Sql("predicted = actual"), Sql("predicted = class")),
        "recall": TruthFigure(Sql("predicted = actual"), Sql("actual = class")),
        "f1": TruthFigure(
            Sql("2 * (predicted = actual)"), Sql("(predicted = class) + (actual = class)")
        ),
    }
    sums = _sum(
        Predictions(rows.reader, rows.sql, {**rows.values, "classes": chosen}, rows.rule),
        figures,
        Sql("class"),
        Sql("""ARRAY JOIN arrayDistinct([predicted, actual]) AS class
          WHERE {here} AND class IN {classes:Array(String)}""").fill(here=HAS_TRUTH),
    )
    by_class = {row["place"]: _estimate(figures, row, 0) for row in sums}
    classes = [
        QualityClass(
            name=names[name],
            predicted=checked[name],
            actual=actual[name],
            right=right[name],
            runs=predicted[name],
            coverage=checked[name] / predicted[name] if predicted[name] else None,
            figures=by_class.get(name, []),
            where=_where_predicted(question.target, names[name]),
        )
        for name in chosen
    ]
    confusion = [
        ConfusedRuns(
            predicted=names[row["predicted"]],
            actual=names[row["actual"]],
            runs=row["n"],
            where=_where(question.target, names[row["predicted"]], names[row["actual"]]),
        )
        for row in counts
        if row["actual"] and row["predicted"] in chosen and row["actual"] in chosen
    ]
    most = max(actual, key=lambda entry: (actual[entry], entry), default=None)
    guess = None if most is None else (names[most], actual[most])
    unlike = [(row["predicted_word"], row["unlike_word"]) for row in counts if row["unlike_word"]]
    return classes, confusion, guess, unlike


_SAVE_TARGET: Final = (
    "Save a prediction target that says which part of the output is the prediction, such as "
    "outputs.label"
)
_OBJECTS: Final = f"The outputs are objects without a part of this name. {_SAVE_TARGET}"
_NO_NUMBERS: Final = f"No output with this ground truth is a number. {_SAVE_TARGET}"


def _note_types(
    target: SavedTarget, unlike: Sequence[tuple[str, str]], not_compared: int
) -> list[str]:
    """Write why ground truth cannot be compared with predictions; empty if it can.

    Args:
        target: The prediction target.
        unlike: Predictions with ground truth that cannot be compared, and this ground truth.
        not_compared: Number of these runs.
    """
    if not not_compared:
        return []
    if not target.model and any(pair[0].startswith("{") for pair in unlike):
        return [_OBJECTS]
    pairs = [pair for pair in unlike if not pair[0].startswith(("[", "{"))]
    are_numbers = [{_is_number(pair[side]) for pair in pairs} for side in (0, 1)]
    if are_numbers in ([{True}, {False}], [{False}, {True}]):
        types = ["numbers" if True in side else "text" for side in are_numbers]
        return [
            f"The types differ: predictions are {types[0]}, such as {pairs[0][0]}, and ground "
            f"truth is {types[1]}, such as {pairs[0][1]}. So accuracy cannot be computed"
        ]
    runs = write_count(not_compared, "run")
    expected = "a number" if target.kind == "number" else "the same type as the prediction"
    return [f"The ground truth of {runs} cannot be compared: expected {expected}"]


def _is_number(name: str) -> bool:
    try:
        return math.isfinite(float(read_meaning(name)))
    except ValueError:
        return False


def _name_classes(counts: Iterable[Row]) -> dict[str, str]:
    """Name each class as most runs predicted it; else, as the ground truth does."""
    predicted: defaultdict[str, Counter[str]] = defaultdict(Counter)
    actual: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row in counts:
        predicted[row["predicted"]][row["predicted_word"]] += row["n"]
        if row["actual"]:
            actual[row["actual"]][row["actual_word"]] += row["n"]
    words = {**actual, **predicted}
    return {
        meaning: max(of_class, key=lambda word: (of_class[word], word))
        for meaning, of_class in words.items()
    }


def _calibrate(rows: Predictions) -> list[CalibratedBin]:
    """Make the calibration curve, of ten bins."""
    figures = {
        "actual": TruthFigure(IS_POSITIVE, Sql("1")),
        "predicted": TruthFigure(Sql("amount"), Sql("1"), "mean"),
    }
    place = Sql("least(toUInt32(floor(assumeNotNull(amount) * {bins})), {bins} - 1)").fill(
        bins=_BINS
    )
    sums = _sum(rows, figures, place, Sql("WHERE {priced}").fill(priced=HAS_CHANCE))
    return [
        CalibratedBin(predicted=item.predicted, actual=Interval.model_validate(item.actual))
        for item in calibrate((_read(row, 1).first, _read(row, 0)) for row in sums)
    ]


# Bins by bucket of time, then by confidence in hundredths.
_Bins = Mapping[int, Mapping[int, ConfidenceBin]]


def _read_confidence(rows: Predictions) -> tuple[_Bins, Mapping[int, ConfidenceBin]]:
    """Read how confident runs were in their predictions, in a hundred bins.

    Returns:
        The bins of each time bucket, and the bins of all buckets together.
    """
    read = rows.ask(
        Sql("""
          SELECT {bucket} AS bucket, least(toUInt32(floor(sure * {bins})), {bins} - 1) AS bin,
            count() AS n, sum(sure) AS total, countIf({here}) AS here,
            sumIf(sure, {here}) AS here_total, countIf({right}) AS right
          FROM (
            SELECT start_ns, predicted, actual,
              if(predicted = {positive:String}, assumeNotNull(amount), 1 - assumeNotNull(amount))
                AS sure
            FROM ({rows}) WHERE isNotNull(amount))
          GROUP BY bucket, bin ORDER BY bucket, bin LIMIT 100000""").fill(
            bucket=_BUCKET, bins=_SURE_BINS, here=HAS_TRUTH, right=IS_RIGHT, rows=rows.sql
        )
    )
    bins: defaultdict[int, dict[int, ConfidenceBin]] = defaultdict(dict)
    whole: dict[int, ConfidenceBin] = {}
    for row in read:
        place = row["bin"]
        part = ConfidenceBin(*(row[field.name] for field in fields(ConfidenceBin)))
        bins[row["bucket"]][place] = part
        whole[place] = whole[place] + part if place in whole else part
    return bins, whole


def _check_estimates(points: Sequence[QualityPoint]) -> float | None:
    """Return how far estimates were from the accuracy of buckets with enough ground truth."""
    total, runs = 0.0, 0
    for point in points:
        accuracy = next((item.value for item in point.figures if item.name == "accuracy"), None)
        if point.estimate is not None and accuracy is not None and not point.early:
            total += abs(point.estimate - accuracy.value) * accuracy.n
            runs += accuracy.n
    return total / runs if runs else None


def _where_predicted(target: SavedTarget, text: str) -> str:
    """Write the filter for runs that predicted a class; empty if the language cannot express it."""
    if not target.model or "… " in text:
        return ""
    return f"model == {quoted(target.model)} and {_equals(target.prediction, text)}"


def _where(target: SavedTarget, text: str, actual: str) -> str:
    first = _where_predicted(target, text)
    if not first or "… " in actual:
        return ""
    name = target.truth or target.name
    return f"{first} and {_equals(f'truth[{quoted(name)}]', actual)}"


def _equals(field: str, text: str) -> str:
    """Write a condition that a part of JSON equals a class: a text, a number or a bool."""
    tests = [f"{field} == {quoted(word)}" for word in list_words(text)]
    with suppress(ValueError):
        number = float(read_meaning(text))
        if math.isfinite(number):
            written = f"{number:g}" if number == float(f"{number:g}") else read_meaning(text)
            tests.append(f"{field} == {written}")
    if read_meaning(text) in _BOOLS:
        tests.append(f"{field} == {_BOOLS[read_meaning(text)]}")
    return tests[0] if len(tests) == 1 else f"({' or '.join(tests)})"


_BOOLS: Final = {"1": "True", "0": "False"}


def save_target(  # noqa: PLR0917 - what a save needs
    reader: Reader,
    store: Documents,
    project: str,
    name: str,
    wanted: WantedTarget,
    base: int | None,
) -> SavedTarget:
    """Save a prediction target: which part of a model's output predicts which ground truth.

    Saving it again unchanged has no effect.

    Raises:
        BadInput: There are too many targets.
        Conflict: `base` is given, but the newest stored version is a different one.
    """
    body = write_body(wanted)
    with suppress(Missing):
        document = read_document(reader, project, TARGETS, name)
        if document.body == body and base in {None, document.version}:
            return make_target(document)
    return make_target(store.save(reader, project, TARGETS, name, body, base=base))

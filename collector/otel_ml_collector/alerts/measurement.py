"""Measures the figures of rules: all slices and windows of one filter with one query.

Scores, payloads and metrics are joined only if a figure needs them. Ground truth and `surely` have
queries of their own.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from otel_ml.statistics.comparison import LEAST_RUNS, Word
from otel_ml.statistics.release import judge_release
from otel_ml.statistics.sequence import moments_of
from otel_ml.statistics.truth import is_early, usual_at
from otel_ml_collector.alerts.conditions import (
    OF_BUDGET,
    OF_CRASHES,
    OF_JUDGES,
    OF_MONITOR,
    OF_TRUTH,
    QUANTILES,
    SureLimit,
    model_of,
    read_previous,
)
from otel_ml_collector.alerts.monitored import measure_monitored, measure_version
from otel_ml_collector.alerts.rule import Dimension, RulePlan, SliceKey, narrow_filter
from otel_ml_collector.alerts.states import FigureKey, MeasuredSlice, key_of
from otel_ml_collector.errors import BadInput
from otel_ml_collector.filter.fields import FIELD_NAMES, Kind
from otel_ml_collector.filter.figures import Figure
from otel_ml_collector.filter.grammar import Field, read_field
from otel_ml_collector.filter.sql import compile_tests
from otel_ml_collector.findings.releases import VersionWords
from otel_ml_collector.ground_truth.find import (
    QualityQuestion,
    find_quality,
    find_target,
    write_predictions,
)
from otel_ml_collector.ground_truth.target import SavedTarget
from otel_ml_collector.judge_budget import measure_budget
from otel_ml_collector.mapping.filing import IMPORTED
from otel_ml_collector.measures.ground_truth import HAS_TRUTH
from otel_ml_collector.measures.measures import (
    AMOUNTS,
    COST,
    COUNTED_COST,
    COUNTED_TOKENS,
    ERRORS,
    HAS_FAILED,
    LATENCY,
    MILLIONTHS,
    TOKENS,
    with_amounts,
)
from otel_ml_collector.measures.sums import exact_sum, read_exact
from otel_ml_collector.measures.units import UNIT_SUMS
from otel_ml_collector.store.amounts import RunAmounts
from otel_ml_collector.store.counted import DELIVERIES, RECORDED, UNIT, Bounds
from otel_ml_collector.store.open_runs import SILENT_AFTER_NS, find_open_runs
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.record_kinds import (
    RecordKinds,
    find_record_kinds,
    points,
)
from otel_ml_collector.store.scores import (
    BY_JUDGE,
    IN_WINDOW,
    all_scores,
    find_lower_judges,
    newest_scores,
)
from otel_ml_collector.store.sql import (
    EMPTY,
    Condition,
    Sql,
    identifier,
    join_sql,
    parameter,
    substitute,
)
from otel_ml_collector.store.tables import (
    COPY,
    INHERITED_PAYLOAD,
    TOKENS_PER_SECOND,
    fill_payloads,
)
from otel_ml_collector.store.targets import TAG_TEXT
from otel_ml_collector.store.versions import all_version_numbers, read_version_starts
from otel_ml_collector.times import DAY_NS, MINUTE_NS
from otel_ml_collector.verdicts.sides import make_figure
from otel_ml_collector.windows import Window

# The only slice of a rule that has no grouping.
_NO_SLICE: Final = SliceKey("[]")
# Maximum number of slices with figures of monitoring, because each takes a query: those with the
# most runs.
MOST_MONITORED_SLICES: Final = 20
# Maximum number of slices of a rule: those with the most runs.
MOST_SLICES: Final = 200
_MOST_MEASURED: Final = 500_000
# Session means of shares are rounded to a thousandth, others to three digits. They are rounded in
# the direction that is less likely to fire.
_STEPS: Final = 1_000
_MEAN_DIGITS: Final = 3
# Crashed runs count if they began at most this long before the first window.
_LONGEST_RUN_NS: Final = 30 * DAY_NS
# The last 60 days show how long ground truth usually takes to arrive.
_COURSE_NS: Final = 60 * DAY_NS
# A window waits for ground truth 1.5 times as long as 95 % of it usually takes, at most 90 days,
# and 14 days if that is unknown.
_NEARLY_ALL: Final = 0.95
_PATIENCE: Final = 1.5
_MOST_PATIENCE_NS: Final = 90 * DAY_NS
_UNKNOWN_COURSE_NS: Final = 14 * DAY_NS
# A window is measured this long after its end, because its last runs are still arriving.
_LATE_NS: Final = MINUTE_NS // 2
_MEASURED_TIME: Final = Bounds(start=Sql("{start:Int64}"), end=Sql("{end:Int64}"))
_IN_TIME: Final = _MEASURED_TIME.sql
_PLACES: Final = Sql("""range(
  toUInt32(greatest(intDiv(start_ns - {origin:Int64}, {every:Int64}) + 1, 1)),
  toUInt32(least(intDiv(start_ns - {origin:Int64} + {window:Int64}, {every:Int64}),
    {places:Int64}) + 1))""")
_JSON_NUMBER: Final = Sql("""if(JSONType({raw}) IN ('Int64', 'UInt64', 'Double')
  AND isFinite(JSONExtractFloat({raw})), toNullable(JSONExtractFloat({raw})), NULL)""")
_LAST_POINT: Final = Sql("""if(countIf(mode != 'single') > 0,
  argMaxIf(if(mode = 'clear', nan, value), (time_ns, record_id, position), mode != 'single'),
  argMin(value, (time_ns, record_id, position)))""")
_VERSION_NUMBER: Final = Sql("""transform(
  concat(toString(digest), ':', toString(structure), ':', toString(model)),
  {version_keys:Array(String)}, {version_numbers:Array(String)}, '')""")
_MEASURED: Final = Sql("""
  SELECT place, slices, count() AS runs, countIf(waits) AS waiting, {aggregates}
  FROM ({cells}) GROUP BY place, slices HAVING NOT has(slices, '')
  ORDER BY place, runs DESC, slices LIMIT {slices_at_most} BY place LIMIT {most}""")
_MEANS: Final = Sql("""
  SELECT place, slices, mean, count() AS units FROM (
    SELECT place, slices, {mean} AS mean FROM (
      SELECT place, slices, unit, avg(x_0) AS exact
      FROM ({cells}) WHERE isNotNull(x_0) GROUP BY place, slices, unit))
  GROUP BY place, slices, mean HAVING NOT has(slices, '') ORDER BY place, slices, mean
  LIMIT {most}""")
_NOT_IMPORTED: Final = Sql("AND runs.process != '{imported}'").fill(
    imported=identifier(IMPORTED, [IMPORTED])
)
# The step of the last digit. A millionth of it is the tolerance for floating point errors.
_LAST_DIGIT: Final = Sql("exp10(floor(log10(abs(exact))) - {digits})").fill(digits=_MEAN_DIGITS - 1)
_MILLIONTH: Final = Sql("1e-6")
_UNITS_OF_SLICES: Final = Sql("""
  SELECT slices, column, total, n, count() AS units FROM (
    SELECT slices, unit, column, {sums} FROM (
      SELECT slices, unit, pair.1 AS column, pair.2 AS value
      FROM ({cells}) ARRAY JOIN [{pairs}] AS pair WHERE isNotNull(pair.2))
    GROUP BY slices, unit, column)
  GROUP BY slices, column, total, n HAVING NOT has(slices, '')
  ORDER BY slices, column, total, n LIMIT {most}""")
_TRUTH: Final = Sql("""
  SELECT place, slices, count() AS foretold, countIf({has_truth}) AS here,
    countIf(unlike) AS unlike,
    toFloat64(sum({first})) AS first, toFloat64(sum({second})) AS second,
    avg({now:Int64} - toFloat64(start_ns)) AS age_ns
  FROM ({predictions}) AS foretelling
  INNER JOIN (
    SELECT trace_id AS its_trace, span_id AS its_span, place, slices FROM ({cells})
  ) AS cell
    ON its_trace = foretelling.trace_id AND its_span = foretelling.span_id
  GROUP BY place, slices HAVING NOT has(slices, '') ORDER BY place, slices LIMIT {most}""")


@dataclass(frozen=True, slots=True)
class MeasuredWindows:
    """Evenly spaced time windows of equal length, such as one of 1 h every 15 min.

    Attributes:
        first_ns: End of the first window, in nanoseconds since 1970.
        every_ns: Time from the end of one window to the end of the next, in nanoseconds.
        number: Number of windows.
        window_ns: Length of each window, in nanoseconds.
    """

    first_ns: int
    every_ns: int
    number: int
    window_ns: int

    @classmethod
    def newest(cls, plan: RulePlan, now_ns: int) -> "MeasuredWindows":
        """Return only the newest complete window of a rule."""
        first_ns = (now_ns - _LATE_NS) // plan.every_ns * plan.every_ns
        return cls(first_ns, plan.every_ns, 1, plan.window_ns)

    @property
    def ends_ns(self) -> list[int]:
        """Ends of the windows, in ascending order."""
        return [self.first_ns + place * self.every_ns for place in range(self.number)]

    @property
    def span(self) -> Window:
        """The time that all windows cover."""
        return Window(self.first_ns - self.window_ns, self.ends_ns[-1])

    def before(self, length_ns: int) -> "MeasuredWindows":
        """Return windows that are earlier by a length of time."""
        return replace(self, first_ns=self.first_ns - length_ns)


@dataclass(frozen=True, slots=True)
class Measurement:
    """What to measure: the figures of the runs that match a filter, grouped into slices.

    Attributes:
        where: Filter of the runs; empty for all recorded runs.
        by: Fields and tags by which the runs are grouped into slices.
        figures: The figures, such as ``error_share``, each once.
        sure: The comparison in ``surely(...)``; None if the rule has none. Measuring it needs an
            additional query, which reads the mean of each session.
        now_ns: Current time, in nanoseconds since 1970.
        leaves_out_imports: Whether to ignore imported runs in the windows, so that importing old
            runs never fires an alert. Figures at an earlier time, as ``previous("7d")`` gives them,
            always include imported runs.
        versions: Cache of the runs that the figure `worse` compares, by the name of the model. With
            it, several calls of `measure` read the runs of each version only once.
    """

    project: str
    where: str
    by: tuple[Dimension, ...]
    figures: tuple[Figure, ...]
    sure: SureLimit | None
    now_ns: int
    leaves_out_imports: bool = False
    versions: dict[str, VersionWords] = field(default_factory=dict, compare=False)

    @classmethod
    def of(
        cls, project: str, plan: RulePlan, figures: Sequence[Figure], now_ns: int
    ) -> "Measurement":
        """Return the measurement of figures for the runs of a rule."""
        return cls(project, plan.where, plan.by, (*figures,), plan.condition.sure, now_ns)


# The figures of each slice, by the end of the window.
MeasuredSlices = Mapping[int, Mapping[SliceKey, MeasuredSlice]]


def measure(reader: Reader, asked: Measurement, windows: MeasuredWindows) -> MeasuredSlices:
    """Compute the figures of an alert rule (such as `error_share`) for each time window and slice.

    A slice is the runs with one value of the rule's `by`, such as client = Remax. Slices without
    runs are left out.

    Args:
        reader: Reads the store.
        asked: The figures, and which runs they are computed from.
        windows: The time windows.

    Returns:
        The figures of each slice, by the end of the window in nanoseconds since 1970.

    Raises:
        BadInput: The filter or a figure is invalid.
        Missing: A figure uses ground truth, as ``accuracy("churned")`` does, and the project has no
            prediction target with this name.
        Unavailable: The store does not answer.
    """
    merged: defaultdict[int, dict[SliceKey, MeasuredSlice]] = defaultdict(dict)
    offsets = sorted({0, *(figure.before_ns for figure in asked.figures)})
    for before_ns in offsets:
        figures = tuple(figure for figure in asked.figures if figure.before_ns == before_ns)
        own = replace(
            asked,
            figures=figures,
            sure=asked.sure if not before_ns else None,
            leaves_out_imports=asked.leaves_out_imports and not before_ns,
        )
        for end_ns, slices in _measure(reader, own, windows.before(before_ns)).items():
            of_window = merged[end_ns + before_ns]
            for key, measured in slices.items():
                of_window[key] = _merge(of_window.get(key), measured, is_now=not before_ns)
    return merged


def find_judge_changes(
    reader: Reader, project: str, judges: Collection[str]
) -> dict[str, list[int]]:
    """Find when new versions of judges began, by judge. States of alerts are reset then."""
    starts = read_version_starts(reader, project, "judge", judges)
    return {judge: of_judge[1:] for judge, of_judge in starts.items()}


def _merge(known: MeasuredSlice | None, measured: MeasuredSlice, *, is_now: bool) -> MeasuredSlice:
    """Add the figures of an earlier time to those of a window."""
    if is_now:
        return measured
    known = known or MeasuredSlice(0, is_in=True)
    return replace(
        known,
        numbers={**known.numbers, **measured.numbers},
        counts={**known.counts, **measured.counts},
    )


def _measure(reader: Reader, asked: Measurement, windows: MeasuredWindows) -> MeasuredSlices:
    budgets = [figure for figure in asked.figures if figure.name in OF_BUDGET]
    if budgets:  # such a rule has no other figures
        return _measure_budgets(reader, asked.project, budgets, windows.ends_ns)
    crashes = [figure for figure in asked.figures if figure.name in OF_CRASHES]
    if crashes:  # such a rule has no other figures either
        return _measure_crashes(reader, asked.project, crashes[0], windows)
    return _measure_runs(reader, asked, windows)


def _measure_budgets(
    reader: Reader, project: str, figures: Sequence[Figure], ends_ns: Sequence[int]
) -> MeasuredSlices:
    used = {
        key_of(figure): measure_budget(reader, project, figure.of, ends_ns) for figure in figures
    }
    return {
        end_ns: {_NO_SLICE: MeasuredSlice(0, {key: shares[end_ns] for key, shares in used.items()})}
        for end_ns in ends_ns
    }


def _measure_crashes(
    reader: Reader, project: str, figure: Figure, windows: MeasuredWindows
) -> MeasuredSlices:
    """Count the runs that crashed in each window: their process sent nothing for too long."""
    ends_ns = windows.ends_ns
    began = Window(max(ends_ns[0] - windows.window_ns - _LONGEST_RUN_NS, 0), ends_ns[-1])
    crashed_ns = [
        min(row["heard_ns"] + SILENT_AFTER_NS, ends_ns[-1])
        for row in find_open_runs(reader, project, began, ends_ns[-1])
        if row["outcome"] == "crashed"
    ]
    return {
        end_ns: {
            _NO_SLICE: MeasuredSlice(
                0,
                {
                    key_of(figure): float(
                        sum(end_ns - windows.window_ns < at_ns <= end_ns for at_ns in crashed_ns)
                    )
                },
            )
        }
        for end_ns in ends_ns
    }


def _measure_runs(reader: Reader, asked: Measurement, windows: MeasuredWindows) -> MeasuredSlices:
    plain = [figure for figure in asked.figures if figure.name not in (*OF_TRUTH, *OF_MONITOR)]
    question = _Question.of(reader, asked, windows, plain)
    measured: defaultdict[int, dict[SliceKey, MeasuredSlice]] = defaultdict(dict)
    ends_ns = windows.ends_ns
    for row in question.ask(question.write_measured()):
        key = SliceKey.of(row["slices"])
        measured[ends_ns[row["place"] - 1]][key] = question.read(row)
    if asked.sure is not None:
        limit = _Question.of(reader, asked, windows, [asked.sure.figure])
        means: defaultdict[tuple[int, SliceKey], dict[float, int]] = defaultdict(dict)
        for row in limit.ask(limit.write_means(asked.sure)):
            key = SliceKey.of(row["slices"])
            mean = float(f"{row['mean']:.{_MEAN_DIGITS}g}")
            if asked.sure.is_share:
                mean = min(max(row["mean"], 0.0), 1.0)
            of_window = means[ends_ns[row["place"] - 1], key]
            of_window[mean] = of_window.get(mean, 0) + row["units"]
        for (end_ns, key), of_slice in means.items():
            if key in measured[end_ns]:
                measured[end_ns][key] = replace(measured[end_ns][key], means=of_slice)
    for figure in asked.figures:
        if figure.name in OF_TRUTH:
            _add_truth(question, asked, windows=windows, figure=figure, measured=measured)
        elif read_previous(figure) is not None:
            _add_verdicts(reader, asked, windows.window_ns, figure=figure, measured=measured)
        elif figure.name == "worse":
            _add_versions(reader, asked, ends_ns, figure=figure, measured=measured)
        elif figure.name in OF_MONITOR:
            for end_ns in ends_ns:
                window = Window(end_ns - windows.window_ns, end_ns)
                _add_monitored(reader, asked, window, figure=figure, measured=measured[end_ns])
    return measured


def _add_monitored(
    reader: Reader,
    asked: Measurement,
    window: Window,
    *,
    figure: Figure,
    measured: dict[SliceKey, MeasuredSlice],
) -> None:
    """Add a figure that monitoring computes, for all runs or for the slices with the most runs."""
    for key in _choose_monitored(asked, measured):
        where = narrow_filter(asked.where, key.where(asked.by))
        found = measure_monitored(reader, asked.project, where, figure, window)
        known = measured.get(key, MeasuredSlice(0))
        measured[key] = replace(
            known,
            numbers={**known.numbers, key_of(figure): found.value},
            counts={**known.counts, key_of(figure): max(found.runs, known.runs)},
            texts={**known.texts, key_of(figure): found.text},
        )


def _choose_monitored(
    asked: Measurement, measured: Mapping[SliceKey, MeasuredSlice]
) -> list[SliceKey]:
    """Choose the slices of a window with figures of monitoring: those with the most runs."""
    if asked.leaves_out_imports and not measured:
        return []  # the window has only imported runs, or none
    largest = sorted(measured, key=lambda key: (-measured[key].runs, key.text))
    return largest[:MOST_MONITORED_SLICES] if asked.by else [_NO_SLICE]


def _add_versions(
    reader: Reader,
    asked: Measurement,
    ends_ns: Sequence[int],
    *,
    figure: Figure,
    measured: Mapping[int, dict[SliceKey, MeasuredSlice]],
) -> None:
    """Add for each window whether the newest version of a model is worse than the one before."""
    model = model_of(asked.where) or ""
    words = asked.versions.setdefault(model, VersionWords(reader, asked.project, model))
    windows_of: defaultdict[SliceKey, list[int]] = defaultdict(list)
    for end_ns in ends_ns:
        for key in _choose_monitored(asked, measured[end_ns]):
            windows_of[key].append(end_ns)
    for key, own_ns in windows_of.items():
        where = narrow_filter(asked.where, key.where(asked.by))
        found = measure_version(words, where, figure, own_ns)
        for end_ns in own_ns:
            word = found.get(end_ns)
            known = measured[end_ns].get(key, MeasuredSlice(0))
            # A version is judged by all of its runs, even if one window has few of them.
            most = max(word.runs if word else 0, known.runs)
            measured[end_ns][key] = replace(
                known,
                runs=most,
                numbers={
                    **known.numbers,
                    key_of(figure): float(word.is_worse) if word else math.nan,
                },
                counts={**known.counts, key_of(figure): most},
                texts={**known.texts, key_of(figure): word.sentence if word else ""},
            )


def _add_verdicts(
    reader: Reader,
    asked: Measurement,
    window_ns: int,
    *,
    figure: Figure,
    measured: Mapping[int, dict[SliceKey, MeasuredSlice]],
) -> None:
    """Add to each window 1 if it is certainly worse than the period before it, otherwise 0.

    The value is NaN if that period has too few runs. Scores of other versions of a judge do not
    count.
    """
    length_ns = read_previous(figure) or 0
    changes = find_judge_changes(reader, asked.project, [figure.of]).get(figure.of, [])
    kinds = VERDICT_COLUMNS.get(figure.of) or (
        ("passed", Figure("pass_rate", figure.of, 0)),
        ("scored", Figure("mean_score", figure.of, 0)),
    )
    is_judge = figure.of not in VERDICT_COLUMNS
    lower = find_lower_judges(reader, asked.project, [figure.of]) if is_judge else frozenset()
    for end_ns, of_window in measured.items():
        if not of_window:
            continue
        window = Window(end_ns - window_ns, end_ns)
        last_ns = max((at_ns for at_ns in changes if at_ns < window.start_ns), default=0)
        before = Window(max(window.start_ns - length_ns, last_ns, 0), window.start_ns)
        sides = [
            _read_units(reader, replace(asked, leaves_out_imports=False), before, kinds),
            _read_units(reader, asked, window, kinds),
        ]
        for key, known in of_window.items():
            value, runs = math.nan, 0
            for kind, _ in kinds:
                old, new = (moments_of(side.get((key, kind), [])) for side in sides)
                if old.runs and new.runs:
                    compared = make_figure(figure.of, kind, {("", 0): (old, new)})
                    if kind == "scored" and figure.of in lower:
                        compared = replace(compared, lower_is_better=True)
                    runs = round(new.runs)
                    if old.runs >= LEAST_RUNS:
                        verdicts = judge_release([compared])
                        value = float(any(verdict.word == Word.WORSE for verdict in verdicts))
                    break
            of_window[key] = replace(
                known,
                numbers={**known.numbers, key_of(figure): value},
                counts={**known.counts, key_of(figure): runs},
            )


def _read_units(
    reader: Reader, asked: Measurement, side: Window, kinds: Sequence[tuple[str, Figure]]
) -> Mapping[tuple[SliceKey, str], Sequence[tuple[float, int, int]]]:
    """Read the sessions of a period, by slice and kind.

    Returns:
        Sum and number of the values in a session, and how many sessions are equal.
    """
    length_ns = side.end_ns - side.start_ns
    windows = MeasuredWindows(side.end_ns, length_ns, 1, length_ns)
    question = _Question.of(reader, asked, windows, [figure for _, figure in kinds])
    units: defaultdict[tuple[SliceKey, str], list[tuple[float, int, int]]] = defaultdict(list)
    for row in question.ask(question.write_units()):
        of_slice = SliceKey.of(row["slices"]), kinds[row["column"]][0]
        units[of_slice].append((row["total"] / MILLIONTHS, row["n"], row["units"]))
    return units


@dataclass(frozen=True, slots=True)
class _Column:
    """The SQL of a figure: its value for each run, and its total over a group of runs.

    Attributes:
        value: SQL of a nullable number of a run.
        total: SQL over the column ``x_N`` of a group of runs.
    """

    figure: Figure
    value: Sql
    total: Sql

    def add_up(self, place: int) -> Sql:
        """Write the total of the column with this number over a group of runs."""
        return substitute(self.total, Sql("x_N"), Sql("x_{n}").fill(n=place))


_SUM: Final = read_exact(exact_sum(Sql("x_N")))
_MEAN: Final = _SUM + Sql(" / count(x_N)")
_SHARE: Final = Sql("sum(x_N) / count(x_N)")
# The column of each figure, and how it is summed up.
_COLUMN_OF: Final[Mapping[str, tuple[Sql, Sql]]] = {
    "runs": (Sql("1"), Sql("count()")),
    "error_share": (ERRORS.value, _SHARE),
    "cost": (COUNTED_COST, _SUM),
    "tokens": (COUNTED_TOKENS, Sql("sum(x_N)")),
    **{f"log_{measure.name}": (measure.compared, _MEAN) for measure in AMOUNTS},
}
# Columns that include the runs inside a run.
_USED: Final = {value for item in (TOKENS, COST) for value in (item.value, item.compared)}


# Figures of every run by which a window is compared with the time before.
VERDICT_COLUMNS: Final[Mapping[str, Sequence[tuple[str, Figure]]]] = {
    ERRORS.name: [(ERRORS.name, Figure("error_share", "", 0))],
    **{item.name: [(item.name, Figure(f"log_{item.name}", "", 0))] for item in AMOUNTS},
}


@dataclass(frozen=True, slots=True)
class _Question:
    """A query: which runs, in which slices and windows, with which columns."""

    reader: Reader
    columns: Sequence[_Column]
    condition: Condition
    kinds: RecordKinds
    joins: Sql
    slices: Sql
    waits: Sql
    values: Mapping[str, Any]
    has_inside: bool
    leaves_out_imports: bool = False

    @classmethod
    def of(
        cls, reader: Reader, asked: Measurement, windows: MeasuredWindows, figures: Sequence[Figure]
    ) -> "_Question":
        """Write the query for some figures."""
        kinds = find_record_kinds(reader, asked.project)
        tests = [figure for figure in figures if figure.name == "share"]
        condition, written = compile_tests(
            reader, asked.project, asked.where, [figure.of for figure in tests], kinds
        )
        columns = _Columns(kinds)
        own = dict(zip(map(key_of, tests), written, strict=True))
        made = [
            columns.add(place, item, own.get(key_of(item))) for place, item in enumerate(figures)
        ]
        values = {
            "project": asked.project,
            "start": windows.span.start_ns,
            "end": windows.span.end_ns,
            "origin": windows.first_ns - windows.every_ns,
            "every": windows.every_ns,
            "window": windows.window_ns,
            "places": windows.number,
            **condition.parameters,
            **columns.values,
        }
        slices = []
        for place, dimension in enumerate(asked.by):
            slices.append(_write_slice(dimension, place, kinds))
            if dimension.is_tag:
                values[f"tag_{place}"] = f"{dimension.name}="
        if any(dimension.name == "version" and not dimension.is_tag for dimension in asked.by):
            numbers = all_version_numbers(reader, asked.project, "model")
            values["version_keys"] = [
                f"{digest}:{structure}:{name}" for name, digest, structure in numbers
            ] or [""]
            values["version_numbers"] = [str(number) for number in numbers.values()] or [""]
        joins = [columns.joins]
        has_inside = not _USED.isdisjoint(column.value for column in made)
        if has_inside:
            runs = Sql("{bounds} AND ({condition})").fill(bounds=_IN_TIME, condition=condition.sql)
            joins.append(RunAmounts(kinds.resolved).sum_inside(runs))
        return cls(
            reader=reader,
            columns=made,
            condition=condition,
            kinds=kinds,
            joins=join_sql("", joins),
            slices=Sql("[{slices}]").fill(slices=join_sql(", ", slices))
            if slices
            else Sql("CAST([] AS Array(String))"),
            waits=columns.waits,
            values=values,
            has_inside=has_inside,
            leaves_out_imports=asked.leaves_out_imports,
        )

    @property
    def cells(self) -> Sql:
        """SQL with one row per run and window that contains it, with the columns."""
        xs = [
            Sql(", CAST({value} AS Nullable(Float64)) AS x_{n}").fill(value=column.value, n=place)
            for place, column in enumerate(self.columns)
        ]
        return Sql("""
          {amounts}
          SELECT runs.trace_id AS trace_id, runs.span_id AS span_id, arrayJoin({places}) AS place,
            {slices} AS slices, {waits} AS waits,
            {unit} AS unit {xs}
          FROM {recorded} {joins} WHERE {bounds} AND ({condition}) {imports}""").fill(
            places=_PLACES,
            imports=_NOT_IMPORTED if self.leaves_out_imports else EMPTY,
            slices=self.slices,
            waits=self.waits,
            unit=UNIT,
            amounts=with_amounts(RunAmounts(self.kinds.resolved), inside=self.has_inside),
            xs=join_sql("", xs),
            recorded=RECORDED,
            joins=self.joins,
            bounds=_IN_TIME,
            condition=self.condition.sql,
        )

    def write_measured(self) -> Sql:
        """Write the query for all figures."""
        aggregates = [
            Sql("{total} AS v_{n}, count(x_{n}) AS n_{n}").fill(total=column.add_up(place), n=place)
            for place, column in enumerate(self.columns)
        ]
        return _MEASURED.fill(
            aggregates=join_sql(", ", aggregates) if aggregates else Sql("0 AS none"),
            cells=self.cells,
            slices_at_most=MOST_SLICES,
            most=_MOST_MEASURED,
        )

    def write_means(self, limit: SureLimit) -> Sql:
        """Write the query that counts sessions by their mean of the only figure."""
        rounded = Sql("floor({m})") if limit.is_above else Sql("ceil({m})")
        if limit.is_share:
            mean = rounded.fill(m=Sql("exact * {n}").fill(n=_STEPS)) + Sql(" / {n}").fill(n=_STEPS)
        else:
            sign = Sql("+") if limit.is_above else Sql("-")
            steps = Sql("exact / {step} {sign} {millionth}").fill(
                step=_LAST_DIGIT, sign=sign, millionth=_MILLIONTH
            )
            mean = Sql("if(exact = 0, 0, {rounded} * {step})").fill(
                rounded=rounded.fill(m=steps), step=_LAST_DIGIT
            )
        return _MEANS.fill(mean=mean, cells=self.cells, most=_MOST_MEASURED)

    def write_units(self) -> Sql:
        """Write the query for the values of sessions by slice and figure, equal ones counted."""
        pairs = [Sql("(toUInt8({n}), x_{n})").fill(n=place) for place, _ in enumerate(self.columns)]
        return _UNITS_OF_SLICES.fill(
            sums=UNIT_SUMS,
            pairs=join_sql(", ", pairs),
            cells=self.cells,
            most=_MOST_MEASURED,
        )

    def ask(self, sql: Sql) -> list[Row]:
        """Run the query."""
        return self.reader.rows(sql, self.values)

    def read(self, row: Row) -> MeasuredSlice:
        """Read the figures of a slice in a window."""
        numbers: dict[FigureKey, float] = {}
        counts: dict[FigureKey, int] = {}
        for place, column in enumerate(self.columns):
            key, value = key_of(column.figure), row[f"v_{place}"]
            numbers[key] = math.nan if value is None else float(value)
            if column.figure.name not in {"runs", "cost", "tokens"}:
                counts[key] = row[f"n_{place}"]
        return MeasuredSlice(row["runs"], numbers, counts, is_in=not row["waiting"])


class _Columns:
    """Writes the columns of figures, and the joins that these need.

    Attributes:
        values: The parameters, by name.
    """

    def __init__(self, kinds: RecordKinds) -> None:
        self._kinds = kinds
        self._judges: list[str] = []
        self._paths: list[tuple[Sql, Sql]] = []
        self._payload_columns: set[str] = set()
        self._metrics: list[Sql] = []
        self.values: dict[str, Any] = {}

    def add(self, place: int, figure: Figure, test: Sql | None) -> _Column:
        """Write the column of a figure."""
        if figure.name in OF_JUDGES:
            return self._of_judge(figure)
        if figure.name == "share":
            return _Column(figure, test or Sql("0"), _SHARE)
        if figure.name in _COLUMN_OF:
            return _Column(figure, *_COLUMN_OF[figure.name])
        field = read_field(figure.of)
        if figure.name == "missing":
            return _Column(figure, self._missing(place, field), _SHARE)
        value = self._number(place, field)
        if figure.name in QUANTILES:
            total = Sql("quantileExactOrNull({q} / 1000)(x_N)").fill(
                q=round(1_000 * QUANTILES[figure.name])
            )
            return _Column(figure, value, total)
        totals = {"mean": _MEAN, "min": Sql("minOrNull(x_N)"), "max": Sql("maxOrNull(x_N)")}
        return _Column(figure, value, totals[figure.name])

    def _of_judge(self, figure: Figure) -> _Column:
        if figure.of not in self._judges:
            self.values[f"judge_{len(self._judges)}"] = figure.of
            self._judges.append(figure.of)
        column = {"pass_rate": "passed", "mean_score": "score", "judge_errors": "failed"}
        value = Sql("{column}_{n}").fill(
            column=identifier(column[figure.name], column.values()),
            n=self._judges.index(figure.of),
        )
        return _Column(figure, value, _MEAN if figure.name == "mean_score" else _SHARE)

    def _number(self, place: int, field: Field) -> Sql:
        match field.name:
            case "latency_ms":
                return LATENCY.value
            case "cost":
                return COST.value
            case "tokens_per_second":
                return TOKENS_PER_SECOND
        kind = FIELD_NAMES[field.name].kind
        if kind is Kind.METRIC:
            self.values[f"metric_{place}"] = field.key
            self._metrics.append(
                Sql("""
                  LEFT JOIN (
                    SELECT trace_id AS m_trace_{n}, span_id AS m_span_{n},
                      toNullable({last}) AS metric_{n}
                    FROM ({points}) GROUP BY trace_id, span_id
                  ) AS metric_of_{n}
                    ON m_trace_{n} = runs.trace_id AND m_span_{n} = runs.span_id""").fill(
                    n=place,
                    last=_LAST_POINT,
                    points=points(parameter(f"metric_{place}", "String"), self._kinds),
                )
            )
            return Sql("if(isFinite(metric_{n}), metric_{n}, NULL)").fill(n=place)
        if kind in {Kind.PAYLOAD, Kind.JSON}:
            return self._at(place, field, _JSON_NUMBER)
        return Sql("`{name}`").fill(name=identifier(field.name, FIELD_NAMES))

    def _missing(self, place: int, field: Field) -> Sql:
        raw = Sql("""if({column} = '', NULL,
          toNullable(toFloat64({raw} IN ('', 'null'))))""").fill(
            column=identifier(field.name, FIELD_NAMES), raw=Sql("{raw}")
        )
        return self._at(place, field, raw)

    def _at(self, place: int, field: Field, pattern: Sql) -> Sql:
        """Write the SQL for the value at a path of a payload."""
        column = identifier(field.name, FIELD_NAMES)
        self._payload_columns.add(field.name)
        steps = []
        for depth, step in enumerate(field.path):
            name = f"path_{place}_{depth}"
            if isinstance(step, int):
                self.values[name] = step + (step >= 0)
                steps.append(parameter(name, "Int64"))
            else:
                self.values[name] = step
                steps.append(parameter(name, "String"))
        raw = column
        if steps:
            raw = Sql("JSONExtractRaw({column}, {steps})").fill(
                column=column, steps=join_sql(", ", steps)
            )
        self._paths.append((pattern.fill(raw=raw), Sql("at_{n}").fill(n=place)))
        return Sql("at_{n}").fill(n=place)

    @property
    def waits(self) -> Sql:
        """Whether a run still waits for the score of a judge. Judges do not score failed runs."""
        # A newest score always has `failed`. A score without a pass or a number has arrived too.
        missing = [Sql("isNull(failed_{n})").fill(n=place) for place in range(len(self._judges))]
        if not missing:
            return Sql("0")
        return Sql("NOT {failed} AND ({missing})").fill(
            failed=HAS_FAILED, missing=join_sql(" OR ", missing)
        )

    @property
    def joins(self) -> Sql:
        """The joins that the columns need."""
        return join_sql("", [self._scores, self._payloads, *self._metrics])

    @property
    def _scores(self) -> Sql:
        if not self._judges:
            return EMPTY
        columns = []
        for place in range(len(self._judges)):
            judge = parameter(f"judge_{place}", "String")
            columns.append(
                Sql("""
                  anyIf(toFloat64(passed), judge = {judge} AND NOT failed) AS passed_{n},
                  anyIf(if(isFinite(score), score, NULL), judge = {judge} AND NOT failed)
                    AS score_{n},
                  maxOrNullIf(toFloat64(failed), judge = {judge}) AS failed_{n}""").fill(
                    judge=judge, n=place
                )
            )
        judges = [parameter(f"judge_{place}", "String") for place in range(len(self._judges))]
        every = Sql("{judge} IN ({judges})").fill(
            judge=Sql("{judge}"), judges=join_sql(", ", judges)
        )
        return Sql("""
          LEFT JOIN (
            SELECT trace_id AS scored_trace, span_id AS scored_span, {columns}
            FROM ({newest}) GROUP BY trace_id, span_id
          ) AS evaluation ON scored_trace = runs.trace_id AND scored_span = runs.span_id""").fill(
            columns=join_sql(", ", columns),
            newest=newest_scores(
                all_scores(IN_WINDOW, judges=every, has_keyed=self._kinds.keyed_scores), by=BY_JUDGE
            ),
        )

    @property
    def _payloads(self) -> Sql:
        if not self._paths:
            return EMPTY
        rows = Sql("""
            SELECT * FROM payloads WHERE {bounds}
              AND start_ns IN (SELECT start_ns FROM {deliveries} WHERE {bounds})""").fill(
            bounds=_IN_TIME, deliveries=DELIVERIES
        )
        inherited = {
            name: column
            for name, column in INHERITED_PAYLOAD.items()
            if name in self._payload_columns
        }
        if self._kinds.same_calls and inherited:
            rows = fill_payloads(rows, inherited, _IN_TIME)
        columns = [Sql("{v} AS {n}").fill(v=value, n=name) for value, name in self._paths]
        return Sql("""
          LEFT JOIN (
            SELECT start_ns AS p_start, trace_id AS p_trace, span_id AS p_span, rank AS p_copy,
              {columns}
            FROM ({rows})
          ) AS payload ON p_start = runs.start_ns AND p_trace = runs.trace_id
            AND p_span = runs.span_id AND p_copy = {copy}""").fill(
            columns=join_sql(", ", columns),
            rows=rows,
            copy=substitute(COPY, Sql("rank"), Sql("runs.rank")),
        )


def _write_slice(dimension: Dimension, place: int, kinds: RecordKinds) -> Sql:
    """Write the value of a run that determines its slice; empty if it has none."""
    if not dimension.is_tag:
        if dimension.name == "version":
            return _VERSION_NUMBER
        return Sql("toString({n})").fill(n=identifier(dimension.name, FIELD_NAMES))
    mark = parameter(f"tag_{place}", "String")
    own = Sql("""substring(arrayFirst(kv -> startsWith(kv, {mark}), tag_kv),
      length({mark}) + 1)""").fill(mark=mark)
    if not kinds.tags:
        return own
    # The newest value counts, even if it arrived late.
    label = Sql("substring({mark}, 1, length({mark}) - 1)").fill(mark=mark)
    newest = TAG_TEXT.fill(value=Sql("late_tags[{label}]").fill(label=label))
    return Sql("if(mapContains(late_tags, {label}), {newest}, {own})").fill(
        label=label, newest=newest, own=own
    )


def _add_truth(
    question: _Question,
    asked: Measurement,
    *,
    windows: MeasuredWindows,
    figure: Figure,
    measured: Mapping[int, dict[SliceKey, MeasuredSlice]],
) -> None:
    """Add a figure about predictions; NaN for a window whose ground truth has not arrived.

    Raises:
        BadInput: The prediction target has no such figure.
        Missing: There is no such prediction target.
    """
    reader = question.reader
    target = find_target(reader, asked.project, figure.of)
    ratio = target.figures.get(figure.name)
    if ratio is None:
        raise BadInput(
            f"Invalid figure {figure.name} of {figure.of[:80]!r}: this prediction target has only "
            f"{', '.join(target.figures)}",
            "when",
        )
    course, ages = _read_course(reader, asked, target)
    at_last = max((share for share in course if share is not None), default=None)
    # Windows wait 1.5 times as long as 95 % of the ground truth usually takes to arrive.
    settled_ns = next(
        (
            min(_PATIENCE * age_ns, _MOST_PATIENCE_NS)
            for age_ns, share in zip(ages, course, strict=True)
            if at_last and share is not None and share >= _NEARLY_ALL * at_last
        ),
        _UNKNOWN_COURSE_NS,
    )
    quality = QualityQuestion(asked.project, target, windows.span, "", DAY_NS, asked.now_ns)
    predictions = write_predictions(reader, quality)
    sql = _TRUTH.fill(
        has_truth=HAS_TRUTH,
        first=ratio.first,
        second=ratio.second,
        predictions=predictions.sql,
        cells=question.cells,
        most=_MOST_MEASURED,
    )
    values = {**predictions.values, **question.values}
    key = key_of(figure)
    for row in reader.rows(sql, values):
        of_window = measured[windows.ends_ns[row["place"] - 1]]
        slice_key = SliceKey.of(row["slices"])
        known = of_window.get(slice_key, MeasuredSlice(row["foretold"]))
        usual = usual_at(course, ages, row["age_ns"])
        arrived = row["here"] + row["unlike"]
        is_late = bool(is_early(arrived, row["foretold"], usual, at_last)) or not arrived
        truth = known.truth
        if is_late and truth != "due":
            truth = "due" if row["age_ns"] < settled_ns else "overdue"
        of_window[slice_key] = replace(
            known,
            numbers={
                **known.numbers,
                key: math.nan if is_late or not row["second"] else row["first"] / row["second"],
            },
            counts={**known.counts, key: row["here"]},
            truth=truth,
        )


def _read_course(
    reader: Reader, asked: Measurement, target: SavedTarget
) -> tuple[list[float | None], list[float]]:
    """Read how soon the ground truth of a prediction target usually arrives. Kept for an hour."""
    hour = asked.now_ns // (60 * MINUTE_NS)

    def ask() -> tuple[list[float | None], list[float]]:
        window = Window(max(asked.now_ns - _COURSE_NS, 0), asked.now_ns + 1)
        quality = find_quality(
            reader, QualityQuestion(asked.project, target, window, "", DAY_NS, asked.now_ns)
        )
        return (
            [point.share for point in quality.course],
            [point.age_s * 1e9 for point in quality.course],
        )

    return reader.memory.work_out(
        ("truth course", asked.project, target.name, target.version, hour),
        ask,
        lambda course: len(course[0]),
    )

"""Sums of measures by unit, for statistics, and other queries about runs that are compared.

A unit is a session, or a trace without one. Its runs are not independent of each other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from otel_ml_collector.measures.measures import (
    AMOUNTS,
    ERRORS,
    MILLIONTHS,
    MISSING_OUTPUTS,
    whole,
    with_amounts,
)
from otel_ml_collector.store.amounts import RunAmounts
from otel_ml_collector.store.counted import UNIT, Bounds, recorded_runs
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.record_kinds import find_record_kinds
from otel_ml_collector.store.runs import IS_TOP
from otel_ml_collector.store.scores import IN_WINDOW, NEAR_REQUESTS, all_scores, version_scores
from otel_ml_collector.store.sql import Condition, Sql, join_sql, substitute
from otel_ml_collector.times import HOUR_NS
from otel_ml_collector.windows import Window

_MOST_TOKENS: Final = 1_000
_MOST_UNITS: Final = 500_000
# The model version of a run, as text.
VERSION_LABEL: Final = Sql("concat(toString(digest), ':', toString(structure))")
BOUNDS: Final = Bounds(start=Sql("{start:Int64}"), end=Sql("{end:Int64}"))

# All runs are compared with each other, whenever they began.
_AT_ONCE: Final = Sql("0")
# The hour in which a run began, counted from 1970.
HOUR: Final = Sql("intDiv(start_ns, {hour})").fill(hour=HOUR_NS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """The two sets of recorded runs that a comparison is about: a baseline and a candidate.

    Attributes:
        runs: SQL condition that is true for the runs of both sets.
        is_before: SQL condition that is true for the runs of the baseline only.
        values: Parameters of both conditions, with `project`, `start` and `end`.
        counts: Approximate number of runs of the baseline and of the candidate.
        names: Names of the baseline and the candidate in sentences, such as `v1` and `v2`. If they
            are empty, sentences use "before" and "now".
        hour: SQL expression for the hour in which a run began, counted from 1970.
        is_hourly: Whether runs are only compared with runs of the same hour.
        growing: Which side still collects runs: 0 for the baseline, 1 for the candidate. None if
            both do.
        is_reversed: Whether the baseline is the newer side. A change for the worse of the newer
            side always decides, whichever is the baseline.
        outcomes: Results of predictions that are compared, too, such as right or wrong.
    """

    runs: Sql
    is_before: Sql
    values: Mapping[str, Any]
    counts: tuple[int, int]
    names: tuple[str, str] = ("", "")
    hour: Sql = _AT_ONCE
    is_hourly: bool = False
    growing: int | None = None
    is_reversed: bool = False
    outcomes: Sequence["Outcome"] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How good each prediction was, such as right or wrong, for a comparison of two sets of runs.

    Attributes:
        figure: Name of this figure in the comparison, such as `truth churn`.
        target: Name of the prediction target: what is predicted, such as `churn`.
        kind: `rate` if each prediction is right or wrong. `score` if a number shows how good it is,
            such as its error.
        lower_is_better: Whether a lower value is better, as for an error.
        rows: SELECT statement with a row per prediction: `trace_id`, `span_id` and `value`, the
            number that shows how good the prediction is. `value` is NULL if there is no ground
            truth. The statement may use the parameters in `Sides.values`.
        values: Other parameters of the statement.
    """

    figure: str
    target: str
    kind: Literal["rate", "score"]
    lower_is_better: bool
    rows: Sql
    values: Mapping[str, Any]


_UNIT_COLUMNS: Final = Sql("""{is_before} AS is_before, {hour} AS hour,
    arrayFirst(token -> has({strata:Array(String)}, token), tag_kv) AS stratum,
    {unit} AS unit, (start_ns, stratum, hour) AS began""")
_PART_OF_UNIT: Final = Sql("concat({unit}, '/', stratum)")
# A tag may change within a session. The first run of a session decides for which tag value and hour
# the session counts, in the baseline and in the candidate.
_STRATUM_OF_UNIT: Final = Sql("min(began).2 AS stratum, min(began).3 AS hour")
_SAMPLED: Final = Sql(
    "{sides} AND cityHash64(unit) % if(is_before, {every_before:UInt32}, {every:UInt32}) = 0"
)
# Sums of a measure over the runs of a unit: the total, in millionths, and the number of runs.
UNIT_SUMS: Final = Sql("sum(toInt64({value})) AS total, count() AS n").fill(
    value=whole(Sql("value"))
)
# Sums over units, see `Moments`. They are exact, so the order of the runs never matters.
_MOMENTS: Final = Sql("""count() AS units, sum(n) AS runs, sum(total) / {m} AS total,
  sum(n * n) AS runs_squared, toFloat64(sum(toInt128(total) * n)) / {m} AS product,
  toFloat64(sum(toInt128(total) * total)) / {m} / {m} AS total_squared,
  countIf(total > 0) AS passing, countIf(total < n * {m}) AS failing""").fill(m=MILLIONTHS)
_PAIRS: Final = join_sql(
    ", ",
    [
        Sql("('{name}', {value})").fill(name=item.name, value=item.compared)
        for item in (ERRORS, MISSING_OUTPUTS, *AMOUNTS)
    ],
)
_AMOUNT_ROWS: Final = Sql("""
    SELECT is_before, unit, began, pair.1 AS figure, pair.2 AS value, false AS of_request
    FROM (
      {amounts} SELECT {columns}, [{pairs}] AS figures
      FROM {recorded} {inside} WHERE {sampled}
    )
    ARRAY JOIN figures AS pair
    UNION ALL""")
_UNITS: Final = Sql("""
SELECT is_before, figure, hour, stratum, {moments}, max(has_request) AS is_of_request
FROM (
  SELECT is_before, unit, figure, {first}, {sums}, max(of_request) AS has_request
  FROM (
    {amount_rows}
    SELECT is_before, unit, began,
      concat(if(isNull(passed), 'scored ', 'passed '), judge_version, ' ', judge) AS figure,
      if(isNull(passed), score, toFloat64(passed)) AS value, is_of_request AS of_request
    FROM (SELECT trace_id, span_id, {columns} FROM {recorded} WHERE {sampled}) AS sides
    INNER JOIN ({newest}) AS evaluation
      ON evaluation.trace_id = sides.trace_id AND evaluation.span_id = sides.span_id
    WHERE NOT evaluation.failed
  )
  WHERE isFinite(value) GROUP BY is_before, unit, figure
)
GROUP BY is_before, figure, hour, stratum ORDER BY is_before, figure, hour, stratum LIMIT {most}""")


def read_units(
    reader: Reader,
    project: str,
    sides: Sides,
    strata: Sequence[str],
    every: tuple[int, int],
    *,
    is_split: bool = False,
    has_amounts: bool = True,
) -> list[Row]:
    """Read the sums of each figure for each unit: a session, or a trace without a session.

    Runs of one unit are not independent, so intervals are computed from units, not from runs.

    Args:
        reader: The store.
        project: The project.
        sides: The two sets of runs to compare.
        strata: Tag values to split the units by, as text such as `client=Kessler`.
        every: Sampling intervals for the baseline and the candidate: 10 reads every tenth unit.
        is_split: Whether each run counts for its own value of the tag. Otherwise, the first run
            of a unit decides for all of its runs.
        has_amounts: Whether errors, missing outputs, latency, tokens and cost are read, too. Scores
            of judges always are.

    Returns:
        One row for all units of a side, hour and tag value. `is_before` is true for the baseline,
        `hour` is the hour in which the units began, `stratum` the tag value. `figure` names what is
        compared, such as `latency`. `is_of_request` is true if scores of requests are among those
        of a judge. The other columns are those of `Moments`.
    """
    kinds = find_record_kinds(reader, project)
    amounts = RunAmounts(kinds.resolved)
    columns = _write_columns(sides, is_split)
    sampled = _SAMPLED.fill(sides=sides.runs)
    amount_rows = _AMOUNT_ROWS.fill(
        columns=columns,
        sampled=sampled,
        amounts=with_amounts(amounts),
        pairs=_PAIRS,
        recorded=recorded_runs(),
        inside=amounts.sum_inside(sides.runs),
    )
    sql = _UNITS.fill(
        columns=columns,
        sampled=sampled,
        recorded=recorded_runs(),
        amount_rows=amount_rows if has_amounts else Sql(""),
        sums=UNIT_SUMS,
        first=_STRATUM_OF_UNIT,
        moments=_MOMENTS,
        newest=version_scores(
            reader,
            all_scores(IN_WINDOW, has_keyed=kinds.keyed_scores),
            NEAR_REQUESTS,
            sides.values,
        ),
        most=_MOST_UNITS,
    )
    return reader.rows(sql, {**sides.values, **_sample(strata, every)})


def _write_columns(sides: Sides, is_split: bool) -> Sql:
    return _UNIT_COLUMNS.fill(
        is_before=sides.is_before,
        hour=sides.hour,
        unit=_PART_OF_UNIT.fill(unit=UNIT) if is_split else UNIT,
    )


def _sample(strata: Sequence[str], every: tuple[int, int]) -> dict[str, Any]:
    return {"strata": [*strata], "every_before": every[0], "every": every[1]}


_OUTCOMES: Final = Sql("""
SELECT is_before, hour, stratum, {known}, sum(missing) AS missing
FROM (
  SELECT is_before, unit, {first}, sum(toInt64({value})) AS total, countIf(isNotNull(value)) AS n,
    countIf(isNull(value)) AS missing
  FROM (
    SELECT is_before, unit, began, value
    FROM (SELECT trace_id, span_id, {columns} FROM {recorded} WHERE {sampled}) AS sides
    INNER JOIN ({rows}) AS outcome
      ON outcome.trace_id = sides.trace_id AND outcome.span_id = sides.span_id
  )
  GROUP BY is_before, unit
)
GROUP BY is_before, hour, stratum ORDER BY is_before, hour, stratum LIMIT {most}""")
# Sessions without ground truth add nothing to any sum but their own number.
_KNOWN_MOMENTS: Final = substitute(_MOMENTS, Sql("count()"), Sql("countIf(n > 0)"))


def read_outcomes(
    reader: Reader,
    sides: Sides,
    outcome: Outcome,
    *,
    strata: Sequence[str],
    every: tuple[int, int],
    is_split: bool = False,
) -> list[Row]:
    """Sum up how good the predictions of each session were, for the baseline and the candidate.

    A trace without a session counts as a session.

    Args:
        reader: The store.
        sides: The baseline and the candidate.
        outcome: The predictions, each with a value such as 1 for right and 0 for wrong.
        strata: Tag values to split the sessions by, as text such as `client=Kessler`.
        every: Sampling intervals for the baseline and the candidate: 10 reads every tenth session.
        is_split: Whether each run counts for its own value of the tag. Otherwise, the first run
            of a session decides for all of its runs.

    Returns:
        One row for all sessions of a side, hour and tag value. `is_before` is true for the
            baseline, `hour` is the hour in which the sessions began, and `stratum` the tag value.
            `missing` is the number of predictions without ground truth. The other columns are those
            of `Moments`, over the predictions with ground truth.
    """
    sql = _OUTCOMES.fill(
        columns=_write_columns(sides, is_split),
        sampled=_SAMPLED.fill(sides=sides.runs),
        recorded=recorded_runs(),
        rows=outcome.rows,
        value=whole(Sql("ifNull(value, 0)")),
        first=_STRATUM_OF_UNIT,
        known=_KNOWN_MOMENTS,
        most=_MOST_UNITS,
    )
    return reader.rows(sql, {**sides.values, **outcome.values, **_sample(strata, every)})


_REQUESTS: Final = Sql("""
    SELECT part, quantileDD(0.01, 0.5)(request_ms) AS request_ms FROM (
      SELECT DISTINCT trace_id, {by} AS part FROM {recorded} WHERE {runs} AND {sampled}) AS run
    INNER JOIN (
      SELECT trace_id, max(latency_ns) / 1e6 AS request_ms FROM {recorded}
      WHERE {bounds} AND {top} AND {sampled} GROUP BY trace_id
    ) AS request ON run.trace_id = request.trace_id
    GROUP BY part""")
_SAMPLED_REQUESTS: Final = Sql("cityHash64(trace_id) % {every_request:UInt32} = 0")
_NO_PARTS: Final = Sql("''")


def find_request_ms(
    reader: Reader, runs: Sql, values: Mapping[str, Any], every: int, by: Sql = _NO_PARTS
) -> dict[str, float]:
    """Return the median duration, in ms, of the requests that contain certain runs.

    A request is a whole trace. Its duration is the latency of its top span.

    Args:
        reader: The store.
        runs: SQL condition that selects the runs.
        values: Parameters of the query, with `project`, `start` and `end`.
        every: Sampling interval: 10 reads every tenth trace.
        by: SQL expression for the group of a run, such as its model. By default, all runs are in
            one group with an empty name.

    Returns:
        The median duration of each group, by the name of the group.
    """
    sql = _REQUESTS.fill(
        by=by,
        recorded=recorded_runs(),
        runs=runs,
        sampled=_SAMPLED_REQUESTS,
        bounds=BOUNDS.sql,
        top=IS_TOP,
    )
    rows = reader.rows(sql, {**values, "every_request": every})
    return {row["part"]: row["request_ms"] for row in rows}


# Number of hashed trace IDs. Enough to estimate how many traces two filters have in common.
SAMPLED_TRACES: Final = 1_000
_SMALLEST: Final = Sql(
    "arraySlice(arraySort(groupUniqArrayIf(cityHash64(trace_id), {part})), 1, {most})"
)
_TRACES_OF: Final = Sql("""
    SELECT count() AS runs, countIf({top}) AS tops, {all_traces} AS traces,
      {recent_traces} AS recent
    FROM {recorded} WHERE {bounds} AND ({condition})""")
_IS_RECENT: Final = Sql("start_ns >= {recent_start:Int64} AND start_ns < {recent_end:Int64}")


def sample_traces(
    reader: Reader, project: str, condition: Condition, window: Window, recent: Window
) -> Row:
    """Count the matching runs, and return a sample of the traces that contain them.

    Compare the samples of two conditions to estimate how many traces match both. This works because
    the sample is not random: it has the 1,000 traces whose IDs have the smallest hashes. So if two
    conditions match mostly the same traces, their samples are mostly the same, too.

    Args:
        reader: The store.
        project: The project.
        condition: SQL condition that selects the runs.
        window: Only runs that began in this time range are read.
        recent: A second time range. A second sample has only traces of runs that began in both
            time ranges.

    Returns:
        A row with these columns:

        * `runs`: Number of matching runs.
        * `tops`: How many of these runs are the top span of their trace.
        * `traces`: Hashes of the trace IDs in the sample, in ascending order.
        * `recent`: The same for the second sample.
    """
    all_traces, recent_traces = (
        _SMALLEST.fill(part=part, most=SAMPLED_TRACES) for part in (Sql("1"), _IS_RECENT)
    )
    sql = _TRACES_OF.fill(
        top=IS_TOP,
        all_traces=all_traces,
        recent_traces=recent_traces,
        recorded=recorded_runs(),
        bounds=BOUNDS.sql,
        condition=condition.sql,
    )
    values = {
        "project": project,
        "start": window.start_ns,
        "end": window.end_ns,
        "recent_start": recent.start_ns,
        "recent_end": recent.end_ns,
    }
    [row] = reader.rows(sql, {**condition.parameters, **values})
    return row


def count_tag_values(reader: Reader, sides: Sides) -> list[Row]:
    """Count the runs of the baseline (`before`) and of the candidate (`after`) by tag value.

    Only tag values that occur in both are returned. The column `token` has the tag and its value.
    """
    sql = Sql("""
        SELECT arrayJoin(arrayDistinct(tag_kv)) AS token,
          countIf({is_before}) AS before, count() - before AS after
        FROM {recorded} WHERE {sides} GROUP BY token HAVING before > 0 AND after > 0
        ORDER BY before DESC, token LIMIT {most}
        """).fill(
        is_before=sides.is_before, recorded=recorded_runs(), sides=sides.runs, most=_MOST_TOKENS
    )
    return reader.rows(sql, dict(sides.values))


def count_both(reader: Reader, runs: Sql, sides: tuple[Sql, Sql], values: Mapping[str, Any]) -> Row:
    """Count the runs of two sets, as `before` and `after`, and the runs in both, as `shared`."""
    before, after = sides
    sql = Sql("""
        SELECT countIf({before}) AS before, countIf({after}) AS after,
          countIf(({before}) AND ({after})) AS shared
        FROM {recorded} WHERE {runs}""").fill(
        before=before, after=after, recorded=recorded_runs(), runs=runs
    )
    [row] = reader.rows(sql, dict(values))
    return row

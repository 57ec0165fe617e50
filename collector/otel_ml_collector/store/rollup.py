"""Daily and hourly totals. Changed days are marked, and recomputed from the runs that count.

A day's totals are used only if they were computed after its last mark. Otherwise statistics read
the runs. So repeated or reordered deliveries and interrupted computations are harmless. Design
record with measurements: docs/design/017-queries.md.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any, Final

from otel_ml.records import TOKENS
from otel_ml_collector.records import Records
from otel_ml_collector.store.amounts import Amounts
from otel_ml_collector.store.connection import Memory
from otel_ml_collector.store.counted import RECORDED, Bounds, CountedRuns, shares
from otel_ml_collector.store.scores import all_scores, newest_scores
from otel_ml_collector.store.sql import (
    EMPTY,
    Sql,
    StoreClient,
    identifier,
    join_sql,
    split_long_values,
)
from otel_ml_collector.store.tables import (
    OF_TOKENS,
    is_score,
)
from otel_ml_collector.times import DAY_NS, HOUR_NS, MINUTE_NS

# A group that was marked is stored by then: no commit takes as long.
_QUIET_NS: Final = MINUTE_NS
# A day is marked again by then at the latest, well before it counts as settled.
_AGAIN_S: Final = 10.0
_KNOWN_DAYS: Final = 10_000
_DAYS_AT_ONCE: Final = 31
# Rows of a recomputation are kept so long after a newer one, for questions under way.
_KEPT_NS: Final = 10 * MINUTE_NS

_NOW: Final = Sql("toUnixTimestamp64Nano(now64(9))")
_DAY_OF: Final = Sql("intDiv(start_ns, {day_ns}) * {day_ns}").fill(day_ns=DAY_NS)
# A sum of these is the same in any order. Beyond 1e50 a number counts as that.
EXACT: Final = Sql("toInt256(least(greatest({number}, -1e50), 1e50) * 1e15)")
_CELL: Final = Sql("kind, model, digest, structure, outcome")
# The runs of some days that count, of all kinds: none over items of data sets is in the rollup.
_COUNTED: Final = CountedRuns(
    Bounds(start=Sql("{first:Int64}"), end=Sql("{until:Int64}")), kinds=True
)
_COUNTED_IN_DAYS: Final = Sql("""
  FROM {recorded} WHERE {counted} AND {day_of} IN {days:Array(Int64)}""").fill(
    recorded=RECORDED, counted=_COUNTED.sql, day_of=_DAY_OF
)
# The same, beside what counts of them.
_COUNTED_RUNS: Final = Sql("""
  FROM {recorded} {shares}
  WHERE {counted} AND {day_of} IN {days:Array(Int64)}""").fill(
    recorded=RECORDED,
    shares=shares(_COUNTED.bounds.sql),
    counted=replace(_COUNTED, is_joined=True).sql,
    day_of=_DAY_OF,
)


def sums(amounts: Amounts) -> Sql:
    """Write what a run adds to a cell, under the column names of `daily_runs`."""
    added = [
        Sql("sum(ifNull({number}, 0)) AS {n}").fill(
            number=amounts.read(name), n=identifier(name, TOKENS)
        )
        for name in TOKENS
    ]
    return Sql("""count() AS runs, max(start_ns) AS last_ns,
      quantilesDDStateIf(0.01, 0.5, 0.9, 0.99)(latency_ns, latency_ns > 0) AS latency,
      {tokens},
      sum({exact}) AS cost, count({cost}) AS priced""").fill(
        tokens=join_sql(", ", added),
        exact=EXACT.fill(number=Sql("ifNull({cost}, 0)").fill(cost=amounts.cost)),
        cost=amounts.cost,
    )


SUMS: Final = sums(Amounts(is_resolved=False))
# The same of runs beside what counts of them: the join of `shares`.
COUNTED_SUMS: Final = sums(Amounts(is_resolved=True))
# What a score, which `said` has, adds under the names of the columns of `daily_scores`.
SCORE_SUMS: Final = Sql("""count() AS evaluations, countIf(said.failed) AS failed,
  sum({score}) AS score, count(said.score) AS scored,
  countIf(said.passed = true) AS passed, count(said.passed) AS judged""").fill(
    score=EXACT.fill(number=Sql("ifNull(said.score, 0)"))
)
# What each version of a judge said of each run that began in a window, or nobody knows when.
_BEGAN: Final = Sql("(start_ns = 0 OR (start_ns >= {first:Int64} AND start_ns < {until:Int64}))")
NEWEST_SCORES: Final = newest_scores(all_scores(_BEGAN))
# The same with what is told of keys and tags.
NEWEST_WITH_KEYED: Final = newest_scores(all_scores(_BEGAN, has_keyed=True))


@dataclass(frozen=True, slots=True)
class Rollup:
    """A table of sums by day or hour. They are computed again if their day was marked.

    Attributes:
        table: Name of the table. Its rows have `project`, `day_ns`, `computed_ns` and the columns.
        columns: The other columns of a row.
        rows: The SELECT of `day_ns` and the columns for given days of a project.
    """

    table: Sql
    columns: Sql
    rows: Sql

    @property
    def compute(self) -> Sql:
        """The statement that computes days of a project."""
        return Sql("""
INSERT INTO {table} (project, day_ns, computed_ns, {columns})
SELECT {project:String}, day_ns, {computed:Int64}, {columns} FROM ({rows})""").fill(
            table=self.table, columns=self.columns, rows=self.rows
        )


def _roll_runs(table: Sql, cell: Sql, hour: Sql = EMPTY) -> Rollup:
    return Rollup(
        table,
        Sql("{cell}, runs, last_ns, latency, {tokens}, cost, priced").fill(
            cell=cell, tokens=OF_TOKENS
        ),
        Sql("SELECT {day_of} AS day_ns, {hour}{cell}, {sums} {runs} GROUP BY day_ns, {by}").fill(
            cell=_CELL, day_of=_DAY_OF, hour=hour, sums=COUNTED_SUMS, runs=_COUNTED_RUNS, by=cell
        ),
    )


def _roll_scores(table: Sql, cell: Sql, hour: Sql = EMPTY) -> Rollup:
    return Rollup(
        table,
        Sql("""{cell}, judge, judge_version, evaluations, failed, score, scored, passed,
          judged""").fill(cell=cell),
        Sql("""
SELECT day_ns, {by}, judge, judge_version, {score_sums}
FROM (SELECT trace_id, span_id, {day_of} AS day_ns, {hour}{cell} {runs}) AS run
INNER JOIN ({newest_scores}) AS said
  ON said.trace_id = run.trace_id AND said.span_id = run.span_id
GROUP BY day_ns, {by}, judge, judge_version""").fill(
            cell=_CELL,
            by=cell,
            score_sums=SCORE_SUMS,
            day_of=_DAY_OF,
            hour=hour,
            runs=_COUNTED_IN_DAYS,
            newest_scores=NEWEST_SCORES,
        ),
    )


_HOUR_OF: Final = Sql("intDiv(start_ns, {hour_ns}) * {hour_ns} AS hour_ns, ").fill(hour_ns=HOUR_NS)
_HOUR_CELL: Final = Sql("hour_ns, ") + _CELL
# All that is computed of a day; one more is one more row here, its table, and who reads it.
ROLLUPS: Final = (
    _roll_runs(Sql("daily_runs"), _CELL),
    _roll_scores(Sql("daily_scores"), _CELL),
    _roll_runs(Sql("hourly_runs"), _HOUR_CELL, _HOUR_OF),
    _roll_scores(Sql("hourly_scores"), _HOUR_CELL, _HOUR_OF),
)
_NOTE: Final = Sql("""
INSERT INTO daily (project, day_ns, computed_ns)
SELECT {project:String}, arrayJoin({days:Array(Int64)}), {computed:Int64}""")
_BEFORE: Final = Sql("""FROM {table} WHERE project = {project:String}
  AND day_ns IN {days:Array(Int64)} AND computed_ns < {before:Int64}""")
# Nobody waits for it.
_LATER: Final = {"lightweight_deletes_sync": 0}

_SPANNED: Final = Sql("""
SELECT project, min(start_ns), max(end_ns) FROM trace_index
WHERE project IN {projects:Array(String)} AND key IN {traces:Array(String)}
GROUP BY project, trace_id""")

# Of each day when it was marked, computed and sketched last. Older programs marked all days of a
# project at once, as day -1: that is a mark on each.
STATES: Final = Sql("""
SELECT own.project AS project, own.day_ns AS day_ns, own.computed_ns AS computed_ns,
  own.sketched_ns AS sketched_ns, greatest(own.marked_ns, whole.marked_ns) AS marked_ns
FROM (
  SELECT project, day_ns, max(marked_ns) AS marked_ns, max(computed_ns) AS computed_ns,
    max(sketched_ns) AS sketched_ns
  FROM daily WHERE day_ns >= 0 AND {ours} GROUP BY project, day_ns
) AS own
LEFT JOIN (
  SELECT project, max(marked_ns) AS marked_ns FROM daily WHERE day_ns = -1 AND {ours}
  GROUP BY project
) AS whole ON whole.project = own.project""")
_DUE: Final = Sql("""
SELECT project, day_ns, now_ns
FROM (SELECT *, {now} AS now_ns FROM ({states}))
WHERE marked_ns >= computed_ns AND marked_ns < now_ns - {settled_ns}
  AND day_ns + {over_ns} < now_ns
ORDER BY project, day_ns LIMIT 1000""").fill(
    now=_NOW,
    states=STATES.fill(ours=Sql("1")),
    settled_ns=_QUIET_NS,
    over_ns=DAY_NS + _QUIET_NS,
)


def computed(sql: Sql) -> Sql:
    """Write the condition on `daily_runs` for days whose totals are up to date."""
    return Sql("""(project, day_ns, computed_ns) IN (
      SELECT project, day_ns, computed_ns FROM ({states})
      WHERE computed_ns > marked_ns)""").fill(states=STATES.fill(ours=sql))


def uncomputed(sql: Sql) -> Sql:
    """Write the condition on `runs` for the days without up-to-date totals."""
    return Sql("""(project, intDiv(start_ns, {day_ns})) IN (
      SELECT project, intDiv(day_ns, {day_ns}) FROM ({states})
      WHERE computed_ns <= marked_ns)""").fill(day_ns=DAY_NS, states=STATES.fill(ours=sql))


def mark_days(client: StoreClient, memory: Memory, days: Iterable[tuple[str, int]]) -> None:
    """Mark days as changed, so that statistics read their runs instead of the totals.

    Call it before the rows change. The days are computed again a minute later.

    Args:
        client: Client of this thread.
        memory: What is known about projects. It forgets these days.
        days: Projects, each with the start of a day (UTC, nanoseconds since 1970).
    """
    marked = sorted(set(days))
    if not marked:
        return
    sql = Sql("""
        INSERT INTO daily (project, day_ns, marked_ns)
        SELECT day.1, day.2, {now} FROM (
          SELECT arrayJoin(arrayZip({projects:Array(String)}, {days:Array(Int64)})) AS day)
        """).fill(now=_NOW)
    projects, days_ns = [project for project, _ in marked], [day for _, day in marked]
    try:
        client.command(sql, parameters={"projects": projects, "days": days_ns})
    finally:
        memory.forget_days(projects)


def recompute(
    client: StoreClient, memory: Memory, project: str, days_ns: Sequence[int], now_ns: int
) -> None:
    """Compute the current totals of some days of a project.

    The runs of these days must not be changing. You can call it again, and another collector may
    call it at the same time.

    Args:
        client: Client of this thread.
        memory: What is known about projects. It forgets these days.
        project: The project.
        days_ns: Start of each day.
        now_ns: Time of the store's clock before anything is read.
    """
    for first in range(0, len(days_ns), _DAYS_AT_ONCE):
        days = sorted(days_ns)[first : first + _DAYS_AT_ONCE]
        parameters: dict[str, Any] = {
            "project": project,
            "days": days,
            "first": days[0],
            "until": days[-1] + DAY_NS,
            "computed": now_ns,
            "before": now_ns - _KEPT_NS,
        }
        for sql in (*(rollup.compute for rollup in ROLLUPS), _NOTE):
            client.command(sql, parameters=parameters)
        memory.forget_days([project])
        for rollup in ROLLUPS:
            stale = _BEFORE.fill(table=rollup.table)
            if client.query(Sql("SELECT 1 ") + stale + Sql(" LIMIT 1"), parameters).result_rows:
                sweep = Sql("DELETE ") + stale
                client.command(sweep, parameters=parameters, settings=dict(_LATER))


def recompute_due(client: StoreClient, memory: Memory) -> int:
    """Compute complete days that have changed, but not in the last minute.

    Returns:
        Number of computed days, at most 1,000.
    """
    due: dict[str, list[int]] = {}
    rows = client.query(_DUE).result_rows
    for project, day_ns, _ in rows:
        due.setdefault(project, []).append(day_ns)
    for project, days_ns in due.items():
        recompute(client, memory, project, days_ns, now_ns=rows[0][2])  # the same in each row
    return len(rows)


class Marks:
    """Marks the days that batches of records change. It belongs to the thread that writes.

    The current day is read from the runs anyway, so it is marked once. Any other day is marked at
    most every ten seconds. That is enough, because a day is not computed within a minute of its
    mark.
    """

    def __init__(
        self, client: StoreClient, memory: Memory, clock: Callable[[], int] = time.time_ns
    ) -> None:
        self._client = client
        self._memory = memory
        self._clock = clock
        self._marked_s: dict[tuple[str, int], float] = {}

    def mark(self, records: Records) -> None:
        """Mark the days of a batch before it is stored."""
        now_ns, now_s = self._clock(), time.monotonic()
        changed = _days_of(records) | self._days_of_traces(_find_scored_traces(records), now_ns)
        days = {day for day in changed if self._is_due(day, now_ns, now_s)}
        mark_days(self._client, self._memory, days)
        if len(self._marked_s) > _KNOWN_DAYS:
            self._marked_s.clear()
        self._marked_s.update(dict.fromkeys(days, now_s))

    def _days_of_traces(
        self, traces: AbstractSet[tuple[str, str]], now_ns: int
    ) -> set[tuple[str, int]]:
        """Find the days on which stored runs of these traces began.

        A trace without stored runs has no day. If a run of it arrives later, the run marks its own
        day.
        """
        if not traces:
            return set()
        values = {
            "projects": sorted({project for project, _ in traces}),
            "traces": sorted({trace_id for _, trace_id in traces}),
        }
        sql, split = split_long_values(_SPANNED, values)
        return {
            (project, day * DAY_NS)
            for project, start_ns, end_ns in self._client.query(sql, split).result_rows
            for day in range(start_ns // DAY_NS, min(end_ns // DAY_NS, now_ns // DAY_NS) + 1)
        }

    def _is_due(self, day: tuple[str, int], now_ns: int, now_s: float) -> bool:
        marked_s = self._marked_s.get(day)
        if marked_s is None:
            return True
        is_over = day[1] + DAY_NS <= now_ns
        return is_over and now_s - marked_s >= _AGAIN_S


def _days_of(records: Records) -> set[tuple[str, int]]:
    """Find the days of runs, including runs whose start time only their scores contain."""
    days = {(run.project, run.start_ns // DAY_NS * DAY_NS) for run in records.runs}
    for metric in records.metrics:
        if is_score(metric) and metric.owner_start_ns:
            days.add((metric.project, metric.owner_start_ns // DAY_NS * DAY_NS))
    return days


def _find_scored_traces(records: Records) -> set[tuple[str, str]]:
    """Find the traces that have scores without the start time of their run."""
    return {
        (metric.project, metric.owner.partition("-")[0])
        for metric in records.metrics
        if is_score(metric) and not metric.owner_start_ns
    }

"""Computes the daily and hourly totals of runs and scores, from the runs that count.

`store.rollup` marks the days that changed. So repeated or reordered deliveries and interrupted
computations are harmless. Design record with measurements: docs/design/017-queries.md.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from otel_ml_collector.background import BackgroundJob, StoreChanges
from otel_ml_collector.measures.sums import COUNTED_SUMS, SCORE_SUMS
from otel_ml_collector.store.connection import Memory
from otel_ml_collector.store.counted import Bounds, CountedRuns, recorded_runs
from otel_ml_collector.store.rollup import DAY_OF, NOW, QUIET_NS, STATES
from otel_ml_collector.store.scores import all_scores, newest_scores
from otel_ml_collector.store.sql import EMPTY, Sql, StoreClient
from otel_ml_collector.store.tables import OF_TOKENS
from otel_ml_collector.times import DAY_NS, HOUR_NS, MINUTE_NS

_logger = logging.getLogger(__name__)

_DAYS_AT_ONCE: Final = 31
# Old rows are kept for this long after a recomputation, because running queries may still read
# them.
_KEPT_NS: Final = 10 * MINUTE_NS
_CELL: Final = Sql("kind, model, digest, structure, outcome")
# The runs of some days that count, of all kinds. The rollup has no runs over items of data sets.
_COUNTED: Final = CountedRuns(
    Bounds(start=Sql("{first:Int64}"), end=Sql("{until:Int64}")), kinds=True
)
_COUNTED_IN_DAYS: Final = Sql("""
  FROM {recorded} WHERE {counted} AND {day_of} IN {days:Array(Int64)}""").fill(
    recorded=recorded_runs(), counted=_COUNTED.sql, day_of=DAY_OF
)


# The newest score of each judge version for each run that began in a window, or whose start is
# unknown.
BEGAN: Final = Sql("(start_ns = 0 OR (start_ns >= {first:Int64} AND start_ns < {until:Int64}))")
NEWEST_SCORES: Final = newest_scores(all_scores(BEGAN))
# The same, including scores of trace keys and tags.
NEWEST_WITH_KEYED: Final = newest_scores(all_scores(BEGAN, has_keyed=True))


@dataclass(frozen=True, slots=True)
class Rollup:
    """A table of the store with totals of each day or hour, such as the number of runs.

    When a run is stored or changed, the collector notes that the totals of its day are out of date.
    A background job then computes them again.

    Attributes:
        table: Name of the table.
        columns: Names of all columns except `project`, `day_ns` and `computed_ns`, separated by
            commas.
        rows: SELECT statement that computes the rows for some days of a project: `day_ns` and the
            columns in `columns`.
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
            cell=_CELL, day_of=DAY_OF, hour=hour, sums=COUNTED_SUMS, runs=_COUNTED_IN_DAYS, by=cell
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
INNER JOIN ({newest_scores}) AS evaluation
  ON evaluation.trace_id = run.trace_id AND evaluation.span_id = run.span_id
GROUP BY day_ns, {by}, judge, judge_version""").fill(
            cell=_CELL,
            by=cell,
            score_sums=SCORE_SUMS,
            day_of=DAY_OF,
            hour=hour,
            runs=_COUNTED_IN_DAYS,
            newest_scores=NEWEST_SCORES,
        ),
    )


_HOUR_OF: Final = Sql("intDiv(start_ns, {hour_ns}) * {hour_ns} AS hour_ns, ").fill(hour_ns=HOUR_NS)
_HOUR_CELL: Final = Sql("hour_ns, ") + _CELL
# All totals of a day. A further one needs an entry here, a table, and code that reads it.
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
# Nothing depends on these deletions, so the statement does not wait for them.
_LATER: Final = {"lightweight_deletes_sync": 0}

_DUE: Final = Sql("""
SELECT project, day_ns, now_ns
FROM (SELECT *, {now} AS now_ns FROM ({states}))
WHERE marked_ns >= computed_ns AND marked_ns < now_ns - {settled_ns}
  AND day_ns + {over_ns} < now_ns
ORDER BY project, day_ns LIMIT 1000""").fill(
    now=NOW,
    states=STATES.fill(ours=Sql("1")),
    settled_ns=QUIET_NS,
    over_ns=DAY_NS + QUIET_NS,
)


def recompute(
    client: StoreClient, memory: Memory, project: str, days_ns: Sequence[int], now_ns: int
) -> None:
    """Compute and store the totals of some days of a project.

    Call this only for days whose runs have not changed in the last minute. It is safe to compute
    the same day twice, even in two collectors at the same time.

    Args:
        client: Client of this thread.
        memory: Cache of this process. It forgets which totals of the project are up to date.
        project: The project.
        days_ns: Start of each day (UTC), in nanoseconds since 1970.
        now_ns: Current time by the store's clock, in nanoseconds since 1970. Read the clock before
            you call this. Totals are out of date if runs of their day change after this time.
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


def list_jobs(
    client: StoreClient, memory: Memory, changes: StoreChanges
) -> Sequence[BackgroundJob]:
    """List the job that computes daily totals.

    It only speeds up statistics: without the totals they are correct but slow.
    """

    def run() -> None:
        days = recompute_due(client, memory)
        if days:
            _logger.debug("Daily totals were computed for %d days", days)

    trouble = "Daily totals could not be computed"
    return [BackgroundJob(run, 30.0, trouble, has_work=changes.after_writes())]


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

"""Marks the days whose daily and hourly totals changed; `measures.rollup` computes them.

A day's totals are used only if they were computed after its last mark. Otherwise statistics read
the runs. So repeated or reordered deliveries and interrupted computations are harmless. Design
record with measurements: docs/design/017-queries.md.
"""

import time
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from typing import Final

from otel_ml_collector.owners import split_run_id
from otel_ml_collector.records import Records
from otel_ml_collector.store.connection import Memory
from otel_ml_collector.store.rows import RunName
from otel_ml_collector.store.sql import (
    Sql,
    StoreClient,
    split_long_values,
)
from otel_ml_collector.store.tables import (
    is_score,
)
from otel_ml_collector.times import DAY_NS, MINUTE_NS

# A day is computed only if it was not marked for a minute. By then, the batch that marked it is
# stored, because no commit takes that long.
QUIET_NS: Final = MINUTE_NS
# Minimum seconds between two marks of the same past day, far less than `QUIET_NS`.
_AGAIN_S: Final = 10.0
_KNOWN_DAYS: Final = 10_000

NOW: Final = Sql("toUnixTimestamp64Nano(now64(9))")
DAY_OF: Final = Sql("intDiv(start_ns, {day_ns}) * {day_ns}").fill(day_ns=DAY_NS)
_SPANNED: Final = Sql("""
SELECT project, min(start_ns), max(end_ns) FROM trace_index
WHERE project IN {projects:Array(String)} AND key IN {traces:Array(String)}
GROUP BY project, trace_id""")

# When each day was last marked, computed and sketched. Older versions marked all days of a project
# with one row, for day -1. It counts as a mark of each day.
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
    """Mark days whose runs change, so that statistics do not use the stored totals of these days.

    Call it before the rows change. The totals are computed again a minute later.

    Args:
        client: Client of this thread.
        memory: Cached facts about projects. Those about these days are removed.
        days: Projects, each with the start of a day (UTC, nanoseconds since 1970).
    """
    marked = sorted(set(days))
    if not marked:
        return
    sql = Sql("""
        INSERT INTO daily (project, day_ns, marked_ns)
        SELECT day.1, day.2, {now} FROM (
          SELECT arrayJoin(arrayZip({projects:Array(String)}, {days:Array(Int64)})) AS day)
        """).fill(now=NOW)
    projects, days_ns = [project for project, _ in marked], [day for _, day in marked]
    try:
        client.command(sql, parameters={"projects": projects, "days": days_ns})
    finally:
        memory.forget_days(projects)


class Marks:
    """Marks the days whose stored totals become outdated, because a batch changes their runs.

    Only the thread that writes records may use it. While a day is marked, statistics read its runs
    instead of its totals. The totals are computed again when the day has not been marked for a
    minute, so a past day needs at most one mark every ten seconds. The current day needs only one
    mark: its totals are not computed until the day is over.
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
        today = now_ns // DAY_NS * DAY_NS
        scored = _find_scored(records)
        # A score counts for its run or for runs inside it, and these start later.
        recent = self._memory.updates.find_started(scored, today)
        changed = _days_of(records) | {(project, today) for project, _, _ in recent}
        changed |= self._days_of_traces({run[:2] for run in scored - recent}, now_ns)
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
    """Find the days on which a batch's runs began, and those on which the scored runs began."""
    days = {(run.project, run.start_ns // DAY_NS * DAY_NS) for run in records.runs}
    for metric in records.metrics:
        if is_score(metric) and metric.owner_start_ns:
            days.add((metric.project, metric.owner_start_ns // DAY_NS * DAY_NS))
    return days


def _find_scored(records: Records) -> set[RunName]:
    """Find the runs that have scores without their start time."""
    return {
        (metric.project, *split_run_id(metric.owner))
        for metric in records.metrics
        if is_score(metric) and not metric.owner_start_ns
    }

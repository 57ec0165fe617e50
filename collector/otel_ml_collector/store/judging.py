"""Queries for the background job that runs rubric judges.

They find the runs to judge, the runs that are scored already, and the spent part of the budget.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from otel_ml.attributes import JUDGE_KIND, JUDGING, JUDGING_VERSION
from otel_ml_collector.store.connection import ORDERED_READ
from otel_ml_collector.store.counted import DELIVERIES, RECORDED
from otel_ml_collector.store.reader import IDS, Reader, run_id_of
from otel_ml_collector.store.sql import Condition, Sql
from otel_ml_collector.times import AHEAD_NS, DAY_NS, SECOND_NS
from otel_ml_collector.windows import Window

# Tag that names the backfill to which a judge's call belongs.
BACKFILL: Final = "backfill"
_MOST_EARLIER: Final = 200
_HASHES: Final = 2**64
# Maximum time between the first and the last start in a trace.
_LONGEST_NS: Final = DAY_NS
_NO_END_NS: Final = 2**63 - 1
_ARRIVED: Final = Sql("""
  SELECT {ids}, start_ns, arrived_ns, session FROM {recorded}
  WHERE project = {project:String} AND start_ns >= {start:Int64}
    AND start_ns < {end:Int64} AND arrived_ns > {after:Int64} AND arrived_ns <= {until:Int64}
    AND ({condition})
  ORDER BY arrived_ns, trace_id, span_id LIMIT 1 BY arrived_ns, start_ns, trace_id, span_id
  LIMIT {limit:UInt32}""")
# Spans of judges, even in the trace of the run, must not delay its judging.
_LAST_OF_TRACES: Final = Sql("""
  SELECT lower(hex(trace_id)) AS trace_id, max(arrived_ns) AS last_ns FROM {deliveries}
  WHERE project = {project:String} AND start_ns >= {start:Int64} AND arrived_ns > {after:Int64}
    AND kind != '{judge}' AND lower(hex(trace_id)) IN {traces:Array(String)}
  GROUP BY trace_id""").fill(deliveries=DELIVERIES, judge=Sql(JUDGE_KIND))
_LAST_OF_SESSIONS: Final = Sql("""
  SELECT session, max(arrived_ns) AS last_ns FROM {deliveries}
  WHERE project = {project:String} AND arrived_ns > {after:Int64}
    AND kind != '{judge}' AND session IN {sessions:Array(String)}
  GROUP BY session""").fill(deliveries=DELIVERIES, judge=Sql(JUDGE_KIND))
_SCORED: Final = Sql("""
  SELECT DISTINCT owner FROM metrics
  WHERE project = {project:String} AND source = 'judge' AND name = {judge:String}
    AND judge_version = {digest:String} AND owner IN {owners:Array(String)}""")
# Backfills have their own budget, so their calls are summed separately.
_CALLS: Final = Sql("""
  FROM {recorded}
  WHERE project = {project:String} AND kind = '{kind}' AND start_ns >= {start:Int64}
    AND start_ns < {end:Int64} AND has(tag_kv, {judging:String})
    AND if({backfill:String} = '', NOT mapContains(tags, '{tag}'),
      has(tag_kv, concat('{tag}=', {backfill:String})))""").fill(
    recorded=RECORDED, kind=Sql(JUDGE_KIND), tag=Sql(BACKFILL)
)
_SPENT: Final = Sql("SELECT count() AS calls, sum(ifNull(cost, 0)) AS dollars") + _CALLS
_SPENT_BY_SECOND: Final = (
    Sql("SELECT intDiv(start_ns, 1000000000) AS second,")
    + Sql(" count() AS calls, sum(ifNull(cost, 0)) AS dollars")
    + _CALLS
    + Sql(" GROUP BY second ORDER BY second")
)
# Successful runs in a sample that a version of a judge has not scored. The sample is drawn from
# sessions; for runs without a session, from traces. `is_sampled` draws the same sample.
_UNJUDGED: Final = Sql("""
  FROM {recorded}
  WHERE project = {project:String} AND start_ns >= {start:Int64} AND start_ns < {end:Int64}
    AND outcome = 'ok' AND ({condition})
    AND ({is_whole:Bool} OR reinterpretAsUInt64(reverse(substring(
      SHA256(if(session != '', session, lower(hex(trace_id)))), 1, 8))) < {below:UInt64})
    AND concat(lower(hex(trace_id)), '-', lower(hex(span_id))) NOT IN (
      SELECT owner FROM metrics
      WHERE project = {project:String} AND source = 'judge' AND name = {judge:String}
        AND judge_version = {digest:String})""")
_COUNT_OPEN: Final = Sql("SELECT uniqExact(trace_id, span_id) AS runs") + _UNJUDGED
_LIST_OPEN: Final = (
    Sql("SELECT DISTINCT {ids}, start_ns")
    + _UNJUDGED
    + Sql(" ORDER BY start_ns DESC, trace_id, span_id LIMIT {limit:UInt32} OFFSET {offset:UInt32}")
)
_EARLIER: Final = Sql("""
  SELECT count() AS calls, avg(assumeNotNull(input_tokens)) AS input,
    avg(assumeNotNull(output_tokens)) AS output, avg(latency_ns) / 1e9 AS seconds
  FROM (
    SELECT input_tokens, output_tokens, latency_ns FROM {recorded}
    WHERE project = {project:String} AND kind = '{kind}' AND has(tag_kv, {judging:String})
      AND has(tag_kv, {version:String})
      AND input_tokens IS NOT NULL AND output_tokens IS NOT NULL
    ORDER BY start_ns DESC LIMIT {limit:UInt32})""").fill(recorded=RECORDED, kind=Sql(JUDGE_KIND))


_COUNT_UNJUDGED: Final = Sql("""
  SELECT uniqExact(trace_id, span_id) AS runs FROM {recorded}
  WHERE project = {project:String} AND start_ns >= {start:Int64} AND start_ns < {end:Int64}
    AND ({condition})""")


@dataclass(frozen=True, slots=True)
class ArrivedRun:
    """A run that may have to be judged.

    Attributes:
        arrived_ns: Time of arrival, in nanoseconds since 1970.
        session: Session that the run's own span names; empty if there is none.
    """

    run_id: str
    trace_id: str
    start_ns: int
    arrived_ns: int
    session: str


@dataclass(frozen=True, slots=True)
class UnjudgedRuns:
    """Selects the successful runs of a period that a judge version has not scored.

    Attributes:
        digest: The judge version.
        condition: Filter that the runs must match.
        window: Period in which the runs started.
        sample: Share of the sessions to select, from 0 to 1, with all their runs. For runs without
            a session, the share of the traces.
    """

    project: str
    judge: str
    digest: str
    condition: Condition
    window: Window
    sample: float

    @property
    def values(self) -> dict[str, Any]:
        """The parameters of the SQL."""
        return {
            "project": self.project,
            "judge": self.judge,
            "digest": self.digest,
            "start": self.window.start_ns,
            "end": self.window.end_ns,
            "is_whole": self.sample >= 1,
            "below": min(math.ceil(self.sample * _HASHES), _HASHES - 1),
            **self.condition.parameters,
        }


@dataclass(frozen=True, slots=True)
class EarlierCalls:
    """Averages over the newest calls of a judge version, at most 200.

    Attributes:
        calls: Number of calls.
        input, output: Average number of tokens per call.
        seconds: Average duration of a call.
    """

    calls: int
    input: float
    output: float
    seconds: float


@dataclass(frozen=True, slots=True)
class JudgeSpending:
    """Number of calls that a judge has made, and their cost in dollars."""

    calls: int
    dollars: float


def find_arrived(
    reader: Reader, project: str, condition: Condition, bounds: tuple[int, int, int], limit: int
) -> list[ArrivedRun]:
    """Find the runs of a project that arrived in a time interval and match a filter.

    Args:
        reader: The store.
        project: The project.
        condition: The filter.
        bounds: Three times in nanoseconds since 1970. Runs that started before the first one are
            left out. The interval begins after the second one, and ends with the third one.
        limit: Maximum number of runs.

    Returns:
        The runs, in order of arrival.
    """
    start_ns, after_ns, until_ns = bounds
    values: dict[str, Any] = {
        "project": project,
        "start": start_ns,
        "end": until_ns + AHEAD_NS,  # conditions on resolved runs use it
        "after": after_ns,
        "until": until_ns,
        "limit": limit,
        **condition.parameters,
    }
    sql = _ARRIVED.fill(ids=IDS, recorded=RECORDED, condition=condition.sql)
    return [
        ArrivedRun(
            run_id_of(row), row["trace_id"], row["start_ns"], row["arrived_ns"], row["session"]
        )
        for row in reader.rows(sql, values)
    ]


def find_last_arrivals(
    reader: Reader, project: str, runs: Sequence[ArrivedRun], *, of_sessions: bool
) -> dict[str, int]:
    """Find when the last span of each run's session arrived, or of its trace if it has no session.

    Returns:
        Times by run ID.
    """
    if not runs:
        return {}
    after_ns = min(run.arrived_ns for run in runs) - 1
    values: dict[str, Any] = {
        "project": project,
        "start": min(run.start_ns for run in runs) - _LONGEST_NS,
        "after": after_ns,
        "traces": sorted({run.trace_id for run in runs}),
        "sessions": sorted({run.session for run in runs} - {""}),
    }
    traces = {row["trace_id"]: row["last_ns"] for row in reader.rows(_LAST_OF_TRACES, values)}
    sessions: dict[str, int] = {}
    if of_sessions and values["sessions"]:
        rows = reader.rows(_LAST_OF_SESSIONS, values)
        sessions = {row["session"]: row["last_ns"] for row in rows}
    return {
        run.run_id: max(run.arrived_ns, traces.get(run.trace_id, 0), sessions.get(run.session, 0))
        for run in runs
    }


def find_judged(
    reader: Reader, project: str, judge: str, digest: str, run_ids: Sequence[str]
) -> set[str]:
    """Find the runs for which this version of a judge has stored a score or an error."""
    if not run_ids:
        return set()
    values = {"project": project, "judge": judge, "digest": digest, "owners": list(run_ids)}
    return {row["owner"] for row in reader.rows(_SCORED, values, ORDERED_READ)}


def find_spending(
    reader: Reader, project: str, judge: str, start_ns: int, backfill: str = ""
) -> JudgeSpending:
    """Return how many calls a judge has made since a time, and what they cost in dollars.

    Args:
        reader: The store.
        project: The project.
        judge: Name of the judge.
        start_ns: Earliest start of a call, in nanoseconds since 1970.
        backfill: ID of a backfill, to count only its calls. Empty: count all calls that belong to
            no backfill, trial calls included.
    """
    values = _ask_calls(project, judge, start_ns, _NO_END_NS, backfill)
    [row] = reader.rows(_SPENT, values, ORDERED_READ)
    return JudgeSpending(row["calls"], row["dollars"])


def find_spending_by_second(
    reader: Reader, project: str, judge: str, window: Window
) -> list[tuple[int, JudgeSpending]]:
    """Return how many calls a judge made in each second, and what they cost, oldest first.

    Calls that belong to a backfill are left out.

    Returns:
        Pairs: the start of a second, in nanoseconds since 1970, and the number of calls that
        started in it with their cost in dollars. Seconds without calls are left out.
    """
    values = _ask_calls(project, judge, window.start_ns, window.end_ns)
    return [
        (row["second"] * SECOND_NS, JudgeSpending(row["calls"], row["dollars"]))
        for row in reader.rows(_SPENT_BY_SECOND, values)
    ]


def _ask_calls(
    project: str, judge: str, start_ns: int, end_ns: int, backfill: str = ""
) -> dict[str, Any]:
    return {
        "project": project,
        "start": start_ns,
        "end": end_ns,
        "judging": f"{JUDGING}={judge}",
        "backfill": backfill,
    }


def count_unjudged(reader: Reader, runs: UnjudgedRuns) -> int:
    """Count runs that a version of a judge has not scored."""
    sql = _COUNT_OPEN.fill(recorded=RECORDED, condition=runs.condition.sql)
    [row] = reader.rows(sql, runs.values)
    return int(row["runs"])


def list_unjudged(
    reader: Reader, runs: UnjudgedRuns, limit: int, offset: int = 0
) -> list[tuple[str, int]]:
    """List runs that a version of a judge has not scored, newest first, each with its start."""
    sql = _LIST_OPEN.fill(ids=IDS, recorded=RECORDED, condition=runs.condition.sql)
    rows = reader.rows(sql, {**runs.values, "limit": limit, "offset": offset})
    return [(run_id_of(row), row["start_ns"]) for row in rows]


def find_earlier_calls(
    reader: Reader, project: str, judge: str, digest: str
) -> EarlierCalls | None:
    """Average the newest calls of a judge version with known tokens; None if there are none."""
    values = {
        "project": project,
        "judging": f"{JUDGING}={judge}",
        "version": f"{JUDGING_VERSION}={digest}",
        "limit": _MOST_EARLIER,
    }
    [row] = reader.rows(_EARLIER, values, ORDERED_READ)
    if not row["calls"]:
        return None
    return EarlierCalls(row["calls"], row["input"], row["output"], row["seconds"])


def count_runs(reader: Reader, project: str, condition: Condition, window: Window) -> int:
    """Count the runs of a window that match."""
    values = {
        "project": project,
        "start": window.start_ns,
        "end": window.end_ns,
        **condition.parameters,
    }
    [row] = reader.rows(_COUNT_UNJUDGED.fill(recorded=RECORDED, condition=condition.sql), values)
    return int(row["runs"])

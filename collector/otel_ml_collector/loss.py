"""Missing spans (sent but not stored): the JSON API, and a background check every minute."""

import logging
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from pydantic import Field

from otel_ml_collector.access import Access
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.api.parameters import End, FromReader, Start
from otel_ml_collector.api.route import DeferredRoute
from otel_ml_collector.background import BackgroundJob, StoreChanges
from otel_ml_collector.errors import BadInput
from otel_ml_collector.services import find_service
from otel_ml_collector.store.reader import READABLE, Reader, Row
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.telemetry.runs import Remembered
from otel_ml_collector.telemetry.service import LossNumbers, Missed
from otel_ml_collector.times import DAY_NS, HOUR_NS, MINUTE_NS, to_rfc3339

# Span numbers are stored by minute of arrival. Everything up to now minus 2 minutes arrived at
# least a minute ago.
# Seconds between two checks while nothing is written.
_SELDOM_S: Final = 600.0
_COMPLETE_MINUTES: Final = 2
# Pseudo hour with the number up to which no arrivals were kept. It always counts as earlier.
_BASE_HOUR: Final = 0
_PROCESSES: Final = 1_000
_ONE: Final = Sql("project = {project:String}")
_COMPLETE_NUMBER: Final = Sql("""arrayMax(arrayPushFront(arrayMap(
  (minute, number) -> if(minute <= {settled:UInt32}, number, 0),
  mapKeys(highest), mapValues(highest)), 0))""")
# Hours of a process are ordered by their span numbers. Numbers are given in order of time, except
# when several threads end spans at the turn of an hour. So an hour and its neighbours contain all
# numbers of its range, and one more hour is read on each side. Of earlier hours, only the highest
# number is read. Refused spans may have ended at any time, so their numbers belong to no hour.
_HOURS: Final = Sql("""
WITH by_hour AS (
  SELECT project, process, hour,
    groupBitmapMergeState(timely) AS soon, groupBitmapMergeState(late) AS later,
    bitmapOr(soon, later) AS numbers, bitmapMax(numbers) AS most, max(dropped) AS reported,
    max(greatest(base, {complete})) AS mark
  FROM arrivals
  WHERE {belongs} AND hour + 1 >= {first:UInt32} AND hour <= {last:UInt32}
    AND (project, process) IN ({processes})
  GROUP BY project, process, hour
),
earlier AS (
  SELECT project, process, max(dropped) AS reported, max(greatest(base, {complete})) AS mark
  FROM arrivals
  WHERE {belongs} AND hour + 1 < {first:UInt32} AND (project, process) IN ({processes})
  GROUP BY project, process
),
refusing AS (
  SELECT project, process, groupBitmapMergeState(numbers) AS refused_numbers
  FROM refusals WHERE {belongs} AND process != '' AND (project, process) IN ({processes})
  GROUP BY project, process
),
arrived AS (
  SELECT project, process, bitmapOr(groupBitmapMergeState(timely), groupBitmapMergeState(late))
    AS numbers
  FROM arrivals WHERE {belongs} AND (project, process) IN (SELECT project, process FROM refusing)
  GROUP BY project, process
),
passed AS (
  SELECT by_hour.project AS project, by_hour.process AS process, by_hour.hour AS hour,
    bitmapCardinality(by_hour.numbers) AS received,
    bitmapCardinality(bitmapAndnot(later, soon)) AS late,
    greatest(earlier.mark, max(by_hour.mark) OVER upto) AS reached,
    greatest(earlier.mark, max(by_hour.mark) OVER before) AS below,
    greatest(earlier.reported, max(by_hour.reported) OVER upto)
      - greatest(earlier.reported, max(by_hour.reported) OVER before) AS dropped,
    groupBitmapOrState(by_hour.numbers) OVER around AS near
  FROM by_hour LEFT JOIN earlier
    ON earlier.project = by_hour.project AND earlier.process = by_hour.process
  WINDOW upto AS (PARTITION BY by_hour.project, by_hour.process ORDER BY most, by_hour.hour
      ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW),
    before AS (PARTITION BY by_hour.project, by_hour.process ORDER BY most, by_hour.hour
      ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING),
    around AS (PARTITION BY by_hour.project, by_hour.process ORDER BY most, by_hour.hour
      ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING)
)
SELECT passed.project AS project, passed.process AS process, hour, received, late, dropped,
  toUInt64(reached - below - bitmapCardinality(
    bitmapSubsetInRange(bitmapOr(near, refused_numbers), below + 1, reached + 1))) AS missing,
  bitmapCardinality(bitmapSubsetInRange(
    bitmapAndnot(bitmapAndnot(refused_numbers, numbers), near), below + 1, reached + 1)) AS refused
FROM passed
LEFT JOIN refusing ON refusing.project = passed.project AND refusing.process = passed.process
LEFT JOIN arrived ON arrived.project = passed.project AND arrived.process = passed.process
WHERE hour >= {first:UInt32} AND hour < {last:UInt32}
""")
_LAST_SENDERS: Final = Sql("""
SELECT project, process FROM arrivals
WHERE {belongs} AND hour >= {first:UInt32} AND hour < {last:UInt32}
GROUP BY project, process ORDER BY max(hour) DESC, process LIMIT {most}
""")
# A refused span that has arrived since, such as history sent again with an import key, is not
# refused any more.
_REFUSED: Final = Sql("""
WITH refused AS (
  SELECT project, reason, process, groupBitmapMergeState(numbers) AS numbers,
    sum(unnumbered) AS unnumbered, max(last_ns) AS last_ns
  FROM refusals WHERE {belongs} AND hour >= {first:UInt32} AND hour < {last:UInt32}
  GROUP BY project, reason, process
),
arrived AS (
  SELECT project, process, bitmapOr(groupBitmapMergeState(timely), groupBitmapMergeState(late))
    AS here
  FROM arrivals
  WHERE {belongs}
    AND (project, process) IN (SELECT project, process FROM refused WHERE process != '')
  GROUP BY project, process
)
SELECT refused.project AS project, reason, max(last_ns) AS last_ns,
  toUInt64(sum(unnumbered + bitmapCardinality(bitmapAndnot(numbers, here)))) AS spans
FROM refused
LEFT JOIN arrived ON arrived.project = refused.project AND arrived.process = refused.process
GROUP BY project, reason HAVING spans > 0 ORDER BY project, spans DESC, reason LIMIT {most}
""")
_REASONS: Final = 1_000
MAX_LIMIT: Final = 1_000
_MOST_NS: Final = 31 * DAY_NS
# Limits: log lines per check, rows read per check, hours remembered, projects on a page.
_LINES: Final = 10
_LOSS_ROWS: Final = 1_000
_REMEMBERED: Final = 20_000
_SHOWN_SENDERS: Final = 10

_logger = logging.getLogger(__name__)
router = APIRouter(prefix="/api/v1", route_class=DeferredRoute)


@dataclass(frozen=True, slots=True)
class Hours:
    """A range of hours since 1970 (UTC): from `first` up to, but not including, `last`.

    Attributes:
        first: The first hour of the range.
        last: The hour after the end of the range.
        now_ns: Current time, in nanoseconds since the epoch. Spans that may still arrive at this
            time do not count as missing.
        project: Name of the project. If None, all projects that the caller may read.
    """

    first: int
    last: int
    now_ns: int
    project: str | None = None


def read_loss(reader: Reader, hours: Hours, *, limit: int, only_missing: bool = False) -> list[Row]:
    """Return received and missing spans of the 1,000 processes that sent spans most recently.

    Args:
        reader: The store.
        hours: The range of hours, and the project or all projects.
        limit: Largest number of rows.
        only_missing: Whether to leave out rows without missing spans.

    Returns:
        A row per `project`, `process` and `hour` in which spans ended, latest hour first. The other
            columns are numbers of spans: `received`, `missing`, `refused` (arrived, but not
            accepted), `late` (arrived over 5 minutes after their end) and `dropped` (by the process
            itself, as it reports).
    """
    condition = Sql("missing > 0") if only_missing else Sql("1")
    sql = Sql("""
        SELECT * FROM ({loss}) WHERE {condition}
        ORDER BY hour DESC, project, process LIMIT {limit:UInt32}
        """).fill(loss=_of(hours), condition=condition)
    return reader.rows(sql, {**_parameters(hours), "limit": limit})


def read_totals(reader: Reader, hours: Hours) -> list[Row]:
    """Return the sums of the rows of `read_loss` per project, and the number of rows."""
    sql = Sql("""
        SELECT project, count() AS rows, sum(received) AS received, sum(missing) AS missing,
          sum(refused) AS refused, sum(late) AS late, sum(dropped) AS dropped
        FROM ({loss}) GROUP BY project ORDER BY project
        """).fill(loss=_of(hours))
    return reader.rows(sql, _parameters(hours))


@dataclass(frozen=True, slots=True)
class RefusedGroup:
    """How many spans of a project were refused for a reason, and when the last one arrived."""

    project: str
    reason: str
    spans: int
    last_ns: int


def read_refused(reader: Reader, hours: Hours) -> list[RefusedGroup]:
    """Return the spans that arrived in a range of hours and were refused, most first."""
    belongs = READABLE if hours.project is None else _ONE
    sql = _REFUSED.fill(belongs=belongs, most=_REASONS)
    return [RefusedGroup(**row) for row in reader.rows(sql, _parameters(hours))]


def find_refused(reader: Reader, project: str | None = None) -> list[RefusedGroup]:
    """Return up to ten reasons for which spans of the last 24 hours were refused, for a page."""
    hours = replace(last_day(time.time_ns()), project=project)
    return read_refused(reader, hours)[:_SHOWN_SENDERS]


def _of(hours: Hours) -> Sql:
    belongs = READABLE if hours.project is None else _ONE
    senders = _LAST_SENDERS.fill(belongs=belongs, most=_PROCESSES)
    return _HOURS.fill(belongs=belongs, complete=_COMPLETE_NUMBER, processes=senders)


def _parameters(hours: Hours) -> dict[str, Any]:
    whose = {} if hours.project is None else {"project": hours.project}
    complete = max(hours.now_ns // MINUTE_NS - _COMPLETE_MINUTES, 0)
    first = max(hours.first, _BASE_HOUR + 2)
    return {"first": first, "last": hours.last, "settled": complete, **whose}


class LossCounts(AnswerBody):
    """How many of the numbered spans of a process were received.

    otel-ml's own SDK gives each span of a process the next number, so a gap shows that a span is
    missing. Spans of other SDKs have no number and are not counted. Updates, evaluations and
    heartbeats are numbered, too.
    """

    received: int = Field(description="Number of spans that arrived, each counted once")
    missing: int = Field(
        description="Number of spans that were recorded but have not arrived, because they were "
        "lost or a sampler dropped them. Each process numbers its spans, and a number is missing "
        "if a higher one arrived more than a minute ago. A span that arrives later is no longer "
        "missing"
    )
    refused: int = Field(
        description="Number of spans that arrived but were refused. They are not missing. A span "
        "that is stored later is no longer counted here"
    )
    sampled: int = Field(
        description="Spans that a sampler on the way dropped, in projects that the setting "
        "`sampled_projects` names. They are not missing"
    )
    late: int = Field(description="Received spans that arrived over 5 minutes after their end")
    dropped: int = Field(
        description="Number of spans that the process itself dropped, as it reports. They are "
        "missing too"
    )


class LossHour(LossCounts):
    """The number of received and of missing spans of a process, for the spans of one hour.

    A span belongs to the hour in which it ended. For a missing span this is unknown, so it counts
    in the hour of the next received one.
    """

    hour: str = Field(description="Start of the hour, RFC 3339 in UTC")
    process: str


class RefusedSpans(AnswerBody):
    """Spans of a project that were refused for one reason, with or without a number."""

    reason: str = Field(
        description="Reason that the sender got in the answer, such as `deleted_project`"
    )
    spans: int
    last_time: str = Field(description="When the last of these spans arrived, RFC 3339 in UTC")


class Loss(AnswerBody):
    """Received and missing spans, latest hour first. `totals` covers the whole time range."""

    start_time: str
    end_time: str
    hours: list[LossHour]
    left_out: int = Field(description="Number of rows that are not listed in `hours`")
    totals: LossCounts
    reasons: list[RefusedSpans] = Field(
        description="Spans that arrived in the time range and were refused, by reason; the most "
        "frequent reason first"
    )


@dataclass(frozen=True, slots=True)
class LossQuery:
    """A project and a time range. Every hour that overlaps the range is included."""

    project: str
    start_ns: int
    end_ns: int
    limit: int = MAX_LIMIT


def find_loss(reader: Reader, query: LossQuery, now_ns: int, *, is_sampled: bool = False) -> Loss:
    """Return the received and missing spans of a project, by process and hour.

    Args:
        reader: The store.
        query: Project and time range.
        now_ns: Current time; decides which spans may still arrive.
        is_sampled: Whether a sampler drops spans of the project on purpose.

    Raises:
        BadInput: The time range is empty or longer than 31 days.
    """
    if not 0 < query.end_ns - query.start_ns <= _MOST_NS:
        raise BadInput("Invalid start: expected a time before end, by at most 31 days", "start")
    first, last = query.start_ns // HOUR_NS, (query.end_ns - 1) // HOUR_NS + 1
    hours = Hours(first, last, now_ns, query.project)
    rows = [_called(row, is_sampled) for row in read_loss(reader, hours, limit=query.limit)]
    totals = [_called(row, is_sampled) for row in read_totals(reader, hours)]
    return Loss(
        start_time=to_rfc3339(first * HOUR_NS),
        end_time=to_rfc3339(last * HOUR_NS),
        hours=[LossHour(**{**row, "hour": to_rfc3339(row["hour"] * HOUR_NS)}) for row in rows],
        left_out=max(sum(row["rows"] for row in totals) - len(rows), 0),
        totals=LossCounts(
            **{name: sum(row[name] for row in totals) for name in LossCounts.model_fields}
        ),
        reasons=[
            RefusedSpans(reason=row.reason, spans=row.spans, last_time=to_rfc3339(row.last_ns))
            for row in read_refused(reader, hours)
        ],
    )


def _called(row: Row, is_sampled: bool) -> Row:
    """Return a row with its missing spans counted as sampled if a sampler drops spans."""
    gaps = row["missing"]
    return {**row, "missing": 0 if is_sampled else gaps, "sampled": gaps if is_sampled else 0}


def last_day(now_ns: int) -> Hours:
    """Return the last 24 hours, including the current one, for all projects."""
    last = now_ns // HOUR_NS + 1
    return Hours(max(last - 24, 0), last, now_ns)


@router.get("/projects/{project:path}/loss")
def get_loss(
    project: str,
    request: Request,
    reader: FromReader,
    *,
    start_ns: Start = None,
    end_ns: End = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = MAX_LIMIT,
) -> Loss:
    """Read how many spans were received and how many are missing, by process and hour.

    Covers whole hours: by default the last 24 hours, at most 31 days.
    """
    if end_ns is None:
        end_ns = time.time_ns()
    if start_ns is None:
        start_ns = max(end_ns - DAY_NS, 0)
    query = LossQuery(project, start_ns, end_ns, limit)
    is_sampled = find_service(request, LossChecker).is_sampled(project)
    return find_loss(reader, query, time.time_ns(), is_sampled=is_sampled)


@dataclass(frozen=True, slots=True)
class Gaps:
    """The number of missing spans of a project, and whether a sampler dropped them on purpose."""

    project: str
    spans: int
    is_meant: bool


class LossChecker:
    """Checks the store for missing spans of the last 24 hours. Keeps the result and its metrics.

    Args:
        reader: The store.
        numbers: Metrics of missing spans.
        sampled: Projects whose spans are dropped by a sampler on purpose; ``*`` for all.
    """

    def __init__(self, reader: Reader, numbers: LossNumbers, sampled: Collection[str] = ()) -> None:
        self._reader = reader
        self._numbers = numbers
        self._sampled = frozenset(sampled)
        self._gaps: Sequence[Gaps] = ()
        self._logged: Remembered[tuple[str, str, int], bool] = Remembered(_REMEMBERED)

    def list_jobs(self, changes: StoreChanges) -> Sequence[BackgroundJob]:
        """List the job that checks for missing spans."""
        return [
            BackgroundJob(
                lambda: self.run_pass(time.time_ns()),
                60.0,
                "Missing spans could not be counted",
                has_work=changes.after_writes(_SELDOM_S),
            )
        ]

    def run_pass(self, now_ns: int) -> None:
        """Check once. Log missing spans once per process and hour, at most ten lines."""
        hours = last_day(now_ns)
        totals = [
            _called(row, self.is_sampled(row["project"]))
            for row in read_totals(self._reader, hours)
        ]
        self._numbers.set_missing(
            {row["project"]: Missed(row["missing"], row["late"], row["sampled"]) for row in totals}
        )
        gaps = [
            Gaps(row["project"], row["missing"] or row["sampled"], is_meant=row["sampled"] > 0)
            for row in totals
            if row["missing"] or row["sampled"]
        ]
        self._gaps = sorted(gaps, key=lambda gap: (gap.is_meant, -gap.spans, gap.project))
        if any(row["missing"] for row in totals):
            rows = read_loss(self._reader, hours, limit=_LOSS_ROWS, only_missing=True)
            self._log([row for row in rows if self._is_news(row)])

    def is_sampled(self, project: str) -> bool:
        """Return whether a sampler drops spans of a project on purpose."""
        return not self._sampled.isdisjoint({project, "*"})

    def gaps_of(self, access: Access, project: str | None = None) -> list[Gaps]:
        """Return up to ten projects with missing spans that `access` may read.

        If `project` is given, return only that project.
        """
        return [
            gap
            for gap in self._gaps
            if access.reaches(gap.project) and project in {None, gap.project}
        ][:_SHOWN_SENDERS]

    def _is_news(self, row: Row) -> bool:
        if self.is_sampled(row["project"]):
            return False
        return self._logged.put((row["project"], row["process"], row["hour"]), True)

    def _log(self, rows: Sequence[Row]) -> None:
        for row in rows[:_LINES]:
            _logger.warning(
                "%d spans of process %r, project %r, were sent but did not arrive (lost, or "
                "dropped by a sampler) in the hour from %s",
                row["missing"],
                row["process"],
                row["project"],
                to_rfc3339(row["hour"] * HOUR_NS),
            )
        rest = rows[_LINES:]
        if rest:
            _logger.warning(
                "%d spans of %d other processes and hours were sent but did not arrive",
                sum(row["missing"] for row in rest),
                len(rest),
            )


def find_gaps(request: Request, reader: Reader, project: str | None = None) -> list[Gaps]:
    """Return projects with missing spans, as of the last check."""
    return find_service(request, LossChecker).gaps_of(reader.access, project)

"""Statistics of recorded runs over time: counts, latency, scores, tokens, by buckets and groups.

Days that are over come from the daily rollup where it can answer, all else from the runs: both
give the same cells, so the answer does not tell where it came from.
"""

import math
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Literal, TypeVar

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from otel_ml.records import LABELS, TOKENS, Tokens, tokens_of
from otel_ml_collector.api.parameters import FromReader, FromTime, Where
from otel_ml_collector.api.route import DeferredRoute
from otel_ml_collector.errors import BadInput
from otel_ml_collector.filter.fields import OF_ITEMS, RECORD_OF
from otel_ml_collector.filter.grammar import fields_of, parse
from otel_ml_collector.filter.sql import compile_where
from otel_ml_collector.measures.measures import HAS_FAILED
from otel_ml_collector.measures.rollup import NEWEST_SCORES, NEWEST_WITH_KEYED
from otel_ml_collector.measures.statistics import bucket_of, bucket_parameters, read_days
from otel_ml_collector.measures.sums import (
    COUNTED_SUMS,
    FIGURES,
    MERGED,
    MERGED_SCORES,
    P95,
    SCORE_SUMS,
    SUMS,
    TOKEN_SUMS,
    figures_of_runs,
    mean_score,
    pass_rate,
)
from otel_ml_collector.price import round_cost
from otel_ml_collector.store.amounts import RunAmounts
from otel_ml_collector.store.counted import (
    NAMED,
    Bounds,
    CountedRuns,
    named,
    recorded_runs,
    shares,
)
from otel_ml_collector.store.reader import READABLE, Reader, Row
from otel_ml_collector.store.record_kinds import (
    RecordKinds,
    find_counted_of_all,
    find_record_kinds,
    late_tags,
)
from otel_ml_collector.store.runs import ACROSS_PARTITIONS
from otel_ml_collector.store.sql import (
    ALWAYS,
    EMPTY,
    Condition,
    Sql,
    all_of,
    identifier,
    join_sql,
)
from otel_ml_collector.store.targets import TAG_TEXT
from otel_ml_collector.store.versions import (
    NUMBERED_VERSIONS,
    Numbers,
    all_version_numbers,
    version_numbers,
)
from otel_ml_collector.times import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS, UNITS_NS, to_rfc3339
from otel_ml_collector.verdicts.verdicts import JudgeVersionName
from otel_ml_collector.web.view import spark
from otel_ml_collector.windows import Buckets, Window, find_last

# Pieces of the window that the rollup does not cover; of more than that it is not asked.
_PIECES: Final = 40

_IN_PIECES: Final = Bounds(start=Sql("{first:Int64}"), end=Sql("{until:Int64}"))
_OF_DAYS: Final = Sql("""project = {project:String} AND (day_ns, computed_ns) IN (
  SELECT arrayJoin(arrayZip({days:Array(Int64)}, {computed:Array(Int64)})))""")
_OF_HOURS: Final = Sql("""project = {project:String} AND (day_ns, computed_ns) IN (
  SELECT arrayJoin(arrayZip({cut_days:Array(Int64)}, {cut_computed:Array(Int64)})))
  AND hour_ns >= {first_hour:Int64} AND hour_ns < {until_hour:Int64}
  AND NOT has({cut_hours:Array(Int64)}, hour_ns)""")
# `model:v3`; where a run has no version, its model.
_VERSION: Final = Sql("""transform(
  concat(toString(digest), ':', toString(structure), ':', toString(model)),
  {version_keys:Array(String)}, {version_labels:Array(String)}, toString(model))""")
# Of more versions than that the store numbers those of the runs: a server takes 1 MiB of values
# with a question.
_MOST_NAMED: Final = 5_000
_NUMBERED: Final = Sql("""if(numbered = 0, toString(model),
  concat(model, ':v', toString(numbered)))""")
_WITH_NUMBERS: Final = Sql("""
  LEFT JOIN (
    SELECT name AS model_named, digest AS digest_named, structure AS structure_named,
      number AS numbered
    FROM ({versions}) WHERE kind = 'model'
  ) AS version ON model_named = model AND digest_named = digest AND structure_named = structure
""").fill(versions=NUMBERED_VERSIONS)
# Of which group a cell is: of one that is wanted, else of the others.
_PLACED: Final = Sql(""", has({wanted:Array(String)}, label) AS is_wanted,
  if(is_wanted, label, '') AS named""")
# Noted of a project whose runs have labels that are not known: models without versions.
_OTHERS: Final = "other_labels"


@dataclass(frozen=True, slots=True)
class Grouping:
    """A grouping of runs.

    Attributes:
        label: SQL of the label, over the columns of `runs`, or of `daily_runs` when `is_daily`.
        is_daily: Whether the rollup has it.
        join: SQL that joins what the label needs to `runs`.
        parameters: Of both.
        is_resolved: Whether the label needs the resolution of `runs`.
        labels: Those that are known; of a project that has others, `_OTHERS` is noted.
    """

    label: Sql
    is_daily: bool = False
    join: Sql = EMPTY
    parameters: Mapping[str, Any] | None = None
    is_resolved: bool = False
    labels: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class RollupPart:
    """The part of a window that is read from daily totals. All other parts are read from runs.

    Attributes:
        days: The whole days of UTC that are in a single bucket, each with when it was computed.
        cut_days: The other days. Only whole hours of them are read.
        hours: The whole hours of the window.
        cut_hours: Hours in it that are in two buckets, so they are read from the runs.
        pieces: The intervals that are read from the runs.
    """

    days: Mapping[int, int]
    cut_days: Mapping[int, int]
    hours: Window
    cut_hours: Sequence[int]
    pieces: Sequence[Window]

    @classmethod
    def nothing(cls, window: Window) -> "RollupPart":
        """Return the part of a window that is read from the runs alone."""
        return cls({}, {}, Window(window.start_ns, window.start_ns), (), [window])

    @classmethod
    def of(cls, known: Mapping[int, int], buckets: Buckets) -> "RollupPart":
        """Choose the days to read from the daily totals.

        Args:
            known: These days, each with when it was computed.
            buckets: The buckets of the window.
        """
        window, edges_ns = buckets.window, buckets.edges_ns
        hours = Window(-(-window.start_ns // HOUR_NS) * HOUR_NS, window.end_ns // HOUR_NS * HOUR_NS)
        cut_hours = {edge_ns // HOUR_NS * HOUR_NS for edge_ns in edges_ns if edge_ns % HOUR_NS}
        split_days = {edge_ns // DAY_NS * DAY_NS for edge_ns in edges_ns if edge_ns % DAY_NS}
        days, cut_days, covered = dict[int, int](), dict[int, int](), list[Window]()
        for day_ns, computed_ns in sorted(known.items()):
            start_ns = max(day_ns, hours.start_ns)
            end_ns = min(day_ns + DAY_NS, hours.end_ns)
            if start_ns >= end_ns:
                continue
            if day_ns not in split_days:
                days[day_ns] = computed_ns
                covered.append(Window(start_ns, end_ns))
                continue
            cut_days[day_ns] = computed_ns
            covered += [
                Window(hour_ns, hour_ns + HOUR_NS)
                for hour_ns in range(start_ns, end_ns, HOUR_NS)
                if hour_ns not in cut_hours
            ]
        pieces = _between(covered, window)
        if not covered or len(pieces) > _PIECES:
            return cls.nothing(window)
        inner = sorted(hour_ns for hour_ns in cut_hours if hours.start_ns <= hour_ns < hours.end_ns)
        return cls(days, cut_days, hours, inner, pieces)

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of the SQL that reads the rollup, and of `_of_runs`."""
        parameters: dict[str, Any] = {
            "first": min((piece.start_ns for piece in self.pieces), default=0),
            "until": max((piece.end_ns for piece in self.pieces), default=0),
            "days": list(self.days),
            "computed": list(self.days.values()),
            "cut_days": list(self.cut_days),
            "cut_computed": list(self.cut_days.values()),
            "first_hour": self.hours.start_ns,
            "until_hour": self.hours.end_ns,
            "cut_hours": list(self.cut_hours),
        }
        for place, piece in enumerate(self.pieces):
            parameters |= {f"from{place}": piece.start_ns, f"until{place}": piece.end_ns}
        return parameters


@dataclass(frozen=True, slots=True)
class StatsQuestion:
    """A question of statistics, and where each piece of its window is read.

    Attributes:
        condition: The condition on the runs.
        buckets: Its window, by the starts of the runs, in buckets.
        grouping: The grouping of runs.
        has_keyed: Whether scores of keys and tags count too.
        counted: The runs of its pieces that count.
        shares_calls: Whether shares of calls may replace the runs' own amounts.
        rollup: What is read from the rollup.
    """

    project: str
    condition: Condition
    buckets: Buckets
    grouping: Grouping
    has_keyed: bool
    counted: CountedRuns
    shares_calls: bool
    rollup: RollupPart

    @property
    def needs_shares(self) -> bool:
        """Whether figures of the runs need their resolutions."""
        return self.shares_calls or self.grouping.is_resolved

    @property
    def columns(self) -> Sql:
        """SQL of the columns that distinguish cells of the same bucket."""
        return self.grouping.label + Sql(" AS label")

    @property
    def of_scores(self) -> "StatsQuestion":
        """The question for scores. Daily totals have no scores of trace keys and tags."""
        rollup = RollupPart.nothing(self.buckets.window)
        return replace(self, rollup=rollup) if self.has_keyed else self

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of its cells."""
        return {
            "project": self.project,
            "start": self.buckets.window.start_ns,
            "end": self.buckets.window.end_ns,
            **bucket_parameters(self.buckets),
            **self.rollup.parameters,
            **self.condition.parameters,
            **(self.grouping.parameters or {}),
        }


def list_groups(reader: Reader, question: StatsQuestion, limit: int) -> list[Row]:
    """List the groups with most runs: `label`, and `groups`, how many there are in all."""
    sql = Sql("""
        SELECT label, sum(runs) AS number, count() OVER () AS groups
        FROM ({run_cells})
        GROUP BY label ORDER BY number DESC, label LIMIT {limit:UInt32}
        """).fill(run_cells=_run_cells(question, Sql("sum(runs) AS runs"), Sql("count() AS runs")))
    return reader.rows(sql, {**question.parameters, "limit": limit})


def read_runs(reader: Reader, question: StatsQuestion, wanted: Sequence[str]) -> list[Row]:
    """Read the figures of recorded runs, by group and bucket, by group, and in all.

    Returns:
        Rows with `level` (0 a bucket, 1 a group, 3 all), `is_wanted`, `named`, `bucket`, `runs`,
        `errors`, `quantiles` (p50, p90, p95, p99 in ns), tokens, `cost` and `priced`.
    """
    sql = Sql("""
        SELECT grouping(bucket) + 2 * grouping(named) AS level, is_wanted, named, bucket,
          {figures}, {tokens}
        FROM ({run_cells})
        GROUP BY GROUPING SETS ((is_wanted, named, bucket), (is_wanted, named), ())
        ORDER BY level, is_wanted, named, bucket
        """).fill(
        figures=FIGURES,
        tokens=TOKEN_SUMS,
        run_cells=_run_cells(
            question, MERGED, COUNTED_SUMS if question.shares_calls else SUMS, _PLACED
        ),
    )
    return reader.rows(sql, {**question.parameters, "wanted": list(wanted)})


def read_scores(reader: Reader, question: StatsQuestion, wanted: Sequence[str]) -> list[Row]:
    """Read figures of scores by judge and version, for the same levels as `read_runs`."""
    question = question.of_scores
    sql = Sql("""
        SELECT grouping(bucket) + 2 * grouping(named) AS level, is_wanted, named, bucket, judge,
          judge_version, {figures}
        FROM ({score_cells})
        GROUP BY GROUPING SETS (
          (judge, judge_version, is_wanted, named, bucket),
          (judge, judge_version, is_wanted, named), (judge, judge_version))
        ORDER BY level, is_wanted, named, bucket, judge, judge_version
        """).fill(figures=MERGED_SCORES, score_cells=_score_cells(question))
    parameters = {**question.parameters, "wanted": list(wanted)}
    return reader.rows(sql, parameters, ACROSS_PARTITIONS if question.has_keyed else None)


# Rows of several groupings at once have a part: 0 is all, 1 a bucket, then the groupings in order.
_OF_BUCKETS, _OF_GROUPS = 1, 2


def choose_groups(
    reader: Reader, question: StatsQuestion, labels: Sequence[Sql], most: int
) -> list[Row]:
    """Choose the groups with most runs of each of some groupings.

    They are counted first: sketches of latency for each of 300,000 groups would take 2 s.

    Args:
        reader: The store.
        question: Its grouping has what the labels need; its window is read from the runs alone.
        labels: SQL of the label of each grouping.
        most: The number of groups to choose per grouping.

    Returns:
        Rows with `place` (of the grouping, from 0), `label`, and `groups`: how many groups the
        grouping has in all. The largest group is first.
    """
    counts = [
        Sql("""
        SELECT * FROM (
          SELECT {place} AS place, {label} AS label, count() AS number, count() OVER () AS groups
          FROM {recorded} {join} {shares} WHERE {of_runs}
          GROUP BY label ORDER BY number DESC, label LIMIT {most:UInt32})""").fill(
            place=place,
            label=label,
            recorded=recorded_runs(),
            join=question.grouping.join,
            shares=_shares_of(question),
            of_runs=_of_runs(question, is_joined=question.needs_shares),
        )
        for place, label in enumerate(labels)
    ]
    sql = join_sql(" UNION ALL ", counts) + Sql(" ORDER BY place, number DESC, label")
    return reader.rows(sql, {**question.parameters, "most": most})


def read_runs_at_once(
    reader: Reader,
    question: StatsQuestion,
    labels: Sequence[Sql],
    wanted: Sequence[Sequence[str]],
) -> list[Row]:
    """Read the figures of recorded runs in all, by bucket, and by each of some groupings.

    Args:
        reader: The store.
        question: Its grouping has what the labels need; its window is read from the runs alone.
        labels: SQL of the label of each grouping.
        wanted: The labels of the groups to list, per grouping.

    Returns:
        Rows as of `read_runs`, with `part` in place of `level`.
    """
    names = _name_groups(labels)
    sql = Sql("""
        SELECT part, is_wanted, named, bucket, {figures}, {tokens}
        FROM (
          SELECT {part} AS part, [false, false, {flags}][part + 1] AS is_wanted,
            ['', '', {names}][part + 1] AS named, {bucket}, {placed}, {raw}
          FROM {recorded} {join} {shares} WHERE {of_runs}
          GROUP BY GROUPING SETS ((bucket), {sets}, ()))
        GROUP BY part, is_wanted, named, bucket ORDER BY part, is_wanted, named, bucket
        """).fill(
        figures=FIGURES,
        tokens=TOKEN_SUMS,
        part=_part_of(names),
        flags=_list_flags(names),
        names=join_sql(", ", names),
        bucket=bucket_of(question.buckets),
        placed=_place_groups(labels, names),
        raw=COUNTED_SUMS if question.shares_calls else SUMS,
        recorded=recorded_runs(),
        join=question.grouping.join,
        shares=_shares_of(question),
        of_runs=_of_runs(question, is_joined=question.needs_shares),
        sets=join_sql(", ", [Sql("({n}, is_{n})").fill(n=name) for name in names]),
    )
    return reader.rows(sql, {**question.parameters, **_name_wanted(wanted)})


def read_scores_at_once(
    reader: Reader,
    question: StatsQuestion,
    labels: Sequence[Sql],
    wanted: Sequence[Sequence[str]],
) -> list[Row]:
    """Read figures of scores by judge and version, for the same parts as `read_runs_at_once`.

    Args:
        reader: The store.
        question: As there.
        labels: As there.
        wanted: Of each grouping the labels of the groups that are apart.
    """
    names = _name_groups(labels)
    sql = Sql("""
        SELECT part, is_wanted, named, bucket, judge, judge_version, evaluations, failed,
          score, scored, passed, judged
        FROM (
          SELECT {part} AS part, [false, false, {flags}][part + 1] AS is_wanted,
            ['', '', {names}][part + 1] AS named, bucket, judge, judge_version, {score_sums}
          FROM (
            SELECT trace_id, span_id, {bucket}, {placed}
            FROM {recorded} {join} {shares} WHERE {of_runs}
          ) AS run
          INNER JOIN ({newest}) AS said
            ON said.trace_id = run.trace_id AND said.span_id = run.span_id
          GROUP BY GROUPING SETS ((judge, judge_version, bucket), {sets}, (judge, judge_version)))
        ORDER BY part, is_wanted, named, bucket, judge, judge_version
        """).fill(
        part=_part_of(names),
        flags=_list_flags(names),
        names=join_sql(", ", names),
        score_sums=SCORE_SUMS,
        bucket=bucket_of(question.buckets),
        placed=_place_groups(labels, names),
        recorded=recorded_runs(),
        join=question.grouping.join,
        shares=_shares_of(question),
        of_runs=_of_runs(question, is_joined=question.needs_shares),
        newest=_newest_of(question),
        sets=join_sql(
            ", ",
            [Sql("(judge, judge_version, {n}, is_{n})").fill(n=name) for name in names],
        ),
    )
    parameters = {**question.parameters, **_name_wanted(wanted)}
    return reader.rows(sql, parameters, ACROSS_PARTITIONS if question.has_keyed else None)


def _name_groups(labels: Sequence[Sql]) -> list[Sql]:
    return [Sql("group{at}").fill(at=at) for at in range(len(labels))]


def _name_wanted(wanted: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    return {f"wanted{at}": list(labels) for at, labels in enumerate(wanted)}


def _list_flags(names: Sequence[Sql]) -> Sql:
    return join_sql(", ", [Sql("is_{name}").fill(name=name) for name in names])


def _place_groups(labels: Sequence[Sql], names: Sequence[Sql]) -> Sql:
    """Write which group of each grouping a run is in: one that is wanted, else the others."""
    placed = [
        Sql("""has({wanted{at}:Array(String)}, {label}) AS is_{name},
          if(is_{name}, {label}, '') AS {name}""").fill(label=label, at=at, name=name)
        for at, (label, name) in enumerate(zip(labels, names, strict=True))
    ]
    return join_sql(", ", placed)


def _part_of(names: Sequence[Sql]) -> Sql:
    """Write which grouping set a row belongs to."""
    columns = [Sql("grouping({name})").fill(name=name) for name in (Sql("bucket"), *names)]
    return Sql("indexOf([{columns}], 0)").fill(columns=join_sql(", ", columns))


def count_projects(reader: Reader, buckets: Buckets) -> list[Row]:
    """Count the recorded runs of all projects, with errors, latency and cost.

    Returns:
        Rows by project and `bucket`, its start, and a row in all of each project, which `is_total`.
    """
    bounds = Bounds(READABLE, Sql("{start:Int64}"), Sql("{end:Int64}"))
    runs = find_counted_of_all(reader, bounds)
    runs = replace(runs, is_joined=runs.repeats)
    sql = Sql("""
        SELECT project, {bucket}, grouping(bucket) AS is_total,
          uniqExactIf(trace_id, {failed}) AS failed_traces, {figures}
        FROM {recorded}
        WHERE {counted}
        GROUP BY GROUPING SETS ((project, bucket), (project))
        ORDER BY project, is_total, bucket LIMIT 100000
        """).fill(
        figures=figures_of_runs(RunAmounts(runs.repeats)),
        bucket=bucket_of(buckets),
        failed=HAS_FAILED,
        recorded=recorded_runs(bounds.sql, is_resolved=runs.repeats),
        counted=runs.sql,
    )
    window = buckets.window
    parameters = {"start": window.start_ns, "end": window.end_ns, **bucket_parameters(buckets)}
    return reader.rows(sql, parameters)


def _read_known_days(reader: Reader, project: str) -> dict[int, int]:
    days = read_days(reader, project)
    return {day_ns: known_ns for day_ns, known_ns in days.items() if known_ns is not None}


def _between(covered: Sequence[Window], window: Window) -> list[Window]:
    """Return the parts of a window that these sorted intervals do not cover."""
    pieces, at_ns = [], window.start_ns
    for part in covered:
        if at_ns < part.start_ns:
            pieces.append(Window(at_ns, part.start_ns))
        at_ns = part.end_ns
    if at_ns < window.end_ns:
        pieces.append(Window(at_ns, window.end_ns))
    return pieces


def _run_cells(question: StatsQuestion, daily: Sql, raw: Sql, placed: Sql = EMPTY) -> Sql:
    """Write the SQL for cells of runs with their labels, from daily totals and from runs."""
    columns = question.columns + placed
    own = Sql("""
        SELECT {bucket}, {columns}, {raw}
        FROM {recorded} {join} {shares} WHERE {of_runs}
        GROUP BY ALL""").fill(
        recorded=recorded_runs(),
        shares=_shares_of(question),
        bucket=bucket_of(question.buckets),
        columns=columns,
        raw=raw,
        join=question.grouping.join,
        of_runs=_of_runs(question, is_joined=question.needs_shares),
    )
    return _with_days(
        question, own, columns + Sql(", ") + daily, Sql("daily_runs"), Sql("hourly_runs")
    )


def _shares_of(question: StatsQuestion) -> Sql:
    """Write the join that adds the resolution to the runs of a question, where it is needed."""
    return shares(_IN_PIECES.sql) if question.needs_shares else EMPTY


def _newest_of(question: StatsQuestion) -> Sql:
    """Write the SQL for the scores by each judge version of the runs in question."""
    return NEWEST_WITH_KEYED if question.has_keyed else NEWEST_SCORES


def _score_cells(question: StatsQuestion) -> Sql:
    columns = question.columns + _PLACED
    own = Sql("""
        SELECT bucket, label, is_wanted, named, judge, judge_version, {score_sums}
        FROM (
          SELECT trace_id, span_id, {bucket}, {columns}
          FROM {recorded} {join} {shares} WHERE {of_runs}
        ) AS run
        INNER JOIN ({newest}) AS said
          ON said.trace_id = run.trace_id AND said.span_id = run.span_id
        GROUP BY ALL""").fill(
        recorded=recorded_runs(),
        score_sums=SCORE_SUMS,
        bucket=bucket_of(question.buckets),
        columns=columns,
        join=question.grouping.join,
        shares=shares(_IN_PIECES.sql) if question.grouping.is_resolved else EMPTY,
        of_runs=_of_runs(question, is_joined=question.grouping.is_resolved),
        newest=_newest_of(question),
    )
    daily = columns + Sql(", judge, judge_version, ") + MERGED_SCORES
    return _with_days(question, own, daily, Sql("daily_scores"), Sql("hourly_scores"))


def _with_days(question: StatsQuestion, own: Sql, daily: Sql, days: Sql, hours: Sql) -> Sql:
    """Add the cells that the rollup has, of whole days and of hours."""
    for column, table, is_read, of_them in (
        (Sql("day_ns"), days, question.rollup.days, _OF_DAYS),
        (Sql("hour_ns"), hours, question.rollup.cut_days, _OF_HOURS),
    ):
        if not is_read:
            continue
        own += Sql("""
        UNION ALL
        SELECT {bucket}, {daily} FROM {table}
        WHERE {of_them} AND ({condition}) GROUP BY ALL""").fill(
            bucket=bucket_of(question.buckets, column),
            daily=daily,
            table=table,
            of_them=of_them,
            condition=question.condition.sql,
        )
    return own


def _of_runs(question: StatsQuestion, *, is_joined: bool) -> Sql:
    """Write the condition on the runs of a question.

    Args:
        question: Of statistics.
        is_joined: Whether what is settled of the runs stands beside them.
    """
    pieces = [
        Sql("(start_ns >= {from{place}:Int64} AND start_ns < {until{place}:Int64})").fill(
            place=place
        )
        for place in range(len(question.rollup.pieces))
    ]
    counted_runs = replace(question.counted, is_joined=is_joined)
    wanted = [counted_runs.sql, Sql("({condition})").fill(condition=question.condition.sql)]
    if len(pieces) != 1:  # one is all of it
        wanted.append(Sql("({pieces})").fill(pieces=join_sql(" OR ", pieces) or Sql("0")))
    return join_sql(" AND ", wanted)


_DAILY: Final = ("model", "kind", "outcome", "digest")
_GROUP_COLUMNS: Final = (
    *_DAILY,
    *("name", "error_type", "error_message", "session", "user", *LABELS, "span_kind", "dialect"),
)
GROUPS: Final = ("version", *_GROUP_COLUMNS, 'tags["name"]')
_TAG: Final = re.compile(r"""tags\[(?:"([^"\\]{1,200})"|'([^'\\]{1,200})')\]""")
_LABEL: Final = Sql("{group:String}")
MAX_GROUPS: Final = 50
MAX_BUCKETS: Final = 750
# Buckets times groups of one answer.
_MAX_CELLS: Final = 10_000
# The rollup has these columns, and versions are told from them.
_DAILY_FIELDS: Final = frozenset({"model", "version", "digest", "kind", "outcome"})
_A_BUCKET, _A_GROUP, _ALL = 0, 1, 3

_Place = tuple[int, int, str, int]


class JudgeFigures(JudgeVersionName):
    """Figures of a judge's version, or of a person, over some runs: the last score counts."""

    evaluations: int
    failed: int = Field(description="Evaluations whose judge raised an error")
    mean_score: float | None
    pass_rate: float | None = Field(description="Pass rate of the evaluations with a pass mark")


class RunFigures(BaseModel):
    """Figures of some recorded runs; null where there are no values."""

    runs: int = Field(description="Recorded runs, without those that a sampler dropped")
    errors: int
    error_share: float | None
    p50_ms: float | None = Field(description="Latency; quantiles are accurate to 1 %")
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    tokens: Tokens
    cost: float | None = Field(description="Sum over the runs with a known cost")
    judges: list[JudgeFigures]


class StatsBucket(RunFigures):
    """The runs of a stretch of time, those from `start_time` on."""

    start_time: str
    start_ns: int


class StatsGroup(BaseModel):
    """The runs that have a value in common."""

    group: str
    total: RunFigures
    buckets: list[StatsBucket] = Field(description="Buckets that have runs, oldest first")


class RunStats(BaseModel):
    """Statistics by group and bucket."""

    start_time: str
    end_time: str
    bucket_s: int
    group: str = Field(description="What the runs are grouped by; empty: no groups")
    total: RunFigures
    groups: list[StatsGroup] = Field(description="The groups with the most runs, largest first")
    groups_found: int = Field(description="Number of groups; the smaller ones are in `other`")
    other: StatsGroup | None


class ProjectBucket(BaseModel):
    """The recorded runs of an hour."""

    start_time: str
    start_ns: int
    runs: int
    errors: int
    p50_ms: float | None = Field(description="Null if no run has a latency")
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class ProjectStats(BaseModel):
    """The recorded runs of a project."""

    project: str
    runs: int
    errors: int
    failed_traces: int = Field(description="Traces with at least one failed run")
    p95_ms: float | None
    cost: float | None = Field(description="Sum over the runs with a known cost")
    buckets: list[ProjectBucket] = Field(description="Buckets that have runs, oldest first")


# How far back a page looks, and how long a bucket of its curves is.
_PAGE_STEPS_NS: Final = {
    "1h": MINUTE_NS,
    "24h": HOUR_NS,
    "7d": 6 * HOUR_NS,
    "30d": DAY_NS,
}
Past = Literal["1h", "24h", "7d", "30d"]


def cut_past(reader: Reader, last: Past, now_ns: int) -> Buckets:
    """Return the last hour, 24 hours, 7 or 30 days, in the buckets of their curves."""
    return find_last(last, now_ns, reader.zone).cut(_PAGE_STEPS_NS[last])


_Bucket = TypeVar("_Bucket", StatsBucket, ProjectBucket)
_Versioned = TypeVar("_Versioned", bound=JudgeVersionName)


def draw_curve(
    buckets: Iterable[_Bucket],
    value: Callable[[_Bucket], float | None],
    over: Buckets,
    missing: float | None = None,
) -> str:
    """Draw a figure of the buckets of a window as SVG points; those without runs miss it."""
    values = [missing] * len(over.starts_ns)
    for bucket in buckets:
        values[over.place_of(bucket.start_ns)] = value(bucket)
    return spark(values)


class AllStats(BaseModel):
    """The recorded runs of all projects that may be read, the project with most runs first."""

    start_time: str
    end_time: str
    bucket_s: int
    groups: list[ProjectStats]


def make_grouping(reader: Reader, project: str, group: str, kinds: RecordKinds) -> Grouping:
    """Make the grouping that a text names; an empty text makes a single group of all.

    Raises:
        BadInput: Runs cannot be grouped by that.
    """
    if not group:
        return Grouping(Sql("''"), is_daily=True)
    if group == "version":
        return _by_version(all_version_numbers(reader, project, "model"))
    if kinds.named and group in NAMED:  # Of runs that name none, that of their trace counts.
        return Grouping(named(identifier(group, _GROUP_COLUMNS)), is_resolved=True)
    if group in _GROUP_COLUMNS:
        column = identifier(group, _GROUP_COLUMNS)
        return Grouping(Sql("toString({column})").fill(column=column), is_daily=group in _DAILY)
    match = _TAG.fullmatch(group)
    if match is None:
        raise BadInput(
            f"Invalid group {group[:80]!r}: expected one of {', '.join(GROUPS)}", "group"
        )
    return _by_tag(match[1] or match[2], kinds)


def _by_version(numbers: Numbers) -> Grouping:
    if len(numbers) > _MOST_NAMED:
        return Grouping(_NUMBERED, join=_WITH_NUMBERS)
    versions = {
        f"{digest}:{structure}:{model}": f"{model}:v{number}"
        for (model, digest, structure), number in numbers.items()
    }
    parameters = {
        "version_keys": list(versions) or [""],
        "version_labels": list(versions.values()) or [""],
    }
    labels = [*dict.fromkeys(versions.values())]
    return Grouping(_VERSION, is_daily=True, parameters=parameters, labels=labels)


def _by_tag(name: str, kinds: RecordKinds) -> Grouping:
    """Group by the newest value of a tag, including late-arriving ones."""
    value, join = Sql("tags[{label}]").fill(label=_LABEL), EMPTY
    if kinds.tags:
        join = Sql("""
          LEFT JOIN (
            SELECT trace_id AS late_trace, span_id AS late_span, newest, newest_ns
            FROM ({late_tags})
          ) AS late ON late_trace = trace_id AND late_span = span_id""").fill(
            late_tags=late_tags(_LABEL, kinds)
        )
        is_newer = Sql("NOT mapContains(tags, {label}) OR newest_ns >= start_ns + latency_ns").fill(
            label=_LABEL
        )
        value = Sql("if(newest != '' AND ({is_newer}), newest, {value})").fill(
            is_newer=is_newer, value=value
        )
    return Grouping(TAG_TEXT.fill(value=value), join=join, parameters={"group": name})


@dataclass(frozen=True, slots=True)
class StatsQuery:
    """A query of statistics.

    Attributes:
        where: A filter; empty for all. Spans that are no model calls are left out unless it
            speaks of ``kind``.
        group: A field or tag, such as ``version`` or ``tags["client"]``; empty for none.
        window: The starts of the runs; the first bucket begins there, and the last ends there.
        step_ns: How long a bucket is; None for one of all the time.
        groups: How many groups are listed.
        also: A condition on runs in addition to the filter.
        by: The grouping in place of that of `group`.
        only: These groups alone; none for those with most runs.
        needs_runs: Whether `also` needs columns of runs that the rollup does not have.
    """

    project: str
    where: str
    group: str
    window: Window
    step_ns: int | None
    groups: int
    also: Condition = ALWAYS
    by: Grouping | None = None
    only: Sequence[str] = ()
    needs_runs: bool = False


def find_stats(reader: Reader, query: StatsQuery) -> RunStats:
    """Count the recorded runs of a project, by group and bucket.

    Raises:
        BadInput: Filter or group is wrong, or there would be too many buckets.
    """
    question = make_question(reader, query)
    rows, scores, wanted, groups_found = _read_groups(reader, question, query)
    return _make_stats(
        reader, query, rows=rows, scores=scores, wanted=wanted, groups_found=groups_found
    )


def find_at_once(reader: Reader, query: StatsQuery, groups: Sequence[str]) -> list[RunStats]:
    """Count the recorded runs of a project by bucket, and in all by each of some groupings.

    The runs are read in one statement, after another has chosen the groups; the scores in a third:
    where the rollup has none of the window, or not by all of the groupings.

    Returns:
        The statistics without groups, then those by each grouping, whose groups have no buckets.

    Raises:
        BadInput: Filter or group is wrong, or there would be too many buckets.
    """
    kinds = find_record_kinds(reader, query.project)
    groupings = [make_grouping(reader, query.project, group, kinds) for group in groups]
    labels = [grouping.label for grouping in groupings]
    joined = Grouping(
        EMPTY,
        join=join_sql("", [grouping.join for grouping in groupings]),
        parameters={k: v for grouping in groupings for k, v in (grouping.parameters or {}).items()},
        is_resolved=any(grouping.is_resolved for grouping in groupings),
    )
    question = make_question(reader, replace(query, by=joined))
    chosen = choose_groups(reader, question, labels, query.groups)
    wanted = [[row["label"] for row in chosen if row["place"] == at] for at in range(len(groups))]
    read_scores = reader.ahead(read_scores_at_once, question, labels, wanted)
    rows = read_runs_at_once(reader, question, labels, wanted)
    scores = read_scores.result()

    def make(
        query: StatsQuery, part: int, wanted: Sequence[str] = (), groups_found: int = 0
    ) -> RunStats:
        level = _A_BUCKET if part == _OF_BUCKETS else _A_GROUP
        return _make_stats(
            reader,
            query,
            rows=_take_part(rows, part, level),
            scores=_take_part(scores, part, level),
            wanted=wanted,
            groups_found=groups_found,
        )

    found = {row["place"]: row["groups"] for row in chosen}
    return [
        make(query, _OF_BUCKETS),
        *(
            make(replace(query, group=group), _OF_GROUPS + at, wanted[at], found.get(at, 0))
            for at, group in enumerate(groups)
        ),
    ]


def _take_part(rows: Sequence[Row], part: int, level: int) -> list[Row]:
    """Return the rows of one part and of the total, as if there were no other parts."""
    return [
        {**row, "level": level if row["part"] else _ALL} for row in rows if row["part"] in {0, part}
    ]


def _make_stats(
    reader: Reader,
    query: StatsQuery,
    *,
    rows: Sequence[Row],
    scores: Sequence[Row],
    wanted: Sequence[str],
    groups_found: int,
) -> RunStats:
    """Make statistics of rows of `read_runs` and `read_scores`."""
    judged = _judged(reader, query.project, scores)
    facts = {_place(row): _figures(row, judged[_place(row)]) for row in rows}
    buckets = _buckets(facts)
    groups = {
        (wanted_too, name): StatsGroup(
            group=name, total=figures, buckets=buckets.get((wanted_too, name), [])
        )
        for (level, wanted_too, name, _), figures in facts.items()
        if level == _A_GROUP
    }
    total = facts.get((_ALL, 0, "", 0), NO_RUNS)
    if not query.group and not groups and total.runs:
        groups = {(0, ""): StatsGroup(group="", total=total, buckets=buckets.get((0, ""), []))}
    return RunStats(
        start_time=to_rfc3339(query.window.start_ns),
        end_time=to_rfc3339(query.window.end_ns),
        bucket_s=_bucket_s(query),
        group=query.group,
        total=total,
        groups=(
            [groups[1, name] for name in wanted if (1, name) in groups]
            if query.group
            else list(groups.values())
        ),
        groups_found=groups_found if query.group else 1,
        other=groups.get((0, "")) if query.group else None,
    )


def _bucket_s(query: StatsQuery) -> int:
    """Return how long a bucket is, in seconds: of one of all the time as many as it began."""
    step_ns = query.step_ns or query.window.end_ns - query.window.start_ns
    return -(-step_ns // SECOND_NS)


def _read_groups(
    reader: Reader, question: StatsQuestion, query: StatsQuery
) -> tuple[list[Row], list[Row], Sequence[str], int]:
    """Read runs and scores by group; return the listed groups, and how many there are."""
    if not query.group or query.only:
        return *_read_cells(reader, question, query.only), query.only, len(query.only)
    labels = question.grouping.labels
    has_others = _OTHERS in reader.memory.recall(query.project)[0]
    if 0 < len(labels) <= query.groups and not has_others:  # all of them: none is to be chosen
        rows, scores = _read_cells(reader, question, labels)
        if all(row["is_wanted"] for row in rows if row["level"] != _ALL):
            groups = [row for row in rows if row["level"] == _A_GROUP]
            groups.sort(key=lambda row: (-row["runs"], row["named"]))
            return rows, scores, [row["named"] for row in groups], len(groups)
        reader.memory.note(query.project, [_OTHERS])
    named = list_groups(reader, question, query.groups)
    wanted = [row["label"] for row in named]
    return *_read_cells(reader, question, wanted), wanted, named[0]["groups"] if named else 0


def _read_cells(
    reader: Reader, question: StatsQuestion, wanted: Sequence[str]
) -> tuple[list[Row], list[Row]]:
    """Read runs and scores at once."""
    scores = reader.ahead(read_scores, question, wanted)
    return read_runs(reader, question, wanted), scores.result()


def find_total(reader: Reader, query: StatsQuery) -> RunFigures:
    """Count the recorded runs of a project in all, without their scores.

    Raises:
        BadInput: The filter is wrong.
    """
    rows = read_runs(reader, make_question(reader, query), [])
    return next((_figures(row, []) for row in rows if row["level"] == _ALL), NO_RUNS)


def find_group_totals(reader: Reader, query: StatsQuery) -> dict[str, RunFigures]:
    """Count the recorded runs of the groups in `query.only`, without their scores.

    Raises:
        BadInput: The filter is wrong.
    """
    rows = read_runs(reader, make_question(reader, query), query.only)
    groups = [row for row in rows if row["level"] == _A_GROUP and row["is_wanted"]]
    return {row["named"]: _figures(row, []) for row in groups}


def newest_versions(judges: Iterable[_Versioned]) -> list[tuple[_Versioned, list[_Versioned]]]:
    """Mark the newest version of each judge, sorted by judge."""
    versioneds: dict[str, list[_Versioned]] = {}
    for judge in sorted(judges, key=lambda judge: judge.order):
        versioneds.setdefault(judge.judge, []).append(judge)
    return [(newest, others) for newest, *others in versioneds.values()]


def find_all_stats(reader: Reader, now_ns: int) -> AllStats:
    """Count the recorded runs of all projects in the last 24 hours, by the hour."""
    buckets = cut_past(reader, "24h", now_ns)
    rows: defaultdict[str, list[Row]] = defaultdict(list)
    for row in count_projects(reader, buckets):
        rows[row["project"]].append(row)
    groups = [
        ProjectStats(
            project=project,
            runs=total["runs"],
            errors=total["errors"],
            failed_traces=total["failed_traces"],
            p95_ms=_read_quantiles(total)[P95],
            cost=round_cost(total["cost"]) if total["priced"] else None,
            buckets=[_project_bucket(row) for row in of_project],
        )
        for project, (*of_project, total) in rows.items()
    ]
    return AllStats(
        start_time=to_rfc3339(buckets.window.start_ns),
        end_time=to_rfc3339(buckets.window.end_ns),
        bucket_s=HOUR_NS // SECOND_NS,
        groups=sorted(groups, key=lambda group: (-group.runs, group.project)),
    )


def make_question(reader: Reader, query: StatsQuery) -> StatsQuestion:
    """Make the question to the store: days and hours that the rollup knows are read from there.

    Raises:
        BadInput: Filter or group is wrong, or there would be too many buckets.
    """
    window = query.window
    if window.end_ns <= window.start_ns:
        raise BadInput("The end is not after the start: choose a later end", "end")
    number = -(-(window.end_ns - window.start_ns) // query.step_ns) if query.step_ns else 1
    most = min(MAX_BUCKETS, _MAX_CELLS // (query.groups + 2))
    if number > most:
        raise BadInput(f"There would be {number:,} buckets: expected at most {most}", "bucket")
    buckets = window.cut(query.step_ns)
    kinds = find_record_kinds(reader, query.project)
    condition, _ = compile_where(
        reader, query.project, query.where, is_bounded=True, kinds=kinds, hides=False
    )
    fields = fields_of(parse(query.where))
    has_items = not fields.isdisjoint(OF_ITEMS)
    grouping = query.by or make_grouping(reader, query.project, query.group, kinds)
    rollup = RollupPart.nothing(window)
    # The rollup knows nothing of runs over items.
    is_daily = grouping.is_daily and not query.needs_runs
    if is_daily and fields <= _DAILY_FIELDS and not (has_items and kinds.experiments):
        days = reader.memory.days(query.project, lambda: _read_known_days(reader, query.project))
        rollup = RollupPart.of(days, buckets)
    return StatsQuestion(
        project=query.project,
        condition=all_of([condition, query.also]),
        buckets=buckets,
        grouping=grouping,
        has_keyed=kinds.keyed_scores,
        counted=CountedRuns(
            _IN_PIECES,
            repeats=kinds.same_calls and RECORD_OF not in fields,
            items=kinds.experiments and not has_items,
            kinds=True,  # the condition says which
        ),
        shares_calls=kinds.same_calls,
        rollup=rollup,
    )


def _place(row: Row) -> _Place:
    level = row["level"]
    is_named = level != _ALL
    return (
        level,
        int(row["is_wanted"]) if is_named else 0,
        row["named"] if is_named else "",
        row["bucket"] if level == _A_BUCKET else 0,
    )


def _judged(
    reader: Reader, project: str, rows: Sequence[Row]
) -> defaultdict[_Place, list[JudgeFigures]]:
    judged: defaultdict[_Place, list[JudgeFigures]] = defaultdict(list)
    numbers = version_numbers(reader, project, "judge", {row["judge"] for row in rows})
    for row in rows:
        judged[_place(row)].append(
            JudgeFigures(
                judge=row["judge"],
                version=numbers.get((row["judge"], row["judge_version"], "")),
                digest=row["judge_version"],
                evaluations=row["evaluations"],
                failed=row["failed"],
                mean_score=mean_score(row),
                pass_rate=pass_rate(row),
            )
        )
    for judges in judged.values():
        judges.sort(key=lambda judge: judge.order)
    return judged


def _read_quantiles(row: Row) -> list[float | None]:
    """Return quantiles of latency in ms; None if no run has a latency."""
    return [ns / 1e6 if math.isfinite(ns) else None for ns in row["quantiles"]]


def _figures(row: Row, judges: Sequence[JudgeFigures]) -> RunFigures:
    if not row["runs"]:
        return NO_RUNS
    p50, p90, p95, p99 = _read_quantiles(row)
    return RunFigures(
        runs=row["runs"],
        errors=row["errors"],
        error_share=row["errors"] / row["runs"],
        p50_ms=p50,
        p90_ms=p90,
        p95_ms=p95,
        p99_ms=p99,
        tokens=tokens_of(row),
        cost=round_cost(row["cost"]) if row["priced"] else None,
        judges=list(judges),
    )


def _buckets(
    run_figures: dict[_Place, RunFigures],
) -> dict[tuple[int, str], list[StatsBucket]]:
    buckets: defaultdict[tuple[int, str], list[StatsBucket]] = defaultdict(list)
    for (level, is_wanted, name, bucket), figures in sorted(
        run_figures.items(), key=lambda entry: entry[0]
    ):
        if level == _A_BUCKET:
            buckets[is_wanted, name].append(
                StatsBucket(start_time=to_rfc3339(bucket), start_ns=bucket, **dict(figures))
            )
    return buckets


def _project_bucket(row: Row) -> ProjectBucket:
    start_ns = row["bucket"]
    p50, p90, p95, p99 = _read_quantiles(row)
    return ProjectBucket(
        start_time=to_rfc3339(start_ns),
        start_ns=start_ns,
        runs=row["runs"],
        errors=row["errors"],
        p50_ms=p50,
        p90_ms=p90,
        p95_ms=p95,
        p99_ms=p99,
    )


NO_RUNS: Final = RunFigures(
    runs=0,
    errors=0,
    error_share=None,
    p50_ms=None,
    p90_ms=None,
    p95_ms=None,
    p99_ms=None,
    tokens=tokens_of(dict.fromkeys(TOKENS, 0)),
    cost=None,
    judges=[],
)


# One bucket for all of the time that is asked for.
_ALL_TIME: Final = "all"
_BUCKET: Final = re.compile("([1-9][0-9]{0,5})([mhd])", re.ASCII)

router = APIRouter(prefix="/api/v1", route_class=DeferredRoute)

Group = Annotated[
    str, Query(max_length=220, description=f"Empty for none, else one of {', '.join(GROUPS)}")
]
Bucket = Annotated[
    str,
    Query(max_length=8, description="How long a bucket is: `15m`, `1h`, `1d`; `all` for one"),
]


def parse_stats(
    *,
    project: str,
    where: Where = "",
    group: Group = "",
    asked: FromTime,
    bucket: Bucket = "1h",
    groups: Annotated[int, Query(ge=1, le=MAX_GROUPS, description="Number of groups to list")] = 10,
) -> StatsQuery:
    """Read the query of statistics.

    Raises:
        BadInput: The length of a bucket cannot be read.
    """
    match = _BUCKET.fullmatch(bucket)
    if match is None and bucket != _ALL_TIME:
        raise BadInput(f"Invalid bucket {bucket!r}: expected such as 15m, 1h, 1d or all", "bucket")
    step_ns = int(match[1]) * UNITS_NS[match[2]] if match else None
    window = asked.bound(DAY_NS, time.time_ns())
    return StatsQuery(project, where, group, window, step_ns, groups)


@router.get("/projects/{project:path}/stats")
def get_stats(query: Annotated[StatsQuery, Depends(parse_stats)], reader: FromReader) -> RunStats:
    """Count recorded runs by group and time: errors, latency, scores, tokens, cost.

    By default the last 24 hours. Buckets are cut at full hours or days of `tz`; the first begins at
    `start` and the last ends at `end`, so both may be shorter. At most 750 buckets, and 10,000
    buckets times groups.
    """
    return find_stats(reader, query)


@router.get("/stats")
def get_all_stats(reader: FromReader) -> AllStats:
    """Count the recorded runs of all projects in the last 24 hours, by the hour."""
    return find_all_stats(reader, time.time_ns())

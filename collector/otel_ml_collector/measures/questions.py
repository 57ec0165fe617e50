"""Reads measures of recorded runs by bucket and group, from runs and from daily and hourly totals.

Whole days are read from the stored totals if these can answer the query, everything else from the
runs. Both ways give the same result.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from otel_ml_collector.measures.measures import HAS_FAILED
from otel_ml_collector.measures.rollup import BEGAN, NEWEST_SCORES, NEWEST_WITH_KEYED
from otel_ml_collector.measures.statistics import START, bucket_of, bucket_parameters
from otel_ml_collector.measures.sums import (
    COUNTED_SUMS,
    FIGURES,
    MERGED,
    MERGED_SCORES,
    SCORE_SUMS,
    SUMS,
    TOKEN_SUMS,
    figures_of_runs,
)
from otel_ml_collector.store.amounts import RunAmounts
from otel_ml_collector.store.counted import Bounds, CountedRuns, recorded_runs
from otel_ml_collector.store.reader import READABLE, Reader, Row
from otel_ml_collector.store.record_kinds import find_counted_of_all
from otel_ml_collector.store.runs import ACROSS_PARTITIONS
from otel_ml_collector.store.scores import (
    NEAR_REQUESTS,
    all_scores,
    has_scored_requests,
    pass_down,
)
from otel_ml_collector.store.sql import EMPTY, Condition, Sql, join_sql
from otel_ml_collector.times import DAY_NS, HOUR_NS
from otel_ml_collector.windows import Buckets, Window

# Values of the column `part`: a row has the figures of all runs, of a bucket, or of a group of the
# first grouping. Each further grouping has the next number.
ALL, A_BUCKET, A_GROUP = 0, 1, 2
# Maximum number of intervals that the rollup leaves to the runs. With more, only runs are read.
_PIECES: Final = 40

IN_PIECES: Final = Bounds(start=Sql("{first:Int64}"), end=Sql("{until:Int64}"))
_OF_DAYS: Final = Sql("""project = {project:String} AND (day_ns, computed_ns) IN (
  SELECT arrayJoin(arrayZip({days:Array(Int64)}, {computed:Array(Int64)})))""")
_OF_HOURS: Final = Sql("""project = {project:String} AND (day_ns, computed_ns) IN (
  SELECT arrayJoin(arrayZip({cut_days:Array(Int64)}, {cut_computed:Array(Int64)})))
  AND hour_ns >= {first_hour:Int64} AND hour_ns < {until_hour:Int64}
  AND NOT has({cut_hours:Array(Int64)}, hour_ns)""")


@dataclass(frozen=True, slots=True)
class Grouping:
    """A way to group runs, for example by model version or by the values of a tag.

    Attributes:
        label: SQL expression for the name of the group that a run belongs to, such as its tag
            value. It uses columns of the table `runs`.
        is_daily: Whether the expression also works with the tables of daily and hourly totals. If
            not, only the runs are read.
        join: SQL JOIN with the tables that `label` uses besides `runs`.
        parameters: Parameters of `label` and `join`.
        is_of_versions: Whether a group is a model version. A score of a request then counts for the
            versions inside it.
        labels: Names of groups that are known without a query. There can be more groups. Empty if
            none are known.
    """

    label: Sql
    is_daily: bool = False
    join: Sql = EMPTY
    parameters: Mapping[str, Any] | None = None
    is_of_versions: bool = False
    labels: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class RollupPart:
    """Which parts of a time window are read from stored totals, and which from runs.

    A query cuts its time window into buckets. The totals of a day are used only if they are up to
    date and no bucket begins or ends within the day. If a bucket does, the totals of the hours of
    this day are used instead. If a bucket begins or ends within an hour, the runs of this hour are
    read. All times are in nanoseconds since 1970.

    Attributes:
        days: Days (UTC) that are read from the daily totals. Maps the start of each day to the time
            when its totals were computed.
        cut_days: Days (UTC) that are read from the hourly totals, with the same keys and values.
        hours: The whole hours of the window. Hourly totals of other hours are not read.
        cut_hours: Start of each hour within which a bucket begins or ends. The totals of these
            hours are not read.
        pieces: The intervals that are read from the runs.
    """

    days: Mapping[int, int]
    cut_days: Mapping[int, int]
    hours: Window
    cut_hours: Sequence[int]
    pieces: Sequence[Window]

    @classmethod
    def nothing(cls, window: Window) -> "RollupPart":
        """Return the division that reads the whole window from the runs, nothing from totals."""
        return cls({}, {}, Window(window.start_ns, window.start_ns), (), [window])

    @classmethod
    def of(cls, known: Mapping[int, int], buckets: Buckets) -> "RollupPart":
        """Choose which days and hours of a window are read from the stored totals.

        Args:
            known: The days with totals that are up to date: for the start of each day, the time
                when its totals were computed.
            buckets: The time buckets of the window.
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
    """A query for statistics of runs, such as the errors per day for each model.

    Attributes:
        condition: SQL condition on the runs.
        buckets: The time window, cut into buckets. Runs that start in the window are counted.
        groupings: The ways in which runs are grouped, independent of each other: for example, one
            by model and one by client. Can be empty.
        is_by_bucket: Whether to split the groups of the first grouping by time bucket, too.
        has_keyed: Whether the project has scores that belong to a trace key or a tag instead of a
            run. Stored totals do not contain such scores, so no totals of scores are used then.
        counted: Defines which runs are counted.
        shares_calls: Whether the project can have several runs that record the same call. Each of
            these runs can report the tokens and the cost of the call, but sums count them once.
        rollup: Which parts of the window are read from the stored totals of days and hours.
    """

    project: str
    condition: Condition
    buckets: Buckets
    groupings: Sequence[Grouping]
    is_by_bucket: bool
    has_keyed: bool
    counted: CountedRuns
    shares_calls: bool
    rollup: RollupPart

    @property
    def of_scores(self) -> "StatsQuestion":
        """The query to read scores with. Daily totals have no scores of trace keys and tags."""
        rollup = RollupPart.nothing(self.buckets.window)
        return replace(self, rollup=rollup) if self.has_keyed else self

    def parameters(self, wanted: Sequence[Sequence[str]] = ()) -> dict[str, Any]:
        """Return the parameters, with the labels to list of each grouping."""
        parameters = {
            "project": self.project,
            "start": self.buckets.window.start_ns,
            "end": self.buckets.window.end_ns,
            **bucket_parameters(self.buckets),
            **self.rollup.parameters,
            **self.condition.parameters,
            **{f"wanted{at}": list(labels) for at, labels in enumerate(wanted)},
        }
        for grouping in self.groupings:
            parameters |= grouping.parameters or {}
        return parameters


def choose_groups(reader: Reader, question: StatsQuestion, most: int) -> list[Row]:
    """Find the largest groups of runs, such as the models with the most runs.

    A query can group runs in several ways, for example by model and by client. The largest groups
    are found for each way. Then `read_runs` can read the slower figures, such as latency, for these
    groups only.

    Args:
        reader: The store.
        question: Which runs are counted, and how they are grouped.
        most: Maximum number of groups for each way of grouping.

    Returns:
        One row per group. `place` is the index of the way of grouping in `question.groupings`,
            `label` the name of the group, such as the model, and `number` its number of runs. For
            each `place`, the group with the most runs comes first. `groups` is the number of all
            groups with this `place`, including those without a row.
    """
    sources = [
        (Sql("count()"), _from_runs(question)),
        *((Sql("sum(runs)"), source) for _, source in _from_totals(question, _RUN_TABLES)),
    ]
    cells = [
        Sql("""SELECT {place} AS place, {label} AS label, {count} AS counted
          {source} GROUP BY label""").fill(
            place=place, label=grouping.label, count=count, source=source
        )
        for place, grouping in enumerate(question.groupings)
        for count, source in sources
    ]
    sql = Sql("""
        SELECT place, label, sum(counted) AS number, count() OVER (PARTITION BY place) AS groups
        FROM ({cells}) GROUP BY place, label
        ORDER BY place, number DESC, label LIMIT {most:UInt32} BY place""").fill(
        cells=join_sql(" UNION ALL ", cells)
    )
    return reader.rows(sql, {**question.parameters(), "most": most})


def read_runs(
    reader: Reader, question: StatsQuestion, wanted: Sequence[Sequence[str]]
) -> list[Row]:
    """Read figures of recorded runs, such as errors and cost: in total, by bucket, and by group.

    Args:
        reader: The store.
        question: Which runs are counted, and how they are grouped.
        wanted: For each grouping, the labels of the groups to list. The runs of all other groups
            are one group without a name.

    Returns:
        Rows with figures. `part` shows which runs the row is about: 0 (`ALL`) for all runs, 1
            (`A_BUCKET`) for the runs of a time bucket, and 2 (`A_GROUP`) for those of a group of
            the first grouping. Groups of the second grouping have 3, and so on. If
            `question.is_by_bucket` is true, there is a row with `part` 1 for each pair of a bucket
            and a group. `bucket` is the start of the time bucket. `named` is the label of the
            group, and `is_wanted` whether the label is in `wanted`. The figures are `runs`,
            `errors`, `quantiles` (of latency, in ns), the tokens, `cost`, and `priced`, the number
            of runs with a cost.
    """
    sums = COUNTED_SUMS if question.shares_calls else SUMS
    runs = _from_runs(question)
    parts = [
        _write_parts(question, _columns(question, START), sums, runs),
        *(
            _write_parts(question, _columns(question, time), MERGED, source)
            for time, source in _from_totals(question, _RUN_TABLES)
        ),
    ]
    sql = Sql("""
        SELECT part, is_wanted, named, bucket, {figures}, {tokens} FROM ({parts})
        GROUP BY part, is_wanted, named, bucket ORDER BY part, is_wanted, named, bucket""").fill(
        figures=FIGURES, tokens=TOKEN_SUMS, parts=join_sql(" UNION ALL ", parts)
    )
    return reader.rows(sql, question.parameters(wanted))


def read_scores(
    reader: Reader, question: StatsQuestion, wanted: Sequence[Sequence[str]]
) -> list[Row]:
    """Read figures of scores by judge and version, for the same parts as `read_runs`.

    A score of a request counts for each model version inside it. In totals, it counts once, for the
    request.
    """
    question = question.of_scores
    newest = NEWEST_WITH_KEYED if question.has_keyed else NEWEST_SCORES
    rows = _read_scores(reader, question, wanted, newest)
    of_versions = [
        A_GROUP + at for at, item in enumerate(question.groupings) if item.is_of_versions
    ]
    if not of_versions:
        return rows
    if A_GROUP in of_versions and question.is_by_bucket:
        of_versions.append(A_BUCKET)
    whole = replace(question, rollup=RollupPart.nothing(question.buckets.window))
    scores, values = all_scores(BEGAN, has_keyed=question.has_keyed), whole.parameters()
    if not has_scored_requests(reader, scores, NEAR_REQUESTS, values):
        return rows
    passed_down = _read_scores(reader, whole, wanted, pass_down(scores, NEAR_REQUESTS))
    return [
        *(row for row in rows if row["part"] not in of_versions),
        *(row for row in passed_down if row["part"] in of_versions),
    ]


def _read_scores(
    reader: Reader, question: StatsQuestion, wanted: Sequence[Sequence[str]], newest: Sql
) -> list[Row]:
    runs = Sql("""
      FROM (SELECT trace_id, span_id, {columns} {source}) AS run
      INNER JOIN ({newest}) AS evaluation
        ON evaluation.trace_id = run.trace_id AND evaluation.span_id = run.span_id""").fill(
        columns=_columns(question, START),
        source=_from_runs(question),
        newest=newest,
    )
    parts = [
        _write_parts(question, _name_columns(question), SCORE_SUMS, runs, by=_BY_JUDGE),
        *(
            _write_parts(question, _columns(question, time), MERGED_SCORES, source, by=_BY_JUDGE)
            for time, source in _from_totals(question, _SCORE_TABLES)
        ),
    ]
    sql = Sql("""
        SELECT part, is_wanted, named, bucket, judge, judge_version, {figures} FROM ({parts})
        GROUP BY part, is_wanted, named, bucket, judge, judge_version
        ORDER BY part, is_wanted, named, bucket, judge, judge_version""").fill(
        figures=MERGED_SCORES, parts=join_sql(" UNION ALL ", parts)
    )
    settings = ACROSS_PARTITIONS if question.has_keyed else None
    return reader.rows(sql, question.parameters(wanted), settings)


_RUN_TABLES: Final = (Sql("daily_runs"), Sql("hourly_runs"))
_SCORE_TABLES: Final = (Sql("daily_scores"), Sql("hourly_scores"))
_BY_JUDGE: Final = (Sql("judge"), Sql("judge_version"))
_BUCKET: Final = Sql("bucket")
_FALSE: Final = Sql("false")
_NO_NAME: Final = Sql("''")


def _keys(question: StatsQuestion) -> list[tuple[Sql, Sql]]:
    """Return the columns of each grouping: the name of the group, and whether it is wanted."""
    return [
        (Sql("group{at}").fill(at=at), Sql("is_group{at}").fill(at=at))
        for at in range(len(question.groupings))
    ]


def _columns(question: StatsQuestion, time: Sql) -> Sql:
    """Write the bucket of a time, and which group of each grouping a row is in."""
    placed = [
        Sql("""has({wanted{at}:Array(String)}, {label}) AS {is_wanted},
          if({is_wanted}, {label}, '') AS {name}""").fill(
            label=grouping.label, at=at, name=name, is_wanted=is_wanted
        )
        for at, (grouping, (name, is_wanted)) in enumerate(
            zip(question.groupings, _keys(question), strict=True)
        )
    ]
    return join_sql(", ", [bucket_of(question.buckets, time), *placed])


def _name_columns(question: StatsQuestion) -> Sql:
    """Write the names of `_columns`."""
    return join_sql(", ", [_BUCKET, *(column for key in _keys(question) for column in key)])


def _write_parts(
    question: StatsQuestion, columns: Sql, sums: Sql, source: Sql, *, by: Sequence[Sql] = ()
) -> Sql:
    """Write the SELECT of the sums of a source: in total, by bucket, and by group."""
    keys = _keys(question)
    first = keys[0] if question.is_by_bucket and keys else (_NO_NAME, _FALSE)
    of_bucket = [_BUCKET, *(keys[0] if question.is_by_bucket and keys else ())]
    sets = [
        Sql("({columns})").fill(columns=join_sql(", ", [*by, *columns_of]))
        for columns_of in (of_bucket, *keys, ())
    ]
    grouped = [_BUCKET, *(name for name, _ in keys)]
    return Sql("""
      SELECT indexOf([{grouped}], 0) AS part, [{flags}][part + 1] AS is_wanted,
        [{names}][part + 1] AS named, {by} {columns}, {sums}
      {source} GROUP BY GROUPING SETS ({sets})""").fill(
        grouped=join_sql(", ", [Sql("grouping({n})").fill(n=name) for name in grouped]),
        flags=join_sql(", ", [_FALSE, first[1], *(is_wanted for _, is_wanted in keys)]),
        names=join_sql(", ", [_NO_NAME, first[0], *(name for name, _ in keys)]),
        by=join_sql("", [Sql("{column},").fill(column=column) for column in by]),
        columns=columns,
        sums=sums,
        source=source,
        sets=join_sql(", ", sets),
    )


def _from_runs(question: StatsQuestion) -> Sql:
    """Write the FROM and WHERE of a query's runs, with the joins that its labels need."""
    return Sql("FROM {recorded} {joins} WHERE {of_runs}").fill(
        recorded=recorded_runs(),
        joins=join_sql("", [grouping.join for grouping in question.groupings]),
        of_runs=_of_runs(question),
    )


def _from_totals(question: StatsQuestion, tables: tuple[Sql, Sql]) -> list[tuple[Sql, Sql]]:
    """Write the sources with daily and hourly totals, each with its time column."""
    days, hours = tables
    return [
        (
            time,
            Sql("FROM {table} WHERE {of_them} AND ({condition})").fill(
                table=table, of_them=of_them, condition=question.condition.sql
            ),
        )
        for time, table, is_read, of_them in (
            (Sql("day_ns"), days, question.rollup.days, _OF_DAYS),
            (Sql("hour_ns"), hours, question.rollup.cut_days, _OF_HOURS),
        )
        if is_read
    ]


def _of_runs(question: StatsQuestion) -> Sql:
    """Write the condition on the runs of a query."""
    pieces = [
        Sql("(start_ns >= {from{place}:Int64} AND start_ns < {until{place}:Int64})").fill(
            place=place
        )
        for place in range(len(question.rollup.pieces))
    ]
    wanted = [question.counted.sql, Sql("({condition})").fill(condition=question.condition.sql)]
    if len(pieces) != 1:  # one piece is the whole window
        wanted.append(Sql("({pieces})").fill(pieces=join_sql(" OR ", pieces) or Sql("0")))
    return join_sql(" AND ", wanted)


def count_projects(reader: Reader, buckets: Buckets) -> list[Row]:
    """Count the recorded runs of all projects, and sum up their errors, latency and cost.

    Returns:
        Two kinds of rows: one for each project and time bucket, and one for each project as a
            whole. `is_total` is 1 in the rows of whole projects, else 0. `bucket` is the start of
            the time bucket.
    """
    bounds = Bounds(READABLE, Sql("{start:Int64}"), Sql("{end:Int64}"))
    runs = find_counted_of_all(reader, bounds)
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
        recorded=recorded_runs(),
        counted=runs.sql,
    )
    window = buckets.window
    parameters = {"start": window.start_ns, "end": window.end_ns, **bucket_parameters(buckets)}
    return reader.rows(sql, parameters)


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

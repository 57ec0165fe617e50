"""Statistics of recorded runs over time: counts, latency, scores, tokens, by buckets and groups."""

import re
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Final, Literal, TypeVar

from fastapi import APIRouter, Depends, Query
from pydantic import Field

from otel_ml.records import LABELS, TOKENS, Tokens, tokens_of
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.api.parameters import FromReader, FromTime, Where
from otel_ml_collector.api.route import DeferredRoute
from otel_ml_collector.errors import BadInput
from otel_ml_collector.filter.fields import OF_ITEMS, RECORD_OF
from otel_ml_collector.filter.grammar import fields_of, parse
from otel_ml_collector.filter.sql import compile_where
from otel_ml_collector.measures.questions import (
    A_BUCKET,
    A_GROUP,
    ALL,
    IN_PIECES,
    Grouping,
    RollupPart,
    StatsQuestion,
    choose_groups,
    count_projects,
    read_runs,
    read_scores,
)
from otel_ml_collector.measures.statistics import read_days
from otel_ml_collector.measures.sums import P95, mean_score, pass_rate, read_quantiles
from otel_ml_collector.price import round_cost
from otel_ml_collector.store.counted import (
    NAMED,
    CountedRuns,
    named,
)
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.record_kinds import (
    RecordKinds,
    find_record_kinds,
)
from otel_ml_collector.store.sql import (
    ALWAYS,
    Condition,
    Sql,
    all_of,
    identifier,
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
from otel_ml_collector.windows import Buckets, Window, find_last

# `model:v3`, or the model alone if a run has no version.
_VERSION: Final = Sql("""transform(
  concat(toString(digest), ':', toString(structure), ':', toString(model)),
  {version_keys:Array(String)}, {version_labels:Array(String)}, toString(model))""")
# Maximum number of versions whose labels are sent with a query, because the store accepts 1 MiB of
# parameters. With more versions, the store numbers them itself.
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
# Remembered for a project whose runs have labels that are not in the list, such as models without
# versions.
_OTHERS: Final = "other_labels"


def _read_known_days(reader: Reader, project: str) -> dict[int, int]:
    days = read_days(reader, project)
    return {day_ns: known_ns for day_ns, known_ns in days.items() if known_ns is not None}


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
# Maximum number of buckets times groups in one answer.
_MAX_CELLS: Final = 10_000
# Filter fields that the rollup can answer: its columns, and `version`, which follows from them.
_DAILY_FIELDS: Final = frozenset({"model", "version", "digest", "kind", "outcome"})

_Place = tuple[int, int, str, int]


class JudgeFigures(JudgeVersionName):
    """Figures of a judge's version, or of a person, over some runs: the last score counts."""

    evaluations: int
    failed: int = Field(description="Number of evaluations in which the judge raised an error")
    mean_score: float | None
    pass_rate: float | None = Field(
        description="Share of evaluations that passed, among those with pass or fail"
    )


class RunFigures(AnswerBody):
    """Figures of some recorded runs; null where there are no values."""

    runs: int = Field(
        description="Number of recorded runs; runs that a sampler dropped are not counted"
    )
    errors: int
    error_share: float | None
    p50_ms: float | None = Field(description="Median latency in ms; quantiles are accurate to 1 %")
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    tokens: Tokens
    cost: float | None = Field(
        description="Total cost in US dollars of the runs whose cost is known"
    )
    judges: list[JudgeFigures]


class StatsBucket(RunFigures):
    """The runs of one bucket, which begins at `start_time`."""

    start_time: str
    start_ns: int


class StatsGroup(AnswerBody):
    """The runs that have a value in common."""

    group: str
    total: RunFigures
    buckets: list[StatsBucket] = Field(description="Buckets that have runs, oldest first")


class RunStats(AnswerBody):
    """Statistics by group and bucket."""

    start_time: str
    end_time: str
    bucket_s: int
    group: str = Field(description="What the runs are grouped by; empty without groups")
    total: RunFigures
    groups: list[StatsGroup] = Field(description="The groups with the most runs, largest first")
    groups_found: int = Field(
        description="Number of all groups. Those that are not listed are added up in `other`"
    )
    other: StatsGroup | None


class ProjectBucket(AnswerBody):
    """The recorded runs of an hour."""

    start_time: str
    start_ns: int
    runs: int
    errors: int
    p50_ms: float | None = Field(description="Median latency in ms; null if no run has a latency")
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class ProjectStats(AnswerBody):
    """The recorded runs of a project."""

    project: str
    runs: int
    errors: int
    failed_traces: int = Field(description="Number of traces with at least one failed run")
    p95_ms: float | None
    cost: float | None = Field(
        description="Total cost in US dollars of the runs whose cost is known"
    )
    buckets: list[ProjectBucket] = Field(description="Buckets that have runs, oldest first")


# Time ranges of a page, with the length of a bucket of its curves.
_PAGE_STEPS_NS: Final = {
    "1h": MINUTE_NS,
    "24h": HOUR_NS,
    "7d": 6 * HOUR_NS,
    "30d": DAY_NS,
}
Past = Literal["1h", "24h", "7d", "30d"]


def cut_past(reader: Reader, last: Past, now_ns: int) -> Buckets:
    """Return the last hour, 24 hours, 7 or 30 days, cut into the buckets of a curve."""
    return find_last(last, now_ns, reader.zone).cut(_PAGE_STEPS_NS[last])


_Versioned = TypeVar("_Versioned", bound=JudgeVersionName)


class AllStats(AnswerBody):
    """The recorded runs of all projects that may be read, the project with most runs first."""

    start_time: str
    end_time: str
    bucket_s: int
    groups: list[ProjectStats]


def make_grouping(reader: Reader, project: str, group: str, kinds: RecordKinds) -> Grouping:
    """Make the grouping by a field or tag, such as ``version`` or ``tags["client"]``.

    Raises:
        BadInput: Runs cannot be grouped by that.
    """
    if group == "version":
        return _by_version(all_version_numbers(reader, project, "model"))
    if kinds.named and group in NAMED:  # else their trace's name
        return Grouping(named(identifier(group, _GROUP_COLUMNS)))
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
        return Grouping(_NUMBERED, join=_WITH_NUMBERS, is_of_versions=True)
    versions = {
        f"{digest}:{structure}:{model}": f"{model}:v{number}"
        for (model, digest, structure), number in numbers.items()
    }
    parameters = {
        "version_keys": list(versions) or [""],
        "version_labels": list(versions.values()) or [""],
    }
    labels = [*dict.fromkeys(versions.values())]
    return Grouping(
        _VERSION, is_daily=True, parameters=parameters, is_of_versions=True, labels=labels
    )


def _by_tag(name: str, kinds: RecordKinds) -> Grouping:
    """Group by the newest value of a tag, including late-arriving ones."""
    value = Sql("tags[{label}]").fill(label=_LABEL)
    if kinds.tags:
        value = Sql("if(mapContains(late_tags, {label}), late_tags[{label}], {value})").fill(
            label=_LABEL, value=value
        )
    return Grouping(TAG_TEXT.fill(value=value), parameters={"group": name})


@dataclass(frozen=True, slots=True)
class StatsQuery:
    """A request for statistics: which runs to count, and how to group them.

    Attributes:
        where: A filter on runs. If empty, all runs match. Spans that are not model calls are left
            out, unless the filter has ``kind``.
        group: The field or tag to group by, such as ``version`` or ``tags["client"]``; empty for no
            groups.
        window: Time range in which the runs began. The first bucket begins at its start, the last
            one ends at its end.
        step_ns: Length of a bucket; None for one bucket.
        groups: Maximum number of groups to list.
        also: An SQL condition on runs, in addition to the filter.
        by: The SQL that finds the group of each run. If None, it is made from `group`.
        only: Names of the groups to list. If empty, the groups with the most runs are listed.
        needs_runs: Whether `also` uses columns that the stored daily and hourly totals lack. Then
            the statistics are read from the runs.
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
    """Compute statistics of the recorded runs of a project, by group and time bucket.

    Raises:
        BadInput: The filter or group is invalid, or there would be too many buckets.
    """
    question = make_question(reader, query)
    rows, scores, wanted, groups_found = _read_groups(reader, question, query)
    return _make_stats(
        reader, query, rows=rows, scores=scores, wanted=wanted, groups_found=groups_found
    )


def find_at_once(reader: Reader, query: StatsQuery, groups: Sequence[str]) -> list[RunStats]:
    """Compute statistics of recorded runs by time bucket, and by each of several fields or tags.

    This reads the runs once, not once for each of `groups`: one SQL statement chooses the groups, a
    second reads the runs, and a third the scores. Use it if the stored daily and hourly totals do
    not cover the time range or some of the fields and tags.

    Returns:
        First the statistics of all runs by time bucket. Then, for each field or tag, the statistics
        of its groups over the whole time range, without time buckets.

    Raises:
        BadInput: The filter or a group is invalid, or there would be too many buckets.
    """
    kinds = find_record_kinds(reader, query.project)
    groupings = [make_grouping(reader, query.project, group, kinds) for group in groups]
    question = _ask(reader, query, groupings, is_by_bucket=False)
    chosen = choose_groups(reader, question, query.groups)
    wanted = [[row["label"] for row in chosen if row["place"] == at] for at in range(len(groups))]
    rows, scores = _read_parts(reader, question, wanted)

    def make(
        query: StatsQuery, part: int, wanted: Sequence[str] = (), groups_found: int = 0
    ) -> RunStats:
        return _make_stats(
            reader,
            query,
            rows=_take_part(rows, part),
            scores=_take_part(scores, part),
            wanted=wanted,
            groups_found=groups_found,
        )

    found = {row["place"]: row["groups"] for row in chosen}
    return [
        make(query, A_BUCKET),
        *(
            make(replace(query, group=group), A_GROUP + at, wanted[at], found.get(at, 0))
            for at, group in enumerate(groups)
        ),
    ]


def _take_part(rows: Sequence[Row], part: int) -> list[Row]:
    """Return the rows of the total and of one grouping, as if there were no others."""
    return [
        {**row, "part": min(row["part"], A_GROUP)} for row in rows if row["part"] in {ALL, part}
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
    """Make statistics from rows of `read_runs` and `read_scores`."""
    judged = _judged(reader, query.project, scores)
    facts = {_place(row): _figures(row, judged[_place(row)]) for row in rows}
    buckets = _buckets(facts)
    groups = {
        (wanted_too, name): StatsGroup(
            group=name, total=figures, buckets=buckets.get((wanted_too, name), [])
        )
        for (part, wanted_too, name, _), figures in facts.items()
        if part == A_GROUP
    }
    total = facts.get((ALL, 0, "", 0), NO_RUNS)
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
    """Return the length of a bucket in seconds, rounded up; without buckets, that of the window."""
    step_ns = query.step_ns or query.window.end_ns - query.window.start_ns
    return -(-step_ns // SECOND_NS)


def _read_groups(
    reader: Reader, question: StatsQuestion, query: StatsQuery
) -> tuple[list[Row], list[Row], Sequence[str], int]:
    """Read runs and scores by group; return the listed groups, and how many there are."""
    if not query.group or query.only:
        return *_read_parts(reader, question, [query.only]), query.only, len(query.only)
    labels = question.groupings[0].labels
    has_others = _OTHERS in reader.memory.recall(query.project)[0]
    if 0 < len(labels) <= query.groups and not has_others:  # all groups fit
        rows, scores = _read_parts(reader, question, [labels])
        if all(row["is_wanted"] for row in rows if row["part"] != ALL):
            groups = [row for row in rows if row["part"] == A_GROUP]
            groups.sort(key=lambda row: (-row["runs"], row["named"]))
            return rows, scores, [row["named"] for row in groups], len(groups)
        reader.memory.note(query.project, [_OTHERS])
    named = choose_groups(reader, question, query.groups)
    wanted = [row["label"] for row in named]
    return *_read_parts(reader, question, [wanted]), wanted, named[0]["groups"] if named else 0


def _read_parts(
    reader: Reader, question: StatsQuestion, wanted: Sequence[Sequence[str]]
) -> tuple[list[Row], list[Row]]:
    """Read runs and scores at the same time."""
    scores = reader.ahead(read_scores, question, wanted)
    return read_runs(reader, question, wanted), scores.result()


def find_total(reader: Reader, query: StatsQuery) -> RunFigures:
    """Compute the total figures of the recorded runs of a project, without scores.

    Raises:
        BadInput: The filter is invalid.
    """
    rows = read_runs(reader, make_question(reader, query), [])
    return next((_figures(row, []) for row in rows if row["part"] == ALL), NO_RUNS)


def find_group_totals(reader: Reader, query: StatsQuery) -> dict[str, RunFigures]:
    """Compute the figures of each group in `query.only`, without scores.

    Raises:
        BadInput: The filter is wrong.
    """
    rows = read_runs(reader, make_question(reader, query), [query.only])
    groups = [row for row in rows if row["part"] == A_GROUP and row["is_wanted"]]
    return {row["named"]: _figures(row, []) for row in groups}


def newest_versions(judges: Iterable[_Versioned]) -> list[tuple[_Versioned, list[_Versioned]]]:
    """Return the newest version of each judge with its other versions, sorted by judge."""
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
            p95_ms=read_quantiles(total)[P95],
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
    """Translate a request for statistics into the parts of an SQL query, without running the query.

    Args:
        reader: The store.
        query: The request: which runs to count, how to group them, and how long a time bucket is.

    Raises:
        BadInput: The filter or group is invalid, or there would be too many buckets.
    """
    groupings = []
    if query.group:
        kinds = find_record_kinds(reader, query.project)
        groupings = [query.by or make_grouping(reader, query.project, query.group, kinds)]
    return _ask(reader, query, groupings)


def _ask(
    reader: Reader,
    query: StatsQuery,
    groupings: Sequence[Grouping],
    *,
    is_by_bucket: bool = True,
) -> StatsQuestion:
    """Prepare the query of statistics. Days and hours that the rollup has are read from there.

    Raises:
        BadInput: The filter is invalid, or there would be too many buckets.
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
        reader,
        query.project,
        query.where,
        is_bounded=True,
        kinds=kinds,
        hides=False,
    )
    fields = fields_of(parse(query.where))
    has_items = not fields.isdisjoint(OF_ITEMS)
    rollup = RollupPart.nothing(window)
    # The rollup has no runs over items of data sets.
    is_daily = all(grouping.is_daily for grouping in groupings) and not query.needs_runs
    if is_daily and fields <= _DAILY_FIELDS and not (has_items and kinds.experiments):
        days = reader.memory.days(query.project, lambda: _read_known_days(reader, query.project))
        rollup = RollupPart.of(days, buckets)
    return StatsQuestion(
        project=query.project,
        condition=all_of([condition, query.also]),
        buckets=buckets,
        groupings=groupings,
        is_by_bucket=is_by_bucket,
        has_keyed=kinds.keyed_scores,
        counted=CountedRuns(
            IN_PIECES,
            repeats=kinds.same_calls and RECORD_OF not in fields,
            items=kinds.experiments and not has_items,
            kinds=True,  # the condition says which
        ),
        shares_calls=kinds.same_calls,
        rollup=rollup,
    )


def _place(row: Row) -> _Place:
    return row["part"], int(row["is_wanted"]), row["named"], row["bucket"]


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


def _figures(row: Row, judges: Sequence[JudgeFigures]) -> RunFigures:
    if not row["runs"]:
        return NO_RUNS
    p50, p90, p95, p99 = read_quantiles(row)
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
    for (part, is_wanted, name, bucket), figures in sorted(
        run_figures.items(), key=lambda entry: entry[0]
    ):
        if part == A_BUCKET:
            buckets[is_wanted, name].append(
                StatsBucket(start_time=to_rfc3339(bucket), start_ns=bucket, **dict(figures))
            )
    return buckets


def _project_bucket(row: Row) -> ProjectBucket:
    start_ns = row["bucket"]
    p50, p90, p95, p99 = read_quantiles(row)
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


# A single bucket for the whole time range.
_ALL_TIME: Final = "all"
_BUCKET: Final = re.compile("([1-9][0-9]{0,5})([mhd])", re.ASCII)

router = APIRouter(prefix="/api/v1", route_class=DeferredRoute)

Group = Annotated[
    str, Query(max_length=220, description=f"Empty for none, else one of {', '.join(GROUPS)}")
]
Bucket = Annotated[
    str,
    Query(
        max_length=8,
        description="Length of a bucket: `15m`, `1h` or `1d`; `all` for a single bucket",
    ),
]


def parse_stats(
    *,
    project: str,
    where: Where = "",
    group: Group = "",
    asked: FromTime,
    bucket: Bucket = "1h",
    groups: Annotated[
        int, Query(ge=1, le=MAX_GROUPS, description="Maximum number of groups to list")
    ] = 10,
) -> StatsQuery:
    """Read the query of statistics.

    Raises:
        BadInput: The length of a bucket cannot be read.
    """
    match = _BUCKET.fullmatch(bucket)
    if match is None and bucket != _ALL_TIME:
        raise BadInput(
            f"Invalid bucket {bucket!r}: expected a length such as 15m, 1h or 1d, or all", "bucket"
        )
    step_ns = int(match[1]) * UNITS_NS[match[2]] if match else None
    window = asked.bound(DAY_NS, time.time_ns())
    return StatsQuery(project, where, group, window, step_ns, groups)


@router.get("/projects/{project:path}/stats")
def get_stats(query: Annotated[StatsQuery, Depends(parse_stats)], reader: FromReader) -> RunStats:
    """Return statistics of runs by group and time: count, errors, latency, scores, tokens, cost.

    By default, runs of the last 24 hours are counted. Time buckets begin at full hours or days of
    the time zone `tz`. The first bucket begins at `start` and the last one ends at `end`, so both
    may be shorter. There can be at most 750 buckets. The number of buckets times the number of
    groups can be at most about 10,000.
    """
    return find_stats(reader, query)


@router.get("/stats")
def get_all_stats(reader: FromReader) -> AllStats:
    """Count the recorded runs of all projects in the last 24 hours, by the hour."""
    return find_all_stats(reader, time.time_ns())

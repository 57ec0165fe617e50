"""Finds statistics of recorded runs: the one `find` behind the JSON API and the pages."""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, Field

from otel_ml.records import TOKENS, Tokens, tokens_of
from otel_ml_collector.errors import BadQuery
from otel_ml_collector.filter.grammar import fields_of, parse
from otel_ml_collector.filter.sql import compile_where
from otel_ml_collector.price import round_cost
from otel_ml_collector.stats.sql import (
    Grouping,
    Sources,
    StatsQuestion,
    choose_sources,
    count_projects,
    list_groups,
    read_runs,
    read_scores,
)
from otel_ml_collector.store.apart import Apart, find_apart, late_tags
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.runs import Window
from otel_ml_collector.store.sql import EMPTY, Sql, identifier
from otel_ml_collector.store.targets import TAG_TEXT
from otel_ml_collector.times import DAY_NS, HOUR_NS, SECOND_NS, to_rfc3339

_DAILY: Final = ("model", "kind", "outcome", "digest")
_COLUMNS: Final = (
    *_DAILY,
    *("name", "error_type", "error_message", "session", "user", "environment", "release"),
    *("provider", "provider_model", "span_kind", "dialect"),
)
GROUPS: Final = ("version", *_COLUMNS, 'tags["name"]')
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


class JudgeFigures(BaseModel):
    """What one judge, or person, said of some runs: the last of each counts."""

    judge: str
    evaluations: int
    failed: int = Field(description="Evaluations in which the judge itself failed")
    mean_score: float | None
    pass_rate: float | None = Field(description="Of the evaluations that say whether a run passed")


class Figures(BaseModel):
    """What some recorded runs were like; null where there is nothing to tell of."""

    runs: int = Field(description="Recorded runs; what a sampler left out is not counted")
    errors: int
    error_share: float | None
    p50_ms: float | None = Field(description="Latency; quantiles are within 1 % of the exact ones")
    p90_ms: float | None
    p99_ms: float | None
    tokens: Tokens
    cost: float | None = Field(description="Of the runs whose cost is known")
    judges: list[JudgeFigures]


class StatsBucket(Figures):
    """The runs of a stretch of time, those from `start_time` on."""

    start_time: str
    start_ns: int


class StatsGroup(BaseModel):
    """The runs that have one value in common."""

    group: str
    total: Figures
    buckets: list[StatsBucket] = Field(description="Those that have runs, oldest first")


class Stats(BaseModel):
    """Statistics by group and bucket."""

    start_time: str
    end_time: str
    bucket_s: int
    group: str = Field(description="By what runs are grouped; empty for no groups")
    total: Figures
    groups: list[StatsGroup] = Field(description="Those with most runs, the largest first")
    groups_found: int = Field(description="How many there are; the smaller ones are in `other`")
    other: StatsGroup | None


class ProjectBucket(BaseModel):
    """The recorded runs of an hour."""

    start_time: str
    start_ns: int
    runs: int
    errors: int
    p50_ms: float
    p90_ms: float
    p99_ms: float


class ProjectStats(BaseModel):
    """The recorded runs of a project."""

    project: str
    runs: int
    errors: int
    buckets: list[ProjectBucket] = Field(description="Those that have runs, oldest first")


class AllStats(BaseModel):
    """The recorded runs of all projects that may be read, the one with most runs first."""

    start_time: str
    end_time: str
    bucket_s: int
    groups: list[ProjectStats]


def make_grouping(group: str, apart: Apart) -> Grouping:
    """Make the grouping that a text names; empty for one group of all.

    Raises:
        BadQuery: Runs cannot be grouped by that.
    """
    if not group:
        return Grouping(Sql("''"), is_daily=True)
    if group == "version":
        return Grouping(EMPTY, is_daily=True, is_versions=True)
    if group in _COLUMNS:
        column = identifier(group, _COLUMNS)
        return Grouping(Sql("toString({column})").fill(column=column), is_daily=group in _DAILY)
    match = _TAG.fullmatch(group)
    if match is None:
        raise BadQuery(
            f"Invalid group {group[:80]!r}: expected one of {', '.join(GROUPS)}", "group"
        )
    return _by_tag(match[1] or match[2], apart)


def _by_tag(name: str, apart: Apart) -> Grouping:
    """Group by the text of a tag: the newest one, also one that came later."""
    value, join = Sql("tags[{label}]").fill(label=_LABEL), EMPTY
    if apart.tags:
        join = Sql("""
          LEFT JOIN (
            SELECT trace_id AS late_trace, span_id AS late_span, newest, newest_ns
            FROM ({late_tags})
          ) AS late ON late_trace = trace_id AND late_span = span_id""").fill(
            late_tags=late_tags(_LABEL, apart)
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
    """What to count.

    Attributes:
        where: A filter; empty for all. Spans that are no model calls are left out unless it
            speaks of ``kind``.
        group: A field or tag, such as ``version`` or ``tags["client"]``; empty for none.
        window: Of runs that started when; the first bucket begins there.
        step_ns: How long a bucket is.
        groups: How many groups are told apart.
    """

    project: str
    where: str
    group: str
    window: Window
    step_ns: int
    groups: int


@dataclass(frozen=True, slots=True)
class PassRates:
    """What share of runs passed.

    Attributes:
        total: Of the whole window; None where nothing was judged.
        buckets: By where a bucket begins, of those with judged runs.
    """

    total: float | None
    buckets: Mapping[int, float]


def find_stats(reader: Reader, query: StatsQuery) -> Stats:
    """Count the recorded runs of a project, by group and bucket.

    Raises:
        BadQuery: Filter or group is wrong, or there would be too many buckets.
    """
    _check(query)
    question = _question(reader, query)
    sources = choose_sources(reader, question)
    wanted, groups_found = _choose_groups(reader, query, question, sources)
    scores = reader.ahead(read_scores, question, sources, wanted)
    rows = read_runs(reader, question, sources, wanted)
    judged = _judged(scores.result())
    found = {_place(row): _figures(row, judged[_place(row)]) for row in rows}
    buckets = _buckets(found, query)
    groups = {
        (wanted_too, name): StatsGroup(
            group=name, total=figures, buckets=buckets.get((wanted_too, name), [])
        )
        for (level, wanted_too, name, _), figures in found.items()
        if level == _A_GROUP
    }
    return Stats(
        start_time=to_rfc3339(query.window.start_ns),
        end_time=to_rfc3339(query.window.end_ns),
        bucket_s=query.step_ns // SECOND_NS,
        group=query.group,
        total=found.get((_ALL, 0, "", 0), _NOTHING),
        groups=[groups[1, name] for name in wanted] if query.group else list(groups.values()),
        groups_found=groups_found,
        other=groups.get((0, "")) if query.group else None,
    )


def _choose_groups(
    reader: Reader, query: StatsQuery, question: StatsQuestion, sources: Sources
) -> tuple[list[str], int]:
    """Name the groups with most runs, and tell how many there are."""
    if not query.group:
        return [], 1
    named = list_groups(reader, question, sources, query.groups)
    return [row["label"] for row in named], named[0]["groups"] if named else 0


def find_pass_rates(reader: Reader, query: StatsQuery) -> PassRates:
    """Find what share of a project's runs passed, by bucket: the mean of its judges' pass rates.

    Raises:
        BadQuery: The filter is wrong, or there would be too many buckets.
    """
    _check(query)
    question = _question(reader, query)
    judged = _judged(read_scores(reader, question, choose_sources(reader, question), []))
    rates = {place: _pass_rate(judges) for place, judges in judged.items()}
    buckets = {
        query.window.start_ns + bucket * query.step_ns: rate
        for (level, _, _, bucket), rate in rates.items()
        if level == _A_BUCKET and rate is not None
    }
    return PassRates(rates.get((_ALL, 0, "", 0)), buckets)


def _pass_rate(judges: Sequence[JudgeFigures]) -> float | None:
    rates = [judge.pass_rate for judge in judges if judge.pass_rate is not None]
    return sum(rates) / len(rates) if rates else None


def find_all_stats(reader: Reader, now_ns: int) -> AllStats:
    """Count the recorded runs of all projects in the last 24 hours, by the hour."""
    end_ns = (now_ns // HOUR_NS + 1) * HOUR_NS
    window = Window(end_ns - DAY_NS, end_ns)
    rows: defaultdict[str, list[Row]] = defaultdict(list)
    for row in count_projects(reader, window, HOUR_NS):
        rows[row["project"]].append(row)
    groups = [
        ProjectStats(
            project=project,
            runs=sum(row["runs"] for row in of_project),
            errors=sum(row["errors"] for row in of_project),
            buckets=[_project_bucket(row, window) for row in of_project],
        )
        for project, of_project in rows.items()
    ]
    return AllStats(
        start_time=to_rfc3339(window.start_ns),
        end_time=to_rfc3339(window.end_ns),
        bucket_s=HOUR_NS // SECOND_NS,
        groups=sorted(groups, key=lambda group: (-group.runs, group.project)),
    )


def _check(query: StatsQuery) -> None:
    window = query.window
    if window.end_ns <= window.start_ns:
        raise BadQuery("The end is not after the start: expected a later one", "end")
    buckets = -(-(window.end_ns - window.start_ns) // query.step_ns)
    if buckets > MAX_BUCKETS or buckets * (query.groups + 2) > _MAX_CELLS:
        most = min(MAX_BUCKETS, _MAX_CELLS // (query.groups + 2))
        raise BadQuery(f"There would be {buckets:,} buckets: expected at most {most}", "bucket")


def _question(reader: Reader, query: StatsQuery) -> StatsQuestion:
    apart = find_apart(reader, query.project)
    condition, _ = compile_where(reader, query.project, query.where, is_bounded=True, apart=apart)
    begins_a_day = query.window.start_ns % DAY_NS == 0
    # Without buckets of days only a total could come from the rollup.
    in_days = begins_a_day and query.step_ns % DAY_NS == 0
    fields = fields_of(parse(query.where))
    return StatsQuestion(
        project=query.project,
        condition=condition,
        window=query.window,
        step_ns=query.step_ns,
        grouping=make_grouping(query.group, apart),
        is_daily=in_days and fields <= _DAILY_FIELDS and not apart.told_scores,
        is_told=apart.told_scores,
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


def _judged(rows: Iterable[Row]) -> defaultdict[_Place, list[JudgeFigures]]:
    judged: defaultdict[_Place, list[JudgeFigures]] = defaultdict(list)
    for row in rows:
        judged[_place(row)].append(
            JudgeFigures(
                judge=row["judge"],
                evaluations=row["evaluations"],
                failed=row["failed"],
                mean_score=row["score"] / row["scored"] if row["scored"] else None,
                pass_rate=row["passed"] / row["judged"] if row["judged"] else None,
            )
        )
    return judged


def _figures(row: Row, judges: Sequence[JudgeFigures]) -> Figures:
    if not row["runs"]:
        return _NOTHING
    p50, p90, p99 = (_ms(quantile) for quantile in row["quantiles"])
    return Figures(
        runs=row["runs"],
        errors=row["errors"],
        error_share=row["errors"] / row["runs"],
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        tokens=tokens_of(row),
        cost=round_cost(row["cost"]) if row["priced"] else None,
        judges=list(judges),
    )


def _buckets(
    found: dict[_Place, Figures], query: StatsQuery
) -> dict[tuple[int, str], list[StatsBucket]]:
    buckets: defaultdict[tuple[int, str], list[StatsBucket]] = defaultdict(list)
    for (level, is_wanted, name, bucket), figures in sorted(found.items(), key=lambda one: one[0]):
        if level == _A_BUCKET:
            start_ns = query.window.start_ns + bucket * query.step_ns
            buckets[is_wanted, name].append(
                StatsBucket(start_time=to_rfc3339(start_ns), start_ns=start_ns, **dict(figures))
            )
    return buckets


def _project_bucket(row: Row, window: Window) -> ProjectBucket:
    start_ns = window.start_ns + row["bucket"] * HOUR_NS
    p50, p90, p99 = (quantile / 1e6 for quantile in row["quantiles"])
    return ProjectBucket(
        start_time=to_rfc3339(start_ns),
        start_ns=start_ns,
        runs=row["runs"],
        errors=row["errors"],
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
    )


def _ms(quantile_ns: float) -> float | None:
    return quantile_ns / 1e6 if math.isfinite(quantile_ns) else None


_NOTHING: Final = Figures(
    runs=0,
    errors=0,
    error_share=None,
    p50_ms=None,
    p90_ms=None,
    p99_ms=None,
    tokens=tokens_of(dict.fromkeys(TOKENS, 0)),
    cost=None,
    judges=[],
)

"""Figures of runs as pages show them: tiles over curves, and tables by model, user or session.

A filter selects the runs, and each figure links to its runs. Figures are shown with those of the
same time a week before.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from re import fullmatch
from typing import Annotated, Any, Final, Literal, TypeVar
from zoneinfo import ZoneInfo

from fastapi import Query
from pydantic import Field

from otel_ml.statistics import floats
from otel_ml_collector import wording
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.api.parameters import ZoneName
from otel_ml_collector.filter.writing import narrow, quoted, where_of_group
from otel_ml_collector.findings.suggestions import Suggestion, suggest_for_curve
from otel_ml_collector.price import write_cost
from otel_ml_collector.stats import (
    JudgeFigures,
    Past,
    ProjectBucket,
    RunFigures,
    RunStats,
    StatsBucket,
    StatsQuery,
    find_at_once,
    find_stats,
    newest_versions,
)
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.record_kinds import find_record_kinds
from otel_ml_collector.store.scores import find_lower_judges
from otel_ml_collector.times import DAY_NS, HOUR_NS, SECOND_NS, from_rfc3339
from otel_ml_collector.verdicts.claims import write_factor
from otel_ml_collector.web import view
from otel_ml_collector.windows import Buckets, Window
from otel_ml_collector.wording import THIN

UserGroup = Literal["user", "session"]
_TAG: Final = r"tags\[.+\]"
Order = Literal["runs", "errors", "p95", "tokens", "cost", "quality"]

_GROUPS: Final = 50
_TABLE_ROWS: Final = 8
_UNSEEN: Final = 0.005  # relative changes below this are "unchanged"
_WEEK_NS: Final = 7 * DAY_NS
SPANS: Final = {"1h": "the last hour", "24h": "24 hours", "7d": "7 days", "30d": "30 days"}
ORDERS: Final[Sequence[tuple[Order, str, str]]] = (
    ("runs", "Runs", "w2"),
    ("errors", "Errors", "w2 opt"),
    ("p95", "p95 ms", "w2 opt"),
    ("tokens", "k tokens", "w2 opt"),
    ("cost", "$", "w3"),
)
_Bucket = TypeVar("_Bucket", StatsBucket, ProjectBucket)
_Value = Callable[[RunFigures], float | None]


class GroupTotal(AnswerBody):
    """The runs that have a value in common."""

    group: str
    total: RunFigures


class GroupTotals(AnswerBody):
    """Runs by a value in common; all groups together are the total."""

    group: str = Field(
        description="What the runs are grouped by. The values are those of `by` in statistics"
    )
    groups: list[GroupTotal] = Field(
        description="The 50 groups with the most runs, in the requested order"
    )
    groups_found: int = Field(description="Number of groups")
    other: RunFigures | None = Field(description="All other runs; null if there are none")


@dataclass(frozen=True, slots=True)
class FiguresQuery:
    """Parameters of pages and API routes with figures: period, grouping, order and time zone."""

    last: Annotated[Past, Query(description="Length of the period")] = "24h"
    users: Annotated[
        str,
        Query(
            max_length=400,
            pattern=rf"^(user|session|{_TAG})$",
            description='How to group the table of users: by user, session or tags["name"]',
        ),
    ] = "user"
    order: Annotated[
        Order, Query(description="Which groups come first: the highest or the worst values")
    ] = "cost"
    tz: ZoneName = ""

    def parameters(self, **changes: Any) -> dict[str, Any]:
        """Return the parameters that differ from the defaults, after some changes."""
        query = replace(self, **changes)
        return {
            field.name: value
            for field in fields(query)
            if (value := getattr(query, field.name)) != field.default
        }


class ComparedFigures(AnswerBody):
    """Figures of recorded runs in a recent period, and in an earlier period of the same length."""

    start_time: str
    end_time: str
    bucket_s: int
    total: RunFigures
    buckets: list[StatsBucket] = Field(description="Buckets that have runs, oldest first")
    before_start_time: str = Field(
        description="Start of the earlier period to compare with: 7 days earlier, or 30 days "
        "earlier if the period is 30 days"
    )
    before: RunFigures = Field(description="Values of the earlier period")
    buckets_before: list[StatsBucket]


@dataclass(frozen=True, slots=True)
class FiguresAt:
    """Figures of a project's runs in a period, such as the number of runs, errors and cost.

    Attributes:
        compared: Figures of all runs in the period, and in an earlier period of the same length.
        groups: Figures of groups of runs, such as users. One entry for each requested grouping.
    """

    compared: ComparedFigures
    groups: Sequence[GroupTotals]


def find_figures_at(
    reader: Reader,
    project: str,
    buckets: Buckets,
    *,
    by: Sequence[str],
    order: Order,
    where: str = "",
) -> FiguresAt:
    """Compute the figures of the runs of a window: in total, by time bucket and by group.

    Figures are, for example, the number of runs, the errors and the cost. The figures of an earlier
    period of the same length are computed too. It begins one week before the window. If the window
    is longer than a week, the earlier period ends where the window begins.

    Args:
        reader: The store.
        project: The project.
        buckets: The window, and the length of its time buckets.
        by: What to group the runs by, such as ``user`` or ``tags["client"]``. For each
            entry, only the 50 groups with the most runs are returned.
        order: The figure to sort the groups by, such as ``cost``.
        where: Filter of the runs. If empty, all runs are counted.

    Raises:
        BadInput: The filter or an entry of `by` is invalid.
    """
    window, step_ns = buckets.window, buckets.step_ns
    length_ns = window.end_ns - window.start_ns
    earlier = _before(window)
    asked_before = StatsQuery(project, where, "", earlier, step_ns, 1)
    query = StatsQuery(project, where, "", window, step_ns, _GROUPS)
    if by and length_ns <= DAY_NS:
        ahead = reader.ahead(find_at_once, query, by)
        before = find_stats(reader, asked_before)
        now, *grouped = ahead.result()
    else:
        now = find_stats(reader, replace(query, groups=1))
        before = find_stats(reader, asked_before)
        whole = replace(query, step_ns=None)
        grouped = [find_stats(reader, replace(whole, group=item)) for item in by if now.total.runs]
    return FiguresAt(
        ComparedFigures(
            start_time=now.start_time,
            end_time=now.end_time,
            bucket_s=now.bucket_s,
            total=now.total,
            buckets=buckets_of(now),
            before_start_time=before.start_time,
            before=before.total,
            buckets_before=buckets_of(before),
        ),
        [_order_groups(reader, project, item, order) for item in grouped],
    )


def _before(window: Window) -> Window:
    """Return the same time a week earlier. A window longer than a week moves by its length."""
    back_ns = max(_WEEK_NS, window.end_ns - window.start_ns)
    return Window(window.start_ns - back_ns, window.end_ns - back_ns, window.zone)


def list_user_groups(reader: Reader, project: str) -> list[UserGroup]:
    """Return by what the runs of a project can be grouped: user, session, both or neither."""
    named = find_record_kinds(reader, project).names
    both: Sequence[UserGroup] = ("user", "session")
    return [group for group in both if group in named]


def choose_user_group(query: FiguresQuery, groups: Sequence[UserGroup]) -> str | None:
    """Choose the grouping of the table of users: the requested one, or else the first available."""
    is_known = query.users in groups or fullmatch(_TAG, query.users)
    return query.users if is_known else next(iter(groups), None)


def list_choices(query: FiguresQuery, groups: Sequence[UserGroup]) -> list[tuple[str, str]]:
    """List the groupings that the table of users offers, with their names.

    If the query groups by a tag, the tag is included.
    """
    choices: list[tuple[str, str]] = [(group, group.capitalize()) for group in groups]
    if fullmatch(_TAG, query.users):
        choices.append((query.users, name_group(query.users)))
    return choices


def name_group(by: str) -> str:
    """Name a grouping as in a heading: `function`, `LLM`, or the name of a tag."""
    names = {"model": "function", "provider_model": "LLM"}
    return names.get(by, by.removeprefix('tags["').removesuffix('"]'))


def value_of(judge: JudgeFigures, figures: RunFigures) -> float | None:
    """Return the pass rate by a judge's version, or its mean score if it has no pass marks."""
    for item in figures.judges:
        if (item.judge, item.digest) == (judge.judge, judge.digest):
            return item.mean_score if item.pass_rate is None else item.pass_rate
    return None


def write_quality(judge: JudgeFigures | None, figures: RunFigures) -> str:
    """Write the value of `value_of`: a percentage if it is a pass rate, else a score."""
    value = value_of(judge, figures) if judge else None
    if judge is None or value is None:
        return "–"
    return wording.score(value) if judge.pass_rate is None else wording.percent(value, 1)


def choose_judges(figures: RunFigures, most: int) -> list[JudgeFigures]:
    """Choose the judges that scored the most runs, each in its live version.

    The live version is the newest one that scored at least half as many runs as any other version
    of the judge. So a trial of a newer version on some stored runs does not replace it.
    """
    live = []
    for newest, others in newest_versions(figures.judges):
        versions = [newest, *others]
        most_runs = max(version.evaluations for version in versions)
        live.append(next(item for item in versions if 2 * item.evaluations >= most_runs))
    judges = [item for item in live if item.pass_rate is not None or item.mean_score is not None]
    return sorted(judges, key=lambda entry: (-entry.evaluations, entry.judge))[:most]


def count_tokens(figures: RunFigures) -> int:
    """Return the sum of input and output tokens."""
    return (figures.tokens.input or 0) + (figures.tokens.output or 0)


def buckets_of(stats: RunStats) -> list[StatsBucket]:
    """Return the buckets of statistics without groups."""
    return stats.groups[0].buckets if stats.groups else []


def is_lower_better(reader: Reader, project: str, judge: JudgeFigures | None) -> bool:
    """Return whether lower values of a judge are better. Higher pass rates are always better."""
    if judge is None or judge.pass_rate is not None:
        return False
    return bool(find_lower_judges(reader, project, [judge.judge]))


def rank(
    order: Order, judge: JudgeFigures | None, *, lower_is_better: bool = False
) -> Callable[[RunFigures], float]:
    """Return a sort key that orders groups of runs, such as users, by one of their figures.

    The highest number of runs, error rate, latency, tokens or cost comes first. For ``quality``,
    the group with the worst scores comes first, and groups without scores come last.

    Args:
        order: The figure to sort by: ``runs``, ``errors``, ``p95``, ``tokens``, ``cost`` or
            ``quality``.
        judge: The judge whose pass rate or mean score is used for ``quality``.
        lower_is_better: Whether lower values of the judge are better.
    """

    def quality(figures: RunFigures) -> float:
        value = value_of(judge, figures) if judge else None
        if value is None:
            return math.inf  # groups without scores come last
        return -value if lower_is_better else value

    ranks: dict[Order, Callable[[RunFigures], float]] = {
        "runs": lambda entry: -entry.runs,
        "errors": lambda entry: -(entry.error_share or 0),
        "p95": lambda entry: -(entry.p95_ms or 0),
        "tokens": lambda entry: -count_tokens(entry),
        "cost": lambda entry: -(entry.cost or 0),
        "quality": quality,
    }
    return ranks[order]


def _order_groups(reader: Reader, project: str, stats: RunStats, order: Order) -> GroupTotals:
    judge = next(iter(choose_judges(stats.total, 1)), None)
    is_lower = order == "quality" and is_lower_better(reader, project, judge)
    place = rank(order, judge, lower_is_better=is_lower)
    groups = [GroupTotal(group=group.group, total=group.total) for group in stats.groups]
    groups.sort(key=lambda group: (place(group.total), -group.total.runs, group.group))
    return GroupTotals(
        group=stats.group,
        groups=groups,
        groups_found=stats.groups_found,
        other=stats.other.total if stats.other else None,
    )


# An alert for a tile fires if the figure is this many times as high as now, or if the pass rate is
# so much lower. A share of failures has a smallest limit.
_ALERT_TIMES: Final = 1.5
_ALERT_POINTS: Final = 0.05
_LEAST_FAILURES: Final = 0.02


def _list_conditions(now: RunFigures, judges: Sequence[JudgeFigures], window: Window) -> list[str]:
    """Write the condition of an alert for each tile, in their order; empty without one."""

    def beyond(value: float) -> str:
        return f"{float(f'{value * _ALERT_TIMES:.3g}')!r}"

    share = max((now.error_share or 0.0) * _ALERT_TIMES, _LEAST_FAILURES)
    hours = (window.end_ns - window.start_ns) / HOUR_NS
    conditions = [
        "runs < 1",
        f"surely(error_share > {float(f'{min(share, 1.0):.3g}')!r})",
        f"p95(latency_ms) > {beyond(now.p95_ms)}" if now.p95_ms else "",
    ]
    if now.cost is not None:
        conditions.append(f"cost > {beyond(now.cost / hours)}" if now.cost else "")
    for judge in judges:
        rate = value_of(judge, now) if judge.pass_rate is not None else None
        limit = float(f"{max((rate or 0.0) - _ALERT_POINTS, 0.0):.3g}")
        conditions.append(f"surely(pass_rate({quoted(judge.judge)}) < {limit!r})" if limit else "")
    return conditions


# Where `view.sparks` draws the last bucket.
_LAST_PLACE: Final = "100.0,"


@dataclass(frozen=True, slots=True)
class Tile:
    """A figure with its curve over time.

    Attributes:
        now, before: SVG points of the curve and of the earlier period, in the same scale.
        unfinished: SVG points of the part of the curve that leads to the current bucket, whose
            time is not over; empty if all buckets are complete.
        label: The meaning of the curve, in words.
        change: The change from the earlier period, such as `+9 %`; empty if it is unknown.
        was: The value of the earlier period; empty if it is unknown.
        where: The filter of the runs that the tile links to.
        order: Their order; empty for the newest first.
        alert: Fields of the form of an alert rule for the curve; empty if there is no such rule.
    """

    name: str
    value: str
    now: str
    before: str
    label: str
    change: str
    where: str = ""
    unfinished: str = ""
    was: str = ""
    order: str = ""
    alert: Suggestion = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A row of the tables by model and by user: a group of runs with its figures.

    Attributes:
        name: Name of the group, such as a user; empty for the runs without one.
        page: Address of the group's own page. Empty if it has none; the row then links to the
            list of its runs.
        where: Filter that lists the runs of the group; empty for all runs.
        quality: Pass rate or mean score by the table's judge, as text; `–` if there is none.
    """

    name: str
    page: str
    where: str
    runs: int
    errors: int
    p95_ms: float | None
    tokens: int
    cost: float | None
    quality: str


@dataclass(frozen=True, slots=True)
class GroupTable:
    """A table by model or user: a row for all runs, one for each large group, one for the rest.

    Attributes:
        judge: The judge whose pass rate or mean score the column "quality" shows; None if no judge
            scored these runs.
        left: Number of groups that are summed up in the last row; 0 without such a row.
        rest: The last row, with all other runs.
        slowest, costliest: The groups with the highest p95 latency and with the highest cost. Runs
            without a user (or without a model) are not a group here. None if there are fewer than
            two groups.
    """

    by: str
    rows: Sequence[GroupRow]
    whole: GroupRow
    judge: JudgeFigures | None
    left: int
    rest: GroupRow | None
    slowest: GroupRow | None = None
    costliest: GroupRow | None = None

    @property
    def name(self) -> str:
        """The name of the grouping, such as `function`."""
        return name_group(self.by)


def make_tiles(
    compared: ComparedFigures,
    judges: Sequence[JudgeFigures],
    zone: ZoneInfo,
    where: str = "",
) -> list[Tile]:
    """Make the tiles of a page. Each tile shows one figure, such as cost, and its curve over time.

    A tile links to the runs that it is about, such as the failed runs for errors.

    Args:
        compared: The figures of the period, and of the earlier period to compare with.
        judges: The judges that get a tile, if they have scores in the period.
        zone: The time zone of the buckets.
        where: The filter of the runs that were counted; empty for all runs.
    """
    now, before = compared.total, compared.before
    scored = [judge for judge in judges if value_of(judge, now) is not None]
    start_ns = from_rfc3339(compared.start_time, "start_time")
    window = Window(start_ns, from_rfc3339(compared.end_time, "end_time"), zone)
    step_ns = compared.bucket_s * SECOND_NS
    over, over_before = window.cut(step_ns), _before(window).cut(step_ns)

    def lay_out(
        of: Sequence[StatsBucket], over: Buckets, value: _Value, missing: float | None
    ) -> list[float | None]:
        values = [missing if of else None] * len(over.starts_ns)
        for bucket in of:
            values[over.place_of(bucket.start_ns)] = value(bucket)
        return values

    def curves(value: _Value, missing: float | None = None) -> list[str]:
        """Draw a figure for this period and for the earlier one."""
        return view.sparks(
            lay_out(compared.buckets, over, value, missing),
            lay_out(compared.buckets_before, over_before, value, missing),
        )

    def change(
        value: _Value, now: float | None, before: float | None, missing: float | None = None
    ) -> str:
        """Write the change of an amount, unless it is within the usual variation."""
        pairs = zip(
            lay_out(compared.buckets, over, value, missing),
            lay_out(compared.buckets_before, over_before, value, missing),
            strict=False,
        )
        return _write_ratio(now, before, list(pairs))

    runs, runs_before = curves(lambda entry: entry.runs, missing=0)
    errors, errors_before = curves(lambda entry: entry.error_share)
    p95, p95_before = curves(lambda entry: entry.p95_ms)
    tiles = [
        Tile(
            "Runs",
            wording.count(now.runs),
            runs,
            runs_before,
            "runs over time",
            change(lambda entry: entry.runs, now.runs, before.runs, missing=0),
            was=wording.count(before.runs) if before.runs else "",
        ),
        Tile(
            "Errors",
            wording.percent(now.errors, now.runs),
            errors,
            errors_before,
            "share of errors over time",
            _write_points((now.errors, now.runs), (before.errors, before.runs)),
            where='outcome == "error"',
            was=wording.percent(before.errors, before.runs) if before.runs else "",
        ),
        Tile(
            "Latency p95",
            _write_percentile(now.p95_ms),
            p95,
            p95_before,
            "p95 latency over time",
            change(lambda entry: entry.p95_ms, now.p95_ms, before.p95_ms),
            was=_write_percentile(before.p95_ms) if before.runs and before.p95_ms else "",
            order="slowest",
        ),
    ]
    if now.cost is not None:
        cost, cost_before = curves(lambda entry: entry.cost, missing=0)
        tiles.append(
            Tile(
                "Cost",
                write_cost(now.cost),
                cost,
                cost_before,
                "cost over time",
                change(lambda entry: entry.cost, now.cost, before.cost, missing=0),
                where="cost > 0",
                order="costliest",
                was=write_cost(before.cost) if before.cost else "",
            )
        )
    for judge in scored:
        passed, passed_before = curves(partial(value_of, judge))
        is_rate = judge.pass_rate is not None
        tiles.append(
            Tile(
                f"{'Pass rate' if is_rate else 'Mean score'} by judge “{judge.judge}”"
                f"{f' v{judge.version}' if judge.version else ''}",
                write_quality(judge, now),
                passed,
                passed_before,
                f"{'pass rate' if is_rate else 'mean score'} by judge “{judge.judge}” over time",
                _write_points(_count_passed(judge, now), _count_passed(judge, before))
                if is_rate
                else "",
                where=f"passed[{quoted(judge.judge)}] == False" if is_rate else "",
                was=earlier if (earlier := write_quality(judge, before)) != "–" else "",
            )
        )
    tiles = [
        replace(tile, alert=suggest_for_curve(tile.name, when, where) if when else {})
        for tile, when in zip(tiles, _list_conditions(now, scored, window), strict=True)
    ]
    is_unfinished = over.starts_ns[-1] + step_ns > window.end_ns
    return [
        _split_tile(replace(tile, where=narrow(where, tile.where)))
        if is_unfinished
        else replace(tile, where=narrow(where, tile.where))
        for tile in tiles
    ]


def split_unfinished(curve: str) -> tuple[str, str]:
    """Take the way to the last bucket out of a curve, if that bucket has a value.

    Args:
        curve: The points of an SVG curve, one for each bucket. The last bucket is not over.

    Returns:
        The points of the finished buckets, and the last two points. The latter is empty if the last
        bucket has no value.
    """
    points = curve.split()
    if len(points) <= 1 or not points[-1].startswith(_LAST_PLACE):
        return curve, ""
    return " ".join(points[:-1]), " ".join(points[-2:])


def _split_tile(tile: Tile) -> Tile:
    now, unfinished = split_unfinished(tile.now)
    return replace(tile, now=now, unfinished=unfinished)


def make_table(
    project: str,
    of: GroupTotals,
    total: RunFigures,
    *,
    judge: JudgeFigures | None,
    where: str = "",
) -> GroupTable:
    """Make a table of groups. Each row links to its runs, or to the page of its session."""
    shown, others = of.groups[:_TABLE_ROWS], of.groups[_TABLE_ROWS:]

    def row(name: str, figures: RunFigures, where: str = "", page: str = "") -> GroupRow:
        return GroupRow(
            name=name,
            page=page,
            where=where,
            runs=figures.runs,
            errors=figures.errors,
            p95_ms=figures.p95_ms,
            tokens=count_tokens(figures),
            cost=figures.cost,
            quality=write_quality(judge, figures),
        )

    def named(group_total: GroupTotal) -> GroupRow:
        own = narrow(where, where_of_group(of.group, group_total.group))
        return row(group_total.group, group_total.total, own, _page_of(project, of, group_total))

    left = of.groups_found - len(shown)
    with_value = [group for group in of.groups if group.group]
    priced = [group for group in with_value if group.total.cost]
    timed = [group for group in with_value if group.total.p95_ms is not None]
    is_many = len(with_value) > 1
    return GroupTable(
        by=of.group,
        rows=[named(item) for item in shown],
        whole=row("All", total),
        judge=judge,
        left=left,
        rest=_sum_up([*(other.total for other in others), *([of.other] if of.other else [])])
        if left
        else None,
        slowest=named(max(timed, key=lambda group: group.total.p95_ms or 0))
        if is_many and timed
        else None,
        costliest=named(max(priced, key=lambda entry: entry.total.cost or 0))
        if is_many and priced
        else None,
    )


def _sum_up(figures: Sequence[RunFigures]) -> GroupRow:
    """Add up groups. Quantiles and pass rates cannot be added, so the row has none."""
    costs = [figure.cost for figure in figures if figure.cost is not None]
    return GroupRow(
        name="",
        page="",
        where="",
        runs=sum(figure.runs for figure in figures),
        errors=sum(figure.errors for figure in figures),
        p95_ms=None,
        tokens=sum(count_tokens(figure) for figure in figures),
        cost=sum(costs) if costs else None,
        quality="–",
    )


def _page_of(project: str, of: GroupTotals, group_total: GroupTotal) -> str:
    """Return the address of a session's page. Other groups link to their runs."""
    if of.group == "session" and group_total.group:
        return view.address(project, "sessions", group_total.group)
    return ""


# Changes below these limits are within the usual variation if chance can explain them.
_LARGE_RATIO: Final = 0.25
_LARGE_SHARE: Final = 0.05
_SURE: Final = 2.0  # standard errors
_FEWEST_PAIRS: Final = 6
_USUAL: Final = "within the usual variation"

_Pairs = Sequence[tuple[float | None, float | None]]


def _write_ratio(now: float | None, before: float | None, pairs: _Pairs) -> str:
    """Write the change from the earlier period: `+9 %`, or from three times on `8.5× as much`.

    Args:
        now: The value.
        before: The value of the earlier period.
        pairs: Values of each time bucket, in this period and in the earlier one.
    """
    if not now or not before:
        return ""
    if abs(now / before - 1) < _UNSEEN:
        return "unchanged"
    if abs(now / before - 1) < _LARGE_RATIO and _is_usual(pairs):
        return _USUAL
    factor = write_factor(now / before)
    if factor:
        return f"{factor} as much"
    return f"{100 * (now / before - 1):+,.0f}{THIN}%".replace("-", "\N{MINUS SIGN}")


def _is_usual(pairs: _Pairs) -> bool:
    """Return whether the mean difference is small, given how much the buckets differ."""
    differences = [
        now - before
        for now, before in pairs
        if now is not None and before is not None and (now or before)
    ]
    if len(differences) < _FEWEST_PAIRS:
        return False
    error = floats.deviation(differences) / math.sqrt(len(differences))
    return abs(floats.mean(differences)) < _SURE * error


def _count_passed(judge: JudgeFigures, figures: RunFigures) -> tuple[float, int]:
    """Return how many runs a judge passed, and how many it scored."""
    for item in figures.judges:
        if (item.judge, item.digest) == (judge.judge, judge.digest) and item.pass_rate is not None:
            return item.pass_rate * item.evaluations, item.evaluations
    return 0.0, 0


def _write_percentile(value_ms: float | None) -> str:
    """Write an estimated percentile of a latency; a dash for none."""
    rounded = wording.percentile(value_ms)
    return "–" if rounded is None else wording.duration(rounded)


def _write_points(now: tuple[float, int], before: tuple[float, int]) -> str:
    """Write how much a rate changed, in points.

    Each rate is given as two numbers: how many runs failed (or passed), and how many there are.
    """
    if not now[1] or not before[1]:
        return ""
    change = now[0] / now[1] - before[0] / before[1]
    points = 100 * change
    if abs(points) < 0.05:  # noqa: PLR2004 - what one decimal does not show
        return "unchanged"
    both = (now[0] + before[0]) / (now[1] + before[1])
    error = math.sqrt(both * (1 - both) * (1 / now[1] + 1 / before[1]))
    if abs(change) < _LARGE_SHARE and abs(change) < _SURE * error:
        return _USUAL
    return f"{wording.signed(points)}{THIN}pts"


def draw_curves(
    groups: Mapping[str, tuple[Iterable[StatsBucket], Callable[[RunFigures], float | None]]],
    over: Buckets,
) -> Mapping[str, str]:
    """Draw how a figure changes over time, for each group: its buckets, and the figure.

    Returns:
        SVG points by group. Empty if no group has values at two times, because a list then needs
        no column for curves.
    """
    curves = {name: draw_curve(*group, over) for name, group in groups.items()}
    return curves if any(" " in points for points in curves.values()) else {}


def draw_curve(
    buckets: Iterable[_Bucket],
    value: Callable[[_Bucket], float | None],
    over: Buckets,
    missing: float | None = None,
) -> str:
    """Draw how a figure changes over time, as the points of an SVG curve.

    Args:
        buckets: The time buckets that have runs.
        value: Function that returns the figure for a bucket. None draws no point.
        over: All time buckets of the period, including those without runs.
        missing: Figure for buckets without runs, such as 0. If None, they get no point.
    """
    values = [missing] * len(over.starts_ns)
    for bucket in buckets:
        values[over.place_of(bucket.start_ns)] = value(bucket)
    return view.spark(values)

"""The overview of a project: its JSON, its page, and what of the page comes after the rest."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import RedirectResponse, Response

from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.errors import Missing
from otel_ml_collector.loss import find_gaps
from otel_ml_collector.overview.find import (
    GroupTotal,
    GroupTotals,
    ModelGroup,
    News,
    Order,
    Overview,
    OverviewFigures,
    UserGroup,
    choose_judges,
    count_tokens,
    find_figures,
    find_news,
    find_overview,
    value_of,
)
from otel_ml_collector.price import write_cost
from otel_ml_collector.projects import find_project, find_projects
from otel_ml_collector.stats import Figures, JudgeFigures, Past, StatsBucket
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import SECOND_NS, from_rfc3339
from otel_ml_collector.unread import find_unread
from otel_ml_collector.web import view
from otel_ml_collector.web.render import PageRoute, python_call, show_page
from otel_ml_collector.web.view import THIN

_SHOWN: Final = 8
_TILES: Final = 2  # of judges
_UNSEEN: Final = 0.005  # of a change
_SPANS: Final = {"1h": "the last hour", "24h": "24 hours", "7d": "7 days", "30d": "30 days"}
_ORDERS: Final[Sequence[tuple[Order, str, str]]] = (
    ("runs", "Runs", "w2"),
    ("errors", "Errors", "w2 opt"),
    ("p95", "p95 ms", "w2 opt"),
    ("tokens", "k tokens", "w2 opt"),
    ("cost", "$", "w2"),
)

_Value = Callable[[Figures], float | None]

api = APIRouter(prefix="/api/v1")
pages = APIRouter(include_in_schema=False, route_class=PageRoute)


class Asked:
    """What to look at, and in which order."""

    def __init__(
        self,
        *,
        last: Annotated[Past, Query(description="How far back to look")] = "24h",
        models: Annotated[
            ModelGroup, Query(description="By what the table of models goes")
        ] = "model",
        users: Annotated[UserGroup, Query(description="By what the table of users goes")] = "user",
        order: Annotated[
            Order, Query(description="Which of them come first: most of it, or the worst")
        ] = "cost",
    ) -> None:
        self.last, self.models, self.users, self.order = last, models, users, order

    @property
    def values(self) -> dict[str, Any]:
        """What `find_overview` takes by name."""
        return {
            "last": self.last,
            "models": self.models,
            "users": self.users,
            "order": self.order,
        }


FromAsked = Annotated[Asked, Depends()]


@api.get("/projects/{project:path}/overview")
def get_overview(project: str, asked: FromAsked, reader: FromReader) -> Overview:
    """Say how a project does: what is wrong first, then figures by model and by user.

    Figures are of recorded runs, those of the same time a week before beside them. Runs of
    experiments are in none; their verdicts are among the findings.
    """
    return find_overview(reader, project, time.time_ns(), **asked.values)


@dataclass(frozen=True, slots=True)
class Tile:
    """A figure with its curve over time.

    Attributes:
        more: A second figure beside it, or empty.
        now, before: SVG points, in one scale.
        also: SVG points of the second figure, in the same scale.
        label: What the curve shows, in words.
        change: What the figure was before, in words.
        where: The filter of its runs.
    """

    name: str
    value: str
    now: str
    before: str
    label: str
    change: str
    where: str = ""
    more: str = ""
    also: str = ""


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A row of the tables by model and by user.

    Attributes:
        name: Of the group; empty where the runs name none.
        page: Of a model, its page.
        where: The filter of its runs; empty for all.
        quality: By the judge of the table, in words.
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
    """A table by model or by user: all runs first, then the groups, then what is left.

    Attributes:
        judge: By whose word quality goes; None where nobody judged.
        left: How many groups are in the last row together; 0 where there is none.
        rest: That row.
        slowest, costliest: Of all groups, by p95 and by cost; None of one group, or of none.
    """

    by: str
    rows: Sequence[GroupRow]
    whole: GroupRow
    judge: JudgeFigures | None
    left: int
    rest: GroupRow | None
    slowest: GroupRow | None = None
    costliest: GroupRow | None = None


@pages.get("/projects/{project:path}/news")
def show_news(request: Request, project: str, asked: FromAsked, reader: FromReader) -> Response:
    """What is to be said of a project, as a part of its page that comes after the rest."""
    news = find_news(reader, project, time.time_ns(), asked.last)
    told = {
        "asked": asked,
        "news": news,
        "wrong": [one for one in news.findings if one.is_wrong],
        "calm": [one for one in news.findings if not one.is_wrong],
        "looked_at": _tell_looked_at(news),
    }
    return show_page(request, "news.html", told)


@pages.get("/projects/{project:path}")
def show_overview(request: Request, project: str, asked: FromAsked, reader: FromReader) -> Response:
    """A project at a glance; without a project its page is home."""
    if not project:
        return RedirectResponse("/")
    found = find_figures(reader, project, time.time_ns(), **asked.values)
    is_empty = not found.total.runs and not found.before.runs
    known = _find_known(reader, project) if is_empty else None
    judges = choose_judges(found.total, _TILES)
    context = {
        "found": found,
        "asked": asked,
        "known": known,
        "span": _SPANS[asked.last],
        "tiles": [] if is_empty else _make_tiles(found, judges),
        "tables": [
            _make_table(project, one, found.total, judges)
            for one in (found.models, found.users)
            if one is not None and one.groups
        ],
        "orders": _ORDERS,
        "people": [(one, one.capitalize()) for one in found.people],
        "gaps": find_gaps(request, reader, project),
        "unread": find_unread(reader, project) if is_empty else None,
        "elsewhere": [] if known or not is_empty else [p for p in find_projects(reader) if p.runs],
        "here": lambda **changes: _here(project, asked, **changes),
        "api": view.api_address("projects", project, "overview", **_told(asked)),
        "python": python_call("overview", **_told(asked)),
    }
    return show_page(request, "overview.html", context)


def _told(asked: Asked) -> dict[str, Any]:
    usual = Asked().values
    return {name: value for name, value in asked.values.items() if value != usual[name]}


def _here(project: str, asked: Asked, **changes: Any) -> str:
    """Write the address of the page, but for some parameters."""
    usual = Asked().values
    values = asked.values | changes
    return view.address(
        project, **{name: value for name, value in values.items() if value != usual[name]}
    )


def _find_known(reader: Reader, project: str) -> Any:
    """Tell what there is of a project that did nothing lately; None where there is none."""
    try:
        found = find_project(reader, project)
    except Missing:
        return None
    return found if found.runs else None


def _tell_looked_at(news: News) -> str:
    """Say what was looked at, so that silence is no guess."""
    parts = [
        f"{number:,} {word if number == 1 else f'{word}s'}"
        for number, word in (
            (news.versions_compared, "new version"),
            (news.error_groups, "error group"),
        )
    ]
    return f"Looked at: {', '.join(parts)}."


def _make_tiles(found: OverviewFigures, judges: Sequence[JudgeFigures]) -> list[Tile]:
    now, before = found.total, found.before
    scored: list[tuple[JudgeFigures, float]] = []
    for judge in judges:
        value = value_of(judge, now)
        if value is not None:
            scored.append((judge, value))

    start_ns, before_ns = (
        from_rfc3339(one, "start_time") for one in (found.start_time, found.before_start_time)
    )
    length_ns = from_rfc3339(found.end_time, "end_time") - start_ns

    def lay_out(
        of: Sequence[StatsBucket], from_ns: int, value: _Value, missing: float | None
    ) -> list[float | None]:
        step_ns = found.bucket_s * SECOND_NS
        values = [missing if of else None] * (length_ns // step_ns)
        for bucket in of:
            values[(bucket.start_ns - from_ns) // step_ns] = value(bucket)
        return values

    def curves(*values: _Value, missing: float | None = None) -> list[str]:
        """Draw figures of this time, then the first of them of the time before, in one scale."""
        return view.sparks(
            *(lay_out(found.buckets, start_ns, value, missing) for value in values),
            lay_out(found.buckets_before, before_ns, values[0], missing),
        )

    runs, runs_before = curves(lambda one: one.runs, missing=0)
    errors, errors_before = curves(lambda one: one.error_share)
    p95, p50, p95_before = curves(lambda one: one.p95_ms, lambda one: one.p50_ms)
    tiles = [
        Tile(
            "Runs",
            view.count(now.runs),
            runs,
            runs_before,
            "runs over time",
            _write_ratio(now.runs, before.runs),
        ),
        Tile(
            "Errors",
            view.percent(now.errors, now.runs),
            errors,
            errors_before,
            "share of errors over time",
            ", ".join(
                filter(
                    None,
                    (
                        f"{view.count(now.errors)} {'run' if now.errors == 1 else 'runs'}",
                        _write_points(now.error_share, before.error_share),
                    ),
                )
            ),
            where='outcome == "error"',
        ),
        Tile(
            "Latency p50, p95, ms",
            view.number(now.p50_ms),
            p95,
            p95_before,
            "p50 and p95 latency over time",
            f"p95 {change}" if (change := _write_ratio(now.p95_ms, before.p95_ms)) else "",
            more=view.number(now.p95_ms),
            also=p50,
        ),
    ]
    if now.cost is not None:
        cost, cost_before = curves(lambda one: one.cost, missing=0)
        tiles.append(
            Tile(
                "Cost",
                write_cost(now.cost),
                cost,
                cost_before,
                "cost over time",
                _write_ratio(now.cost, before.cost),
                where="cost > 0",
            )
        )
    for judge, value in scored:
        passed, passed_before = curves(partial(value_of, judge))
        is_rate = judge.pass_rate is not None
        tiles.append(
            Tile(
                f"{'Passed' if is_rate else 'Mean of'} {judge.judge}"
                f"{f' v{judge.version}' if judge.version else ''}",
                view.percent(value, 1) if is_rate else view.score(value),
                passed,
                passed_before,
                f"{judge.judge} over time",
                _write_points(value, value_of(judge, before)) if is_rate else "",
                where=f"passed[{view.quoted(judge.judge)}] == False" if is_rate else "",
            )
        )
    return tiles


def _make_table(
    project: str, of: GroupTotals, total: Figures, judges: Sequence[JudgeFigures]
) -> GroupTable:
    judge = next(iter(judges), None)
    shown, others = of.groups[:_SHOWN], of.groups[_SHOWN:]

    def row(name: str, figures: Figures, where: str = "", page: str = "") -> GroupRow:
        value = value_of(judge, figures) if judge else None
        is_rate = judge is not None and judge.pass_rate is not None
        quality = "–" if value is None else view.percent(value, 1) if is_rate else view.score(value)
        return GroupRow(
            name=name,
            page=page,
            where=where,
            runs=figures.runs,
            errors=figures.errors,
            p95_ms=figures.p95_ms,
            tokens=count_tokens(figures),
            cost=figures.cost,
            quality=quality,
        )

    def named(one: GroupTotal) -> GroupRow:
        where = _write_where(of.group, one.group)
        return row(one.group, one.total, where, _page_of(project, of, one))

    left = of.groups_found - len(shown)
    priced = [one for one in of.groups if one.total.cost]
    is_many = len(of.groups) > 1
    return GroupTable(
        by=of.group,
        rows=[named(one) for one in shown],
        whole=row("All", total),
        judge=judge,
        left=left,
        rest=_sum_up([*(one.total for one in others), *([of.other] if of.other else [])])
        if left
        else None,
        slowest=named(max(of.groups, key=lambda one: one.total.p95_ms or 0)) if is_many else None,
        costliest=named(max(priced, key=lambda one: one.total.cost or 0))
        if is_many and priced
        else None,
    )


def _sum_up(figures: Sequence[Figures]) -> GroupRow:
    """Add up groups; a quantile and a rate of all of them nobody knows."""
    costs = [one.cost for one in figures if one.cost is not None]
    return GroupRow(
        name="",
        page="",
        where="",
        runs=sum(one.runs for one in figures),
        errors=sum(one.errors for one in figures),
        p95_ms=None,
        tokens=sum(count_tokens(one) for one in figures),
        cost=sum(costs) if costs else None,
        quality="–",
    )


def _write_where(by: str, name: str) -> str:
    if by == "version":
        model, colon, number = name.rpartition(":v")
        if colon and number.isdecimal():
            return f"model == {view.quoted(model)} and version == {number}"
        by = "model"
    return f"{by} == {view.quoted(name)}"


def _page_of(project: str, of: GroupTotals, one: GroupTotal) -> str:
    """Write the address of the page of a session; others open their runs."""
    if of.group == "session" and one.group:
        return view.address(project, "sessions", one.group)
    return ""


def _write_ratio(now: float | None, before: float | None) -> str:
    """Say how much more or less a figure is than it was a week before."""
    if not now or not before:
        return ""
    change = now / before - 1
    if abs(change) < _UNSEEN:
        return "as before"
    return f"{abs(100 * change):,.0f}{THIN}% {'more' if change > 0 else 'less'}"


def _write_points(now: float | None, before: float | None) -> str:
    if now is None or before is None:
        return ""
    points = 100 * (now - before)
    if abs(points) < 0.05:  # noqa: PLR2004 - what one decimal does not show
        return "as before"
    return f"{abs(points):.1f} points {'more' if points > 0 else 'less'}"

"""The judges of a project, and a judge's page: versions, figures, and changes."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from otel_ml.counts import write_count
from otel_ml_collector import wording
from otel_ml_collector.access import ADMIN, access_of
from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.api.route import DeferredRoute
from otel_ml_collector.figures import buckets_of, draw_curves, value_of
from otel_ml_collector.judge_budget import RUBRIC_JUDGE
from otel_ml_collector.judges import find as judges
from otel_ml_collector.judges.find import (
    JudgeBucket,
    JudgeDefinition,
    Judges,
    JudgeVersion,
    JudgeVersions,
    ListedJudge,
    ScoreBin,
)
from otel_ml_collector.judges.news import find_newest_error
from otel_ml_collector.judges.rubric_routes import find_rubric_judges
from otel_ml_collector.judges.strictness import JudgeStrictness, find_strictness
from otel_ml_collector.stats import Past, StatsQuery, cut_past, find_stats
from otel_ml_collector.store.documents import list_documents
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.verdicts.lines import write_bounds, write_value
from otel_ml_collector.versions import diff
from otel_ml_collector.web import view
from otel_ml_collector.web.frame import FramedPage
from otel_ml_collector.web.render import PageRoute, python_call, show_page
from otel_ml_collector.web.view import cut_slice, read_state
from otel_ml_collector.windows import Buckets
from otel_ml_collector.wording import percent

_CURVE_HEIGHT: Final = 110
_GAP: Final = 0.85
_SHOWN_VERSIONS: Final = 50
_SHOWN_MS: Final = 1  # shorter latencies are not shown
_number = attrgetter("version")

Last = Annotated[
    Past,
    Query(description="Period of the buckets; all other figures cover all runs"),
]

api = APIRouter(prefix="/api/v1", route_class=DeferredRoute)
pages = APIRouter(include_in_schema=False, route_class=PageRoute)


@api.get("/projects/{project:path}/judges")
def get_judges(project: str, reader: FromReader) -> Judges:
    """List the judges of a project: the figures of the newest version of each, and the others."""
    return Judges(judges=judges.find_judges(reader, project))


@api.get("/projects/{project:path}/judges/{judge:path}/versions")
def get_judge_versions(
    project: str, judge: str, reader: FromReader, last: Last = "30d"
) -> JudgeVersions:
    """Read the versions of a judge, newest first, with their definitions and results.

    Results are numbers such as the pass rate. Scores of different versions are never combined. The
    field `where` of a version is a filter: use it to list the runs whose scores were counted.
    """
    over = cut_past(reader, last, time.time_ns())
    judge_versions = judges.find_judge_versions(reader, project, judge, over)
    return JudgeVersions(judge=judge, versions=judge_versions)


@api.get("/projects/{project:path}/judges/{judge:path}/versions/{number}/strictness")
def get_strictness(
    *,
    project: str,
    judge: str,
    number: int,
    against: Annotated[int, Query(ge=1, description="Number of the version to compare with")],
    reader: FromReader,
) -> JudgeStrictness:
    """Compare how strict two versions of a judge are, on the runs that both scored.

    The newest 10,000 production runs are compared. If both versions scored no production run, runs
    of experiments are compared instead. Runs of one session, or of one trace without a session,
    form a cluster. Each field `where` of the response is a filter that lists the runs that were
    counted.
    """
    return find_strictness(reader, project, judge, number, against)


@dataclass(frozen=True, slots=True)
class FigureBar:
    """One bar of a bar chart: an interval of scores, or a time bucket.

    Attributes:
        left, width: Where the bar begins and how wide it is, in percent of the chart's width.
        height: Height of the whole bar, in pixels.
        failed: Height of the upper part of the bar, in pixels: runs that did not pass.
        label: The values of the bar in words, such as `0.8 to 0.9: 120 runs, 3 failed`.
        where: The filter that lists the runs of the bar.
    """

    left: float
    width: float
    height: float
    failed: float
    label: str
    where: str


def draw_scores(bins: Sequence[ScoreBin]) -> list[FigureBar]:
    """Draw the distribution of scores. The highest bar fills the figure; an empty bin has none."""
    most = max((bar.evaluations for bar in bins), default=0)
    width = 100 / max(len(bins), 1)
    return [
        FigureBar(
            left=place * width,
            width=width * _GAP,
            height=_CURVE_HEIGHT * bar.evaluations / most,
            failed=_CURVE_HEIGHT * (bar.judged - bar.passed) / most,
            label=f"{bar.low:g} to {bar.high:g}: {write_count(bar.evaluations, 'run')}, "
            f"{bar.judged - bar.passed:,} failed",
            where=bar.where,
        )
        for place, bar in enumerate(bins)
        if bar.evaluations
    ]


def draw_buckets(
    buckets: Sequence[JudgeBucket], bins: Sequence[ScoreBin], over: Buckets
) -> list[FigureBar]:
    """Draw pass rates over time, or mean scores if the judge has no pass or fail."""
    edges_ns, window = over.edges_ns, over.window
    scale = 100 / (window.end_ns - window.start_ns)
    low, high = (bins[0].low, bins[-1].high) if bins else (0.0, 1.0)
    is_judged = any(bucket.judged for bucket in buckets)
    bars = []
    for bucket in buckets:
        length_ns = edges_ns[over.place_of(bucket.start_ns) + 1] - bucket.start_ns
        share = bucket.pass_rate
        label = f"{percent(bucket.passed, bucket.judged)} passed"
        if not is_judged:
            mean = bucket.mean_score
            share = None if mean is None else min(max((mean - low) / (high - low), 0), 1)
            label = f"mean score {wording.number(mean)}"
        bars.append(
            FigureBar(
                left=scale * (bucket.start_ns - window.start_ns),
                width=scale * length_ns * _GAP,
                height=max(_CURVE_HEIGHT * (share or 0), 2),
                failed=0,
                label=f"{view.moment(bucket.start_time)}: {label}, "
                f"{write_count(bucket.evaluations, 'run')}"
                + (f", {bucket.errors:,} errors" if bucket.errors else ""),
                where=bucket.where,
            )
        )
    return bars


def _draw_curves(
    reader: Reader, project: str, listed: Sequence[ListedJudge], now_ns: int
) -> Mapping[str, str]:
    """Draw the pass rate or mean score of each judge's newest version over the last 30 days."""
    over = cut_past(reader, "30d", now_ns)
    stats = find_stats(reader, StatsQuery(project, "", "", over.window, over.step_ns, 1))
    newest = {(of.judge, of.digest): of for of in stats.total.judges}
    drawn = {
        judge.judge: (buckets_of(stats), partial(value_of, figures))
        for judge in listed
        if (figures := newest.get((judge.judge, judge.newest.digest)))
    }
    return draw_curves(drawn, over)


@pages.get("/projects/{project:path}/judges", response_class=FramedPage)
def list_judges(request: Request, reader: FromReader, project: str) -> Response:
    """List the judges of a project."""
    listed = judges.find_judges(reader, project)
    context = {
        "judges": listed,
        "curves": _draw_curves(reader, project, listed, time.time_ns()) if listed else {},
        "rubrics": find_rubric_judges(reader, project, time.time_ns()),
        "may_write": access_of(request.scope).has(ADMIN),
        "is_priced": any(judge.newest.cost is not None for judge in listed),
        "api": view.api_address("projects", project, "judges"),
        "python": python_call("judges"),
    }
    return show_page(request, "judges.html", context)


@pages.get("/projects/{project:path}/judges/{judge:path}", response_class=FramedPage)
def show_judge(
    *,
    request: Request,
    reader: FromReader,
    project: str,
    judge: str,
    old: Annotated[int | None, Query(alias="from", ge=1)] = None,
    new: Annotated[int | None, Query(alias="to", ge=1)] = None,
    digest: Annotated[str | None, Query(max_length=1_024)] = None,
    last: Last = "30d",
) -> Response:
    """Show a judge: its versions, their figures, and the changes between two of them."""
    over = cut_past(reader, last, time.time_ns())
    versions = judges.find_judge_versions(reader, project, judge, over)
    by_number = {version.version: version for version in versions if version.version is not None}
    after = by_number.get(new or 0, versions[0])
    before = by_number.get(old or (after.version or 0) - 1)
    change = None
    if before is not None and before.version and after.version:
        change = find_strictness(reader, project, judge, after.version, before.version)
    chosen = next((version for version in versions if version.digest == digest), after)
    shown = cut_slice(versions, read_state(request).first("versions"), _SHOWN_VERSIONS)
    near = [*shown.items, after, *([before] if before else [])]
    numbered = {version.version: version for version in near if version.version is not None}
    old_definition = _compared(before.definition) if before else None
    facts = diff.facts(old_definition, _compared(after.definition)) if old_definition else []
    rubrics = {document.name for document in list_documents(reader, project, RUBRIC_JUDGE)}
    context = {
        "judge": judge,
        "is_rubric": judge in rubrics,
        "versions": versions,
        "shown": shown,
        "choices": sorted(numbered.values(), key=_number),
        "changes": {item.digest: _changes(item, by_number) for item in shown.items},
        "last": last,
        "chosen": chosen,
        "scores": draw_scores(chosen.distribution),
        "most": max((item.evaluations for item in chosen.distribution), default=0),
        "rates": draw_buckets(chosen.buckets, chosen.distribution, over),
        "window": over.window,
        "before": before,
        "after": after,
        "change": change,
        "failed": find_newest_error(reader, project, chosen, time.time_ns())
        if chosen.errors
        else None,
        "is_timed": any((item.p50_ms or 0) >= _SHOWN_MS for item in shown.items),
        "is_priced": any(item.cost is not None for item in shown.items),
        "write_value": write_value,
        "write_bounds": write_bounds,
        "facts": [fact for fact in facts if not fact.is_same],
        "blocks": diff.changed_blocks(old_definition, _compared(after.definition), judge)
        if old_definition
        else [],
        "api": view.api_address("projects", project, "judges", judge, "versions"),
        "python": python_call("judge_versions", judge),
    }
    return show_page(request, "judge.html", context)


def _compared(definition: JudgeDefinition) -> JudgeDefinition:
    """Add the passing criterion to the functions of the rubric, so that it is compared, too."""
    if definition.criterion is None:
        return definition
    helpers = {judges.CRITERION: definition.criterion, **definition.helpers}
    return definition.model_copy(update={"helpers": helpers})


def _changes(judge_version: JudgeVersion, by_number: dict[int, JudgeVersion]) -> str:
    if judge_version.version is None:
        return "no version"
    before = by_number.get(judge_version.version - 1)
    if not judge_version.definition.source and not judge_version.definition.signature:
        return "unknown, because the code of the judge was not sent"
    return diff.changes(
        _compared(before.definition) if before else None, _compared(judge_version.definition)
    )

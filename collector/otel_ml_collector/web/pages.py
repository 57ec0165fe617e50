"""The pages: parameters as the API takes them, the same `find`, one template each."""

import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.templating import Jinja2Templates
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from otel_ml_collector.errors import BadQuery, CollectorError, NotFound
from otel_ml_collector.keyring import SESSION_COOKIE
from otel_ml_collector.loss_watch import LossWatch
from otel_ml_collector.mapping.events import CONTENT_EVENTS
from otel_ml_collector.query import models, runs
from otel_ml_collector.query.answers import Artifact, MetricSeries, Run, RunsPage, RunSummary
from otel_ml_collector.query.api import parse_query
from otel_ml_collector.query.language import conjuncts
from otel_ml_collector.query.parameters import FromReader
from otel_ml_collector.query.problems import problem_of
from otel_ml_collector.query.times import DAY_NS, HOUR_NS, to_rfc3339
from otel_ml_collector.query.unfinished import find_unfinished
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.runs import Window
from otel_ml_collector.store.statistics import bound_runs, count_runs
from otel_ml_collector.web import artifacts, diff, histogram, tree, view, waterfall

_HERE: Final = Path(__file__).parent
_JUDGES: Final = 3
_TAGS: Final = 2
_SPARK_POINTS: Final = 100
_LAST_NS: Final = {
    "15m": HOUR_NS // 4,
    "1h": HOUR_NS,
    "24h": DAY_NS,
    "7d": 7 * DAY_NS,
    "30d": 30 * DAY_NS,
}


def static_files() -> StaticFiles:
    """Serve style, scripts and the vendored libraries."""
    return StaticFiles(directory=_HERE / "static")


def _templates() -> Jinja2Templates:
    environment = Environment(
        loader=PackageLoader("otel_ml_collector.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        address=view.address,
        api_address=view.api_address,
        narrow=view.narrow,
        quoted=view.quoted,
        find_chat=tree.find_chat,
        make_tree=tree.make_tree,
    )
    for name in (
        "ago",
        "elapsed_ms",
        "number",
        "duration",
        "count",
        "score",
        "cut_id",
        "moment",
        "tag_value",
    ):
        environment.filters[name] = getattr(view, name)
    environment.filters["rfc3339"] = to_rfc3339
    environment.filters["size"] = artifacts.size
    environment.globals["percent"] = view.percent
    return Jinja2Templates(env=environment)


_PAGES: Final = _templates()


class PageRoute(APIRoute):
    """Answers errors with a page that says what happened and what to do."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the page."""
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except CollectorError as error:
                status, problem = problem_of(error)
                return show_page(request, "error.html", {"problem": problem}, status)
            except RequestValidationError as error:
                first = error.errors()[0]
                field = str(first["loc"][-1])
                status, problem = problem_of(BadQuery(f"{field}: {first['msg']}", field))
                return show_page(request, "error.html", {"problem": problem}, status)

        return answer


router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/")
def home(request: Request, reader: FromReader) -> Response:
    """All projects."""
    context = {
        "projects": models.find_projects(reader),
        "unfinished": find_unfinished(reader, time.time_ns()),
        "missing": _missing(request, reader),
        "api": "/api/v1/projects",
    }
    return show_page(request, "home.html", context)


Last = Annotated[Literal["", "15m", "1h", "24h", "7d", "30d"], Query()]


def parse_page_query(
    query: Annotated[runs.RunsQuery, Depends(parse_query)], last: Last = ""
) -> runs.RunsQuery:
    """Read the API's parameters, and `last`, which moves along with the clock."""
    if not last:
        return query
    return replace(query, start_ns=max(query.start_ns, time.time_ns() - _LAST_NS[last]))


PageQuery = Annotated[runs.RunsQuery, Depends(parse_page_query)]


@router.get("/projects/{project:path}/runs")
def list_runs(request: Request, reader: FromReader, query: PageQuery) -> Response:
    """The runs of a project, filtered."""
    now_ns = time.time_ns()
    problem = None
    page = RunsPage(runs=[], next_cursor=None)
    chart = None
    try:
        page = runs.find_runs(reader, query, now_ns)
        chart = _chart(reader, query, now_ns)
    except BadQuery as error:
        if error.field != "where":
            raise
        problem = problem_of(error)[1]
    context = _list_context(request, query, page)
    context |= {
        "chart": chart,
        "problem": problem,
        "chips": [] if problem else conjuncts(query.where),
        "has_runs": bool(page.runs) or _has_runs(reader, query.project, now_ns),
        "projects": models.find_projects(reader),
        "missing": _missing(request, reader, query.project),
    }
    return show_page(request, "runs.html", context, 400 if problem else 200)


@router.get("/projects/{project:path}/more-runs")
def more_runs(request: Request, reader: FromReader, query: PageQuery) -> Response:
    """The rows of the next page of a list."""
    page = runs.find_runs(reader, query, time.time_ns())
    return show_page(request, "rows.html", _list_context(request, query, page))


@router.get("/projects/{project:path}/runs/{run_id}")
def show_run(request: Request, reader: FromReader, project: str, run_id: str) -> Response:
    """One run: its trace, payload, scores, tags and text."""
    now_ns = time.time_ns()
    run = runs.find_run(reader, run_id, project, now_ns=now_ns)
    trace = runs.find_trace(reader, run.trace_id, now_ns=now_ns)
    series = models.find_metrics(reader, project, run_id).series
    context = {
        "project": project,
        "run": run,
        # Events of what was asked and answered stand as input and output.
        "lines": [line for line in run.logs if line.event not in CONTENT_EVENTS],
        "trace": waterfall.lay_out(trace.runs, now_ns),
        "hidden_parents": len(trace.hidden_parents),
        "series": [(one, _spark(one)) for one in series],
        "artifacts": _lay_out(request, run.artifacts),
        "newer": _neighbour(reader, run, newest_first=False),
        "older": _neighbour(reader, run, newest_first=True),
        "projects": models.find_projects(reader),
        "api": view.api_address("projects", project, "runs", run_id),
    }
    return show_page(request, "run.html", context)


@router.get("/projects/{project:path}/models")
def list_models(request: Request, reader: FromReader, project: str) -> Response:
    """The models of a project."""
    context = {
        "project": project,
        "models": models.find_models(reader, project),
        "projects": models.find_projects(reader),
        "api": view.api_address("projects", project, "models"),
    }
    return show_page(request, "models.html", context)


@router.get("/projects/{project:path}/models/{model:path}")
def show_model(
    *,
    request: Request,
    reader: FromReader,
    project: str,
    model: str,
    old: Annotated[int | None, Query(alias="from", ge=1)] = None,
    new: Annotated[int | None, Query(alias="to", ge=1)] = None,
) -> Response:
    """One model: its versions, and what changed between two of them."""
    versions = models.find_versions(reader, project, model)
    by_number = {version.version: version for version in versions}
    after = by_number.get(new or 0, versions[0])
    before = by_number.get(old or after.version - 1)
    judges = sorted({judge.judge for version in versions for judge in version.judges})
    context = {
        "project": project,
        "model": model,
        "versions": versions,
        "changes": {
            version.version: diff.changes(
                by_number[version.version - 1].definition
                if version.version - 1 in by_number
                else None,
                version.definition,
            )
            for version in versions
        },
        "judges": judges[:_JUDGES],
        "before": before,
        "after": after,
        "artifacts": _lay_out(request, after.artifacts),
        "facts": diff.facts(before.definition, after.definition) if before else [],
        "blocks": diff.blocks(before.definition, after.definition, model) if before else [],
        "projects": models.find_projects(reader),
        "api": view.api_address("projects", project, "models", model, "versions"),
    }
    return show_page(request, "model.html", context)


@router.get("/projects/{project:path}/metrics")
def show_metrics(
    request: Request,
    reader: FromReader,
    project: str,
    run_id: Annotated[str | None, Query(max_length=49)] = None,
) -> Response:
    """Metric curves by step of one run, beside the runs that logged some."""
    owners = models.find_metrics(reader, project).runs
    chosen = run_id or (owners[0].run_id if owners else None)
    context = {
        "project": project,
        "owners": owners,
        "chosen": chosen,
        "run": _known_run(reader, chosen, project) if chosen else None,
        "series": models.find_metrics(reader, project, chosen).series if chosen else [],
        "projects": models.find_projects(reader),
        "api": view.api_address("projects", project, "metrics", run_id=chosen),
    }
    return show_page(request, "metrics.html", context)


@router.get("/favicon.ico")
def favicon() -> Response:
    """What browsers ask for beside an answer that is no page."""
    return RedirectResponse("/static/icon.svg")


def _missing(request: Request, reader: Reader, project: str | None = None) -> list[tuple[str, int]]:
    """Name projects of which spans are missing, as the watch saw them last."""
    watch: LossWatch = request.app.state.losses
    return watch.missing_of(reader.access, project)


def _known_run(reader: Reader, run_id: str, project: str) -> Run | None:
    """Read a run; None while only its metrics are here."""
    try:
        return runs.find_run(reader, run_id, project, now_ns=time.time_ns())
    except NotFound:
        return None


@router.get("/projects/{project:path}")
def show_project(project: str, reader: FromReader) -> Response:
    """A project's first page is its runs."""
    return RedirectResponse(view.address(project, "runs"))


def show_page(request: Request, name: str, context: dict[str, Any], status: int = 200) -> Response:
    """Render a page in its frame."""
    defaults: dict[str, Any] = {
        "project": None,
        "projects": [],
        "api": None,
        "path": request.url.path,
        "is_signed_in": SESSION_COOKIE in request.cookies,
    }
    return _PAGES.TemplateResponse(request, name, defaults | context, status)


def _lay_out(request: Request, found: Sequence[Artifact]) -> list[artifacts.Shown]:
    server = str(request.base_url).rstrip("/")
    return artifacts.lay_out(found, server, needs_key=SESSION_COOKIE in request.cookies)


def _list_context(request: Request, query: runs.RunsQuery, page: RunsPage) -> dict[str, Any]:
    """What table and rows share; the columns stay when more rows are fetched."""
    given = request.query_params
    kept = {key: given[key] for key in ("last", "start", "end", "order") if given.get(key)}
    judges = given.get("judges")
    tags = given.get("tags")
    return {
        "project": query.project,
        "where": query.where,
        "kept": kept,
        "runs": page.runs,
        "next_cursor": page.next_cursor,
        "judges": judges.split("\n") if judges else _most_common(_judges_of(page.runs), _JUDGES),
        "tags": tags.split("\n") if tags else _most_common(_tags_of(page.runs), _TAGS),
        "api": view.api_address(
            "projects",
            query.project,
            "runs",
            where=query.where,
            limit=query.limit,
            start=to_rfc3339(query.start_ns) if query.start_ns else None,
            **{key: kept[key] for key in ("end", "order") if key in kept},
        ),
    }


def _judges_of(found: Sequence[RunSummary]) -> list[str]:
    return [judge for run in found for judge in {*run.scores, *run.passed, *run.failed_judges}]


def _tags_of(found: Sequence[RunSummary]) -> list[str]:
    return [name for run in found for name in run.tags]


def _most_common(names: Sequence[str], limit: int) -> list[str]:
    ranked = sorted(Counter(names).items(), key=lambda item: (-item[1], item[0]))
    return [name for name, _ in ranked[:limit]]


def _chart(reader: Reader, query: runs.RunsQuery, now_ns: int) -> histogram.Histogram | None:
    """Count over the asked time, or over all that is there when none is asked."""
    whole = bound_runs(reader, query.project)
    if whole is None:
        return None
    window = Window(
        max(query.start_ns, whole.start_ns), min(query.end_ns or now_ns + HOUR_NS, whole.end_ns)
    )
    if window.start_ns >= window.end_ns:
        return None
    condition, _ = runs.compile_where(reader, query.project, query.where)
    shown, step_ns = histogram.lay_out(window)
    asked = Window(max(shown.start_ns, window.start_ns), window.end_ns)
    buckets = count_runs(
        reader, query.project, condition, asked, origin_ns=shown.start_ns, step_ns=step_ns
    )
    return histogram.draw(buckets, shown, step_ns)


def _has_runs(reader: Reader, project: str, now_ns: int) -> bool:
    return bool(runs.find_runs(reader, runs.RunsQuery(project, limit=1), now_ns).runs)


def _neighbour(reader: Reader, run: Run, *, newest_first: bool) -> str | None:
    """Find the run beside this one in the list."""
    cursor = runs.cursor_of(run)
    query = runs.RunsQuery(run.project, limit=1, cursor=cursor, newest_first=newest_first)
    page = runs.find_runs(reader, query, time.time_ns())
    return page.runs[0].run_id if page.runs else None


def _spark(series: MetricSeries) -> str:
    """Draw a series as the points of an SVG polyline in a box of 100 by 20."""
    values = [point.value for point in series.points if point.value is not None]
    values = values[:: max(len(values) // _SPARK_POINTS, 1)]
    low, high = min(values, default=0.0), max(values, default=1.0)
    spread = (high - low) or 1.0
    width = 100 / max(len(values) - 1, 1)
    return " ".join(
        f"{place * width:.1f},{19 - 18 * (value - low) / spread:.1f}"
        for place, value in enumerate(values)
    )

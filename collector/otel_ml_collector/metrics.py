"""Metric series of runs and versions, and the runs that logged some: the JSON API and the page."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from otel_ml.records import Infinite, MetricPoint
from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.errors import Missing
from otel_ml_collector.owners import model_of, own_model
from otel_ml_collector.runs.answers import Run
from otel_ml_collector.runs.find import find_run_with_series
from otel_ml_collector.runs.logs import MOST_OF_ALL, MOST_POINTS, LoggedMetric, find_series
from otel_ml_collector.store.open_runs import name_open_runs
from otel_ml_collector.store.reader import Reader, run_id_of
from otel_ml_collector.store.runs import Key, read_runs
from otel_ml_collector.store.statistics import list_metric_owners, list_metric_projects
from otel_ml_collector.store.versions import read_versions
from otel_ml_collector.times import to_rfc3339
from otel_ml_collector.web import view
from otel_ml_collector.web.render import PageRoute, python_call, show_page
from otel_ml_collector.web.view import spark

_OWNERS: Final = 200

api = APIRouter(prefix="/api/v1")
pages = APIRouter(include_in_schema=False, route_class=PageRoute)


class MetricSeries(BaseModel):
    """The points of one metric of one run or version, in the order they were logged."""

    run_id: str = Field(description="Empty where they were logged for a version of a model")
    name: str
    count: int = Field(
        description="How many points it has; where `points` are fewer, the first and the last, "
        "and of each stretch between them the lowest and the highest"
    )
    points: list[MetricPoint]


class MetricOwner(BaseModel):
    """A run that logged metrics; its model is empty while only its metrics are here."""

    run_id: str
    model: str
    names: list[str]
    points: int
    last_time: str


class MetricsPage(BaseModel):
    """Metric series of one run or version, or the runs of a project that have some."""

    series: list[MetricSeries]
    runs: list[MetricOwner]


def find_metrics(
    reader: Reader,
    project: str,
    run_id: str | None = None,
    name: str | None = None,
    points: int = MOST_POINTS,
) -> MetricsPage:
    """Read the series of one run, or list the runs that logged metrics, the last one first."""
    if run_id is not None:
        return MetricsPage(series=_find_series(reader, project, run_id, name, points), runs=[])
    rows = list_metric_owners(reader, project, _OWNERS)
    keys = [Key.of(row["start_ns"], row["owner"]) for row in rows]
    found = read_runs(reader, project, keys) if keys else []
    models = {run_id_of(run): run["model"] or run["name"] for run in found}
    unnamed = [row["owner"] for row in rows if row["start_ns"] and row["owner"] not in models]
    models |= {run_id_of(run): run["model"] for run in name_open_runs(reader, project, unnamed)}
    owners = [
        MetricOwner(
            run_id=row["owner"],
            model=models.get(row["owner"], ""),
            names=row["names"],
            points=row["points"],
            last_time=to_rfc3339(row["last_time_ns"]),
        )
        for row in rows
    ]
    return MetricsPage(series=[], runs=owners)


def find_version_metrics(
    reader: Reader,
    project: str,
    model: str,
    number: int,
    *,
    name: str | None = None,
    points: int = MOST_POINTS,
) -> MetricsPage:
    """Read the series that were logged for a version of a model, and not for one of its runs.

    Raises:
        Missing: There is no such version.
    """
    for row in read_versions(reader, project, "model", [model]):
        if row["number"] == number:
            owner = own_model(model, row["digest"])
            return MetricsPage(series=_find_series(reader, project, owner, name, points), runs=[])
    raise Missing(f"Model {model!r} has no version {number}")


def _find_series(
    reader: Reader, project: str, owner: str, name: str | None, points: int
) -> list[MetricSeries]:
    run_id = "" if model_of(owner) else owner
    return [
        MetricSeries(run_id=run_id, name=one.name, count=one.count, points=list(one.points))
        for one in find_series(reader, project, [owner], name=name or "", most=points)
    ]


@api.get("/projects/{project:path}/metrics")
def get_metrics(
    *,
    project: str,
    reader: FromReader,
    run_id: Annotated[str | None, Query(max_length=49)] = None,
    name: Annotated[str | None, Query(max_length=1_024)] = None,
    points: Annotated[
        int, Query(ge=10, le=MOST_OF_ALL, description="At most, a series")
    ] = MOST_POINTS,
    model: Annotated[str | None, Query(max_length=1_024, description="With `version`")] = None,
    version: Annotated[int | None, Query(ge=1, description="Of the model, by number")] = None,
) -> MetricsPage:
    """Read the metric series of one run or model version, or list the runs that logged metrics.

    All series of an answer hold at most 100,000 points.
    """
    if model is None or version is None:
        return find_metrics(reader, project, run_id, name, points)
    return find_version_metrics(reader, project, model, version, name=name, points=points)


@dataclass(frozen=True, slots=True)
class Plot:
    """One series.

    Attributes:
        source: The API call that gives its points.
        line: The curve as SVG points in a box of 100 by 20, for where nothing else is drawn.
        not_numbers: How many of the points that are drawn are NaN or infinite.
    """

    name: str
    count: int
    drawn: int
    last: float | Infinite | None
    low: float | None
    high: float | None
    not_numbers: int
    source: str
    line: str


def make_plots(
    project: str, owner: Mapping[str, object], series: Iterable[MetricSeries | LoggedMetric]
) -> list[Plot]:
    """Make the figures of series; `owner` are the API's parameters that name whose they are."""
    plots = []
    for one in series:
        values = [point.value for point in one.points]
        finite = [value for value in values if isinstance(value, float)]
        plot = Plot(
            name=one.name,
            count=one.count,
            drawn=len(values),
            last=values[-1],
            low=min(finite, default=None),
            high=max(finite, default=None),
            not_numbers=len(values) - len(finite),
            source=view.api_address("projects", project, "metrics", **owner, name=one.name),
            line=spark([value if isinstance(value, float) else None for value in values]),
        )
        plots.append(plot)
    return plots


class MetricsAsked(BaseModel):
    """Whose metrics are asked for: those of a run, or of a version of a model; None for the last.

    Attributes:
        by: What the curves are drawn along.
    """

    run_id: str | None = Field(None, max_length=49)
    model: str | None = Field(None, max_length=1_024)
    version: int | None = Field(None, ge=1)
    by: Literal["step", "time"] = "step"


@pages.get("/projects/{project:path}/metrics")
def show_metrics(
    request: Request, reader: FromReader, project: str, asked: Annotated[MetricsAsked, Query()]
) -> Response:
    """Metric curves by step or by time of one run or version, beside the runs that logged some."""
    listed = reader.ahead(find_metrics, project)
    chosen, run, python = None, None, None
    series: Sequence[MetricSeries | LoggedMetric] = ()
    if asked.model and asked.version:
        owner: dict[str, object] = {"model": asked.model, "version": asked.version}
        series = find_version_metrics(reader, project, asked.model, asked.version).series
        python = python_call("metrics", **owner)
    else:
        chosen = asked.run_id or next((one.run_id for one in listed.result().runs), None)
        owner = {"run_id": chosen}
        if chosen:
            python = python_call("metrics", chosen)
            run, series = _find_run(reader, chosen, project)
    owners = listed.result().runs
    context = {
        "owners": owners,
        "elsewhere": [] if owners or asked.version else list_metric_projects(reader),
        "chosen": chosen,
        "asked": asked,
        "run": run,
        "here": lambda by: view.address(project, "metrics", **owner, by="" if by == "step" else by),
        "plots": make_plots(project, owner, series),
        "api": view.api_address("projects", project, "metrics", **owner),
        "python": python,
    }
    return show_page(request, "metrics.html", context)


def _find_run(
    reader: Reader, run_id: str, project: str
) -> tuple[Run | None, Sequence[MetricSeries | LoggedMetric]]:
    """Read a run and its series; None for the run while only its metrics are here."""
    try:
        return find_run_with_series(reader, run_id, project, now_ns=time.time_ns())
    except Missing:
        return None, find_metrics(reader, project, run_id).series

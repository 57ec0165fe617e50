"""Metric curves of one run or version, beside the runs that logged some."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.errors import NotFound
from otel_ml_collector.metrics.find import find_metrics, find_version_metrics
from otel_ml_collector.runs import find as runs
from otel_ml_collector.runs.answers import Run
from otel_ml_collector.runs.series import MetricSeries
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.web import view
from otel_ml_collector.web.render import PageRoute, python_call, show_page
from otel_ml_collector.web.view import spark

router = APIRouter(include_in_schema=False, route_class=PageRoute)


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
    last: float | None
    low: float | None
    high: float | None
    not_numbers: int
    source: str
    line: str


def make_plots(
    project: str, owner: Mapping[str, object], series: Sequence[MetricSeries]
) -> list[Plot]:
    """Make the figures of series.

    Args:
        project: Whose they are.
        owner: The parameters by which the API tells what they were logged for.
        series: At most as many points of each as the API gives.
    """
    return [_plot(project, owner, one) for one in series]


def _plot(project: str, owner: Mapping[str, object], series: MetricSeries) -> Plot:
    values = [point.value for point in series.points]
    finite = [value for value in values if value is not None]
    return Plot(
        name=series.name,
        count=series.count,
        drawn=len(values),
        last=values[-1],
        low=min(finite, default=None),
        high=max(finite, default=None),
        not_numbers=len(values) - len(finite),
        source=view.api_address("projects", project, "metrics", **owner, name=series.name),
        line=spark(values),
    )


class MetricsAsked(BaseModel):
    """Whose metrics are asked for: those of a run, or of a version of a model; None for the last.

    Attributes:
        by: What the curves are drawn along.
    """

    run_id: str | None = Field(None, max_length=49)
    model: str | None = Field(None, max_length=1_024)
    version: int | None = Field(None, ge=1)
    by: Literal["step", "time"] = "step"


@router.get("/projects/{project:path}/metrics")
def show_metrics(
    request: Request, reader: FromReader, project: str, asked: Annotated[MetricsAsked, Query()]
) -> Response:
    """Metric curves by step or by time of one run or version, beside the runs that logged some."""
    owners = find_metrics(reader, project).runs
    if asked.model and asked.version:
        chosen = None
        owner: dict[str, object] = {"model": asked.model, "version": asked.version}
        found = find_version_metrics(reader, project, asked.model, asked.version)
        python: str | None = python_call("metrics", **owner)
    else:
        chosen = asked.run_id or (owners[0].run_id if owners else None)
        owner = {"run_id": chosen}
        found = find_metrics(reader, project, chosen)
        python = python_call("metrics", chosen) if chosen else None
    context = {
        "project": project,
        "owners": owners,
        "chosen": chosen,
        "asked": asked,
        "run": _known_run(reader, chosen, project) if chosen else None,
        "here": lambda by: view.address(project, "metrics", **owner, by="" if by == "step" else by),
        "plots": make_plots(project, owner, found.series),
        "api": view.api_address("projects", project, "metrics", **owner),
        "python": python,
    }
    return show_page(request, "metrics.html", context)


def _known_run(reader: Reader, run_id: str, project: str) -> Run | None:
    """Read a run; None while only its metrics are here."""
    try:
        return runs.find_run(reader, run_id, project, now_ns=time.time_ns())
    except NotFound:
        return None

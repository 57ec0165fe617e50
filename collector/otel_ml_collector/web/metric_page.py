"""Metric curves of one run, beside the runs that logged some."""

import time
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.errors import NotFound
from otel_ml_collector.query import models, runs
from otel_ml_collector.query.answers.runs import Run
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.web import view
from otel_ml_collector.web.render import PageRoute, python_call, show_page

router = APIRouter(include_in_schema=False, route_class=PageRoute)


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
        "python": python_call("metrics", chosen) if chosen else None,
    }
    return show_page(request, "metrics.html", context)


def _known_run(reader: Reader, run_id: str, project: str) -> Run | None:
    """Read a run; None while only its metrics are here."""
    try:
        return runs.find_run(reader, run_id, project, now_ns=time.time_ns())
    except NotFound:
        return None

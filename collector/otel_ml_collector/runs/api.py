"""The part of the JSON API that reads what is recorded: runs, traces, models, metrics, loss."""

import time
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query

from otel_ml_collector.api.parameters import FromReader, Time, Where
from otel_ml_collector.api.streams import FromPlaces, Stream
from otel_ml_collector.loss import find as loss
from otel_ml_collector.models import find as models
from otel_ml_collector.query import runs
from otel_ml_collector.query.answers.loss import Loss
from otel_ml_collector.query.answers.metrics import Metrics
from otel_ml_collector.query.answers.models import Models, Version, Versions
from otel_ml_collector.query.answers.projects import Projects
from otel_ml_collector.query.answers.runs import Run, RunsPage, Trace
from otel_ml_collector.query.series import MOST, MOST_OF_ALL
from otel_ml_collector.query.times import DAY_NS, from_rfc3339
from otel_ml_collector.traces.bundle import write_bundle

_ZIP: Final = "application/zip"
_TRACE: Final[dict[int | str, dict[str, Any]]] = {200: {"model": Trace, "content": {_ZIP: {}}}}

router = APIRouter(prefix="/api/v1")

Limit = Annotated[int, Query(ge=1, le=runs.MAX_LIMIT)]
Cursor = Annotated[str | None, Query(max_length=400, description="`next_cursor` of a page")]
Order = Annotated[Literal["desc", "asc"], Query(description="By start: newest or oldest first")]


def parse_query(
    *,
    project: str,
    where: Where = "",
    limit: Limit = 50,
    cursor: Cursor = None,
    start: Time = None,
    end: Time = None,
    order: Order = "desc",
) -> runs.RunsQuery:
    """Read the parameters of a list of runs; the pages take the same ones.

    Raises:
        BadQuery: A time cannot be read.
    """
    return runs.RunsQuery(
        project=project,
        where=where,
        limit=limit,
        cursor=cursor,
        start_ns=from_rfc3339(start, "start") if start else 0,
        end_ns=from_rfc3339(end, "end") if end else None,
        newest_first=order == "desc",
    )


@router.get("/projects")
def get_projects(
    reader: FromReader,
    find: Annotated[str, Query(max_length=128, description="What their names have in them")] = "",
    limit: Limit = runs.MAX_LIMIT,
    cursor: Cursor = None,
) -> Projects:
    """List projects, the one that ran last first."""
    return models.page_projects(reader, find, limit, cursor)


@router.get("/projects/{project:path}/runs")
def get_runs(
    query: Annotated[runs.RunsQuery, Depends(parse_query)], reader: FromReader
) -> RunsPage:
    """List the runs of a project, also those that have no end.

    Spans that are no model calls need `kind` in `where`.
    """
    return runs.find_runs(reader, query, time.time_ns())


@router.get("/projects/{project:path}/runs/{run_id}")
def get_project_run(project: str, run_id: str, reader: FromReader) -> Run:
    """Read one run with everything that is known of it."""
    return runs.find_run(reader, run_id, project, now_ns=time.time_ns())


@router.get("/runs/{run_id}")
def get_run(run_id: str, reader: FromReader) -> Run:
    """Read one run by its id alone, when exactly one project has it."""
    return runs.find_run(reader, run_id, now_ns=time.time_ns())


@router.get("/traces/{key:path}", response_model=None, responses=_TRACE)
def get_trace(
    *,
    key: str,
    reader: FromReader,
    places: FromPlaces,
    file_format: Annotated[Literal["json", "zip"], Query(alias="format")] = "json",
    limit: Annotated[int, Query(ge=1, le=10_000, description="How many runs")] = 10_000,
    cursor: Cursor = None,
    parent: Annotated[
        str | None, Query(max_length=49, description="A run id: its children alone")
    ] = None,
) -> Trace | Stream:
    """Read the runs of the traces that have this trace id or key, oldest first.

    As a zip file it is all of it: each run with its payload, the documents that were logged, and a
    list of them, `manifest.json`.
    """
    now_ns = time.time_ns()
    page = runs.TracePage() if file_format == "zip" else runs.TracePage(limit, cursor, parent)
    trace = runs.find_trace(reader, key, now_ns=now_ns, page=page)
    if file_format == "json":
        return trace
    return Stream(write_bundle(reader, trace, now_ns), _ZIP, "trace.zip", places.take())


@router.get("/projects/{project:path}/models")
def get_models(project: str, reader: FromReader) -> Models:
    """List the models of a project, the one that ran last first."""
    return Models(models=models.find_models(reader, project))


@router.get("/projects/{project:path}/models/{model:path}/versions")
def get_versions(project: str, model: str, reader: FromReader) -> Versions:
    """Read the versions of a model with source and statistics, newest first."""
    return Versions(versions=models.find_versions(reader, project, model))


@router.get("/projects/{project:path}/models/{model:path}/versions/{number}")
def get_version(project: str, model: str, number: int, reader: FromReader) -> Version:
    """Read one version of a model."""
    return models.find_version(reader, project, model, number)


@router.get("/projects/{project:path}/metrics")
def get_metrics(
    *,
    project: str,
    reader: FromReader,
    run_id: Annotated[str | None, Query(max_length=49)] = None,
    name: Annotated[str | None, Query(max_length=1_024)] = None,
    points: Annotated[int, Query(ge=10, le=MOST_OF_ALL, description="At most, a series")] = MOST,
    model: Annotated[str | None, Query(max_length=1_024, description="With `version`")] = None,
    version: Annotated[int | None, Query(ge=1, description="Of the model, by number")] = None,
) -> Metrics:
    """Read the metric series of one run or model version, or list the runs that logged metrics.

    All series of an answer hold at most 100,000 points.
    """
    if model is None or version is None:
        return models.find_metrics(reader, project, run_id, name, points)
    return models.find_version_metrics(reader, project, model, version, name=name, points=points)


@router.get("/projects/{project:path}/loss")
def get_loss(
    project: str,
    reader: FromReader,
    start: Time = None,
    end: Time = None,
    limit: Annotated[int, Query(ge=1, le=loss.MAX_LIMIT)] = loss.MAX_LIMIT,
) -> Loss:
    """Read how many spans came and how many were sent but are not here, by process and hour.

    Whole hours, the last 24 unless told, at most 31 days.
    """
    end_ns = from_rfc3339(end, "end") if end else time.time_ns()
    start_ns = from_rfc3339(start, "start") if start else max(end_ns - DAY_NS, 0)
    query = loss.LossQuery(project, start_ns, end_ns, limit)
    return loss.find_loss(reader, query, time.time_ns())

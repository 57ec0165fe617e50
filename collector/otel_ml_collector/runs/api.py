"""Runs in the JSON API: their list, and one with everything that is known of it."""

import time
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query

from otel_ml_collector.api.parameters import Cursor, FromReader, Limit, Time, Where
from otel_ml_collector.runs import find as runs
from otel_ml_collector.runs.answers import Run, RunsPage
from otel_ml_collector.times import from_rfc3339

router = APIRouter(prefix="/api/v1")

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

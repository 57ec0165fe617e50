"""Metric series in the JSON API."""

from typing import Annotated

from fastapi import APIRouter, Query

from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.metrics.find import find_metrics, find_version_metrics
from otel_ml_collector.runs.series import MOST, MOST_OF_ALL, Metrics

router = APIRouter(prefix="/api/v1")


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
        return find_metrics(reader, project, run_id, name, points)
    return find_version_metrics(reader, project, model, version, name=name, points=points)

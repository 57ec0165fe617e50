"""Metric series, and the runs that logged some: one `find` behind the JSON API and the pages."""

from typing import Final

from otel_ml_collector.errors import NotFound
from otel_ml_collector.owners import model_of, own_model
from otel_ml_collector.runs.series import MOST, MetricOwner, Metrics, MetricSeries, find_series
from otel_ml_collector.store.open_runs import name_open_runs
from otel_ml_collector.store.reader import Reader, run_id_of
from otel_ml_collector.store.runs import Key, read_runs
from otel_ml_collector.store.statistics import (
    list_metric_owners,
    read_versions,
)
from otel_ml_collector.times import to_rfc3339

_OWNERS: Final = 200


def find_metrics(
    reader: Reader,
    project: str,
    run_id: str | None = None,
    name: str | None = None,
    points: int = MOST,
) -> Metrics:
    """Read the series of one run, or list the runs that logged metrics, the last one first."""
    if run_id is None:
        rows = list_metric_owners(reader, project, _OWNERS)
        keys = [Key.of(row["start_ns"], row["owner"]) for row in rows]
        found = read_runs(reader, project, keys) if keys else []
        names = {run_id_of(run): run["model"] or run["name"] for run in found}
        unnamed = [row["owner"] for row in rows if row["start_ns"] and row["owner"] not in names]
        names |= {run_id_of(run): run["model"] for run in name_open_runs(reader, project, unnamed)}
        owners = [
            MetricOwner(
                run_id=row["owner"],
                model=names.get(row["owner"], ""),
                names=row["names"],
                points=row["points"],
                last_time=to_rfc3339(row["last_time_ns"]),
            )
            for row in rows
        ]
        return Metrics(series=[], runs=owners)
    return _series_of(reader, project, run_id, name, points)


def find_version_metrics(
    reader: Reader,
    project: str,
    model: str,
    number: int,
    *,
    name: str | None = None,
    points: int = MOST,
) -> Metrics:
    """Read the series that were logged for a version of a model, and not for one of its runs.

    Raises:
        NotFound: There is no such version.
    """
    for row in read_versions(reader, project, "model", [model]):
        if row["number"] == number:
            return _series_of(reader, project, own_model(model, row["digest"]), name, points)
    raise NotFound(f"Model {model!r} has no version {number}")


def _series_of(reader: Reader, project: str, owner: str, name: str | None, points: int) -> Metrics:
    run_id = "" if model_of(owner) else owner
    series = [
        MetricSeries(run_id=run_id, name=one.name, count=one.count, points=list(one.points))
        for one in find_series(reader, project, [owner], name=name or "", most=points)
    ]
    return Metrics(series=series, runs=[])

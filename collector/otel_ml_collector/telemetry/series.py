"""Metrics computed between scrapes: alerts, drift, slices, quality and experiments.

Background jobs put their results here. A scrape only returns what is here and runs no queries.
"""

import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

SeriesName = Literal[
    "alert",
    "actual_score",
    "actual_coverage",
    "experiment_score",
    "slice_excess_runs",
    "drift_distance",
]
MOST_SERIES: Final = 500
_MOST_SERIES_PROJECTS: Final = 100
_SERIES_LABEL_CHARS: Final = 200


@dataclass(frozen=True, slots=True)
class SeriesKind:
    """A kind of metric: its description, and the names of its labels after ``project``."""

    about: str
    labels: tuple[str, ...]


# In order of priority, if a project has too many series.
SERIES: Final[Mapping[SeriesName, SeriesKind]] = {
    "alert": SeriesKind(
        "1 if a slice of an alert rule is in this state: pending, firing or failed",
        ("rule", "slice", "severity", "state"),
    ),
    "actual_score": SeriesKind(
        "Quality of the predictions of the last 30 days that have ground truth",
        ("target", "figure"),
    ),
    "actual_coverage": SeriesKind(
        "Share of the predictions of the last 30 days that have ground truth", ("target",)
    ),
    "experiment_score": SeriesKind(
        "Pass rate or mean score of the newest experiment of a version on a data set",
        ("dataset", "model", "version", "judge"),
    ),
    "slice_excess_runs": SeriesKind(
        "Extra failures of a slice in the last 24 hours, compared with all other runs",
        ("model", "slice"),
    ),
    "drift_distance": SeriesKind(
        "Drift score of a field: the last whole day compared with the 28 days before",
        ("model", "field"),
    ),
}
# The values of the labels, and the value of the metric.
SeriesRow = tuple[tuple[str, ...], float]


class ComputedSeries(Collector):
    """Keeps time series for `/metrics` that are computed from the store, at most 500 per project.

    Only the newest values of each kind and project are kept.

    Attributes:
        read_s: `time.monotonic` of the last scrape; minus infinity before the first.
    """

    def __init__(self) -> None:
        self.read_s = float("-inf")
        self._lock = threading.Lock()
        self._rows: dict[str, dict[SeriesName, Sequence[SeriesRow]]] = {}

    def put(self, name: SeriesName, project: str, rows: Sequence[SeriesRow]) -> None:
        """Replace the series of a kind and project. Put the most important ones first."""
        with self._lock:
            self._rows.setdefault(project, {})[name] = rows

    def keep(self, name: SeriesName, projects: Collection[str]) -> None:
        """Delete the series of a kind for all projects except the given ones."""
        with self._lock:
            for project, of_project in list(self._rows.items()):
                if project not in projects:
                    of_project.pop(name, None)
                if not of_project:
                    del self._rows[project]

    def describe(self) -> Iterable[Metric]:
        """Return no metrics in advance."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Return the metrics."""
        self.read_s = time.monotonic()
        families = {
            name: GaugeMetricFamily(f"otel_ml_{name}", kind.about, labels=["project", *kind.labels])
            for name, kind in SERIES.items()
        }
        left_out = GaugeMetricFamily(
            "otel_ml_series_left_out",
            "Series above the limit of 500 per project",
            labels=["project"],
        )
        with self._lock:
            projects = sorted(self._rows)
            for project in projects[:_MOST_SERIES_PROJECTS]:
                number = _add(families, project, self._rows[project])
                if number:
                    left_out.add_metric([_cut(project)], number)
            others = sum(
                len(rows)
                for project in projects[_MOST_SERIES_PROJECTS:]
                for rows in self._rows[project].values()
            )
        if others:
            left_out.add_metric([""], others)
        return (*families.values(), left_out)


def _add(
    families: Mapping[SeriesName, GaugeMetricFamily],
    project: str,
    of_project: Mapping[SeriesName, Sequence[SeriesRow]],
) -> int:
    """Add the series of a project. Return how many were left out."""
    room, left_out = MOST_SERIES, 0
    for name in SERIES:
        # Shortened labels may become equal: keep the first.
        rows: dict[tuple[str, ...], float] = {}
        for labels, value in of_project.get(name, ()):
            rows.setdefault(tuple(map(_cut, labels)), value)
        for place, (labels, value) in enumerate(rows.items()):
            if place >= room:
                break
            families[name].add_metric([_cut(project), *labels], value)
        left_out += max(len(rows) - room, 0)
        room = max(room - len(rows), 0)
    return left_out


def _cut(text: str) -> str:
    return text[:_SERIES_LABEL_CHARS].encode("utf-8", "replace").decode()

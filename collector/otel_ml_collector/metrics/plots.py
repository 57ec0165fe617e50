"""Metric series as figures: what is told of each beside its curve, which the browser draws."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from otel_ml_collector.query.answers.metrics import MetricSeries
from otel_ml_collector.web import view
from otel_ml_collector.web.spark import spark


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

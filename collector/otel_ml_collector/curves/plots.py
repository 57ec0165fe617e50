"""One metric series, drawn, with its smallest and largest value."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import Field

from otel_ml.records import Infinite, MetricPoint
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.store.facts import LoggedMetric
from otel_ml_collector.web import view
from otel_ml_collector.web.view import spark


class MetricSeries(AnswerBody):
    """The points of a metric of a run or version, in the order they were logged."""

    run_id: str = Field(
        description="Run that logged the metric; empty if it was logged for a model version"
    )
    name: str
    source: str = Field(
        default="logged",
        description="`data` if the last point of the metric comes from data_metrics, else `logged`",
    )
    count: int = Field(
        description="Number of points that were logged. If `points` has fewer, it contains the "
        "first and the last point, and the lowest and the highest of each section between them"
    )
    points: list[MetricPoint]


@dataclass(frozen=True, slots=True)
class Plot:
    """The curve of one metric of a run or version, ready to draw on a page.

    Attributes:
        name: Name of the metric.
        count: Number of points that were logged.
        drawn: Number of points in the curve, which can be fewer.
        source: Address of the API call that returns the points.
        line: The curve as SVG points in a box of 100 by 20.
        not_numbers: How many of the drawn points are NaN or infinite.
        is_data: True if `data_metrics` computed the metric, False if the program logged it.
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
    is_data: bool = False


def make_plots(
    project: str, owner: Mapping[str, object], series: Iterable[MetricSeries | LoggedMetric]
) -> list[Plot]:
    """Draw metric series. `owner` has the API parameters that select their run or version."""
    plots = []
    for curve in series:
        values = [point.value for point in curve.points]
        finite = [value for value in values if isinstance(value, float)]
        plot = Plot(
            name=curve.name,
            count=curve.count,
            drawn=len(values),
            last=values[-1],
            low=min(finite, default=None),
            high=max(finite, default=None),
            not_numbers=len(values) - len(finite),
            source=view.api_address("projects", project, "metrics", **owner, name=curve.name),
            line=spark([value if isinstance(value, float) else None for value in values]),
            is_data=curve.source == "data",
        )
        plots.append(plot)
    return plots

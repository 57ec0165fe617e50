"""Metric series and the runs that logged them."""

from pydantic import BaseModel, Field


class MetricPoint(BaseModel):
    """One point: `step` is null when it has none, `value` when it is NaN or infinite."""

    value: float | None
    step: int | None
    time_ns: int


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


class Metrics(BaseModel):
    """Metric series of one run or version, or the runs of a project that have some."""

    series: list[MetricSeries]
    runs: list[MetricOwner]

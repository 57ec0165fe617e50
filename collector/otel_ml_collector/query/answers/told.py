"""What was told apart from any span."""

from pydantic import BaseModel, Field

from otel_ml.records import Evaluation
from otel_ml_collector.query.answers.artifacts import Artifact
from otel_ml_collector.query.answers.parts import LogLine
from otel_ml_collector.query.answers.values import JsonValue, MetricValue


class Told(BaseModel):
    """What was told apart from any span: of a model's version, a trace key, a run not here."""

    tags: dict[str, JsonValue] = {}
    logs: list[LogLine] = Field(default=[], description="Offsets are from the first line")
    metrics: dict[str, MetricValue] = {}
    metric_points: dict[str, int] = {}
    evaluations: list[Evaluation] = []
    artifacts: list[Artifact] = []


class TraceRecords(Told):
    """What was told of a trace or its key (`run_id` is null), or of a run that is not here.

    Also the lines of a span that is here and has no run above it.
    """

    project: str
    run_id: str | None

"""What is said about a run, a trace or a version: tags, lines, scores, tokens."""

from pydantic import BaseModel, Field

from otel_ml_collector.query.answers.values import JsonValue


class TagDetail(BaseModel):
    """A tag with the user's own type and group."""

    name: str
    value: JsonValue
    type: str
    group: str


class LogLine(BaseModel):
    """A line of text of a run."""

    time_ns: int
    offset_ms: float = Field(description="Time since the run's start")
    severity: str
    message: str
    event: str = Field(default="", description="What kind of event it is, such as gen_ai.choice")
    attributes: dict[str, JsonValue] = Field(default={}, description="What else a log record says")

"""What is said about a run, a trace or a version: tags, lines, scores, tokens."""

from pydantic import BaseModel, Field

from otel_ml_collector.query.answers.values import JsonValue


class Tokens(BaseModel):
    """Token counts as the model's provider said them; input includes cached ones."""

    input: int | None = None
    output: int | None = None
    cached: int | None = None
    reasoning: int | None = None


class Evaluation(BaseModel):
    """What a judge (or person) said of a run; `error` means that it failed, which is no fail."""

    judge: str
    version: int | None = Field(description="The judge's small version number")
    digest: str
    score: float | None
    passed: bool | None
    label: str
    explanation: str
    error: str
    source: str


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

"""Models and their versions."""

from pydantic import BaseModel, Field

from otel_ml_collector.query.answers.told import Told
from otel_ml_collector.query.answers.values import JsonValue


class Model(BaseModel):
    """A model and its recorded runs."""

    model: str
    kind: str
    runs: int
    errors: int
    versions: int
    latest_version: int | None
    last_start_time: str


class Models(BaseModel):
    """The models of a project, the one that ran last first."""

    models: list[Model]


class JudgeStats(BaseModel):
    """What one judge said of one version."""

    judge: str
    evaluations: int
    failed: int = Field(description="Evaluations in which the judge itself failed")
    mean_score: float | None
    passed: int
    judged: int = Field(description="Evaluations that say whether the run passed")


class Content(BaseModel):
    """The content that a version of a model was named by, such as its weights."""

    sha256: str
    bytes: int


class Definition(BaseModel):
    """What a version is made of."""

    source: str | None = None
    signature: str = ""
    params: JsonValue = None
    helpers: dict[str, str] = {}
    constants: dict[str, JsonValue] = {}
    output: str | None = None
    artifact: Content | None = Field(default=None, description="Of a model without a function")


class Version(Told):
    """One state of a model, what its recorded runs look like, and what was told of it."""

    model: str
    version: int
    digest: str
    first_seen_time: str
    runs: int
    errors: int
    p50_ms: float | None
    p95_ms: float | None
    judges: list[JudgeStats]
    definition: Definition


class Versions(BaseModel):
    """The versions of a model, the newest first."""

    versions: list[Version]

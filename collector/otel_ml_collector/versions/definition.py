"""The definition of a model's version, as it was sent: source, params, helpers and constants."""

from pydantic import Field

from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.store.reader import JsonValue


class ArtifactContent(AnswerBody):
    """The content that a version of a model was named by, such as its weights."""

    sha256: str
    bytes: int


class VersionDefinition(AnswerBody):
    """The definition of a version: its parts as they were sent."""

    source: str | None = None
    signature: str = ""
    params: JsonValue = None
    helpers: dict[str, str] = Field(default={})
    constants: dict[str, JsonValue] = Field(default={})
    unseen: list[str] = Field(
        default=[],
        description="Descriptions of the parts of the function that can change without a new "
        "version",
    )
    output: str | None = None
    artifact: ArtifactContent | None = Field(
        default=None, description="The model's artifact, if the model has no function"
    )

"""A target as it is saved: which part of a model's output foretells which truth."""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from otel_ml_collector.errors import BadInput
from otel_ml_collector.filter.grammar import read_field
from otel_ml_collector.store.documents import Document, DocumentKind
from otel_ml_collector.store.predictions import TARGET, PredictionRule
from otel_ml_collector.times import to_rfc3339

TARGETS: Final = DocumentKind(TARGET, most=100, limit_bytes=64 * 1024)
_OUTPUTS: Final = "outputs"

Path = Annotated[str, Field(max_length=300)]


class WantedTarget(BaseModel):
    """Which part of a model's output foretells a truth."""

    model_config = ConfigDict(extra="forbid")

    model: Annotated[str, Field(min_length=1, max_length=1_000)] = Field(
        description="The model whose runs foretell it"
    )
    prediction: Path = Field(
        default=_OUTPUTS, description="The part that foretells it, such as `outputs.label`"
    )
    kind: Literal["class", "number", "ranking"] = Field(
        default="class",
        description="One of several classes; a number; or a list of which the first are best, and "
        "the truth is one of them, or a list of all that are relevant",
    )
    positive: Annotated[str, Field(max_length=64)] = Field(
        default="", description="Of a class the one that is looked for; empty for none"
    )
    probability: Path = Field(
        default="", description="The probability of the positive class, such as `outputs.p`"
    )
    truth: Annotated[str, Field(max_length=256)] = Field(
        default="", description="The name of the truth, where it is not that of the target"
    )
    k: Annotated[int, Field(ge=1, le=1_000)] = Field(
        default=10, description="Of a ranking how many of the first count"
    )

    @field_validator("prediction", "probability")
    @classmethod
    def _is_of_outputs(cls, text: str) -> str:
        if text:
            read_path(text)
        return text

    @model_validator(mode="after")
    def _fits_its_kind(self) -> "WantedTarget":
        if self.kind != "class" and (self.positive or self.probability):
            raise ValueError("expected positive and probability of a class alone")
        if self.probability and not self.positive:
            raise ValueError("expected the positive class, whose probability it is")
        return self


class SavedTarget(WantedTarget):
    """A saved target; or where none is saved, that a truth equals the whole output."""

    name: str
    version: int = Field(description="Counts the saves of its name; 0 where none is saved")
    saved_time: str | None = Field(description="RFC 3339, UTC; null where none is saved")

    @property
    def rule(self) -> PredictionRule:
        """The rule by which predictions are read."""
        return PredictionRule(
            name=self.name,
            version=self.version,
            model=self.model,
            kind=self.kind,
            truth=self.truth or self.name,
            path=read_path(self.prediction),
            chance=read_path(self.probability) if self.probability else None,
            k=self.k,
        )


def read_path(text: str) -> Sequence[str | int]:
    """Read the steps into the outputs.

    Raises:
        ValueError: It is no part of the outputs.
    """
    try:
        field = read_field(text)
    except BadInput as error:
        raise ValueError(str(error)) from error
    if field.name != _OUTPUTS:
        raise ValueError(f"expected a part of the outputs such as outputs.label, found {text!r}")
    return field.path


def write_body(wanted: WantedTarget) -> dict[str, Any]:
    """Write a target as it is stored: with the steps of its paths, which the rollup reads."""
    return {
        **wanted.model_dump(),
        "path": [*read_path(wanted.prediction)],
        "chance": [*read_path(wanted.probability)] if wanted.probability else None,
    }


def make_target(document: Document) -> SavedTarget:
    """Read a target from its document."""
    body = {name: document.body[name] for name in WantedTarget.model_fields}
    return SavedTarget(
        name=document.name,
        version=document.version,
        saved_time=to_rfc3339(document.saved_ns),
        **body,
    )


def make_unsaved(truth: str) -> SavedTarget:
    """Make the target of a truth that has none: the truth equals the whole output, of any model."""
    return SavedTarget.model_construct(
        model="",
        prediction=_OUTPUTS,
        kind="class",
        positive="",
        probability="",
        truth=truth,
        k=10,
        name=truth,
        version=0,
        saved_time=None,
    )

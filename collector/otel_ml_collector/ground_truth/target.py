"""A saved prediction target: which part of an output predicts which ground truth."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from otel_ml_collector.errors import BadInput
from otel_ml_collector.filter.grammar import read_field
from otel_ml_collector.measures.ground_truth import TruthFigure, figures_of
from otel_ml_collector.store.documents import Document, DocumentKind
from otel_ml_collector.store.predictions import TARGET, PredictionRule
from otel_ml_collector.times import to_rfc3339

TARGETS: Final = DocumentKind(TARGET, most=100, limit_bytes=64 * 1024, noted_as="prediction target")
_OUTPUTS: Final = "outputs"

Path = Annotated[str, Field(max_length=300)]


class WantedTarget(BaseModel):
    """Which part of a model's output predicts which ground truth."""

    model_config = ConfigDict(extra="forbid")

    model: Annotated[str, Field(min_length=1, max_length=1_000)] = Field(
        description="Model that makes the predictions"
    )
    prediction: Path = Field(
        default=_OUTPUTS,
        description="Part of the output that contains the prediction, such as `outputs.label`",
    )
    kind: Literal["class", "number", "ranking"] = Field(
        default="class",
        description="class: one of several classes; number; ranking: a list with the best first. "
        "The ground truth of a ranking is one item, or a list of all relevant items",
    )
    positive: Annotated[str, Field(max_length=64)] = Field(
        default="", description="For classes, the positive class; empty for none"
    )
    probability: Path = Field(
        default="", description="Probability of the positive class, such as `outputs.p`"
    )
    truth: Annotated[str, Field(max_length=256)] = Field(
        default="",
        description="Name of the ground truth, if it is not the name of the prediction target",
    )
    k: Annotated[int, Field(ge=1, le=1_000)] = Field(
        default=10, description="For rankings, how many of the first items count"
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
            raise ValueError("positive and probability can only be set for classes")
        if self.probability and not self.positive:
            raise ValueError("expected the positive class of the probability")
        return self


class SavedTarget(WantedTarget):
    """A saved prediction target, or the default one (`make_unsaved`)."""

    name: str
    version: int = Field(description="How often a target of this name was saved; 0 if never")
    saved_time: str | None = Field(description="RFC 3339, UTC; null if it is not saved")

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

    @property
    def figures(self) -> Mapping[str, TruthFigure]:
        """The figures of its predictions, by name."""
        return figures_of(
            self.kind, has_positive=bool(self.positive), has_chance=bool(self.probability)
        )


def read_path(text: str) -> Sequence[str | int]:
    """Parse the path of a part of the outputs.

    Raises:
        ValueError: It is not a part of the outputs.
    """
    try:
        field = read_field(text)
    except BadInput as error:
        raise ValueError(str(error)) from error
    if field.name != _OUTPUTS:
        raise ValueError(f"expected a part of the outputs such as outputs.label, found {text!r}")
    return field.path


def write_body(wanted: WantedTarget) -> dict[str, Any]:
    """Write a prediction target as it is stored, with its parsed paths, which the rollup reads."""
    return {
        **wanted.model_dump(),
        "path": [*read_path(wanted.prediction)],
        "chance": [*read_path(wanted.probability)] if wanted.probability else None,
    }


def make_target(document: Document) -> SavedTarget:
    """Read a prediction target from its document."""
    body = {name: document.body[name] for name in WantedTarget.model_fields}
    return SavedTarget(
        name=document.name,
        version=document.version,
        saved_time=to_rfc3339(document.saved_ns),
        **body,
    )


def make_unsaved(truth: str, *, is_measured: bool) -> SavedTarget:
    """Make the default prediction target, of any model.

    The prediction is the part of the output that is named like the ground truth. If there is no
    such part, it is the whole output.

    Args:
        truth: Name of the ground truth.
        is_measured: Whether its values are numbers such as 3.5, which are seldom predicted exactly.
    """
    return SavedTarget.model_construct(
        model="",
        prediction=_OUTPUTS,
        kind="number" if is_measured else "class",
        positive="",
        probability="",
        truth=truth,
        k=10,
        name=truth,
        version=0,
        saved_time=None,
    )

"""What people and late truths say of runs: how it is told, and what became of it."""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

MOST: Final = 1_000
_LONG: Final = 10_000
_Name = Annotated[str, Field(min_length=1, max_length=256)]


class WantedEvaluation(BaseModel):
    """One statement about a run, a trace, or all runs that have a tag: exactly one of these."""

    model_config = ConfigDict(extra="forbid")

    id: Annotated[str, Field(max_length=256)] = Field(
        default="",
        description="Your own id of the statement: sent again under it, it is stored once. "
        "Without one each is a statement of its own",
    )
    run_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}-[0-9a-f]{16}$")] | None = None
    trace_id: Annotated[str, Field(pattern="^[0-9a-f]{32}$")] | None = None
    trace_key: _Name | None = Field(default=None, description="Your own key of a trace")
    tag: Annotated[str, Field(max_length=1_024, pattern="^[^=]+=")] | None = Field(
        default=None, description="`name=value`: all runs that have the tag, now or later"
    )
    judge: _Name = Field(description="What is judged, such as `thumbs` or `churned`")
    source: Literal["human", "actual"] = Field(
        default="human", description="A person's word, or the truth that came later"
    )
    score: Annotated[float, Field(allow_inf_nan=False)] | None = None
    passed: bool | None = None
    label: Annotated[str, Field(max_length=256)] = ""
    explanation: Annotated[str, Field(max_length=_LONG)] = ""
    time: Annotated[str, Field(max_length=64)] | None = Field(
        default=None, description="RFC 3339; now unless told. Of two statements the later one holds"
    )

    @model_validator(mode="after")
    def _has_one_target(self) -> "WantedEvaluation":
        targets = (self.run_id, self.trace_id, self.trace_key, self.tag)
        if sum(target is not None for target in targets) != 1:
            raise ValueError("expected exactly one of run_id, trace_id, trace_key and tag")
        told: tuple[Any, ...] = (self.score, self.passed, self.label or None)
        if all(value is None for value in told) and not self.explanation:
            raise ValueError("expected a score, passed, a label or an explanation")
        return self


class WantedEvaluations(BaseModel):
    """Statements that are stored together."""

    model_config = ConfigDict(extra="forbid")

    evaluations: Annotated[list[WantedEvaluation], Field(min_length=1, max_length=MOST)]


class StoredEvaluation(BaseModel):
    """A statement that is stored."""

    id: str = Field(description="As it was sent, or empty")
    record_id: str = Field(description="Under which it is kept")
    known: bool | None = Field(
        description="Whether the run or trace is here by now; null for a tag. What is told of one "
        "that is not holds when it comes"
    )


class StoredEvaluations(BaseModel):
    """What became of statements, in their order."""

    evaluations: list[StoredEvaluation]

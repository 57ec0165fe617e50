"""A queue as it is saved: which runs are judged, by how many people, and with which words."""

import hashlib
from typing import Annotated, Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, model_validator

from otel_ml_collector.feedback import identify
from otel_ml_collector.store.documents import Document, DocumentKind
from otel_ml_collector.times import to_rfc3339

QUEUE: Final = DocumentKind("queue", most=100, limit_bytes=64 * 1024)
# As many as there are keys for them.
MOST_CHOICES: Final = 9
MOST_RUNS: Final = 10_000

Text = Annotated[str, Field(min_length=1, max_length=256)]


class QueueLabel(BaseModel):
    """A word that may be said of a run."""

    model_config = ConfigDict(extra="forbid")

    label: Annotated[str, Field(min_length=1, max_length=100)]
    passed: bool | None = Field(default=None, description="Whether a run of that label passes")
    note: Annotated[str, Field(max_length=300)] = Field(
        default="", description="What it means, beside the word"
    )
    is_answer: bool = Field(
        default=True,
        description="False for a word such as `cannot say`: the run waits for somebody else",
    )


class QueueScale(BaseModel):
    """Whole numbers that may be said of a run, at most nine."""

    model_config = ConfigDict(extra="forbid")

    low: Annotated[int, Field(ge=-1_000, le=1_000)]
    high: Annotated[int, Field(ge=-1_000, le=1_000)]
    passes_from: int | None = Field(
        default=None, description="The least number that passes; null where nothing passes or fails"
    )

    @model_validator(mode="after")
    def _is_a_scale(self) -> "QueueScale":
        if not 1 <= self.high - self.low < MOST_CHOICES:
            raise ValueError(f"expected a high above low, and at most {MOST_CHOICES} numbers")
        return self


class WantedQueue(BaseModel):
    """Which runs are to be judged, and how."""

    model_config = ConfigDict(extra="forbid")

    where: Annotated[str, Field(max_length=4_000)] = Field(
        default="", description="The filter of the runs; empty for all that count"
    )
    judge: Text = Field(description="The name under which people's words are stored")
    question: Annotated[str, Field(max_length=1_000)] = Field(
        default="", description="What is asked about each run"
    )
    labels: Annotated[list[QueueLabel], Field(max_length=MOST_CHOICES)] = Field(
        default_factory=list, description="The words to choose from; either these or a scale"
    )
    scale: QueueScale | None = None
    people: Annotated[int, Field(ge=1, le=100)] = Field(
        default=1, description="How many different people are to judge each run"
    )
    limit: Annotated[int, Field(ge=1, le=MOST_RUNS)] = Field(
        default=200, description="How many of the runs, the first ones in the order"
    )
    order: Literal["random", "disagreement"] = Field(
        default="random", description="The same for everyone; or first where judges disagree"
    )
    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(
        default=0, description="Another one draws other runs"
    )
    hidden: bool = Field(
        default=True, description="Whether what judges and others said is hidden before the answer"
    )
    dataset: Annotated[str, Field(max_length=200)] = Field(
        default="", description="Where an answered run may be saved as an item; empty for nowhere"
    )
    expected: Literal["label", "outputs"] = Field(
        default="label", description="What that item expects: the answer here, or the run's output"
    )

    @model_validator(mode="after")
    def _has_choices(self) -> "WantedQueue":
        if bool(self.labels) == (self.scale is not None):
            raise ValueError("expected either labels or a scale")
        if len({choice.label for choice in self.labels}) < len(self.labels):
            raise ValueError("expected no label twice")
        if self.labels and not any(choice.is_answer for choice in self.labels):
            raise ValueError("expected a label that is an answer")
        return self


class QueueChoice(BaseModel):
    """The word that a key gives a run.

    Attributes:
        label: Of a scale the number as text.
    """

    key: str
    label: str
    score: float | None
    passed: bool | None
    note: str
    is_answer: bool


class Queue(WantedQueue):
    """A saved queue."""

    name: str
    version: int = Field(description="Counts the saves of its name")
    saved_time: str = Field(description="RFC 3339, UTC")

    @property
    def choices(self) -> list[QueueChoice]:
        """The words to choose from, in the order of the keys 1 to 9."""
        if self.scale is None:
            return [
                QueueChoice(key=str(place), score=None, **choice.model_dump())
                for place, choice in enumerate(self.labels, 1)
            ]
        least = self.scale.passes_from
        return [
            QueueChoice(
                key=str(place),
                label=str(number),
                score=number,
                passed=None if least is None else number >= least,
                note="",
                is_answer=True,
            )
            for place, number in enumerate(range(self.scale.low, self.scale.high + 1), 1)
        ]

    @property
    def unanswered(self) -> list[str]:
        """The labels that are no answer."""
        return [choice.label for choice in self.labels if not choice.is_answer]

    def statement_id(self, run_id: str, annotator: str) -> str:
        """Write the id of what a person says of a run that was drawn as this queue draws.

        Said again it is the same statement. From a queue that was changed to draw other runs it is
        another one, so that an answer tells from which draw it came.
        """
        draw = orjson.dumps([self.where, self.judge, self.order, self.seed])
        parts = ["queue", self.name, hashlib.sha256(draw).hexdigest()[:16], run_id, annotator]
        return orjson.dumps(parts).decode()

    def record_id(self, project: str, run_id: str, annotator: str) -> str:
        """Return under which id that statement is stored."""
        return identify(project, self.statement_id(run_id, annotator))[16:].hex()


def make_queue(document: Document) -> Queue:
    """Read a queue from its document."""
    return Queue(
        name=document.name,
        version=document.version,
        saved_time=to_rfc3339(document.saved_ns),
        **document.body,
    )

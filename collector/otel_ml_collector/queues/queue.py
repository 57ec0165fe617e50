"""A labelling queue as it is saved: its runs, its answers, and the reviewers per run."""

import hashlib
from typing import Annotated, Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, model_validator

from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.feedback import identify
from otel_ml_collector.store.documents import Document, DocumentKind, list_documents
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import to_rfc3339

QUEUE: Final = DocumentKind("queue", most=100, limit_bytes=64 * 1024, noted_as="queue")
# Each choice has one of the keys 1 to 9.
MOST_CHOICES: Final = 9
MOST_QUEUED_RUNS: Final = 10_000

# Maximum number of runs that were added one by one.
MOST_ADDED: Final = 500

_RunId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}-[0-9a-f]{16}$")]
Text = Annotated[str, Field(min_length=1, max_length=256)]


class QueueLabel(AnswerBody):
    """A label that reviewers can choose."""

    model_config = ConfigDict(extra="forbid")

    label: Annotated[str, Field(min_length=1, max_length=100)]
    passed: bool | None = Field(default=None, description="Whether a run with this label passes")
    note: Annotated[str, Field(max_length=300)] = Field(
        default="", description="Explanation, shown next to the label"
    )
    is_answer: bool = Field(
        default=True,
        description="False for a label such as `Cannot say`: another reviewer gets the run",
    )


class QueueScale(AnswerBody):
    """Whole numbers that reviewers can choose, at most nine."""

    model_config = ConfigDict(extra="forbid")

    low: Annotated[int, Field(ge=-1_000, le=1_000)]
    high: Annotated[int, Field(ge=-1_000, le=1_000)]
    passes_from: int | None = Field(
        default=None,
        description="The lowest number that counts as a pass; null if the scale has no pass and"
        " fail",
    )

    @model_validator(mode="after")
    def _is_a_scale(self) -> "QueueScale":
        if not 1 <= self.high - self.low < MOST_CHOICES:
            raise ValueError(
                f"expected high above low, and at most {MOST_CHOICES} numbers from low to high"
            )
        return self


class WantedQueue(BaseModel):
    """The runs to label, and how."""

    model_config = ConfigDict(extra="forbid")

    where: Annotated[str, Field(max_length=4_000)] = Field(
        default="", description="Filter of the runs; empty for all recorded runs"
    )
    run_ids: Annotated[list[_RunId], Field(max_length=MOST_ADDED)] = Field(
        default_factory=list,
        description="Runs to add to those that match the filter. If you give runs, an empty "
        "filter matches no run",
    )
    judge: Text = Field(description="The judge under whose name the answers are stored")
    question: Annotated[str, Field(max_length=1_000)] = Field(
        default="", description="Question about each run"
    )
    labels: Annotated[list[QueueLabel], Field(max_length=MOST_CHOICES)] = Field(
        default_factory=list, description="Labels to choose from; either these or a scale"
    )
    scale: QueueScale | None = None
    people: Annotated[int, Field(ge=1, le=100)] = Field(
        default=1, description="How many reviewers label each run"
    )
    limit: Annotated[int, Field(ge=1, le=MOST_QUEUED_RUNS)] = Field(
        default=200, description="Maximum number of runs: the first ones in the order"
    )
    order: Literal["random", "disagreement"] = Field(
        default="random",
        description="`random` (the same order for all reviewers) or `disagreement` (runs on "
        "which judges disagree come first)",
    )
    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(
        default=0, description="Seed of the random order; a different seed selects different runs"
    )
    hidden: bool = Field(
        default=True,
        description="Whether scores and other answers are hidden until the reviewer answers",
    )
    dataset: Annotated[str, Field(max_length=200)] = Field(
        default="", description="Data set in which reviewers can save labelled runs; empty for none"
    )
    expected: Literal["label", "outputs"] = Field(
        default="label",
        description="Where the expected output of that item comes from: from the answer, or "
        "from the output of the run",
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


class QueueChoice(AnswerBody):
    """An answer to choose, with its key.

    Attributes:
        label: The label; for a scale, the number as text.
    """

    key: str
    label: str
    score: float | None
    passed: bool | None
    note: str
    is_answer: bool


class Queue(WantedQueue):
    """A saved labelling queue."""

    name: str
    version: int = Field(description="Number of times it was saved")
    saved_time: str = Field(description="RFC 3339, UTC")

    @property
    def choices(self) -> list[QueueChoice]:
        """The answers to choose from, in the order of the keys 1 to 9."""
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
        """The labels that do not count as an answer."""
        return [choice.label for choice in self.labels if not choice.is_answer]

    def statement_id(self, run_id: str, annotator: str) -> str:
        """Return the ID of a reviewer's answer about a run of this queue.

        A second answer of the reviewer about the run has the same ID, so it replaces the first
        answer. The ID also depends on the filter, judge, order and seed of the queue, which decide
        which runs the queue contains. If one of these changes, new answers get new IDs.
        """
        draw = orjson.dumps([self.where, self.judge, self.order, self.seed])
        parts = ["queue", self.name, hashlib.sha256(draw).hexdigest()[:16], run_id, annotator]
        return orjson.dumps(parts).decode()

    def record_id(self, project: str, run_id: str, annotator: str) -> str:
        """Return the ID under which that answer is stored."""
        return identify(project, self.statement_id(run_id, annotator))[16:].hex()


def make_queue(document: Document) -> Queue:
    """Read a queue from its document."""
    return Queue(
        name=document.name,
        version=document.version,
        saved_time=to_rfc3339(document.saved_ns),
        **document.body,
    )


def count_queues(reader: Reader, project: str) -> int:
    """Count the labelling queues of a project."""
    return len(list_documents(reader, project, QUEUE))

"""The form of a labelling queue: its fields as texts, and the queue that they make."""

import re
from typing import Annotated, Any, Final

from pydantic import BaseModel, Field, ValidationError

from otel_ml_collector.errors import BadInput
from otel_ml_collector.queues.queue import WantedQueue

_LABEL_LINE: Final = re.compile(r"(.*?)(?:\s*=\s*(pass|fail|none))?", re.DOTALL)
_SCALE: Final = re.compile(
    r"(-?\d{1,4})\s*(?:to|:)\s*(-?\d{1,4})(?:\s*(?:,\s*passes from|:)\s*(-?\d{1,4}))?", re.ASCII
)
_LABEL_PASSES: Final = {"pass": True, "fail": False}
_FIRST_QUESTION: Final = "Is this output right?"
_QUEUE_NAME_CHARS: Final = 64
_NOT_IN_QUEUE_NAME: Final = re.compile(r"[\x00-\x1f\x7f]+")

_Text = Annotated[str, Field(max_length=4_000)]


class QueueForm(BaseModel):
    """The fields of the form of a labelling queue, as the browser sends them.

    Attributes:
        answers: The answers that reviewers can choose: one per line, such as ``Yes = pass``; or a
            scale such as ``1 to 5``.
        hidden: ``on`` if reviewers see scores and other answers only after they answer; empty if
            the box is not ticked.
    """

    name: _Text = ""
    where: _Text = 'last("7d")'
    question: _Text = _FIRST_QUESTION
    judge: _Text = ""
    answers: _Text = "Yes = pass\nNo = fail\nCannot say = none"
    people: _Text = "1"
    limit: _Text = "200"
    order: _Text = "random"
    dataset: _Text = ""
    hidden: _Text = "on"

    @property
    def queue_name(self) -> str:
        """The name of the queue; by default the question without its question mark."""
        name = self.name.strip() or self.question.strip().rstrip("?")
        return _NOT_IN_QUEUE_NAME.sub(" ", name).strip()[:_QUEUE_NAME_CHARS].strip()

    @property
    def wanted(self) -> WantedQueue:
        """The queue that the fields make.

        Raises:
            BadInput: A field is invalid.
        """
        fields: dict[str, Any] = {
            **self.model_dump(include={"where", "question", "people", "limit", "order", "dataset"}),
            "judge": self.judge.strip() or self.queue_name,
            "hidden": bool(self.hidden),
            **_read_answers(self.answers),
        }
        try:
            return WantedQueue.model_validate(fields)
        except ValidationError as error:
            fault = error.errors()[0]
            field = str(fault["loc"][0]) if fault["loc"] else "answers"
            raise BadInput(f"{field}: {fault['msg']}", field) from error

    def check_name(self) -> None:
        """Refuse a form without a name and a question.

        Raises:
            BadInput: There is no name.
        """
        if not self.queue_name:
            raise BadInput("No name: expected a name or a question", "name")


def _read_answers(text: str) -> dict[str, Any]:
    """Read labels, one per line, or a scale on a single line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) == 1 and (scale := _SCALE.fullmatch(lines[0])):
        low, high, least = scale.groups()
        return {"scale": {"low": low, "high": high, "passes_from": least}}
    labels = []
    for line in lines:
        match = _LABEL_LINE.fullmatch(line)
        label, means = (match[1], match[2]) if match else (line, None)
        passed = _LABEL_PASSES.get(means or "")
        labels.append({"label": label, "passed": passed, "is_answer": means != "none"})
    return {"labels": labels}

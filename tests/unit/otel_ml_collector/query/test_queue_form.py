"""Tests of the form of a labelling queue."""

import pytest

from otel_ml_collector.errors import BadInput
from otel_ml_collector.queues.forms import QueueForm


def test_labels() -> None:
    """Each line is an answer with its meaning. The judge is named after the queue."""
    wanted = QueueForm(question="Is it short?", answers="Yes = pass\nNo=fail\n\nUnsure = none\nOdd")
    made = wanted.wanted
    assert [(label.label, label.passed, label.is_answer) for label in made.labels] == [
        ("Yes", True, True),
        ("No", False, True),
        ("Unsure", None, False),
        ("Odd", None, True),
    ]
    assert (wanted.queue_name, made.judge, made.hidden) == ("Is it short", "Is it short", True)


def test_scale() -> None:
    """A single line with two numbers defines a scale."""
    made = QueueForm(answers="1 to 5, passes from 4", judge="stars").wanted
    assert made.scale is not None
    assert made.scale.model_dump() == {"low": 1, "high": 5, "passes_from": 4}
    assert (made.labels, made.judge) == ([], "stars")
    plain = QueueForm(answers="0:3").wanted.scale
    assert plain is not None
    assert plain.passes_from is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("answers", ""),
        ("people", "many"),
        ("limit", "0"),
        ("order", "odd"),
        ("answers", "Yes\nYes"),
    ],
)
def test_wrong(field: str, value: str) -> None:
    """The error about an invalid field names the field."""
    form = QueueForm.model_validate({field: value})
    with pytest.raises(BadInput) as refused:
        _ = form.wanted
    assert refused.value.field == field


def test_no_name() -> None:
    """A form without a name and a question is rejected."""
    with pytest.raises(BadInput, match="No name"):
        QueueForm(question=" ? ").check_name()

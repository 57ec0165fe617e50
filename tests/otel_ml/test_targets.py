"""Records about runs that are elsewhere, and feedback."""

from typing import Any

import pytest

from otel_ml import InvalidMetricError, current_run
from otel_ml.targets import Elsewhere
from tests.otel_ml.recording import Recording, events, parent_id, stable, trace_id

RUN_ID = "0123456789abcdef0123456789abcdef-0123456789abcdef"
TARGETS: list[tuple[dict[str, Any], dict[str, str]]] = [
    ({"run_id": RUN_ID}, {"otel_ml.target.run": RUN_ID}),
    ({"trace_key": "order-7"}, {"otel_ml.target.trace_key": "order-7"}),
    ({"tag": ("order", 7)}, {"otel_ml.target.tag": "order=7"}),
]


def about(recording: Recording, target: dict[str, Any]) -> Elsewhere:
    return recording.client.about(**target)


@pytest.mark.parametrize(("target", "named"), TARGETS, ids=["run_id", "trace_key", "tag"])
def test_target_is_named(
    recording: Recording, target: dict[str, Any], named: dict[str, str]
) -> None:
    """Tags, text, metrics and feedback of a target each travel as a record that names it."""
    handle = about(recording, target)
    handle.tag(client="acme")
    handle.warning("late")
    handle.log_metrics({"loss": 0.5}, step=3)
    handle.feedback("correct", 1.0, passed=True, label="yes", explanation="seen", source="actual")
    tag, line, point, feedback = recording.spans()
    record = {"otel_ml.record": "update", "otel_ml.project": "shop", **named}
    assert stable(tag) == {**record, "otel_ml.tag.client": "acme"}
    assert (stable(line), events(line)) == (
        record,
        [("otel_ml.log", {"otel_ml.log.severity": "warning", "otel_ml.log.message": "late"})],
    )
    assert stable(point) == {
        **record,
        "otel_ml.metric.names": ("loss",),
        "otel_ml.metric.values": (0.5,),
        "otel_ml.metric.steps": (3,),
        "otel_ml.metric.modes": ("auto",),
    }
    assert stable(feedback) == {
        "otel_ml.record": "evaluation",
        "otel_ml.project": "shop",
        "otel_ml.judge.name": "correct",
        "otel_ml.source": "actual",
        "otel_ml.score.value": 1.0,
        "otel_ml.passed": True,
        "otel_ml.score.label": "yes",
        "otel_ml.explanation": "seen",
        **named,
    }


def test_record_about_a_run_is_in_its_trace(recording: Recording) -> None:
    """A record about a run whose id is known is a child of it; about a key it stands alone."""
    recording.client.about(run_id=RUN_ID).tag(a=1)
    recording.client.about(trace_key="k").tag(a=1)
    known, alone = recording.spans()
    assert f"{trace_id(known):032x}-{parent_id(known):016x}" == RUN_ID
    assert parent_id(alone) is None


def test_nothing_is_said_of_nothing(recording: Recording) -> None:
    """A call without a tag or a point sends no record."""
    handle = recording.client.about(trace_key="k")
    handle.tag()
    handle.log_metric("loss", [])
    assert recording.spans() == []


@pytest.mark.parametrize(
    "target", [{}, {"run_id": RUN_ID, "trace_key": "k"}, {"run_id": "17"}, {"run_id": RUN_ID[:-1]}]
)
def test_wrong_target_is_refused(recording: Recording, target: dict[str, Any]) -> None:
    """A target that names nothing, two things, or no run id is refused."""
    with pytest.raises(ValueError, match="expected"):
        about(recording, target)


def test_feedback_of_a_run_that_goes_on(recording: Recording) -> None:
    """Feedback on the current run is a record about it."""

    @recording.client.trace
    def model() -> str:
        current_run().feedback("helpful", passed=False)
        return current_run().id

    run_id = model()
    [feedback] = recording.records("evaluation")
    assert f"{trace_id(feedback):032x}-{parent_id(feedback):016x}" == run_id
    assert stable(feedback) == {
        "otel_ml.record": "evaluation",
        "otel_ml.project": "shop",
        "otel_ml.judge.name": "helpful",
        "otel_ml.source": "human",
        "otel_ml.passed": False,
    }


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"score": "high"}, InvalidMetricError),
        ({"score": float("nan")}, InvalidMetricError),
        ({"score": True}, InvalidMetricError),
        ({"score": 1, "source": "judge"}, ValueError),
        ({}, ValueError),
    ],
)
def test_wrong_feedback_is_refused(
    recording: Recording, arguments: dict[str, Any], problem: type[Exception]
) -> None:
    """Feedback that is no number, of no source, or says nothing is refused; nothing is sent."""
    with pytest.raises(problem):
        recording.client.about(trace_key="k").feedback("helpful", **arguments)
    assert recording.spans() == []

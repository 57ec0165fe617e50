"""Records about runs by id, trace key or tag, and feedback."""

import inspect
import re
from typing import Any

import numpy as np
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_ml import Client, InvalidMetricError, current_run
from otel_ml.records import ACTUAL_NAME
from otel_ml.runs import Handle
from otel_ml.targets import Elsewhere
from tests.support.otel_ml.recording import Recording, events, parent_id, stable, trace_id

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
    """Tags, text, metrics and feedback of a target are each sent as a record that names it."""
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


@pytest.mark.parametrize(("target", "named"), TARGETS, ids=["run_id", "trace_key", "tag"])
def test_truth_of_a_target(
    recording: Recording, target: dict[str, Any], named: dict[str, str]
) -> None:
    """Ground truth is sent as a record with its value, name, explanation and annotator."""
    about(recording, target).actual("yes", "churned", explanation="invoice", annotator="ada")
    about(recording, target).actual(["a", 1, True])
    one, several = map(stable, recording.spans())
    record = {
        "otel_ml.record": "evaluation",
        "otel_ml.project": "shop",
        "otel_ml.source": "actual",
        **named,
    }
    assert one == {
        **record,
        "otel_ml.judge.name": "churned",
        "otel_ml.actual": "yes",
        "otel_ml.explanation": "invoice",
        "otel_ml.annotator": "ada",
    }
    assert several == {
        **record,
        "otel_ml.judge.name": "output",
        "otel_ml.actual.list": '["a",1,true]',
    }


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (np.int64(3), 3),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (np.array(["a", "b"]), '["a","b"]'),
        ([np.int64(3), 1.5], "[3,1.5]"),
        ((), "[]"),
        ("", ""),
        ("\ud800", "?"),
    ],
)
def test_truth_of_numpy(recording: Recording, value: Any, told: object) -> None:
    """Numpy scalars and arrays become plain ground truth; a lone surrogate is replaced."""
    about(recording, {"trace_key": "k"}).actual(value)
    said = stable(recording.spans()[0])
    found = said.get("otel_ml.actual", said.get("otel_ml.actual.list"))
    assert (found, type(found)) == (told, type(told))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "None"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (2**63, "9223372036854775808"),
        ({"a": 1}, "{'a': 1}"),
        ([[1]], "[[1]]"),
        (b"yes", "b'yes'"),
        (1j, "1j"),
        ("x" * 16_383, f"'{'x' * 79}…"),
        (["x"] * 9_000, "['x', 'x', 'x', 'x', …]"),
        (np.array([1.0, np.nan]), "of type numpy.ndarray"),
        (np.zeros((2, 2)), "of type numpy.ndarray"),
    ],
)
def test_wrong_truth_is_refused(recording: Recording, value: Any, shown: str) -> None:
    """Invalid ground truth raises at once; the error names argument, value and expected types."""
    with pytest.raises(ValueError, match=re.escape(f"Invalid value {shown}: expected a text, ")):
        about(recording, {"trace_key": "k"}).actual(value)
    assert recording.spans() == []


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"name": ""}, "Invalid name '': expected"),
        ({"name": 3}, "Invalid name 3: expected"),
        ({"annotator": 3}, "Invalid annotator 3: expected"),
        ({"explanation": 3}, "Invalid explanation 3: expected"),
    ],
)
def test_wrong_words_of_a_truth(recording: Recording, more: Any, problem: str) -> None:
    """An invalid name, annotator or explanation of ground truth raises and is named."""
    with pytest.raises(ValueError, match=problem):
        about(recording, {"trace_key": "k"}).actual("yes", **more)


def test_truth_of_a_run_at_hand(recording: Recording) -> None:
    """Ground truth for the current run is a record about it; outside of a run nothing is sent."""

    @recording.client.trace
    def model() -> str:
        current_run().actual(0.5, "price")
        return current_run().id

    current_run().actual(1)
    run_id = model()
    [truth] = recording.records("evaluation")
    assert f"{trace_id(truth):032x}-{parent_id(truth):016x}" == run_id
    assert stable(truth)["otel_ml.actual"] == 0.5


def test_truth_is_redacted() -> None:
    """Texts in ground truth are redacted, also in lists; a value with a secret name is not sent."""
    exporter = InMemorySpanExporter()
    client = Client("shop", exporter=exporter, redact=lambda text: text.replace("ada", "***"))
    handle = client.about(trace_key="k")
    handle.actual("ada@x")
    handle.actual(["ada", 1])
    handle.actual("hunter2", "password")
    handle.actual(True, explanation="password=hunter2", annotator="ada")
    assert client.flush()
    found = [dict(span.attributes or {}) for span in exporter.get_finished_spans()]
    told = [one.get("otel_ml.actual", one.get("otel_ml.actual.list")) for one in found]
    assert told == ["***@x", '["***",1]', "[redacted]", True]
    assert found[3]["otel_ml.explanation"] == "password=[redacted]"
    assert found[3]["otel_ml.annotator"] == "***"


def test_record_about_a_run_is_in_its_trace(recording: Recording) -> None:
    """A record about a run id is a child of that run; a record about a trace key has no parent."""
    recording.client.about(run_id=RUN_ID).tag(a=1)
    recording.client.about(trace_key="k").tag(a=1)
    known, alone = recording.spans()
    assert f"{trace_id(known):032x}-{parent_id(known):016x}" == RUN_ID
    assert parent_id(alone) is None


def test_nothing_is_said_of_nothing(recording: Recording) -> None:
    """Calling `tag` without tags or logging no points sends no record."""
    handle = recording.client.about(trace_key="k")
    handle.tag()
    handle.log_metric("loss", [])
    assert recording.spans() == []


@pytest.mark.parametrize(
    "target", [{}, {"run_id": RUN_ID, "trace_key": "k"}, {"run_id": "17"}, {"run_id": RUN_ID[:-1]}]
)
def test_wrong_target_is_refused(recording: Recording, target: dict[str, Any]) -> None:
    """A target without a key, with two keys, or with an invalid run id is refused."""
    with pytest.raises(ValueError, match="expected"):
        about(recording, target)


def test_feedback_of_a_run_that_goes_on(recording: Recording) -> None:
    """Feedback on the current run is sent as a record about it."""

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
    """Feedback without a valid number, source or content is refused, and nothing is sent."""
    with pytest.raises(problem):
        recording.client.about(trace_key="k").feedback("helpful", **arguments)
    assert recording.spans() == []


def test_truth_has_the_name_that_the_collector_gives() -> None:
    """Ground truth without a name gets the same default name in the SDK and the collector."""
    named = inspect.signature(Handle.actual).parameters["name"]
    assert named.default == ACTUAL_NAME

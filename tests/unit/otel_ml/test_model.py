"""Models that are not functions: their versions, and the records about them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from otel_ml import InvalidMetricError
from otel_ml.recorder import SEND_EVERY_NS
from tests.support.otel_ml.recording import Recording, attributes, events, stable

DEFINITION = "otel_ml.model.definition"


def definitions(recording: Recording) -> list[Any]:
    return [
        json.loads(attributes(update)[DEFINITION])
        for update in recording.records("update")
        if DEFINITION in attributes(update)
    ]


def test_version_exists_at_once(recording: Recording) -> None:
    """Naming a model sends its version and its definition."""
    model = recording.client.model("churn", {"rate": 0.1}, b"abc")
    [update] = recording.records("update")
    assert stable(update) == {
        "otel_ml.project": "shop",
        "otel_ml.record": "update",
        "otel_ml.target.model": "churn",
        "otel_ml.target.version": model.version,
    }
    assert definitions(recording) == [
        {
            "source": None,
            "signature": "",
            "params": {"rate": 0.1},
            "helpers": {},
            "constants": {},
            "unseen": [],
            "output": None,
            "artifact": {
                "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                "bytes": 3,
            },
        }
    ]
    assert (model.name, bool(re.fullmatch("[0-9a-f]{16}", model.version))) == ("churn", True)


def test_definition_is_told_once(recording: Recording) -> None:
    """A process sends the definition of a version once, however often the model is named."""
    for _ in range(3):
        recording.client.model("churn").log_metric("auc", 1)
    recording.client.model("churn", {"a": 1})
    recording.client.model("other")
    assert len(definitions(recording)) == 3
    assert len(recording.records("update")) == 6


def test_definition_is_told_again(recording: Recording) -> None:
    """After five minutes the next record of a model sends the definition again."""
    model = recording.client.model("churn")
    told = recording.client._recorder._definitions_sent
    told.update({key: at_ns - SEND_EVERY_NS for key, at_ns in told.items()})
    model.log_metric("auc", 1)
    assert len(definitions(recording)) == 2


def test_version_is_params_and_content(recording: Recording, tmp_path: Path) -> None:
    """The version depends only on params and content, and not on the order of params."""
    path = tmp_path / "weights"
    path.write_bytes(b"abc")
    name = recording.client.model
    same = {
        name("churn", {"a": 1, "b": [2]}, b"abc").version,
        name("churn", {"b": [2], "a": 1}, path).version,
        name("other", {"b": (2,), "a": 1}, str(path)).version,
    }
    others = [
        name("churn", {"a": 1, "b": [2]}).version,
        name("churn", {"a": 1, "b": [3]}, b"abc").version,
        name("churn", {"a": 1, "b": [2]}, b"abd").version,
        name("churn").version,
    ]
    assert len(same) == 1
    assert len({*others, *same}) == 5


def test_all_of_a_handle(recording: Recording) -> None:
    """Metrics, tags, text, data and feedback of a model are sent as records about its version."""
    model = recording.client.model("churn")
    model.log_metrics({"auc": 0.9}, step=3)
    model.tag(stage="production")
    model.info("checked")
    model.log("matrix", [[1, 2], [3, 4]])
    model.feedback("fair", 1)
    _, metrics, tags, line, data = recording.records("update")
    [said] = recording.records("evaluation")
    target = {"otel_ml.target.model": "churn", "otel_ml.target.version": model.version}
    for record in (metrics, tags, line, data, said):
        assert target.items() <= attributes(record).items()
        assert record.parent is None
    assert attributes(metrics)["otel_ml.metric.values"] == (0.9,)
    assert attributes(tags)["otel_ml.tag.stage"] == "production"
    assert events(line)[0][1]["otel_ml.log.message"] == "checked"
    [(_, artifact)] = events(data)
    assert json.loads(artifact["otel_ml.artifact.json"]) == [[1, 2], [3, 4]]
    assert attributes(said)["otel_ml.score.value"] == 1.0


def test_metrics_of_a_model(recording: Recording) -> None:
    """`metrics` of a model returns the logged values."""
    model = recording.client.model("churn")
    model.log_metrics({"loss": 0.002, "acc": 0.95})
    model.log_metrics({"loss": 0.001})
    model.log_metric("x", 1, single_value=True)
    model.log_metric("x", 2, single_value=True)
    assert model.metrics == {"loss": [0.002, 0.001], "acc": 0.95, "x": 1.0}


def test_wrong_metric_is_refused(recording: Recording) -> None:
    """A metric value that is not a number raises, and nothing is logged."""
    model = recording.client.model("churn")
    with pytest.raises(InvalidMetricError):
        model.log_metrics({"a": 1, "b": "x"})
    assert model.metrics == {}


@pytest.mark.parametrize("name", ["", "x" * 1_025, None, 3])
def test_wrong_name_is_refused(recording: Recording, name: Any) -> None:
    """A model name that is empty, too long or not text is refused."""
    with pytest.raises(
        ValueError, match=r"^Invalid name .*: expected a text of 1 to 1,024 characters$"
    ):
        recording.client.model(name)


def test_secrets_stay(recording: Recording) -> None:
    """Params with secret keys are redacted but still change the version."""
    first = recording.client.model("churn", {"api_key": "hunter2"})
    second = recording.client.model("churn", {"api_key": "hunter3"})
    assert first.version != second.version
    assert [one["params"] for one in definitions(recording)] == [{"api_key": "[redacted]"}] * 2


def test_nothing_is_told_while_disabled(recording: Recording) -> None:
    """Inside `disabled` a model records nothing; its definition goes with the next record."""
    with recording.client.disabled():
        model = recording.client.model("churn")
        model.log_metric("auc", 1)
    assert (recording.records("update"), model.metrics) == ([], {})
    model.log_metric("auc", 1)
    assert len(definitions(recording)) == 1
